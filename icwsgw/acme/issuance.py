"""One order of a certificate: proves the name, sends the request, takes the certificate (RFC 8555, section 7.4).

:mod:`icwsgw.core.acme_order` decides what follows each answer; this module performs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from icwsgw.acme.acme_client import AcmeAnswer, AcmeClient, AcmeFailed, decoded, describe, plain
from icwsgw.acme.storage import AcmeStorage, KeptOrder, is_token, key_pem
from icwsgw.core.acme_order import (
    ORDER_KEPT_SECONDS,
    ORDER_SECONDS,
    AuthorizationStep,
    OrderStep,
    authorization_step,
    order_step,
    poll_pause,
)
from icwsgw.core.renewal_schedule import Dates, FailureKind

#: The extension of a certificate that answers a TLS-ALPN-01 challenge (RFC 8737, section 3).
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


class Issued(NamedTuple):
    """A certificate.

    :ivar chain: PEM, the name's certificate first
    :ivar key: its key
    :ivar dates: when it is valid
    """

    chain: bytes
    key: ec.EllipticCurvePrivateKey
    dates: Dates


class Issuance:
    """Orders certificates, one after the other.

    :param challenge: ``http-01`` or ``tls-alpn-01``
    :param pause: waits for a number of seconds
    :param now: seconds since 1970
    """

    def __init__(
        self,
        client: AcmeClient,
        storage: AcmeStorage,
        challenge: str,
        pause: Callable[[float], Awaitable[Any]],
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._storage = storage
        self._challenge = challenge
        self._pause = pause
        self._now = now

    async def obtain(self, name: str) -> Issued:
        """Order a certificate for a name, and wait for it; an order that an earlier attempt has left is continued.

        The order stays in the storage: once the certificate is written, drop it.

        :raises AcmeFailed: there is none
        :raises OSError: the order or an answer to a challenge cannot be written
        """
        try:
            issued = await self._continued(name)
            if issued is not None:
                return issued
            key = ec.generate_private_key(ec.SECP256R1())
            ordered = await self._client.new_order(name)
            if not ordered.location:
                raise AcmeFailed(FailureKind.UNREACHABLE, "the ACME server does not name the order")
            return await self._carry_out(name, ordered, KeptOrder(ordered.location, key, self._now()))
        finally:
            self._storage.drop_answers()

    async def _continued(self, name: str) -> Issued | None:
        """Continue the order that an earlier attempt has left; None: there is none that leads to a certificate."""
        order = self._storage.kept_order(name)
        if order is None:
            return None
        try:
            if abs(self._now() - order.begun) < ORDER_KEPT_SECONDS:
                return await self._carry_out(name, await self._client.post(order.url), order)
        except AcmeFailed as failure:
            if _may_pass(failure):
                raise
        self._storage.drop_order(name)
        return None

    async def _carry_out(self, name: str, answer: AcmeAnswer, order: KeptOrder) -> Issued:
        try:
            chain = await self._chain(name, answer, order)
        except AcmeFailed as failure:
            if not _may_pass(failure):
                self._storage.drop_order(name)
            raise
        try:
            return Issued(chain, order.key, checked(chain, name, order.key, self._now()))
        except AcmeFailed:
            self._storage.drop_order(name)
            raise

    async def _chain(self, name: str, answer: AcmeAnswer, kept: KeptOrder) -> bytes:
        """Do what an order needs until its certificate is there; return that as PEM."""
        deadline, asked = self._now() + ORDER_SECONDS, 0
        answered: set[str] = set()
        while True:
            values = answer.json()
            step = order_step(_status(values))
            if step is OrderStep.FAIL:
                raise AcmeFailed(FailureKind.REFUSED, await self._why_invalid(values))
            order = decoded(messages.Order, values)
            if step is OrderStep.DOWNLOAD:
                return (await self._client.post(_url(order.certificate))).body
            if self._now() > deadline:
                raise AcmeFailed(FailureKind.UNREACHABLE, f"the order is not ready after {ORDER_SECONDS:.0f} s")
            if step is OrderStep.FINALIZE and order.finalize not in answered:
                answered.add(_url(order.finalize))
                # from here on the authority may issue, whatever happens to this process
                self._storage.keep_order(name, kept)
                request = messages.CertificateRequest(csr=signing_request(name, kept.key))
                await self._client.post(order.finalize, request)
            elif step is OrderStep.AUTHORIZE:
                for each in _authorizations(values):
                    await self._authorize(name, each, answered)
            await self._pause(poll_pause(asked, answer.retry_after))
            asked += 1
            answer = await self._client.post(kept.url)

    async def _authorize(self, name: str, url: str, answered: set[str]) -> None:
        """Look at an authorization; answer its challenge if that has not been done."""
        values = (await self._client.post(url)).json()
        step = authorization_step(_status(values))
        if step is AuthorizationStep.FAIL:
            raise AcmeFailed(FailureKind.REFUSED, _why_refused(values))
        if step is AuthorizationStep.DONE or url in answered:
            return
        answered.add(url)
        offered = [each for each in _challenges(values) if each.get("type") == self._challenge]
        if not offered:
            raise AcmeFailed(FailureKind.REFUSED, f"the authority does not offer the challenge {self._challenge}")
        await self._answer(name, offered[0])

    async def _answer(self, name: str, challenge: dict[str, Any]) -> None:
        # not by acme.challenges, which has lost TLS-ALPN-01
        token = str(challenge.get("token"))
        if not is_token(token):
            raise AcmeFailed(FailureKind.REFUSED, "the token of the challenge is not base64url")
        proof = self._client.key_authorization(token)
        if self._challenge == "http-01":
            self._storage.put_answer(token, proof.encode())
        else:
            self._storage.put_answer(f"{name}.pem", challenge_pem(name, proof, self._now()))
        await self._client.post(_url(challenge.get("url")), {})

    async def _why_invalid(self, order: dict[str, Any]) -> str:
        """Why an order is invalid: the reason is in it, or in one of its authorizations."""
        if isinstance(order.get("error"), dict):
            return describe(decoded(messages.Error, order["error"]))
        for url in _authorizations(order):
            values = (await self._client.post(url)).json()
            if authorization_step(_status(values)) is AuthorizationStep.FAIL:
                return _why_refused(values)
        return plain(f"the order is {_status(order)}, and the authority does not say why")


def _may_pass(failure: AcmeFailed) -> bool:
    """Whether an order that has failed so may still bring a certificate."""
    return failure.kind is FailureKind.UNREACHABLE or failure.code == "rateLimited"


def _status(values: dict[str, Any]) -> str:
    # not by acme.messages, which lacks "expired"
    return str(values.get("status"))


def _url(text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise AcmeFailed(FailureKind.UNREACHABLE, "the ACME server's answer lacks a URL")
    return text


def _authorizations(order: dict[str, Any]) -> list[str]:
    """The URLs of an order's authorizations."""
    urls = order.get("authorizations")
    return [_url(each) for each in ([] if urls is None else urls if isinstance(urls, list) else [urls])]


