"""Fuzz one target with atheris (``pip install atheris``), guided by coverage.

    python -m tests.fuzz.atheris_target NAME [libFuzzer options, for example -max_total_time=60]

starts from the samples and from ``corpus/NAME``. New inputs go to a folder in the temporary directory that is named at
the start; what crashes is written to ``corpus/NAME``, and test_fuzz.py runs it from then on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    import atheris  # type: ignore[import-not-found]

    fuzzer: Any = atheris
    with fuzzer.instrument_imports(include=["icwsgw"]):
        from tests.fuzz.targets import TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name one of {', '.join(TARGETS)}")
    name = sys.argv[1]
    target = TARGETS[name]
    kept = Path(__file__).parent / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    found = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, sample in enumerate(target.samples):
        (found / f"sample-{number}").write_bytes(sample)
    print(f"new inputs go to {found}")
    options = ["-max_len=8192", "-timeout=10", f"-artifact_prefix={kept}/", *sys.argv[2:]]
    fuzzer.Setup([sys.argv[0], *options, str(found), str(kept)], target.run)
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
