"""A certificate authority in memory, for what Pebble cannot do: it is strict, and fails as a test says.

``tests/acceptance/test_acme.py`` runs the same client against Pebble, which others wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from acme import jws
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.b64 import b64encode
from josepy.json_util import decode_b64jose
from josepy.jwk import JWK, JWKOct
from twisted.internet.defer import Deferred, fail, succeed

from icwsgw.agent.http.response_parser import ParsedResponse
from icwsgw.errors import ConnectFailed
from tests.support import pem

ROOT = "https://ca.example"
LETTERS = "urn:ietf:params:acme:error:"
#: What a test puts in place of an answer: (status, headers, body), or None for a lost connection.
Fault = Callable[[], "tuple[int, dict[bytes, bytes], bytes] | None"]


class SmallCa:
    """An ACME server.

    :param now: seconds since 1970
    :param lookup: gives the answer that the name's server has for a challenge: (kind, name, token)
    :ivar faults: what comes instead of the next answers, by the first word of their path
    :ivar paths: the paths of requests, in order
    :ivar lifetime: seconds for which certificates are valid
    """

    def __init__(self, now: Callable[[], float], lookup: Callable[[str, str, str], bytes | None]) -> None:
        self.now = now
        self.lookup = lookup
        self.down = False
        self.faults: dict[str, list[Fault]] = {}
        self.paths: list[str] = []
        self.lifetime = 90 * 86400.0
        self.challenges = ["http-01", "tls-alpn-01", "dns-01"]
        self.external: dict[str, str] | None = None
        self.polls = 0
        self.processing_polls = 1
        self.signer = pem.authority()
        self._nonces: set[str] = set()
        self._count = 0
        self.accounts: dict[str, Any] = {}
        self.registrations: list[dict[str, Any]] = []
        self.orders: list[dict[str, Any]] = []
        self.swap_key = False

    def fetch(
        self, method: bytes, url: Any, body: bytes = b"", *, timeout: float, content_type: bytes = b""
    ) -> Deferred[ParsedResponse]:
        """Send a request."""
        path = str(url).removeprefix(ROOT)
        self.paths.append(path)
        assert timeout > 0
        if self.down:
            return fail(ConnectFailed("no connection to ca.example: refused"))
        faults = self.faults.get(path.split("/")[1])
        if faults:
            given = faults.pop(0)()
            if given is None:
                return fail(ConnectFailed("lost"))
            return succeed(ParsedResponse(*given))
        if method == b"POST":
            assert content_type == b"application/jose+json"
        status, headers, value = self._answer(method, path, body)
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        if path != "/dir":
            headers = {b"replay-nonce": self._nonce().encode(), **headers}
        return succeed(ParsedResponse(status, headers, data))

    def _nonce(self) -> str:
        self._count += 1
        nonce = b64encode(b"nonce %d" % self._count).decode()
        self._nonces.add(nonce)
        return nonce

    def _answer(self, method: bytes, path: str, body: bytes) -> tuple[int, dict[bytes, bytes], Any]:
        if path == "/dir":
            assert method == b"GET"
            names = {name: f"{ROOT}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
            meta = {"termsOfService": f"{ROOT}/terms", "externalAccountRequired": self.external is not None}
            return 200, {}, {**names, "meta": meta}
        if path == "/newNonce":
            assert method == b"HEAD"
            return 200, {}, b""
        assert method == b"POST", "everything else is signed"
        signed = jws.JWS.from_json(json.loads(body))
        header = signed.signature.combined
        nonce = b64encode(header.nonce or b"").decode()
        if nonce not in self._nonces:
            return self.problem("badNonce")
        self._nonces.discard(nonce)
        assert header.url == ROOT + path
        if path == "/newAccount":
            assert signed.verify(header.jwk)
            return self._new_account(header.jwk, json.loads(signed.payload))
        account = self.accounts.get(header.kid)
        if account is None:
            return self.problem("accountDoesNotExist")
        assert header.jwk is None
        assert signed.verify(account)
        return self._of_account(account, path, signed.payload)

    def problem(self, kind: str, status: int = 400, **more: Any) -> tuple[int, dict[bytes, bytes], Any]:
        return status, {}, {"type": LETTERS + kind, "detail": f"about {kind}", **more}

    def _new_account(self, key: Any, account: dict[str, Any]) -> tuple[int, dict[bytes, bytes], Any]:
        assert account["termsOfServiceAgreed"] is True
        if self.external is not None:
            bound = jws.JWS.from_json(account["externalAccountBinding"])
            mac = self.external[bound.signature.combined.kid]
            assert bound.verify(JWKOct(key=decode_b64jose(mac)))
            assert JWK.from_json(json.loads(bound.payload)) == key.public_key()
        self.registrations.append(account)
        url = f"{ROOT}/account/{b64encode(key.thumbprint()).decode()}"
        known = url in self.accounts
        self.accounts[url] = key
        return 200 if known else 201, {b"location": url.encode()}, {"status": "valid"}

    def _of_account(self, account: Any, path: str, payload: bytes) -> tuple[int, dict[bytes, bytes], Any]:
        kind, _, number = path[1:].partition("/")
        if kind == "newOrder":
            (identifier,) = json.loads(payload)["identifiers"]
            assert identifier["type"] == "dns"
            number = str(len(self.orders))
            self.orders.append({"name": identifier["value"], "status": "pending", "authorization": "pending"})
            return 201, {b"location": f"{ROOT}/order/{number}".encode()}, self._order(number)
        order = self.orders[int(number)]
        if kind == "order":
            assert payload == b""
            self._progress(order)
            return 200, {b"retry-after": b"1"}, self._order(number)
        if kind == "authorization":
            assert payload == b""
            return 200, {}, self._authorization(number)
        if kind.startswith("challenge-"):
            assert json.loads(payload) == {}
            self._validate(order, kind.removeprefix("challenge-"), account, number)
            return 200, {}, {"type": kind.removeprefix("challenge-"), "url": ROOT + path, "token": self._token(number)}
        if kind == "finalize":
            if order["status"] != "ready":
                return self.problem("orderNotReady", 403)
            order["csr"] = x509.load_der_x509_csr(decode_b64jose(json.loads(payload)["csr"]))
            order["status"], order["waits"] = "processing", self.processing_polls
            return 200, {}, self._order(number)
        assert kind == "certificate"
        assert payload == b""
        return 200, {}, self._issue(order)

    @staticmethod
    def _token(number: str) -> str:
        return b64encode(b"token of order number %5d" % int(number)).decode()

    def _order(self, number: str) -> dict[str, Any]:
        order = self.orders[int(number)]
        shown = {
            "status": order["status"],
            "identifiers": [{"type": "dns", "value": order["name"]}],
            "authorizations": [f"{ROOT}/authorization/{number}"],
            "finalize": f"{ROOT}/finalize/{number}",
        }
        if order["status"] == "valid":
            shown["certificate"] = f"{ROOT}/certificate/{number}"
        return shown

    def _authorization(self, number: str) -> dict[str, Any]:
        order = self.orders[int(number)]
        challenges: list[dict[str, Any]] = [
            {
                "type": kind,
                "url": f"{ROOT}/challenge-{kind}/{number}",
                "token": self._token(number),
                "status": "pending",
            }
            for kind in self.challenges
        ]
        if order["authorization"] == "invalid":
            challenges[0]["error"] = {"type": LETTERS + "unauthorized", "detail": order["why"]}
        identifier = {"type": "dns", "value": order["name"]}
        return {"status": order["authorization"], "identifier": identifier, "challenges": challenges}

    def _validate(self, order: dict[str, Any], kind: str, account: Any, number: str) -> None:
        token = self._token(number)
        proof = f"{token}.{b64encode(account.thumbprint()).decode()}".encode()
        found = self.lookup(kind, order["name"], token)
        if kind == "tls-alpn-01" and found is not None:
            certificate = x509.load_pem_x509_certificates(found)[0]
            extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
            assert extension.critical
            hash_of = hashes.Hash(hashes.SHA256())
            hash_of.update(proof)
            right = extension.value.public_bytes() == b"\x04\x20" + hash_of.finalize()
        else:
            right = found == proof
        order["validated"] = "valid" if right else "invalid"
        order["why"] = f"{order['name']}: the server's answer is\nnot right"

    def _progress(self, order: dict[str, Any]) -> None:
        self.polls += 1
        if "validated" in order:
            order["authorization"] = order.pop("validated")
            order["status"] = "ready" if order["authorization"] == "valid" else "invalid"
        elif order["status"] == "processing":
            order["waits"] -= 1
            if order["waits"] < 0:
                order["status"] = "valid"

    def _issue(self, order: dict[str, Any]) -> bytes:
        request = order["csr"]
        assert request.is_signature_valid
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [order["name"]]
        key = ec.generate_private_key(ec.SECP256R1()).public_key() if self.swap_key else request.public_key()
        begin = datetime.fromtimestamp(self.now() - 60, timezone.utc)
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.signer.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(seconds=self.lifetime + 60))
            .add_extension(names, critical=True)
            .sign(self.signer.key, hashes.SHA256())
        )
        return leaf.public_bytes(Encoding.PEM) + self.signer.pem


def answer(status: int, body: Any = b"", **headers: str) -> Fault:
    """Return what answers instead: a status, a body of bytes or JSON, headers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return lambda: (status, names, data)
