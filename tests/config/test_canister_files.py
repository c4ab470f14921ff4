from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.config.canister_files import CANISTER_FILES, CanisterFile, check_names
from icwsgw.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("chat=/c/chat.wasm", [CanisterFile("chat", Path("/c/chat.wasm"))]),
        ("chat=/c/chat.wasm.gz:/c/chat.did", [CanisterFile("chat", Path("/c/chat.wasm.gz"), Path("/c/chat.did"))]),
        ("a=/c/a.py,b-2=/c/b.wasm", [CanisterFile("a", Path("/c/a.py")), CanisterFile("b-2", Path("/c/b.wasm"))]),
        # commas, blanks, = and colons in names of files
        ("a=/my files/x, y.wasm", [CanisterFile("a", Path("/my files/x, y.wasm"))]),
        ("a=/x=1/y.wasm", [CanisterFile("a", Path("/x=1/y.wasm"))]),
        ("a=/x:y/z.wasm", [CanisterFile("a", Path("/x:y/z.wasm"))]),
        ("", []),
    ],
)
def test_texts(text: str, files: list[CanisterFile]) -> None:
    assert CANISTER_FILES.parse(text) == tuple(files)
    assert CANISTER_FILES.parse(CANISTER_FILES.show(tuple(files))) == tuple(files)


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert CANISTER_FILES.parse("a=x.wasm:x.did") == (CanisterFile("a", tmp_path / "x.wasm", tmp_path / "x.did"),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("chat.wasm", "is not NAME=FILE, such as chat=chat.wasm"),
        ("chat=", "is not NAME=FILE"),
        ("=chat.wasm", "'' is not a name"),
        ("my chat=chat.wasm", "'my chat' is not a name"),
        ("1st=chat.wasm", "begins with a letter"),
        ("a" * 41 + "=chat.wasm", "up to 40 letters"),
    ],
)
def test_what_is_wrong_is_reported(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        CANISTER_FILES.parse(text)


def test_names_are_unique() -> None:
    files = CANISTER_FILES.parse("a=1.wasm,b=2.wasm")
    check_names(files)
    with pytest.raises(ConfigError, match="two canisters are named b"):
        check_names([*files, files[1]])


def test_the_kind_of_code() -> None:
    python, wasm = CANISTER_FILES.parse("a=a.py,b=b.wasm")
    assert python.is_python
    assert not wasm.is_python
