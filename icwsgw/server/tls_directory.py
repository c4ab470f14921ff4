"""A directory of certificates, of which each client gets the one for the name that it asks for (SNI, RFC 6066).

    NAME.pem                               certificate chain and key in one file
    NAME/fullchain.pem, NAME/privkey.pem   certbot's layout (/etc/letsencrypt/live)

The names in the certificates count, not those of the files. A client that asks for another name, or for none, gets the
certificate ``default``, or else the first by name. Files may come, change and go while the gateway runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger
from icwsgw.server.certificates import Validity
from icwsgw.server.tls import PemFiles, ServerTls

#: Largest number of certificates in a directory.
MAX_CERTIFICATES = 1000
DEFAULT = "default"

_log = get_logger("server.tls")


def pem_files(directory: Path, passphrase: Path | None = None) -> dict[str, PemFiles]:
    """Return the certificates and keys in a directory, by name, sorted.

    :param passphrase: the file with the passphrase of the keys that are encrypted
    :raises ConfigError: it cannot be read, or has too many
    """
    found: dict[str, PemFiles] = {}
    try:
        for path in sorted(directory.iterdir()):
            chain, key = path / "fullchain.pem", path / "privkey.pem"
            if path.suffix == ".pem" and path.is_file():
                found[path.stem] = PemFiles(path, path, passphrase=passphrase)
            elif chain.exists() or key.exists():
                found[path.name] = PemFiles(chain, key, passphrase=passphrase)
    except OSError as error:
        raise ConfigError(f"cannot read {directory}: {error.strerror}") from None
    if len(found) > MAX_CERTIFICATES:
        raise ConfigError(f"{directory} has {len(found)} certificates, at most {MAX_CERTIFICATES} are read")
    return found


@implementer(IOpenSSLServerConnectionCreator)
class CertificateDirectory:
    """Makes the TLS side of accepted connections; as :class:`~icwsgw.server.tls.ServerTls`, for many certificates.

    :param directory: see above
    :param passphrase: the file with the passphrase of the keys that are encrypted
    :raises ConfigError: a certificate is invalid, or there is none
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        observe_handshake: Callable[[float], None] | None = None,
        passphrase: Path | None = None,
    ) -> None:
        self._directory, self._passphrase = directory, passphrase
        self._clock, self._now, self._observe = clock, now, observe_handshake
        self._ended = {"ok": 0, "failed": 0}
        #: What is wrong with files that are not in use, so that each is logged once.
        self._errors: dict[str, str] = {}
        self._members = {name: self._member(files) for name, files in self._present().items()}
        if not self._members:
            self._refuse_none()
        self._index()

    looks_at_hello = False
    #: The name of the certificate for clients that ask for no other.
    _first = DEFAULT

    def _present(self) -> dict[str, PemFiles]:
        return pem_files(self._directory, self._passphrase)

    def _refuse_none(self) -> None:
        raise ConfigError(
            f"there is no certificate in {self._directory}: neither NAME.pem nor NAME/fullchain.pem with "
            "NAME/privkey.pem"
        )

    def __len__(self) -> int:
        return len(self._members)

    @property
    def validities(self) -> list[Validity]:
        """From when to when each certificate that clients get is valid; not those that a better one replaces."""
        used = {id(member): member for member in (self._default, *self._by_name.values()) if member is not None}
        return [validity for member in used.values() for validity in member.validities]

    @property
    def reloads(self) -> dict[str, int]:
        """How often changed files were read, by outcome."""
        members = self._members.values()
        return {name: count + sum(member.reloads[name] for member in members) for name, count in self._ended.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Return what the operator may know of each certificate, and which names get it."""
        found = []
        for member in self._members.values():
            serves = sorted(name for name, other in self._by_name.items() if other is member)
            found += [{**row, "sni": serves, "default": member is self._default} for row in member.rows()]
        return found

    def warnings(self) -> list[str]:
        """Return what makes clients refuse certificates; for the operator."""
        return [warning for member in self._members.values() for warning in member.warnings()]

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802
        """Make the TLS side of one connection (IOpenSSLServerConnectionCreator)."""
        assert self._default is not None
        return self._default.serverConnectionForTLS(protocol)

    def reload_if_changed(self) -> bool:
        """Look at the directory and at each file; invalid ones are logged once and change nothing.

        :return: whether anything is used now that was not before
        """
        try:
            present = self._present()
        except ConfigError as error:
            self._report_error("", str(error))
            return False
        self._errors.pop("", None)
        changed = self._drop({name for name in self._members if name not in present})
        for name, files in present.items():
            member = self._members.get(name)
            if member is not None and member.files == files:
                changed = member.reload_if_changed() or changed
            else:
                changed = self._add(name, files) or changed
        if changed:
            self._index()
        return changed

    def _add(self, name: str, files: PemFiles) -> bool:
        try:
            member = self._member(files)
        except ConfigError as error:
            self._report_error(name, str(error))
            return False
        self._errors.pop(name, None)
        self._drop({name} & set(self._members), even_all=True)
        self._members[name] = member
        self._ended["ok"] += 1
        _log.info("TLS certificate added", certificate=files.certificate, names=",".join(member.names))
        return True

    def _drop(self, names: set[str], even_all: bool = False) -> bool:
        if not names or (len(names) == len(self._members) and not even_all):
            return False  # without any certificate no client could connect
        for name in names:
            member = self._members.pop(name)
            for outcome, count in member.reloads.items():
                self._ended[outcome] += count
            _log.info("TLS certificate dropped", certificate=member.files.certificate)
        return True

    def _report_error(self, name: str, text: str) -> None:
        if self._errors.get(name) != text:
            self._errors[name] = text
            self._ended["failed"] += 1
            _log.error("invalid TLS certificate ignored", reason=text)

    def _member(self, files: PemFiles) -> ServerTls:
        return ServerTls(files, clock=self._clock, now=self._now, observe_handshake=self._observe, choose=self._choose)

    def _index(self) -> None:
        members = dict(sorted(self._members.items()))
        self._default = members.get(self._first) or next(iter(members.values()), None)
        # of two for one name, the one that is valid for longer
        by_expiry = sorted(members.values(), key=lambda member: member.not_after)
        self._by_name = {name: member for member in by_expiry for name in member.names}

    def _choose(self, connection: SSL.Connection) -> None:
        """Give a client the certificate for the name that it asks for (called by OpenSSL within the handshake)."""
        asked = connection.get_servername()
        if asked is None:
            return
        name = asked.decode("ascii", "replace").lower().rstrip(".")
        member = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        if member is not None and member is not self._default:
            connection.set_context(member.context)
