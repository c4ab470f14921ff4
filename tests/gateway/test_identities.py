import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from icwsgw.errors import ConfigError
from icwsgw.gateway import identities
from icwsgw.gateway.identities import IdentityPool, check_key_file, load_or_create_key_file, require_key_file
from icwsgw.ic.identity import Ed25519Identity

VECTOR = Path(__file__).parents[1] / "vectors" / "identity" / "test_key_pair"
PRINCIPAL = "7cio4-7j2lx-6f3tp-mkfw7-t4amd-tjphs-hkits-6qa7x-hmnmx-yvwxk-nqe"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "key_pair"


def test_the_originals_key_file_gives_its_principal(tmp_path: Path) -> None:
    path = tmp_path / "key_pair"
    path.write_bytes(VECTOR.read_bytes())
    path.chmod(0o600)
    warnings: list[str] = []
    assert load_or_create_key_file(path, warn=warnings.append).principal.text == PRINCIPAL
    assert warnings == []
    assert path.read_bytes() == VECTOR.read_bytes()


def test_the_first_start_makes_a_key_that_stays(path: Path) -> None:
    assert check_key_file(path) is None
    before = os.umask(0)
    try:
        made = load_or_create_key_file(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(path.read_bytes()) == 85
    assert os.listdir(path.parent) == ["key_pair"]
    again = load_or_create_key_file(path)
    assert again.seed == made.seed
    checked = check_key_file(path)
    assert checked is not None
    assert checked.principal == made.principal


def test_chance_is_given(path: Path) -> None:
    made = load_or_create_key_file(path, random_bytes=lambda size: bytes(range(size)))
    assert made.seed == bytes(range(32))


def test_pem_is_read_too(path: Path) -> None:
    import base64

    path.parent.mkdir()
    body = base64.encodebytes(VECTOR.read_bytes()).decode()
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
    assert load_or_create_key_file(path).principal.text == PRINCIPAL


def test_of_two_that_start_at_once_both_use_one_key(path: Path) -> None:
    barrier = threading.Barrier(4)
    found: list[bytes] = []

    def chance(size: int) -> bytes:
        barrier.wait(10)
        return os.urandom(size)

    def start() -> None:
        found.append(load_or_create_key_file(path, random_bytes=chance).seed)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert os.listdir(path.parent) == ["key_pair"]


def test_without_hard_links_a_key_is_still_never_overwritten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    made = load_or_create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    identities._create(path, b"another")
    assert load_or_create_key_file(path).seed == made.seed
    assert os.listdir(path.parent) == ["key_pair"]


def test_a_key_open_to_others_is_reported(path: Path) -> None:
    load_or_create_key_file(path)
    path.chmod(0o644)
    warnings: list[str] = []
    load_or_create_key_file(path, warn=warnings.append)
    assert warnings == [f"key file {path} is open to others (mode 0644); chmod 600 it"]


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", VECTOR.read_bytes()[:-1], b"-----BEGIN PRIVATE KEY-----\n\xff", bytes(9000)]
)
def test_files_that_are_no_key(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for load in (load_or_create_key_file, check_key_file):
        with pytest.raises(ConfigError, match="is not an Ed25519 key") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_what_cannot_be_read_or_made(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.mkdir()
    with pytest.raises(ConfigError, match="is not a file"):
        load_or_create_key_file(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is not a file"):
        load_or_create_key_file(path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"cannot read key file .*: Not a directory"):
        load_or_create_key_file(blocked / "key_pair")
    with pytest.raises(ConfigError, match="cannot make key file"):
        identities._create(blocked / "key_pair", b"")


def test_a_file_that_goes_away_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "_create", lambda path, data: None)
    with pytest.raises(ConfigError, match="disappeared"):
        load_or_create_key_file(path)


def test_pool() -> None:
    one, two = Ed25519Identity(bytes(32)), Ed25519Identity(bytes(31) + b"\x01")
    pool = IdentityPool([one, two])
    assert (pool.primary, pool[1], len(pool), list(pool)) == (one, two, 2, [one, two])
    with pytest.raises(ValueError, match="needs an identity"):
        IdentityPool([])


def test_pools_of_several_processes_share_no_identity() -> None:
    key = Ed25519Identity(bytes(32))
    pools = [IdentityPool.derived(key, range(first, first + 3)) for first in (0, 3, 6)]
    assert pools[0].primary is key
    principals = [identity.principal for pool in pools for identity in pool]
    assert len(set(principals)) == 9
    assert pools[1].primary.principal == key.derive(3).principal


def test_a_process_of_a_running_gateway_makes_no_key(tmp_path: Path) -> None:
    path = tmp_path / "data" / "key_pair"
    with pytest.raises(ConfigError, match=f"^there is no key file {path}: a running gateway keeps its key"):
        require_key_file(path)
    assert list(tmp_path.iterdir()) == []
    load_or_create_key_file(path)
    require_key_file(path)
    path.write_bytes(b"no key")
    with pytest.raises(ConfigError, match="is not an Ed25519 key"):
        require_key_file(path)
