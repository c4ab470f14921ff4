"""Makes what a release consists of: wheel, sdist and SBOM, byte for byte the same for one commit, wherever it runs.

``python scripts/dist.py DIRECTORY`` with what requirements/build.txt installs. Files are those that git tracks, as they
are in the work tree; their times are that of the commit (SOURCE_DATE_EPOCH, if it is set). Nothing is downloaded.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What the distributions are made of; tests, benchmarks and deployment stay in the repository.
PARTS = ("icwsgw/", "twisted/", "docs/man/")

_BUILD = """
import os, sys
os.umask(0o022)
from setuptools import build_meta
_, target = sys.argv  # setuptools sets others
build_meta.build_sdist(target)
build_meta.build_wheel(target)
"""


def tracked() -> list[str]:
    """Return the files that the distributions are made of: those that git tracks or would track."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in listed if name.startswith(PARTS) or "/" not in name)


def commit_time() -> int:
    """Return the time of the commit, in seconds since 1970."""
    words = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def copy_source(target: Path, epoch: int) -> None:
    """Copy the files of the distributions, with the same times and modes everywhere."""
    for name in tracked():
        source = ROOT / name
        if not source.is_file():
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
        copy.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
        os.utime(copy, (epoch, epoch))


def normalised(archive: bytes, epoch: int) -> bytes:
    """Return a .tar.gz with its members in order, owned by nobody in particular, all of one time."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as old,
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def build(target: Path, epoch: int) -> list[Path]:
    """Write wheel and sdist; returns their paths.

    :param epoch: the time of all files in them, in seconds since 1970
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        copy_source(source, epoch)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", "TZ": "UTC"}
        words = [sys.executable, "-c", _BUILD, str(target.resolve())]
        done = subprocess.run(words, cwd=source, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}{done.stderr}")
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    sdist.write_bytes(normalised(sdist.read_bytes(), epoch))
    return [wheel, sdist]


def write_sbom(target: Path, name: str) -> Path:
    """Write the list of what the container image installs, in CycloneDX's form; returns its path.

    :param name: of the distribution, with its version
    """
    path = target / f"{name}.cdx.json"
    words = [sys.executable, "-m", "cyclonedx_py", "requirements", str(ROOT / "requirements" / "image.txt")]
    words += ["--output-reproducible", "--output-format", "JSON", "--output-file", str(path)]
    subprocess.run(words, check=True)
    return path


def main() -> None:
    """Write everything into the directory of the command line, which must be empty or missing."""
    (directory,) = sys.argv[1:]
    target = Path(directory)
    if target.exists() and any(target.iterdir()):
        raise SystemExit(f"{target} is not empty")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or commit_time())
    wheel, _ = made = build(target, epoch)
    made.append(write_sbom(target, "-".join(wheel.name.split("-")[:2])))
    print("\n".join(str(path) for path in made))


if __name__ == "__main__":
    main()
