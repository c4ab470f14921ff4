"""The WebSocket close codes: the one source for the protocol, metrics labels, status page, demo page and documents.

1000 to 1015 belong to RFC 6455 (section 7.4.1), 4000 and 4001 to the JavaScript SDK, 4100 and up to this gateway.
``scripts/close_codes.py`` writes ``docs/close-codes.md`` and the demo page's table from here.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final, NamedTuple


class CloseCode(IntEnum):
    """The codes that the gateway sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NOT_BINARY = 1003
    UNDECODABLE = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    OVERLOADED = 1013
    DRAINING = 4100
    OPEN_REFUSED = 4101
    EXPIRED = 4102
    WRONG_GATEWAY = 4103
    TOO_SLOW = 4104
    CANISTER_RESET = 4105
    CANISTER_SILENT = 4106
    NOT_OPENED = 4107
    RATE_LIMIT = 4108
    REPLACED = 4109
    CANISTER_NOT_ALLOWED = 4110
    MESSAGE_REFUSED = 4111
    MESSAGES_MISSED = 4112
    TOO_FAST = 4113


#: A close frame came without a code. Neither this code nor the next one is ever sent (RFC 6455, 7.4.1).
NO_STATUS: Final = 1005
#: The connection ended without a close frame.
ABNORMAL_CLOSURE: Final = 1006


class Fault(Enum):
    """Who has to act on a code."""

    NOBODY = "nobody"
    CLIENT = "client"
    CANISTER = "canister"
    CANISTER_OR_CLIENT = "canister or client"
    CANISTER_OR_NETWORK = "canister or network"
    CLOCK = "a clock"
    CONNECTION = "connection"
    GATEWAY = "gateway"
    OPERATOR = "operator"
    OPERATOR_OR_CLIENT = "operator or client"
    SDK = "SDK"


class Reconnect(Enum):
    """Whether a client connects again by itself after a code."""

    NEVER = "no"
    AGAIN = "yes"
    LATER = "later"
    IF_OPENED = "later, if it was open before"


class CloseCodeInfo(NamedTuple):
    """What is known about one code.

    :ivar code: the number, also the metrics label
    :ivar fault: who has to act on it
    :ivar summary: one phrase for the status page, about the client in the third person
    :ivar message: one phrase for the person at the client
    :ivar when: one or two sentences of Markdown for the documents
    :ivar reconnect: whether a client connects again by itself. The client of ``clients/js`` follows it
    :ivar action: what a client should do, Markdown; empty for nothing
    """

    code: int
    fault: Fault
    summary: str
    message: str
    when: str
    reconnect: Reconnect
    action: str = ""


_AGAIN: Final = "Connect again."

