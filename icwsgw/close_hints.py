"""What to do about a session that has ended: one sentence for the person who reads the log or the status page.

The close code says whose move it is, the reason says what happened. The most typical mistakes have phrases by which the
reason distinguishes them; docs/mistakes.md lists them. An end that needs no action has no hint.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from icwsgw.close_codes import CloseCode

#: What a reject's error code asks for (dfinity/ic, rs/types/error_types).
REJECT_HINTS: Final = {
    "IC0301": "Check the canister id, and that the network is the one that the canister is on.",
    "IC0207": "Give the canister cycles: it has none to run on.",
    "IC0508": "Start the canister: it is stopped.",
    "IC0509": "Start the canister: it is being stopped.",
    "IC0536": "Add the methods of the WebSocket CDK to the canister.",
    "IC0537": "Install the canister's code: it has none.",
    "IC0503": "Look at the canister's log: it trapped. A message of another Candid type than it expects is one cause.",
}

_WRONG_CANISTER: Final = (
    "Check the canister id: the gateway's network is {network}, and it does not have this canister."
)


class CloseHint(NamedTuple):
    """What to do about ends with a code.

    :ivar phrase: is in the reason; empty: the hint is for each reason that no hint before it is for
    :ivar text: one sentence; ``{network}`` stands for the URL of the gateway's network
    """

    phrase: str
    text: str


_NOT_VERIFIED: Final = CloseHint(
    "does not verify", "Check the gateway's --root-key, and who answers at {network}: nothing from there verifies."
)

_BY_REJECT: Final = tuple(CloseHint(code, text) for code, text in REJECT_HINTS.items() if code != "IC0301")
_BY_NETWORK: Final = (
    CloseHint("IC0301", _WRONG_CANISTER),
    CloseHint("canister_not_found", _WRONG_CANISTER),
    *_BY_REJECT,
)

#: Hints by close code of the gateway; the first whose phrase is in the reason is meant.
OF_GATEWAY: Final[dict[int, tuple[CloseHint, ...]]] = {
    CloseCode.PROTOCOL_ERROR: (
        CloseHint("ws_open", "Let the client or the SDK make the calls: the first one has to be ws_open."),
        CloseHint("", "Use the client or the SDK: what was sent breaks the protocol."),
    ),
    CloseCode.NOT_BINARY: (
        CloseHint("", "Send through the client or the SDK, and not by the browser's WebSocket: messages are signed."),
    ),
    CloseCode.UNDECODABLE: (
        CloseHint("", "Send through the client or the SDK, and not by the browser's WebSocket: messages are signed."),
    ),
    CloseCode.TOO_BIG: (
        CloseHint(" 65536 octets", "Begin with ws_open, which has 64 KiB at most."),
        CloseHint("", "Send less in one message, or raise --max-message-bytes."),
    ),
    CloseCode.INTERNAL: (CloseHint("", "Report the traceback in the gateway's log."),),
    CloseCode.OVERLOADED: (
        CloseHint("", "Connect again later; the reason says which limit of the gateway is reached."),
    ),
    CloseCode.OPEN_REFUSED: (
        CloseHint("anonymous", "Give the client an identity: a key of its own, or Internet Identity's."),
        *_BY_NETWORK,
        CloseHint("delegation has expired", "Sign in again: the delegation of the client's identity has expired."),
        CloseHint("ic-websocket-js", "Use a later release of the SDK."),
        CloseHint("relayed before", "Sign a new ws_open for each connection."),
        CloseHint("open session", "Use a new client nonce for each connection."),
        CloseHint("ignature", "Sign with the key whose principal is the sender; delegations must not have expired."),
        CloseHint(
            "does not decode", "Use a WebSocket CDK in the canister: its ws_open returns variant { Ok; Err : text }."
        ),
        CloseHint("", "Look at the canister's log: its ws_open refused the client."),
    ),
    CloseCode.EXPIRED: (CloseHint("", "Set the client's clock; if it is right, connect again."),),
    CloseCode.WRONG_GATEWAY: (CloseHint("", "Name the principal of this connection's handshake message in ws_open."),),
    CloseCode.TOO_SLOW: (CloseHint("", "Let the client read its messages, or send it less."),),
    CloseCode.CANISTER_SILENT: (
        *_BY_REJECT,
        CloseHint("IC0301", _WRONG_CANISTER),
        CloseHint("not reached", "Check that {network} can be reached from the gateway, and that it is up."),
        _NOT_VERIFIED,
        CloseHint("", "Look at the canister: the gateway polls its query ws_get_messages."),
    ),
    CloseCode.NOT_OPENED: (
        CloseHint("no ws_open", "Connect by the client or the SDK: they sign and send ws_open."),
        *_BY_NETWORK,
        CloseHint("no connection to", "Check that {network} can be reached from the gateway, and that it is up."),
        _NOT_VERIFIED,
        CloseHint(
            "no message", "Let the canister's ws_open call the CDK, which queues a first message for the client."
        ),
        CloseHint("", "Look at the canister's log, and at its answers to polls on the gateway's status page."),
    ),
    CloseCode.RATE_LIMIT: (CloseHint("", "Send less at once."),),
    CloseCode.REPLACED: (
        CloseHint("", "Use one identity for each tab or device, or one connection for each identity."),
    ),
    CloseCode.CANISTER_NOT_ALLOWED: (CloseHint("", "Add the canister to --allowed-canister, or use another gateway."),),
    CloseCode.MESSAGE_REFUSED: (
        *_BY_NETWORK,
        CloseHint("", "Look at the canister's log: its ws_message refused the message."),
    ),
    CloseCode.MESSAGES_MISSED: (
        CloseHint("", "Lower max_number_of_returned_messages in the canister, or send less at once."),
    ),
    CloseCode.TOO_FAST: (CloseHint("", "Send less often, or several things in one message."),),
}

#: Hints by what the SDK says when it closes with 4000 (ic-websocket-js).
OF_SDK: Final = (
    CloseHint(
        "Handshake message error",
        "Check the client's identity: it could not sign ws_open; a delegation may have expired.",
    ),
    CloseHint("Open connection timeout", "Look at the canister: the SDK got no first message within 60 s."),
    CloseHint("Ack message", "Look at the canister's log: it has not acknowledged a message that the SDK sent."),
    CloseHint("Keep alive", "Check the client's identity: it could not sign; a delegation may have expired."),
    CloseHint(
        "Message sending failed", "Check the client's identity: it could not sign; a delegation may have expired."
    ),
    CloseHint(
        "close message", "Look at the canister's log: it has removed the client; messages out of order are one cause."
    ),
    CloseHint(
        "Service message error", "Use a WebSocket CDK in the canister: the SDK cannot read a message of its own kind."
    ),
)

#: Hints for the SDK's "Error receiving message": of the first message, and of later ones.
FIRST_MESSAGE: Final = (
    "Give the SDK {network} as networkUrl, let its root key be fetched before the first message comes, and check the "
    "device's clock: it could not verify the first message."
)
LATER_MESSAGE: Final = (
    "Compare the message type of the client's actor with the canister's: the SDK could not read or verify a message."
)

#: Hints for connections that are refused before they have a session, by the label of the metric.
REFUSAL_HINTS: Final = {
    "origin": "Add the page's origin to --allowed-origin, or serve the page from one that is allowed.",
    "denied": "Look at --deny-list and --allow-list: they exclude the client's address.",
    "tls": "Use the scheme of this port, and a certificate for this host that clients trust.",
    "tls_records": (
        "Look at what this client is: programs with a usual TLS library send no such records. "
        "Exclude the address by --deny-list if that continues."
    ),
    "bad_request": "Connect by WebSocket: ws:// to a port without TLS, wss:// to one with it.",
}

_SDK_GAVE_UP: Final = 4000


def what_to_do(code: int, reason: str, *, by_client: bool, delivered: int, network: str) -> str:
    """Return what to do about the end of a session; empty for nothing.

    :param code: the close code
    :param reason: its text, uncut
    :param by_client: whether the client has closed
    :param delivered: how many messages of the canister the client had got
    :param network: the URL of the gateway's network
    """
    if by_client and code != _SDK_GAVE_UP:
        return ""
    if by_client and "receiving" in reason:
        return (FIRST_MESSAGE if delivered <= 1 else LATER_MESSAGE).replace("{network}", network)
    hints = OF_SDK if by_client else OF_GATEWAY.get(code, ())
    for hint in hints:
        if hint.phrase in reason:
            return hint.text.replace("{network}", network)
    return ""
