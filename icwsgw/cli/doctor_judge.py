"""Judges what ``icws doctor`` has found: each finding is one sentence, with one of what to change."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from icwsgw.cli.gateway_probe import Probe, ProbeOutcome
from icwsgw.cli.sdk_releases import SdkRelease
from icwsgw.client.client_errors import ClientError, MessageInvalid, MessageTooBig, SessionEnded
from icwsgw.close_codes import CloseCode
from icwsgw.close_hints import REJECT_HINTS
from icwsgw.errors import CanisterRefused, FormatError, IcwsError, Rejected
from icwsgw.ic.candid.did import Interface, parse_did
from icwsgw.ic.candid.subtype import is_subtype
from icwsgw.ic.candid.types import Opt, resolve
from icwsgw.ic.certificate import TrustedDelegation
from icwsgw.ic.networks import is_loopback
from icwsgw.ic.principal import Principal

#: Seconds by which clocks may differ before a remark, and before calls fail.
CLOCK_NOTICE: Final = 10.0
CLOCK_LIMIT: Final = 60.0
_MAX_PAIRS: Final = 10_000

#: What a gateway and its clients need of a canister (docs/protocol.md).
EXPECTED: Final = parse_did(
    """
    type ClientKey = record { client_principal : principal; client_nonce : nat64 };
    type WebsocketMessage = record {
      client_key : ClientKey; sequence_num : nat64; timestamp : nat64; is_service_message : bool; content : blob;
    };
    type Result = variant { Ok; Err : text };
    type Messages = record {
      messages : vec record { client_key : ClientKey; key : text; content : blob };
      cert : blob; tree : blob; is_end_of_queue : opt bool;
    };
    service : {
      ws_open : (record { client_nonce : nat64; gateway_principal : principal }) -> (Result);
      ws_message : (record { msg : WebsocketMessage }) -> (Result);
      ws_close : (record { client_key : ClientKey }) -> (Result);
      ws_get_messages : (record { nonce : nat64 }) -> (variant { Ok : Messages; Err : text }) query;
    }
    """
)


class Grade(Enum):
    """How good a finding is."""

    GOOD = "ok"
    NOTICE = "note"
    BAD = "FAIL"
    SKIPPED = "skip"


class Remark(NamedTuple):
    """One finding.

    :ivar topic: what was looked at
    :ivar verdict: how good it is
    :ivar says: one sentence
    :ivar advice: what to change, one sentence; empty: nothing
    """

    topic: str
    verdict: Grade
    says: str
    advice: str = ""

    def lines(self) -> str:
        """Return the finding as one or two lines, whatever is in the words of others."""
        first = f"{self.verdict.value:4}  {self.topic}: {' '.join(self.says.split())}"
        return f"{first}\n      -> {self.advice}" if self.advice else first


def judge_probe(url: str, probe: Probe) -> Remark:
    """Judge whether the gateway can be reached, and by TLS if that is asked."""
    other = url.replace("wss://", "ws://", 1) if url.startswith("wss://") else url.replace("ws://", "wss://", 1)
    advice = {
        ProbeOutcome.UNRESOLVED: "Check the host in the URL, and the DNS.",
        ProbeOutcome.UNREACHABLE: "Start the gateway, or check the port in the URL and the firewall.",
        ProbeOutcome.NOT_TLS: f"Use {other}, or give the gateway a certificate, or put a proxy with TLS before it.",
        ProbeOutcome.TLS: f"Use {other}.",
        ProbeOutcome.BAD_CERTIFICATE: "Give the gateway a certificate for this host that clients trust.",
        ProbeOutcome.NOT_HTTP: "Check the port in the URL: this is no gateway.",
        ProbeOutcome.SILENT: "Check the port in the URL, and what is between here and there.",
        ProbeOutcome.REFUSED: "Check the URL: it leads to a server that is no WebSocket gateway, or to its metrics.",
    }
    if probe.outcome is ProbeOutcome.UPGRADED:
        return Remark("gateway", Grade.GOOD, f"{url} opens WebSockets")
    if probe.status in (403, 429, 503):
        # it is a gateway, which has something against this connection
        return Remark("gateway", Grade.GOOD, f"{url} is reached, and answers HTTP {probe.status}")
    status = f" {probe.status}" if probe.status else ""
    reason = f": {probe.reason}" if probe.reason else ""
    return Remark("gateway", Grade.BAD, f"{url}: {probe.outcome.value}{status}{reason}", advice[probe.outcome])


def judge_page(url: str, origin: str | None, probe: Probe) -> list[Remark]:
    """Judge whether a page at the origin may connect."""
    if origin is None and probe.status == 403:
        return [Remark("origin", Grade.BAD, f"not allowed: {probe.reason}", "Name a page with --origin.")]
    if origin is None:
        return [Remark("origin", Grade.SKIPPED, "not looked at; --origin names the page's address")]
    found = []
    host = urlsplit(url).hostname or ""
    if origin.startswith("https://") and url.startswith("ws://") and not is_loopback(host):
        found.append(
            Remark(
                "mixed content",
                Grade.BAD,
                f"browsers do not let the page {origin} open {url}, which is not encrypted",
                "Serve the gateway by TLS, and use wss://.",
            )
        )
    if probe.status == 403:
        found.append(
            Remark(
                "origin",
                Grade.BAD,
                f"the gateway does not allow pages of {origin}: {probe.reason}",
                "Add it to the gateway's --allowed-origin.",
            )
        )
    elif probe.outcome is ProbeOutcome.UPGRADED:
        found.append(Remark("origin", Grade.GOOD, f"the gateway allows pages of {origin}"))
    return found


def judge_load(probe: Probe) -> list[Remark]:
    """Judge whether the gateway refuses this connection for now."""
    if probe.status not in (429, 503):
        return []
    says = "the gateway refuses connections of this address" if probe.status == 429 else "the gateway is overloaded"
    return [Remark("gateway's limits", Grade.BAD, f"{says} at present: {probe.reason}", "Try again later.")]


def judge_clocks(offsets: Mapping[str, float | None]) -> list[Remark]:
    """Judge how far the clocks of others are ahead of this machine's, in seconds; None: it is not known."""
    found = []
    for name, offset in offsets.items():
        if offset is None:
            found.append(Remark("clocks", Grade.SKIPPED, f"the {name} does not tell its time"))
            continue
        size, direction = abs(offset), "ahead of" if offset > 0 else "behind"
        says = f"the {name}'s clock is {size:.0f} s {direction} this machine's"
        if size < CLOCK_NOTICE:
            found.append(Remark("clocks", Grade.GOOD, f"the {name}'s clock agrees with this machine's"))
        else:
            verdict = Grade.NOTICE if size < CLOCK_LIMIT else Grade.BAD
            whose = "this machine's clock" if name != "gateway" else "the clock that is wrong, of the two"
            found.append(Remark("clocks", verdict, says, f"Set {whose}: calls carry a time at which they expire."))
    return found


