"""Signed requests to an ACME server (RFC 8555, section 6), over the gateway's own HTTP client.

The messages and their signatures are those of Certbot's libraries ``acme`` and ``josepy``. Their client is not used: it
blocks, and sleeps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from acme import errors, jws, messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import DeserializationError
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.json_util import decode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey
from twisted.internet.defer import Deferred

from icwsgw.agent.http.response_parser import ParsedResponse
from icwsgw.agent.http.url import Url
from icwsgw.agent.outcome import retry_after
from icwsgw.core.renewal_schedule import LONGEST_PAUSE, FailureKind
from icwsgw.errors import IcwsError, TransportError
from icwsgw.escaping import escape_invisible

#: Seconds for one request, and how often one is sent whose nonce the server refuses.
REQUEST_SECONDS, NONCE_TRIES = 30.0, 10
#: Nonces that are kept, and characters of the server's own words that reach the log.
MOST_NONCES, MOST_WORDS = 10, 500
#: How deep the server's JSON may nest: an order with problems of its names has six levels.
MOST_LEVELS = 16

#: A nonce (RFC 8555, section 6.5.1).
_NONCE = re.compile(rb"[A-Za-z0-9_-]+")
JOSE = b"application/jose+json"
#: How a request is sent: :meth:`icwsgw.agent.http.transport.Transport.fetch`.
Fetch = Callable[..., "Deferred[ParsedResponse]"]


class AcmeFailed(IcwsError):
    """There is no certificate; the text says why.

    :ivar kind: how soon to ask again
    :ivar retry_after: seconds that the server asks to wait, or None
    :ivar code: the type of the server's problem without its prefix, for example ``rateLimited``; or empty
    """

    cause = "acme"

    def __init__(self, kind: FailureKind, text: str, retry_after: float | None = None, code: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.retry_after = retry_after
        self.code = code


class AcmeAnswer(NamedTuple):
    """An answer that is no problem.

    :ivar location: the URL of what was made or asked for; empty: the answer names none
    :ivar retry_after: seconds that the server asks to wait, or None
    """

    body: bytes
    location: str
    retry_after: float | None

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        :raises AcmeFailed: it is none
        """
        try:
            value = _parsed(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise AcmeFailed(FailureKind.UNREACHABLE, "the ACME server's answer is not a JSON object")
        return value


class ExternalAccount(NamedTuple):
    """What binds the account to one that the authority knows already (RFC 8555, section 7.3.4).

    :ivar key_id: names that account
    :ivar mac_key: in base64url
    """

    key_id: str
    mac_key: str


class AccountRequest(NamedTuple):
    """What the operator says of the account.

    :ivar agrees: to the authority's terms of service
    :ivar email: where the authority may write to; empty: nowhere
    :ivar external: an account that the authority knows, or None
    """

    agrees: bool
    email: str = ""
    external: ExternalAccount | None = None


class AcmeClient:
    """The account at one ACME server.

    :param directory_url: of the server's directory
    :param key: the account's, on P-256
    :param wanted: what the operator says of the account
    :param now: seconds since 1970
    """

    def __init__(
        self,
        fetch: Fetch,
        directory_url: str,
        key: ec.EllipticCurvePrivateKey,
        wanted: AccountRequest,
        now: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._directory_url = directory_url
        self.key = JWKEC(key=ComparableECKey(key))
        self._wanted = wanted
        self._now = now
        self._nonces: list[str] = []
        self._directory: messages.Directory | None = None
        self._account: str | None = None

    async def directory(self) -> messages.Directory:
        """Return the server's directory.

        :raises AcmeFailed: there is none
        """
        if self._directory is None:
            answer = self._read(await self._send(b"GET", self._directory_url))
            directory = decoded(messages.Directory, answer.json())
            if not all(isinstance(self._of(directory, name), str) for name in ("newNonce", "newAccount", "newOrder")):
                raise AcmeFailed(
                    FailureKind.UNREACHABLE, f"{self._directory_url} is not the directory of an ACME server"
                )
            self._directory = directory
        return self._directory

    @staticmethod
    def _of(directory: messages.Directory, name: str) -> Any:
        try:
            return directory[name]
        except KeyError:
            return None

    async def register(self) -> str:
        """Find the account of the key, or make it; return its URL.

        :raises AcmeFailed: the server refuses
        """
        if self._account is None:
            directory, wanted = await self.directory(), self._wanted
            binding = None
            if wanted.external is not None:
                binding = messages.ExternalAccountBinding.from_data(
                    self.key.public_key(), wanted.external.key_id, wanted.external.mac_key, directory
                )
            elif directory["meta"].external_account_required:
                raise AcmeFailed(FailureKind.REFUSED, "the authority wants an account that it knows: --acme-eab-file")
            registration = messages.NewRegistration.from_data(
                email=wanted.email or None, terms_of_service_agreed=wanted.agrees, external_account_binding=binding
            )
            answer = await self._post(directory["newAccount"], registration.json_dumps().encode(), None)
            if not answer.location:
                raise AcmeFailed(FailureKind.UNREACHABLE, "the ACME server names no account")
            self._account = answer.location
        return self._account

    def key_authorization(self, token: str) -> str:
        """Return what proves that the account answers a challenge (RFC 8555, section 8.1)."""
        return f"{token}.{b64encode(self.key.thumbprint()).decode()}"

    async def new_order(self, name: str) -> AcmeAnswer:
        """Order a certificate for a name.

        :raises AcmeFailed: the server refuses
        """
        identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name)
        order = messages.NewOrder(identifiers=[identifier])
        return await self.post((await self.directory())["newOrder"], order)

    async def post(self, url: str, message: JSONDeSerializable | dict[str, Any] | None = None) -> AcmeAnswer:
        """Send a message of the account; None asks for what the URL stands for (POST-as-GET).

        :raises AcmeFailed: the server refuses, or answers nonsense
        """
        if message is None:
            payload = b""
        elif isinstance(message, JSONDeSerializable):
            payload = message.json_dumps().encode()
        else:
            payload = json.dumps(message).encode()
        try:
            return await self._post(url, payload, await self.register())
        except AcmeFailed as failure:
            if failure.code == "accountDoesNotExist":
                # another time it is made anew
                self._account = None
            raise

    async def _post(self, url: str, payload: bytes, account: str | None) -> AcmeAnswer:
        tries = 0
        while True:
            tries += 1
            response = await self._send(b"POST", url, await self._signed(url, payload, account))
            try:
                return self._read(response)
            except AcmeFailed as failure:
                # the server may have forgotten nonces, which costs no more than another one (section 6.5)
                if failure.code != "badNonce" or tries == NONCE_TRIES:
                    raise

    async def _signed(self, url: str, payload: bytes, account: str | None) -> bytes:
        nonce = self._nonces.pop() if self._nonces else await self._new_nonce()
        try:
            raw = decode_b64jose(nonce)
        except DeserializationError:
            raise AcmeFailed(FailureKind.UNREACHABLE, "the ACME server gives an invalid nonce") from None
        signed = jws.JWS.sign(payload, key=self.key, alg=ES256, nonce=raw, url=url, kid=account)
        return bytes(signed.json_dumps().encode())

    async def _new_nonce(self) -> str:
        await self._send(b"HEAD", (await self.directory())["newNonce"])
        if not self._nonces:
            raise AcmeFailed(FailureKind.UNREACHABLE, "the ACME server gives no nonce")
        return self._nonces.pop()

    async def _send(self, method: bytes, text: str, body: bytes = b"") -> ParsedResponse:
        try:
            url = Url.parse(text)
            response = await self._fetch(method, url, body, timeout=REQUEST_SECONDS, content_type=JOSE)
        except TransportError as error:
            raise AcmeFailed(FailureKind.UNREACHABLE, f"the ACME server cannot be reached: {error}") from None
        except ValueError:
            raise AcmeFailed(
                FailureKind.UNREACHABLE, f"the ACME server names {text[:200]!r}, which is no URL"
            ) from None
        nonce = response.headers.get(b"replay-nonce", b"")
        if _NONCE.fullmatch(nonce) and len(self._nonces) < MOST_NONCES:
            self._nonces.append(nonce.decode("ascii"))
        return response

    def _read(self, response: ParsedResponse) -> AcmeAnswer:
        asked = retry_after(response.headers.get(b"retry-after"), self._now(), LONGEST_PAUSE)
        if not 200 <= response.status < 300:
            raise _problem(response, asked)
        location = response.headers.get(b"location", b"").decode("ascii", "replace")
        return AcmeAnswer(response.body, location, asked)


def _parsed(body: bytes) -> Any:
    """Decode JSON of bounded depth, so that nothing that reads it recurses too deeply.

    :raises ValueError: it is none, or nests deeper
    """
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("JSON that nests too deeply") from None
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        below = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = [each for values in below for each in values]
        if not level:
            return value
    raise ValueError("JSON that nests too deeply")


def _problem(response: ParsedResponse, asked: float | None) -> AcmeFailed:
    """What an answer that is no success says (RFC 7807)."""
    kind = FailureKind.UNREACHABLE if response.status >= 500 else FailureKind.REFUSED
    try:
        problem = messages.Error.from_json(_parsed(response.body))
        reason, code = describe(problem), str(problem.typ).rpartition(":")[2]
    except (ValueError, TypeError, AttributeError, errors.Error, JoseError):
        reason, code = f"HTTP status {response.status}", ""
        if response.status not in (400, 401, 403, 429):
            kind = FailureKind.UNREACHABLE
    return AcmeFailed(kind, reason, asked, code)


def describe(problem: messages.Error) -> str:
    """Return a problem of the authority as one line for people."""
    parts = [str(problem.typ).rpartition(":")[2], str(problem.detail or problem.title or "")]
    parts += [describe(each) for each in problem.subproblems or ()][:3]
    return plain(": ".join(filter(None, parts)))


def plain(text: str) -> str:
    """Return words of the authority as one line of bounded length."""
    return escape_invisible(" ".join(text.split()))[:MOST_WORDS]


def decoded(kind: Any, values: dict[str, Any]) -> Any:
    """Read a message of the server.

    :param kind: a class of :mod:`acme.messages`
    :raises AcmeFailed: it does not follow its format
    """
    try:
        return kind.from_json(values)
    except (JoseError, errors.Error, ValueError, TypeError, AttributeError, KeyError) as error:
        raise AcmeFailed(FailureKind.UNREACHABLE, f"the ACME server's answer is invalid: {plain(str(error))}") from None
