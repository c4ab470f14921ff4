from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.cli import doctor_judge
from icwsgw.cli.doctor_judge import EXPECTED, Grade, Remark
from icwsgw.cli.gateway_probe import Probe, ProbeOutcome
from icwsgw.cli.sdk_releases import parse_release
from icwsgw.client.client_errors import ClientError, MessageInvalid, SessionEnded
from icwsgw.errors import CanisterRefused, FormatError, IcwsError, Rejected
from icwsgw.ic.candid.did import parse_did
from icwsgw.ic.certificate import TrustedDelegation
from icwsgw.ic.principal import Principal

DEVNET = Path(__file__).parents[2] / "icwsgw" / "devnet"
ECHO = (DEVNET / "echo.did").read_text()
CANISTER = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
PAGE = "https://app.example"
UP = Probe(ProbeOutcome.UPGRADED, "", 101)


def verdicts(findings: list[Remark]) -> list[Grade]:
    return [finding.verdict for finding in findings]


def test_a_finding_is_a_line_and_its_advice_another() -> None:
    assert Remark("a", Grade.GOOD, "well").lines() == "ok    a: well"
    assert Remark("a", Grade.BAD, "very\nbad", "Do.").lines() == "FAIL  a: very bad\n      -> Do."


@pytest.mark.parametrize("outcome", ProbeOutcome)
def test_each_outcome_of_a_probe_has_words_and_advice(outcome: ProbeOutcome) -> None:
    finding = doctor_judge.judge_probe("ws://gateway.example", Probe(outcome, "words", 404))
    if outcome is ProbeOutcome.UPGRADED:
        assert finding == Remark("gateway", Grade.GOOD, "ws://gateway.example opens WebSockets")
    else:
        assert finding.verdict is Grade.BAD
        assert "words" in finding.says
        assert finding.advice


def test_what_a_port_answers_is_a_sentence() -> None:
    refused = doctor_judge.judge_probe("ws://a", Probe(ProbeOutcome.UNREACHABLE, "Connection refused"))
    assert refused.says == "ws://a: no server listens: Connection refused"
    other = doctor_judge.judge_probe("ws://a", Probe(ProbeOutcome.REFUSED, "OK", 200))
    assert other.says == "ws://a: it answers HTTP 200: OK"


def test_tls_where_it_is_not_and_the_other_way_round() -> None:
    assert "Use ws://a," in doctor_judge.judge_probe("wss://a", Probe(ProbeOutcome.NOT_TLS)).advice
    assert doctor_judge.judge_probe("ws://a", Probe(ProbeOutcome.TLS)).advice == "Use wss://a."


def test_pages() -> None:
    assert verdicts(doctor_judge.judge_page("ws://a.example", None, UP)) == [Grade.SKIPPED]
    assert verdicts(doctor_judge.judge_page("wss://a.example", PAGE, UP)) == [Grade.GOOD]
    mixed, allowed = doctor_judge.judge_page("ws://a.example", PAGE, UP)
    assert (mixed.topic, mixed.verdict, allowed.verdict) == ("mixed content", Grade.BAD, Grade.GOOD)
    # browsers make an exception for this machine
    assert verdicts(doctor_judge.judge_page("ws://127.0.0.1:8080", PAGE, UP)) == [Grade.GOOD]
    (refused,) = doctor_judge.judge_page("wss://a.example", PAGE, Probe(ProbeOutcome.REFUSED, "Forbidden", 403))
    assert refused.verdict is Grade.BAD
    assert "--allowed-origin" in refused.advice
    assert doctor_judge.judge_page("wss://a.example", PAGE, Probe(ProbeOutcome.SILENT)) == []


