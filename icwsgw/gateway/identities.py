"""The gateway's identities: the key file, which is made at the first start, and the keys derived from it.

The file contains an Ed25519 key as PKCS#8 v2 DER (85 bytes), as the Rust gateway writes it
(``ic-identity/src/lib.rs``). So both programs can use a data directory, and the principal stays. The key is identity 0.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.process.private_directory import make_private_directory
from icwsgw.process.secret_mode import is_open_to_others

#: Maximum number of bytes of a key file: PKCS#8 has 85, PEM some more.
MAX_KEY_FILE = 4096


class IdentityPool:
    """The identities of this process."""

    __slots__ = ("_identities",)

    def __init__(self, identities: Sequence[Ed25519Identity]) -> None:
        if not identities:
            raise ValueError("a gateway needs an identity")
        self._identities = tuple(identities)

    @classmethod
    def derived(cls, primary: Ed25519Identity, numbers: Iterable[int]) -> IdentityPool:
        """Derive the identities of these numbers from the key file's; number 0 is the key."""
        return cls([primary.derive(number) for number in numbers])

    @property
    def primary(self) -> Ed25519Identity:
        """The first one; without workers it is the key file's."""
        return self._identities[0]

    def __len__(self) -> int:
        return len(self._identities)

    def __getitem__(self, index: int) -> Ed25519Identity:
        return self._identities[index]

    def __iter__(self) -> Iterator[Ed25519Identity]:
        return iter(self._identities)


def load_or_create_key_file(
    path: Path,
    *,
    warn: Callable[[str], None] = lambda text: None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Ed25519Identity:
    """Read the gateway's key, or make one if there is no file.

    A new file has mode 0600 and appears complete or not at all. Of two processes that start at once, both use the key
    of the first.

    :param path: the key file, ``<data-dir>/key_pair``
    :param warn: called with a text if others than the owner may read the file
    :raises ConfigError: the file cannot be read or made, or contains no Ed25519 key
    """
    data = _read(path, warn)
    if data is None:
        _create(path, Ed25519Identity.generate(random_bytes).to_pkcs8_der())
        data = _read(path, warn)
    if data is None:
        raise ConfigError(f"key file {path} disappeared while it was made")
    return _parse(path, data)


def check_key_file(path: Path, warn: Callable[[str], None] = lambda text: None) -> Ed25519Identity | None:
    """Read the key; None if there is no file.

    :param warn: as in :func:`load_or_create_key_file`
    :raises ConfigError: the file is invalid
    """
    data = _read(path, warn)
    return None if data is None else _parse(path, data)


def require_key_file(path: Path) -> None:
    """Check that a process of a gateway that serves has the gateway's key. A new one would be another gateway's.

    :raises ConfigError: there is no key file, or it is invalid
    """
    if check_key_file(path) is None:
        raise ConfigError(f"there is no key file {path}: a running gateway keeps its key, put the file back")


def _parse(path: Path, data: bytes) -> Ed25519Identity:
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return Ed25519Identity.from_pem(data.decode("ascii"))
        return Ed25519Identity.from_pkcs8_der(data)
    except (FormatError, UnicodeDecodeError) as error:
        raise ConfigError(f"key file {path} is not an Ed25519 key in PKCS#8: {error}") from None


def _read(path: Path, warn: Callable[[str], None]) -> bytes | None:
    try:
        # Non-blocking, so that a named pipe is refused and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read key file {path}: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"key file {path} is not a file")
        if is_open_to_others(status):
            warn(f"key file {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); chmod 600 it")
        return os.read(descriptor, MAX_KEY_FILE)
    except OSError as error:
        raise ConfigError(f"cannot read key file {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _create(path: Path, data: bytes) -> None:
    temporary = None
    try:
        make_private_directory(path.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=".key_pair-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        _publish(temporary, path, data)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"cannot make key file {path}: {error.strerror}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _publish(temporary: str, path: Path, data: bytes) -> None:
    """Give the finished file its name, unless another process was first. (A rename would replace that key.)"""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links: another key is not replaced, but a crash may leave an incomplete file.
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
