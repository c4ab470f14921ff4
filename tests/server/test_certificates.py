import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509

from icwsgw.server.certificates import OVERDUE, Validity, chain_warnings, is_better, key_warning
from tests.support import pem

ROOT = pem.authority("root")
BETWEEN = pem.authority("intermediate", signer=ROOT)
DAY = 86400.0


def chain(*parts: pem.ServerPem | pem.Authority) -> list[x509.Certificate]:
    data = b"".join(part.pem if isinstance(part, pem.Authority) else part.certificate for part in parts)
    return x509.load_pem_x509_certificates(data)


def opinion(*parts: pem.ServerPem | pem.Authority, now: float | None = None) -> list[str]:
    return list(chain_warnings(chain(*parts), time.time() if now is None else now))


def test_a_full_chain_has_no_warnings() -> None:
    leaf = pem.server(BETWEEN, days=29)
    assert opinion(leaf, BETWEEN) == []
    assert opinion(leaf, BETWEEN, ROOT) == []
    assert list(chain_warnings(chain(ROOT), time.time()))[1:] == [], "self-signed: nobody else can stand behind it"


def test_a_missing_intermediate() -> None:
    (warning,) = opinion(pem.server(BETWEEN, days=29))
    assert warning.startswith("has no certificate of its issuer (CN=intermediate) behind it: ")


def test_a_chain_of_others() -> None:
    leaf = pem.server(BETWEEN, days=29)
    wrong = "has a chain whose certificate {} did not issue the one before it: clients may refuse it"
    assert opinion(leaf, ROOT) == [wrong.format(2)]
    assert opinion(leaf, ROOT, BETWEEN) == [wrong.format(2), wrong.format(3)]
    assert opinion(leaf, BETWEEN, pem.authority("root")) == [wrong.format(3)], "the name alone is not enough"


def test_dates() -> None:
    assert opinion(pem.server(BETWEEN, days=-2), BETWEEN)[0].startswith("expired on 20")
    assert opinion(pem.server(BETWEEN, days=29, begins=2), BETWEEN)[0].startswith("is not valid before 20")
    (late,) = opinion(pem.server(BETWEEN, days=3.5, begins=-86), BETWEEN)
    assert late.startswith("expires on ")
    assert late.endswith(", in 3 days")
    leaf = pem.server(BETWEEN, days=29, begins=-61)
    end = Validity.of(chain(leaf)[0]).not_after
    assert opinion(leaf, BETWEEN, now=end - OVERDUE) == []
    assert len(opinion(leaf, BETWEEN, now=end - OVERDUE + 1)) == 1
    short = pem.server(BETWEEN, days=0.5, begins=-0.5)
    end = Validity.of(chain(short)[0]).not_after
    assert opinion(short, BETWEEN, now=end - 5 * 3600) == [], "some authorities issue for a day"
    assert len(opinion(short, BETWEEN, now=end - 3 * 3600)) == 1
    root_end = Validity.of(ROOT.certificate).not_after
    later = opinion(pem.server(BETWEEN, days=300), BETWEEN, now=root_end + DAY)
    assert [text[:41] for text in later] == ["has a chain whose certificate 2 expired o"]


def test_a_certificate_without_names() -> None:
    assert opinion(pem.server(BETWEEN, days=29, named=False), BETWEEN) == [
        "names no host (subjectAltName): browsers refuse it"
    ]


@pytest.mark.parametrize("complete", [True, False])
def test_openssl_refuses_the_same_chains(tmp_path: Path, complete: bool) -> None:
    leaf = pem.server(BETWEEN, days=29)
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    (tmp_path / "leaf.pem").write_bytes(leaf.certificate)
    (tmp_path / "rest.pem").write_bytes(BETWEEN.pem if complete else leaf.certificate)
    words = ["-CAfile", "root.pem", "-untrusted", "rest.pem", "leaf.pem"]
    done = subprocess.run(["openssl", "verify", *words], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode == 0) == complete == (opinion(leaf, *([BETWEEN] if complete else [])) == [])


NOW = 1000.0
PAST, PRESENT, FUTURE = Validity(0, 500), Validity(500, 2000), Validity(1500, 3000)


@pytest.mark.parametrize(
    ("new", "old", "taken"),
    [
        (PRESENT, PRESENT, True),
        (Validity(900, 1100), PRESENT, True),
        (PRESENT, PAST, True),
        (PRESENT, FUTURE, True),
        (PAST, PRESENT, False),
        (FUTURE, PRESENT, False),
        (PAST, PAST, False),
        (Validity(0, 400), PAST, False),
        (Validity(0, 600), PAST, True),
        (FUTURE, PAST, True),
        (PAST, FUTURE, False),
    ],
)
def test_the_better_one(new: Validity, old: Validity, taken: bool) -> None:
    assert is_better(new, old, NOW) == taken


@pytest.mark.parametrize(
    ("mode", "good"), [(0o600, True), (0o640, True), (0o400, True), (0o644, False), (0o660, False)]
)
def test_the_mode_of_a_key(tmp_path: Path, mode: int, good: bool) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"")
    key.chmod(mode)
    expected = None if good else f"is open to others (mode {mode:04o}); chmod 640 or 600 it"
    assert key_warning(key) == expected
    assert key_warning(tmp_path / "missing") is None
