"""Whose silence a failure is: bodies and statuses as ic_boundary and ic-gateway write them."""

from __future__ import annotations

import json

import pytest

from icwsgw.core.failure_source import FailureSource, cause_of, side_of
from icwsgw.errors import (
    AnswerMalformed,
    AnswerTooLarge,
    CanisterRefused,
    CertificateInvalid,
    ConnectFailed,
    ConnectionLost,
    FormatError,
    HttpError,
    NotReady,
    Rejected,
    RequestTimeout,
)

# dfinity/ic rs/boundary_node/ic_boundary/src/errors.rs: "error: {word}\ndetails: {words}"
NO_HEALTHY_NODES = (
    "error: no_healthy_nodes\ndetails: There are currently no healthy replica nodes available to handle the request. "
    "This may be due to an ongoing upgrade of the replica software in the subnet. Please try again later."
)
FORBIDDEN = "error: forbidden\ndetails: Request is forbidden according to currently active policy, it might work later."
# dfinity/ic-gateway src/routing/error_cause.rs: ErrorMessage, printed prettily
SUBNET_UPDATING = json.dumps(
    {
        "error_type": "subnet_updating",
        "description": "The protocol currently upgrades this part of the Internet Computer. It should be back "
        "momentarily. No worries\u2014your data is safe!",
        "details": None,
    },
    indent=2,
    ensure_ascii=False,
)

#: deeper than Python's parser of JSON goes
NESTED = '{"error_type":' + "[" * 1980


@pytest.mark.parametrize(
    ("header", "body", "error_cause", "text"),
    [
        ("", NO_HEALTHY_NODES, "no_healthy_nodes", NO_HEALTHY_NODES),
        ("no_healthy_nodes", NO_HEALTHY_NODES, "no_healthy_nodes", NO_HEALTHY_NODES),
        ("", FORBIDDEN, "forbidden", FORBIDDEN),
        ("none", "", "", ""),
        ("none", FORBIDDEN, "forbidden", FORBIDDEN),
        ("load_shed", "", "load_shed", ""),
        ("", "error: rate_limited_normal", "rate_limited_normal", "error: rate_limited_normal"),
        ("no such\nword", "", "", ""),
        ("", "Replica is unhealthy: WaitingForCertifiedState.", "", "Replica is unhealthy: WaitingForCertifiedState."),
        ("", '{"error_type": "subnet_up', "", '{"error_type": "subnet_up'),
        ("", '{"error_type": ["x"]}', "", '{"error_type": ["x"]}'),
        ("", "[1, 2]", "", "[1, 2]"),
        ("", "{" * 2000, "", "{" * 2000),
        pytest.param("", NESTED, "", NESTED, id="nested"),
    ],
)
def test_the_error_cause(header: str, body: str, error_cause: str, text: str) -> None:
    assert cause_of(header, body) == (error_cause, text)


def test_the_json_of_ic_gateway_becomes_text() -> None:
    error_cause, text = cause_of("", SUBNET_UPDATING)
    assert error_cause == "subnet_updating"
    assert text.startswith("subnet_updating: The protocol currently upgrades this part")


EXPIRY = "Invalid request expiry: Specified ingress_expiry not within expected range: Minimum allowed expiry: x"


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("x"),
        ConnectionLost("x"),
        RequestTimeout("x"),
        NotReady("x"),
        HttpError(503, error_cause="no_healthy_nodes"),
        HttpError(503, error_cause="subnet_updating"),
        HttpError(503, "Certified state unavailable. Please try again."),
        HttpError(500),
        HttpError(502),
        HttpError(504),
        HttpError(429, error_cause="rate_limited"),
        HttpError(403, error_cause="forbidden"),
        HttpError(404),
        HttpError(408),
        HttpError(307),
        HttpError(400, retry_after=3.0),
        HttpError(400, EXPIRY),
        Rejected(2, "Certified state is not available yet", "IC0208"),
    ],
    ids=repr,
)
def test_the_networks_silence(error: Exception) -> None:
    assert side_of(error) is FailureSource.NETWORK


@pytest.mark.parametrize(
    "error",
    [
        Rejected(5, "trapped", "IC0503"),
        Rejected(2, "out of cycles", "IC0207"),
        Rejected(3, "not found", "IC0301"),
        AnswerMalformed("x"),
        AnswerTooLarge("x"),
        CanisterRefused("x"),
        CertificateInvalid("x"),
        FormatError("x"),
        HttpError(400, error_cause="canister_not_found"),
        HttpError(404, error_cause="canister_not_found"),
        HttpError(451, error_cause="denylisted"),
        HttpError(400, "malformed"),
        ZeroDivisionError("ours"),
        None,
    ],
    ids=repr,
)
def test_the_canisters_silence(error: Exception | None) -> None:
    assert side_of(error) is FailureSource.CANISTER