def test_a_gateway_that_refuses_for_now_is_one() -> None:
    for status in (403, 429, 503):
        probe = Probe(ProbeOutcome.REFUSED, "No", status)
        assert doctor_judge.judge_probe("ws://a", probe).verdict is Grade.GOOD
        assert verdicts(doctor_judge.judge_load(probe)) == ([] if status == 403 else [Grade.BAD])


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (None, Grade.SKIPPED),
        (0.0, Grade.GOOD),
        (-9.9, Grade.GOOD),
        (11.0, Grade.NOTICE),
        (-61.0, Grade.BAD),
    ],
)
def test_clocks(offset: float | None, verdict: Grade) -> None:
    (finding,) = doctor_judge.judge_clocks({"network": offset})
    assert finding.verdict is verdict
    if verdict is Grade.BAD:
        assert finding.says == "the network's clock is 61 s behind this machine's"
        assert finding.advice.startswith("Set this machine's clock")


def test_the_methods_of_the_devnet_s_canisters_fit() -> None:
    for name in ("echo.did", "chat.did"):
        assert verdicts(doctor_judge.judge_methods(parse_did((DEVNET / name).read_text()))) == [Grade.GOOD]


@pytest.mark.parametrize("end", ["is_end_of_queue : bool", "is_end_of_queue : opt bool", ""])
def test_every_form_of_a_page_fits(end: str) -> None:
    text = ECHO.replace("  is_end_of_queue : bool;\n", f"  {end};\n" if end else "")
    assert verdicts(doctor_judge.judge_methods(parse_did(text))) == [Grade.GOOD]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ws_close :", "ws_leave :", "has no ws_close"),
        ("record { nonce : nat64 }) ->", "record { nonce : nat32 }) ->", "ws_get_messages has other types"),
        ("Err : text }) query;", "Err : text });", "ws_get_messages has other types"),
        ("  timestamp : nat64;\n", "  timestamp : nat64;\n  more : nat;\n", "ws_message has other types"),
        (", opt AppMessage)", ")", "does not tell the type of messages"),
    ],
)
def test_methods_that_do_not_fit(old: str, new: str, words: str) -> None:
    assert old in ECHO
    findings = doctor_judge.judge_methods(parse_did(ECHO.replace(old, new)))
    assert any(words in finding.says and finding.advice for finding in findings)
    assert Grade.GOOD not in verdicts(findings)


def test_a_canister_without_an_interface() -> None:
    assert verdicts(doctor_judge.judge_methods(None)) == [Grade.NOTICE]
    assert verdicts(doctor_judge.judge_methods(parse_did("type a = nat"))) == [Grade.NOTICE]
    assert EXPECTED.service is not None
    assert list(EXPECTED.service.methods) == ["ws_close", "ws_get_messages", "ws_message", "ws_open"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (None, ""),
        (CanisterRefused("no such gateway"), ""),
        (Rejected(5, "stopped", "IC0508"), "Start the canister: it is stopped."),
        (Rejected(5, "no method", "IC0536"), "Add the methods of the WebSocket CDK to the canister."),
        (Rejected(5, "?", "IC9999"), "Look at the canister's log, and at its ws_get_messages."),
        (FormatError("a number"), "Use the types of the WebSocket CDK as they are."),
        (ClientError("HTTP 400"), "Check the canister id, and that --network is the network that it is on."),
    ],
)
def test_polls(error: IcwsError | None, advice: str) -> None:
    finding = doctor_judge.judge_poll(error)
    assert finding.verdict is (Grade.BAD if advice else Grade.GOOD)
    assert finding.advice == advice


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MessageInvalid("the certificate is invalid: x", "Give the root key."), "The gateway's network is not that"),
        (MessageInvalid("the certificate is invalid: 400 s old", "Set this machine's clock."), "Set this machine's"),
        (SessionEnded(4110, ""), "Add the canister to the gateway's --allowed-canister"),
        (SessionEnded(4101, "trapped"), "The reason says what"),
        (SessionEnded(4102, ""), "Set the clock"),
        (SessionEnded(4107, ""), "Look at the gateway's log"),
    ],
)
def test_openings(error: ClientError, advice: str) -> None:
    finding = doctor_judge.judge_opening(error, 1.0)
    assert finding.verdict is Grade.BAD
    assert finding.advice.startswith(advice)
    assert doctor_judge.judge_opening(None, 1.26).says == "the canister has opened a session in 1.3 s"