def judge_methods(interface: Interface | None) -> list[Remark]:
    """Judge the canister's WebSocket methods, by its metadata."""
    if interface is None or interface.service is None:
        advice = "Publish the canister's interface as candid:service, so that programs know its types."
        return [Remark("methods", Grade.NOTICE, "the canister has no public interface that can be read", advice)]
    assert EXPECTED.service is not None
    found = []
    for name, expected in EXPECTED.service.methods.items():
        own = interface.method(name)
        if own is None:
            says, advice = f"the canister has no {name}", "Add the methods of the WebSocket CDK to the canister."
            found.append(Remark("methods", Grade.BAD, says, advice))
        elif not _fits(own, expected):
            says = f"{name} has other types than gateways and clients use"
            found.append(Remark("methods", Grade.BAD, says, "Use the types of the WebSocket CDK as they are."))
    message = interface.method("ws_message")
    if message is not None and (len(message.args) < 2 or not isinstance(resolve(message.args[1]), Opt)):
        says = "ws_message does not tell the type of messages by an opt as its second argument"
        found.append(Remark("methods", Grade.NOTICE, says, "Declare it, so that clients know how to read messages."))
    return found or [Remark("methods", Grade.GOOD, "ws_open, ws_message, ws_close and ws_get_messages fit")]


def _fits(own: object, expected: object) -> bool:
    try:
        return is_subtype(own, expected, _MAX_PAIRS)  # type: ignore[arg-type]
    except FormatError:
        return False


def judge_poll(error: IcwsError | None) -> Remark:
    """Judge the answer to a poll."""
    if error is None:
        return Remark("poll", Grade.GOOD, "the canister answers a poll")
    if isinstance(error, CanisterRefused):
        # the CDK knows a gateway only once a client has named it
        return Remark("poll", Grade.GOOD, f"the canister answers a poll, with Err: {error}")
    advice = "Look at the canister's log, and at its ws_get_messages."
    if isinstance(error, Rejected):
        advice = REJECT_HINTS.get(error.error_code or "", advice)
    elif isinstance(error, ClientError):
        advice = error.hint or "Check the canister id, and that --network is the network that it is on."
    elif isinstance(error, FormatError):
        advice = "Use the types of the WebSocket CDK as they are."
    return Remark("poll", Grade.BAD, f"the canister does not answer a poll: {error}", advice)


