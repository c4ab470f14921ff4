"""Shows the messages of a session in both directions for ``--trace``: decoded, with what was verified of each."""

from __future__ import annotations

from icwsgw.cli.message_format import MessageFormat
from icwsgw.client.client_errors import MessageInvalid
from icwsgw.client.message_verifier import MessageVerifier, parse_certified, parse_content
from icwsgw.errors import FormatError
from icwsgw.ic import cbor, ws
from icwsgw.ic.certificate import decode_certificate
from icwsgw.ic.network_limits import SECOND_NS
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id

#: Hex digits of a request id, as in the gateway's log.
_ID_DIGITS = 16


class FrameTrace:
    """Describes the payloads of one session's frames.

    :param form: how the application's messages are shown
    :param verifier: verifies the canister's messages
    """

    def __init__(self, form: MessageFormat, verifier: MessageVerifier) -> None:
        self._form = form
        self._verifier = verifier

    def sent(self, payload: bytes, now_ns: int) -> str:
        """Describe a message to the gateway.

        :param now_ns: the time now, ns since 1970
        """
        try:
            content = cbor.loads(payload)["envelope"]["content"]
            method, arg = content["method_name"], content["arg"]
            call = request_id(content).hex()[:_ID_DIGITS]
            left = (content["ingress_expiry"] - now_ns) / SECOND_NS
            what = method
            if method == "ws_message":
                message = ws.decode_message_args(arg)
                what = f"ws_message {message.sequence_num}: {self._shown(message.is_service_message, message.content)}"
        except (FormatError, KeyError, TypeError) as error:
            return f"-> {len(payload)} bytes that are no call: {error}"
        return f"-> {what}; {len(payload)} bytes, call {call}, expires in {left:.0f} s"

    def received(self, payload: bytes, now_ns: int) -> str:
        """Describe a message of the gateway, and verify it.

        :param now_ns: the time now, ns since 1970
        """
        try:
            gateway = cbor.loads(payload)["gateway_principal"]
            return f"<- handshake of gateway {Principal(gateway)}; {len(payload)} bytes"
        except (FormatError, KeyError, TypeError):
            pass
        try:
            message = parse_certified(payload)
            content = parse_content(message.content)
        except MessageInvalid as error:
            return f"<- {len(payload)} bytes: {error}"
        what = f"message {content.sequence_num}: {self._shown(content.is_service_message, content.content)}"
        took = (now_ns - content.timestamp) / SECOND_NS
        try:
            self._verifier.verify(message, now_ns)
            verified = f"verified: {self._certificate(message.cert, now_ns)}, witness, content"
        except MessageInvalid as error:
            verified = f"WRONG: {error}"
        came = f"{len(payload)} bytes, {took:.3f} s after the canister sent it"
        return f"<- {what}; {came}; {verified}"

    def _shown(self, is_service: bool, content: bytes) -> str:
        if not is_service:
            return self._form.show(content)
        try:
            message = ws.decode_service_message(content)
        except FormatError as error:
            return f"a service message that does not decode: {error}"
        if isinstance(message, ws.OpenMessage):
            return "OpenMessage"
        return f"{type(message).__name__} {message[0]}"

    @staticmethod
    def _certificate(cert: bytes, now_ns: int) -> str:
        certificate = decode_certificate(cert)
        through = "" if certificate.delegation is None else ", through a delegation"
        return f"certificate of {(now_ns - certificate.time_ns) / SECOND_NS:.1f} s ago{through}"
