import os
from pathlib import Path

import pytest

from icwsgw.process.secret_mode import is_open_to_others


@pytest.mark.parametrize(
    ("mode", "ours", "another_s"),
    [
        (0o400, False, False),
        (0o600, False, False),
        (0o700, False, False),
        # systemd's credentials, and a key of root that the service's group reads
        (0o440, True, False),
        (0o640, True, False),
        (0o460, True, True),
        (0o450, True, True),
        (0o404, True, True),
        (0o402, True, True),
        (0o644, True, True),
    ],
)
def test_who_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, ours: bool, another_s: bool
) -> None:
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    assert is_open_to_others(path.stat()) is ours
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert is_open_to_others(path.stat()) is another_s