def judge_opening(error: ClientError | None, seconds: float) -> Remark:
    """Judge an opening."""
    if error is None:
        return Remark("opening", Grade.GOOD, f"the canister has opened a session in {seconds:.1f} s")
    advice = error.hint or "Look at the gateway's log: the session id is in brackets."
    if isinstance(error, MessageInvalid) and "certificate" in str(error) and "clock" not in error.hint:
        advice = "The gateway's network is not that of --network: give the one that the gateway uses."
    elif isinstance(error, SessionEnded) and error.code == CloseCode.CANISTER_NOT_ALLOWED:
        advice = "Add the canister to the gateway's --allowed-canister, or use another gateway."
    elif isinstance(error, SessionEnded) and error.code == CloseCode.OPEN_REFUSED:
        advice = "The reason says what the canister or the network has against it; the canister's log may say more."
    return Remark("opening", Grade.BAD, f"no session: {error}", advice)


def judge_echo(sent: bool, answered: bool, seconds: float) -> Remark:
    """Judge whether a message came after one was sent, or by itself."""
    if answered:
        return Remark("messages", Grade.GOOD, f"a message came after {seconds:.1f} s, verified and in order")
    if sent:
        advice = "Look at the canister's on_message, and at its log: it may have trapped, or answer nothing."
        return Remark("messages", Grade.BAD, f"no message came in {seconds:.0f} s after one was sent", advice)
    says = f"the canister sent nothing by itself in {seconds:.0f} s, which may be as it should"
    return Remark("messages", Grade.NOTICE, says, "Give a message to send with --message.")


def judge_session_end(error: ClientError) -> Remark:
    """Judge the end of the session before a message came."""
    advice = error.hint or "Look at the gateway's log: the session id is in brackets."
    return Remark("messages", Grade.BAD, f"the session has ended: {error}", advice)


def judge_too_big(error: MessageTooBig) -> Remark:
    """Judge a message that is not sent, because no call can have it."""
    return Remark("messages", Grade.BAD, f"the message is too big and was not sent: {error}", error.hint)


def judge_cdk(content: bytes) -> Remark:
    """Tell which CDK the canister uses, by how it writes its first message."""
    name = "Rust" if content.startswith(b"\xd9\xd9\xf7") else "Motoko"
    return Remark("CDK", Grade.GOOD, f"its messages are those of the CDK for {name}")


def judge_delegation(trusted: TrustedDelegation | None, canister: Principal, sdk: SdkRelease | None) -> Remark:
    """Tell which clients can verify the certificates that come through the gateway.

    :param trusted: the delegation of one of them; None: it has none
    :param sdk: the library that the developer uses; None: it is not known
    """
    if trusted is None:
        return Remark("delegation", Grade.GOOD, "certificates have none; every client verifies them")
    flat, sharded = trusted.shows_flat(canister.raw), trusted.shards is not None
    if flat:
        forms = "in both forms, of which every client reads one" if sharded else "in the form that every client reads"
        return Remark("delegation", Grade.GOOD, f"certificates show canister ranges {forms}")
    says = "certificates show canister ranges in shards alone"
    if sdk is not None and sdk.reads_shards:
        return Remark("delegation", Grade.GOOD, f"{says}, which {sdk} reads")
    who = "@dfinity/agent" if sdk is None else str(sdk)
    return Remark(
        "delegation",
        Grade.BAD,
        f"{says}, which {who} does not read",
        "Use icws-client or @icp-sdk/core 5 or later, or a gateway that replaces delegations, as this project's does.",
    )


def judge_sdk(sdk: SdkRelease | None) -> list[Remark]:
    """Judge whether the developer's library implements today's protocol."""
    if sdk is None:
        return []
    if sdk.is_compatible:
        return [Remark("SDK", Grade.GOOD, f"{sdk} speaks the protocol of this gateway")]
    says = f"{sdk} names no gateway in ws_open, which is closed with 4101"
    return [Remark("SDK", Grade.BAD, says, "Use ic-websocket-js 0.3 or later, or icws-client.")]


def judge_network_for_page(network: str, origin: str | None) -> list[Remark]:
    """Judge whether a page at the origin may read the root key from the network."""
    parts = urlsplit(network)
    if (
        origin is None
        or not origin.startswith("https://")
        or parts.scheme != "http"
        or is_loopback(parts.hostname or "")
    ):
        return []
    says = f"browsers do not let the page {origin} read the root key from {network}, which is not encrypted"
    return [Remark("mixed content", Grade.BAD, says, "Reach the network by https://, or serve the page by http://.")]


def exit_status(findings: list[Remark]) -> int:
    """Return the exit status of a report: 1 if something is bad."""
    return int(any(finding.verdict is Grade.BAD for finding in findings))