def _challenges(values: dict[str, Any]) -> list[dict[str, Any]]:
    found = values.get("challenges")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _why_refused(values: dict[str, Any]) -> str:
    """Why an authorization is not valid: its challenges say so."""
    errors = [each.get("error") for each in _challenges(values)]
    reasons = [describe(decoded(messages.Error, error)) for error in errors if isinstance(error, dict)]
    return "; ".join(reasons) or plain(f"the authorization is {_status(values)}")


def signing_request(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """Return the request for a certificate of a name. It has no subject, whose 64 characters are too few for names."""
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256())


def challenge_pem(name: str, proof: str, now: float) -> bytes:
    """Return certificate and key that answer a TLS-ALPN-01 challenge (RFC 8737, section 3).

    :param proof: the key authorization
    :param now: seconds since 1970
    """
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.fromtimestamp(now, timezone.utc) - timedelta(days=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    # an OCTET STRING of 32 bytes in DER
    digest = b"\x04\x20" + hashlib.sha256(proof.encode()).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=8))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + key_pem(key)


def checked(chain: bytes, name: str, key: ec.EllipticCurvePrivateKey, now: float) -> Dates:
    """Return the dates of a chain that is what was ordered: for this key and name, and valid now.

    :param chain: PEM
    :param now: seconds since 1970
    :raises AcmeFailed: it is not
    """
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        same = leaf.public_key() == key.public_key()
        named = name in [each.lower() for each in names.get_values_for_type(x509.DNSName)]
    except (ValueError, x509.InvalidVersion, x509.ExtensionNotFound):
        raise AcmeFailed(FailureKind.UNREACHABLE, "the authority has sent something that is no certificate") from None
    if not same or not named:
        raise AcmeFailed(FailureKind.UNREACHABLE, "the authority's certificate is not the one that was ordered")
    dates = Dates(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
    if not dates.not_before <= now <= dates.not_after:
        raise AcmeFailed(FailureKind.UNREACHABLE, "the authority's certificate is not valid now: whose clock is wrong?")
    return dates