CLOSE_CODES: Final[tuple[CloseCodeInfo, ...]] = (
    CloseCodeInfo(
        CloseCode.NORMAL,
        Fault.NOBODY,
        "closed normally",
        "the connection was closed normally",
        "Either side closed the connection normally.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        CloseCode.GOING_AWAY,
        Fault.NOBODY,
        "the client left (its page was closed), or the gateway shut down",
        "the gateway shut down",
        "The gateway shuts down, or the client's page was closed.",
        Reconnect.AGAIN,
        "Connect again, to another gateway if there is one.",
    ),
    CloseCodeInfo(
        CloseCode.PROTOCOL_ERROR,
        Fault.CLIENT,
        "the client broke the protocol",
        "the gateway saw a protocol error",
        "WebSocket framing is broken. Or an envelope is out of place: the first one does not call `ws_open`, a later "
        "one does not call `ws_message` of the same canister as the same sender.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        CloseCode.NOT_BINARY,
        Fault.CLIENT,
        "the client sent text instead of binary",
        "messages must be binary",
        "A text message arrived.",
        Reconnect.NEVER,
        "Send binary messages.",
    ),
    CloseCodeInfo(
        NO_STATUS,
        Fault.NOBODY,
        "the client closed without a code",
        "the connection was closed without a code",
        "A close frame without a code arrived. It is never sent.",
        Reconnect.AGAIN,
    ),
    CloseCodeInfo(
        ABNORMAL_CLOSURE,
        Fault.CONNECTION,
        "the connection broke",
        "the connection broke: is the gateway running?",
        "The connection ended without a close frame: a proxy's timeout, a killed process, a lost line. It is never "
        "sent.",
        Reconnect.AGAIN,
        _AGAIN,
    ),
    CloseCodeInfo(
        CloseCode.UNDECODABLE,
        Fault.CLIENT,
        "the client sent no valid envelope",
        "the gateway could not decode a message",
        "A message is not CBOR or not an envelope.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        CloseCode.POLICY,
        Fault.OPERATOR_OR_CLIENT,
        "a message took too long, or the operator closed the client",
        "a message took too long, or the operator closed the connection",
        "A message is not complete after `--message-timeout`, or it is among the oldest when too many are incomplete. "
        "Or the operator closed the client ([kick](admin-api.md)).",
        Reconnect.LATER,
    ),
    CloseCodeInfo(
        CloseCode.TOO_BIG,
        Fault.CLIENT,
        "the client sent a message that is too long",
        "a message is too long",
        "A message is longer than `--max-message-bytes`, or than 64 KiB before `ws_open`.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        1010,
        Fault.CLIENT,
        "the client requires an extension",
        "the client requires an extension that the gateway lacks",
        "The client requires an extension that the gateway did not accept. It is never sent.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        CloseCode.INTERNAL,
        Fault.GATEWAY,
        "a fault of the gateway: the log has a traceback",
        "the gateway failed",
        "The gateway has a bug. Its log has a traceback.",
        Reconnect.LATER,
        "Report it with the session id.",
    ),
    CloseCodeInfo(
        1012,
        Fault.CLIENT,
        "the client restarts",
        "the service restarts",
        "The client restarts. It is never sent.",
        Reconnect.LATER,
    ),
    CloseCodeInfo(
        CloseCode.OVERLOADED,
        Fault.OPERATOR,
        "a limit on connections was reached",
        "the gateway is overloaded: try later",
        "A limit is reached: clients of the canister, canisters of the principal, connections that are opening, or "
        "connections to canisters that have not answered yet.",
        Reconnect.LATER,
        "Connect again later.",
    ),
    CloseCodeInfo(
        4000,
        Fault.SDK,
        "the SDK gave up",
        "the client gave up",
        "The client refused a message or got no answer in time. The SDK sends it, the gateway echoes it.",
        Reconnect.LATER,
    ),
    CloseCodeInfo(
        4001,
        Fault.CANISTER,
        "the canister closed the connection",
        "the canister closed the connection",
        "The canister closed the session with a CloseMessage. The SDK sends it, the gateway echoes it.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        CloseCode.DRAINING,
        Fault.OPERATOR,
        "the gateway shut down, or the operator asked to reconnect",
        "the gateway is draining: connect again",
        "The gateway drains, or the operator asks the client to reconnect.",
        Reconnect.AGAIN,
        "Connect again, to another gateway if there is one.",
    ),
    CloseCodeInfo(
        CloseCode.OPEN_REFUSED,
        Fault.CANISTER_OR_CLIENT,
        "the canister or the network refused ws_open",
        "the canister or the network refused to open",
        "The network or the canister refused `ws_open`, or its signature is wrong; the reason says which. If the call "
        "may have been executed nevertheless, the code comes five seconds later and the canister gets `ws_close`.",
        Reconnect.IF_OPENED,
    ),
    CloseCodeInfo(
        CloseCode.EXPIRED,
        Fault.CLOCK,
        "the client's clock is wrong, or its call expired",
        "a request had expired: check this device's clock",
        "The envelope has expired or expires too far in the future, or it expired before the network took it.",
        Reconnect.LATER,
        "Set the clock; the reason says how far it is off. If it is right, connect again.",
    ),
    CloseCodeInfo(
        CloseCode.WRONG_GATEWAY,
        Fault.CLIENT,
        "the client named another gateway",
        "ws_open named another gateway",
        "`ws_open` names another gateway principal than the handshake message.",
        Reconnect.NEVER,
        "Use the principal of this connection's handshake message.",
    ),
    CloseCodeInfo(
        CloseCode.TOO_SLOW,
        Fault.CLIENT,
        "the client did not read its messages",
        "messages were read too slowly",
        "The client does not read its messages.",
        Reconnect.AGAIN,
    ),
    CloseCodeInfo(
        CloseCode.CANISTER_RESET,
        Fault.CANISTER,
        "the canister was reset (upgraded or reinstalled)",
        "the canister was reset: connect again",
        "The canister was reset (upgraded or reinstalled) and has forgotten the client.",
        Reconnect.AGAIN,
        _AGAIN,
    ),
    CloseCodeInfo(
        CloseCode.CANISTER_SILENT,
        Fault.CANISTER_OR_NETWORK,
        "the canister stopped answering",
        "the canister does not answer",
        "The canister gave no valid answer for `--canister-grace`, or the network did not reach it for "
        "`--network-grace`.",
        Reconnect.LATER,
        "Connect again later.",
    ),
    CloseCodeInfo(
        CloseCode.NOT_OPENED,
        Fault.CANISTER_OR_CLIENT,
        "not opened in time",
        "the connection was not opened in time",
        "The client sent no `ws_open` within `--first-message-timeout`, or the canister did not answer it within "
        "`--open-timeout`.",
        Reconnect.LATER,
    ),
    CloseCodeInfo(
        CloseCode.RATE_LIMIT,
        Fault.CLIENT,
        "the client sent a flood of messages",
        "too many messages at once",
        "The client sent more frames or bytes at once than any client needs. A client that is only fast is not closed: "
        "the gateway stops reading its socket for a while.",
        Reconnect.LATER,
        "Send less at once.",
    ),
    CloseCodeInfo(
        CloseCode.REPLACED,
        Fault.CLIENT,
        "replaced by a newer connection of the same client",
        "a newer connection of yours took its place",
        "A newer connection of the same principal to the same canister replaces this one.",
        Reconnect.NEVER,
        "Do not reconnect automatically.",
    ),
    CloseCodeInfo(
        CloseCode.CANISTER_NOT_ALLOWED,
        Fault.OPERATOR,
        "this gateway does not serve the canister",
        "this gateway does not serve that canister",
        "`--allowed-canister`, `--denied-canister` or the admin API excludes the canister.",
        Reconnect.NEVER,
    ),
    CloseCodeInfo(
        CloseCode.MESSAGE_REFUSED,
        Fault.CANISTER,
        "the network or the canister refused a message for good",
        "the network or the canister refused a message",
        "The network or the canister refused a message for good: the canister trapped, is stopped, or returned `Err`. "
        "The canister would miss the message's sequence number.",
        Reconnect.AGAIN,
        _AGAIN,
    ),
    CloseCodeInfo(
        CloseCode.MESSAGES_MISSED,
        Fault.CANISTER,
        "a message of the canister could not be read",
        "a message of the canister could not be read",
        "A message of the canister to this client is lost: its page is larger than the IC returns (3 MiB), or it has "
        "left the queue. The gateway closes the client at its next message, whose sequence number shows the gap.",
        Reconnect.AGAIN,
        _AGAIN,
    ),
    CloseCodeInfo(
        CloseCode.TOO_FAST,
        Fault.CLIENT,
        "the client sent faster than the canister executes",
        "messages come faster than the canister executes them",
        "The client sends faster than the canister executes (about one message a block), so a keep-alive or a message "
        "would be late.",
        Reconnect.LATER,
        "Send less often, or several things in one message.",
    ),
)
