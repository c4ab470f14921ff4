"""The files of ACME: the account's key, the certificates, the state of attempts, and answers to challenges.

    DIRECTORY/account.pem             the account's key
    DIRECTORY/state.json              attempts by name
    DIRECTORY/certificates/NAME.pem   chain and key, as --tls-certificate-dir has them
    DIRECTORY/challenges/NAME.pem     certificate and key that answer a TLS-ALPN-01 challenge
    DIRECTORY/challenges/TOKEN        the text that answers an HTTP-01 challenge
    DIRECTORY/orders/NAME.json        an order that may bring a certificate, with the certificate's key
    DIRECTORY/lock                    held by the process that asks for certificates

All are private to the gateway's user. Each file appears whole or not at all. Answers are files because every process of
a gateway (``--workers``, a handover) may be asked for them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from icwsgw.config.tls_options import CERTIFICATES, CHALLENGES
from icwsgw.core.renewal_schedule import Dates, NameState
from icwsgw.errors import ConfigError
from icwsgw.process.private_directory import make_private_directory

#: The folder of orders.
_ORDERS = "orders"
#: Longest file that is read, bytes.
_MAX_FILE = 1 << 20
#: Bytes that are written for trial: a chain of a few certificates has less.
_TRIAL = 16 << 10
#: A token of a challenge (RFC 8555, section 8.1): base64url. Its length is bounded because it is a file's name.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")


def is_token(text: str) -> bool:
    """Whether a text can be the token of a challenge."""
    return _TOKEN.fullmatch(text) is not None


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class KeptOrder(NamedTuple):
    """An order that may bring a certificate.

    :ivar url: of the order
    :ivar key: the certificate's
    :ivar begun: seconds since 1970
    """

    url: str
    key: ec.EllipticCurvePrivateKey
    begun: float


class AcmeStorage:
    """The directory of one authority; see above.

    :param directory: is made with its parents
    :raises ConfigError: it cannot be made
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: int | None = None
        try:
            for each in (CERTIFICATES, CHALLENGES, _ORDERS):
                make_private_directory(directory / each)
        except OSError as error:
            raise ConfigError(f"cannot make {error.filename}: {error.strerror}") from None

    # one process at a time

    def hold(self) -> bool:
        """Become the process that asks for certificates; False if another one is.

        :raises OSError: the lock cannot be opened or taken; no process asks then
        """
        if self._lock is None:
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            except OSError:
                os.close(lock)
                raise
            self._lock = lock
        return True

    def release(self) -> None:
        """Let another process ask."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    # the account and the attempts

    def account_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the account's key; make it if there is none.

        :raises OSError: it cannot be read or written
        :raises ValueError: the file has no key on P-256
        """
        path = self.directory / "account.pem"
        if not path.exists():
            self._write(path, key_pem(ec.generate_private_key(ec.SECP256R1())))
        key = _key(path.read_bytes()[:_MAX_FILE])
        if key is None:
            raise ValueError(f"{path} has no key on the curve P-256")
        return key

    def states(self) -> dict[str, NameState]:
        """Return the state of attempts by name; what cannot be read counts as missing."""
        try:
            document = json.loads((self.directory / "state.json").read_bytes()[:_MAX_FILE])
        except (OSError, ValueError):
            return {}
        names = document.get("names") if isinstance(document, dict) else None
        if not isinstance(names, dict):
            return {}
        return {name: NameState.from_json(values) for name, values in names.items() if isinstance(values, dict)}

    def keep_states(self, states: Mapping[str, NameState]) -> None:
        """Write the state of attempts.

        :raises OSError: it cannot be written
        """
        document: dict[str, Any] = {"names": {name: state.to_json() for name, state in states.items()}}
        self._write(self.directory / "state.json", json.dumps(document, indent=1).encode() + b"\n")

    # certificates

    def dates(self, name: str) -> Dates | None:
        """Return the dates of a name's certificate; None: there is none that can be read."""
        try:
            pem = (self.directory / CERTIFICATES / f"{name}.pem").read_bytes()[:_MAX_FILE]
            leaf = x509.load_pem_x509_certificates(pem)[0]
        except (OSError, ValueError, x509.InvalidVersion):
            return None
        return Dates(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())

    def keep_certificate(self, name: str, chain: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        """Write a name's certificate.

        :param chain: PEM, the name's certificate first
        :raises OSError: it cannot be written
        """
        self._write(self.directory / CERTIFICATES / f"{name}.pem", chain.rstrip() + b"\n" + key_pem(key))

    def try_certificate(self, name: str) -> None:
        """Find out whether a name's certificate can be written, without changing it.

        :raises OSError: it cannot be written
        """
        path = self.directory / CERTIFICATES / f"{name}.pem"
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        trial = path.with_name(f".trial-{name}")
        self._write(trial, bytes(_TRIAL))
        trial.unlink()

    # orders

    def keep_order(self, name: str, order: KeptOrder) -> None:
        """Write a name's order, before the authority is asked to issue.

        :raises OSError: it cannot be written
        """
        document = {"url": order.url, "begun": order.begun, "key": key_pem(order.key).decode()}
        self._write(self._order_path(name), json.dumps(document, indent=1).encode() + b"\n")

    def kept_order(self, name: str) -> KeptOrder | None:
        """Return a name's order; None: there is none that can be read."""
        try:
            document = json.loads(self._order_path(name).read_bytes()[:_MAX_FILE])
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(document, dict):
            return None
        url, begun, pem = document.get("url"), document.get("begun"), document.get("key")
        if not isinstance(url, str) or not isinstance(begun, (int, float)) or not isinstance(pem, str):
            return None
        key = _key(pem.encode("ascii", "replace"))
        return None if key is None else KeptOrder(url, key, begun)

    def drop_order(self, name: str) -> None:
        """Remove a name's order, if there is one."""
        # one that stays is too old some day
        with suppress(OSError):
            self._order_path(name).unlink()

    def _order_path(self, name: str) -> Path:
        return self.directory / _ORDERS / f"{name}.json"

    # challenges

    def put_answer(self, name: str, answer: bytes) -> None:
        """Write the answer to a challenge.

        :param name: ``NAME.pem`` or a token
        :raises OSError: it cannot be written
        """
        self._write(self.directory / CHALLENGES / name, answer)

    def answer(self, token: str) -> bytes | None:
        """Return the answer to an HTTP-01 challenge; None: there is none."""
        if not is_token(token):
            return None
        try:
            return (self.directory / CHALLENGES / token).read_bytes()[:_MAX_FILE]
        except OSError:
            return None

    def drop_answers(self) -> None:
        """Remove all answers to challenges."""
        try:
            for path in (self.directory / CHALLENGES).iterdir():
                path.unlink(missing_ok=True)
        except OSError:
            pass  # no server asks for them any more

    def _write(self, path: Path, data: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey | None:
    """Return a private key on P-256; None: this is none."""
    try:
        key: object = load_pem_private_key(pem, None)
    except (TypeError, ValueError, UnsupportedAlgorithm, InternalError):
        # encrypted; damaged; of an unknown algorithm; of the wrong length for its algorithm
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1) else None