def test_messages() -> None:
    assert doctor_judge.judge_echo(True, True, 0.5).verdict is Grade.GOOD
    assert doctor_judge.judge_echo(True, False, 30.0).verdict is Grade.BAD
    assert doctor_judge.judge_echo(False, True, 0.5).verdict is Grade.GOOD
    assert doctor_judge.judge_echo(False, False, 3.0).verdict is Grade.NOTICE


def test_which_cdk() -> None:
    assert "Rust" in doctor_judge.judge_cdk(b"\xd9\xd9\xf7\xa5").says
    assert "Motoko" in doctor_judge.judge_cdk(b"\xa5").says


def test_delegations() -> None:
    ranges = ((CANISTER.raw, CANISTER.raw),)
    flat = TrustedDelegation(0, b"", b"", ranges, None)
    sharded = TrustedDelegation(0, b"", b"", None, ((b"", ranges),))
    both = flat._replace(shards=sharded.shards)
    old, new = parse_release("0.5.0"), parse_release("@icp-sdk/core@6.1.0")
    for sdk in (None, old, new):
        assert doctor_judge.judge_delegation(None, CANISTER, sdk).verdict is Grade.GOOD
        assert doctor_judge.judge_delegation(flat, CANISTER, sdk).verdict is Grade.GOOD
        assert "in both forms" in doctor_judge.judge_delegation(both, CANISTER, sdk).says
    assert doctor_judge.judge_delegation(sharded, CANISTER, None).verdict is Grade.BAD
    bad = doctor_judge.judge_delegation(sharded, CANISTER, old)
    assert (bad.verdict, "which ic-websocket-js 0.5.0 does not read" in bad.says) == (Grade.BAD, True)
    assert doctor_judge.judge_delegation(sharded, CANISTER, new).verdict is Grade.GOOD


def test_a_library_that_is_too_old() -> None:
    assert doctor_judge.judge_sdk(None) == []
    (fine,), (old,) = doctor_judge.judge_sdk(parse_release("0.5.0")), doctor_judge.judge_sdk(parse_release("0.2.0"))
    assert (fine.verdict, old.verdict) == (Grade.GOOD, Grade.BAD)
    assert "4101" in old.says


def test_a_page_from_https_cannot_read_a_plain_network() -> None:
    (bad,) = doctor_judge.judge_network_for_page("http://replica.example:4943", "https://app.example")
    assert bad.verdict is Grade.BAD
    for network, origin in (
        ("http://127.0.0.1:4943", "https://app.example"),
        ("https://icp-api.io", "https://app.example"),
        ("http://replica.example", "http://app.example"),
        ("http://replica.example", None),
    ):
        assert doctor_judge.judge_network_for_page(network, origin) == []


def test_a_gateway_that_refuses_clients_without_an_origin() -> None:
    """Nothing after it can be tried, so it may not pass as good."""
    probe = Probe(ProbeOutcome.REFUSED, "no origin was sent, only https://app.example may connect", 403)
    (bad,) = doctor_judge.judge_page("ws://127.0.0.1:8080", None, probe)
    assert (bad.verdict, bad.advice) == (Grade.BAD, "Name a page with --origin.")
    assert "https://app.example" in bad.says


def test_the_exit_status() -> None:
    assert doctor_judge.exit_status([]) == 0
    assert doctor_judge.exit_status([Remark("a", Grade.NOTICE, "")]) == 0
    assert doctor_judge.exit_status([Remark("a", Grade.GOOD, ""), Remark("b", Grade.BAD, "")]) == 1
