"""Checks a client's first envelope, which has to be a ``ws_open``, before the client is admitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.gateway.session_owners import S, SessionGateway
from icwsgw.ic.call_signatures import CallSignatures, Proof, check_call_signatures
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.ws import OpenArgs, decode_open_args, is_open_of_version_0_1

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.interfaces import Context


class Refusal(Exception):
    """A client's fault: close code and reason for the end of its session."""

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def admit_opening(
    gateway: SessionGateway[S], envelope: ClientEnvelope, canister: Principal, identity_index: int, group: str
) -> tuple[tuple[bytes, int], Proof]:
    """Check a client's first envelope, and admit the client.

    :param canister: the canister that the envelope is for
    :param identity_index: of the gateway's identity that the connection's handshake message names
    :param group: the group of the client's address
    :return: the client key, and whether the signatures are proven
    :raises Refusal: the envelope is refused, or the client is not admitted
    """
    context = gateway.context
    args = open_args(envelope, context.identities[identity_index].principal.raw)
    key = (envelope.sender, args.client_nonce)
    refused = gateway.admit(canister, key, identity_index, group)
    if refused is not None:
        raise Refusal(*refused)
    proven = prove(envelope, context, group)
    if gateway.replays.repeated(proven.request, context.clock.seconds()):
        # The network would answer with the outcome of the first one, and this session would take the other one's
        # place.
        raise Refusal(CloseCode.OPEN_REFUSED, "ws_open refused: this very call was relayed before, sign a new one")
    return key, proven.proof


def open_args(envelope: ClientEnvelope, gateway_principal: bytes) -> OpenArgs:
    """Decode the argument of a client's first envelope.

    :param gateway_principal: the principal in the connection's handshake message
    :raises Refusal: it is no ``ws_open`` that can be relayed
    """
    if envelope.method_name != "ws_open":
        raise Refusal(CloseCode.PROTOCOL_ERROR, f"the first envelope calls {envelope.method_name!r}, not ws_open")
    try:
        args = decode_open_args(envelope.arg)
    except FormatError as error:
        if is_open_of_version_0_1(envelope.arg):
            raise Refusal(CloseCode.OPEN_REFUSED, "use ic-websocket-js 0.3 or later") from None
        raise Refusal(CloseCode.UNDECODABLE, f"the argument of ws_open does not decode: {error}") from None
    if envelope.sender == ANONYMOUS.raw:
        raise Refusal(CloseCode.OPEN_REFUSED, "ws_open refused: the anonymous principal cannot open a WebSocket")
    if args.gateway_principal != gateway_principal:
        raise Refusal(
            CloseCode.WRONG_GATEWAY, "ws_open names another gateway principal than this connection's handshake message"
        )
    return args


def prove(envelope: ClientEnvelope, context: Context, group: str) -> CallSignatures:
    """Verify the signatures of a ``ws_open``, so that one that no replica would accept is not relayed (decision 0035).

    :param group: the group of the client's address, whose connections wrong signatures slow down
    :raises Refusal: a signature is wrong
    """
    signatures = context.metrics.open_signatures
    try:
        proven = check_call_signatures(envelope.body, context.earliest_network_ns())
    except SignatureInvalid as error:
        signatures.inc("wrong")
        context.suspects.forged(group, context.clock.seconds())
        raise Refusal(CloseCode.OPEN_REFUSED, f"ws_open refused: {error}") from None
    signatures.inc(proven.proof.value)
    return proven
