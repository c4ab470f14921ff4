import errno
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from icwsgw.acme.storage import AcmeStorage, KeptOrder, is_token, key_pem
from icwsgw.core.renewal_schedule import FailureKind, NameState
from icwsgw.errors import ConfigError
from tests.support import pem


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    storage = AcmeStorage(tmp_path)
    key = storage.account_key()
    assert AcmeStorage(tmp_path).account_key().private_numbers() == key.private_numbers()
    states = {"a.example": NameState().after(FailureKind.REFUSED, "why", 1e9)}
    storage.keep_states(states)
    assert AcmeStorage(tmp_path).states() == states
    assert storage.dates("a.example") is None
    storage.keep_certificate("a.example", pem.server(pem.authority()).certificate, key)
    dates = AcmeStorage(tmp_path).dates("a.example")
    assert dates is not None
    assert dates.not_after - dates.not_before == pytest.approx(11 * 86400)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "account.pem",
        "certificates",
        "challenges",
        "orders",
        "state.json",
    ]


def test_a_damaged_certificate_counts_as_missing(tmp_path: Path) -> None:
    storage = AcmeStorage(tmp_path)
    good = pem.server(pem.authority()).certificate
    damages = (b"nonsense", pem.damaged(good, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"))
    for certificate in damages:
        storage.keep_certificate("a.example", certificate, storage.account_key())
        assert storage.dates("a.example") is None


@pytest.mark.parametrize(
    "text", ["[]", "nonsense", '{"names": 3}', '{"names": {"a": 3}}', '{"names": {"a": {"failures": "x"}}}']
)
def test_damaged_states_count_as_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert all(state == NameState() for state in AcmeStorage(tmp_path).states().values())


def test_an_order_is_kept_until_it_is_dropped(tmp_path: Path) -> None:
    storage = AcmeStorage(tmp_path)
    assert storage.kept_order("a.example") is None
    storage.keep_order("a.example", KeptOrder("https://ca.example/order/1", storage.account_key(), 1.5e9))
    kept = AcmeStorage(tmp_path).kept_order("a.example")
    assert kept is not None
    assert (kept.url, kept.begun) == ("https://ca.example/order/1", 1.5e9)
    assert kept.key.private_numbers() == storage.account_key().private_numbers()
    assert storage.kept_order("b.example") is None
    for _ in range(2):
        storage.drop_order("a.example")
        assert storage.kept_order("a.example") is None


DAMAGED_ORDERS = [
    *("", "[]", "nonsense", "{}", "[" * 100_000),
    *(json.dumps({"url": "https://a", "begun": 1, **more}) for more in ({"key": 5}, {"key": "\u00e9"})),
    json.dumps({"url": 5, "begun": 1, "key": key_pem(ec.generate_private_key(ec.SECP256R1())).decode()}),
    json.dumps({"url": "https://a", "key": key_pem(ec.generate_private_key(ec.SECP256R1())).decode()}),
    json.dumps({"url": "https://a", "begun": 1, "key": key_pem(ec.generate_private_key(ec.SECP384R1())).decode()}),
]


@pytest.mark.parametrize("number", range(len(DAMAGED_ORDERS)))
def test_a_damaged_order_counts_as_missing(tmp_path: Path, number: int) -> None:
    storage = AcmeStorage(tmp_path)
    (tmp_path / "orders" / "a.example.json").write_text(DAMAGED_ORDERS[number])
    assert storage.kept_order("a.example") is None


def test_states_of_later_versions_are_read(tmp_path: Path) -> None:
    values = {**NameState(2, 1.0, 2.0, "why").to_json(), "new": [1]}
    (tmp_path / "state.json").write_text(json.dumps({"names": {"a": values}, "more": 1}))
    assert AcmeStorage(tmp_path).states() == {"a": NameState(2, 1.0, 2.0, "why")}


def test_an_account_key_of_another_kind(tmp_path: Path) -> None:
    storage = AcmeStorage(tmp_path)
    (tmp_path / "account.pem").write_bytes(key_pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ValueError, match="no key on the curve P-256"):
        storage.account_key()


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        # an X448 key has 56 bytes; OpenSSL fails to set one of 32 up
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VvBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n"
        b"-----END PRIVATE KEY-----\n",
    ],
)
def test_an_account_key_that_cannot_be_read(tmp_path: Path, text: bytes) -> None:
    storage = AcmeStorage(tmp_path)
    (tmp_path / "account.pem").write_bytes(text)
    with pytest.raises(ValueError, match="no key on the curve P-256"):
        storage.account_key()


def test_answers_have_names_that_lead_nowhere_else(tmp_path: Path) -> None:
    storage = AcmeStorage(tmp_path)
    token = "abcdefghijklmnopqrst_-"
    storage.put_answer(token, b"proof")
    assert storage.answer(token) == b"proof"
    (tmp_path / "account.pem").touch()
    for name in ("../account.pem", "", ".", "a" * 201, "account.pem", f"{token}\n", f"{token}x", "short"):
        assert storage.answer(name) is None
        assert not is_token(name) or name == f"{token}x"
    storage.drop_answers()
    assert storage.answer(token) is None


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make .*file"):
        AcmeStorage(tmp_path / "file" / "acme")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = AcmeStorage(tmp_path)
    storage.keep_states({"a": NameState(1)})

    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        storage.keep_states({"a": NameState(2)})
    assert storage.states() == {"a": NameState(1)}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".new")] == []


def test_a_lock_that_cannot_be_opened_is_no_other_process(tmp_path: Path) -> None:
    storage = AcmeStorage(tmp_path)
    (tmp_path / "lock").mkdir()
    with pytest.raises(IsADirectoryError):
        storage.hold()
    storage.release()
    (tmp_path / "lock").rmdir()
    assert storage.hold()
    assert not AcmeStorage(tmp_path).hold()
    storage.release()


def test_a_lock_that_cannot_be_taken_is_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def without_locks(descriptor: int, operation: int) -> None:
        taken.append(descriptor)
        raise OSError(errno.ENOLCK, "No locks available")

    storage = AcmeStorage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", without_locks)
        with pytest.raises(OSError, match="No locks"):
            storage.hold()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(taken[0])
    assert storage.hold()
    storage.release()


def test_a_trial_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = AcmeStorage(tmp_path)
    certificates = tmp_path / "certificates"
    (certificates / "a.example.pem").write_bytes(b"in use")
    storage.try_certificate("a.example")
    storage.try_certificate("b.example")
    assert [(path.name, path.read_bytes()) for path in certificates.iterdir()] == [("a.example.pem", b"in use")]
    (certificates / "c.example.pem").mkdir()
    with pytest.raises(IsADirectoryError, match=r"c\.example\.pem"):
        storage.try_certificate("c.example")

    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.try_certificate("b.example")
    assert sorted(path.name for path in certificates.iterdir()) == ["a.example.pem", "c.example.pem"]
