"""The outcome of a call: accepted, executed with a reply, or rejected, and by whom.

A call's answer comes in one of these shapes (interface spec, "Request: Call" and "Synchronous call"):

====================================================  =====================================================
answer                                                outcome
====================================================  =====================================================
202 of the asynchronous call (v2)                     accepted
202 of the synchronous call (v3, v4)                  under way: not executed within 10 s, or a repetition
                                                      ("Duplicate request") of a call that is under way
200 ``status: replied`` with a certificate            replied, or a certified reject found inside it; done; or
                                                      under way where it shows received or processing, or nothing
200 ``status: non_replicated_rejection``              rejected before it was executed
200 from v2, a map with ``reject_code``               the same
4xx, 5xx                                              :class:`~icwsgw.errors.HttpError`
====================================================  =====================================================

The gateway reads the certificate but does not verify it. It decides when the client's next call leaves and whether the
session continues; who could forge it could as well drop the call (decision 0030). An outcome on which other sessions
depend is read from a verified certificate, by :func:`certified_outcome`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.core.call_answers import ENDED, IN_PROGRESS, NOT_WAITED_FOR, SYS_TRANSIENT, Answer
from icwsgw.core.failure_source import cause_of
from icwsgw.errors import AnswerMalformed, CertificateInvalid, FormatError, HttpError, Rejected
from icwsgw.http_dates import http_date
from icwsgw.ic import cbor
from icwsgw.ic.certificate import Certificate, request_status
from icwsgw.ic.fields import ANSWER, CERTIFICATE, known_alone
from icwsgw.ic.ws import UNIT_OK

_TREE_DEPTH = 128
_DETAIL = 200
#: Characters of a reject's message that are kept, as replicas bound those of calls, and of its error code.
_MAX_REJECT, _MAX_ERROR_CODE = 8 * 1024, 64
_MAX_EDGE_ID = 64
_MAX_RETRY_AFTER = 3600.0
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f]+")


class OutcomeKind(Enum):
    """What is known of a call."""

    ACCEPTED = "accepted"
    UNDER_WAY = "under_way"
    REPLIED = "replied"
    REJECTED = "rejected"
    DONE = "done"


class CallOutcome:
    """The outcome of a call, as far as its answer shows it.

    :ivar label: ``kind`` as metrics count it
    :ivar kind: accepted (no caller waits for the outcome), under way, replied, rejected, or done (executed, and the
        reply is no longer known)
    :ivar reply: the reply in Candid if ``kind`` is REPLIED, else None
    :ivar reject: the reject if ``kind`` is REJECTED, else None
    :ivar certified: the reject is the certified outcome of the call; otherwise only this attempt was not accepted
    :ivar answer: what it means for the call, see :mod:`icwsgw.core.call_answers`
    """

    __slots__ = ("answer", "certified", "kind", "label", "reject", "reply")

    def __init__(
        self,
        kind: OutcomeKind,
        reply: bytes | None = None,
        reject: Rejected | None = None,
        certified: bool = False,
        resent: bool = False,
    ) -> None:
        self.kind = kind
        # Enum's own .value is a call in Python, and this is counted for each message
        self.label: str = kind._value_
        self.reply = reply
        self.reject = reject
        self.certified = certified
        if kind is OutcomeKind.UNDER_WAY:
            self.answer = IN_PROGRESS
        elif kind is OutcomeKind.ACCEPTED:
            self.answer = NOT_WAITED_FOR
        elif reject is None or certified:
            self.answer = ENDED
        else:
            self.answer = Answer(transient=reject.code == SYS_TRANSIENT, arrived=resent)

    def __repr__(self) -> str:
        if self.reject is not None:
            return f"<CallOutcome rejected: {self.reject}>"
        return f"<CallOutcome {self.kind.value}>"


ACCEPTED = CallOutcome(OutcomeKind.ACCEPTED)
UNDER_WAY = CallOutcome(OutcomeKind.UNDER_WAY)
DONE = CallOutcome(OutcomeKind.DONE)
# the answer to nearly every call
_OK = CallOutcome(OutcomeKind.REPLIED, UNIT_OK)


def call_outcome(body: bytes, resent: bool = False) -> CallOutcome:
    """Parse the body of an answer with status 200 to a call.

    :param resent: the call was sent before and may have been accepted then, whatever this answer shows
    :raises AnswerMalformed: it is not such an answer
    """
    if not body:
        return UNDER_WAY
    try:
        answer = cbor.loads(body)
    except FormatError:
        answer = None
    if type(answer) is not dict:
        answer = decoded(body)
    certificate = answer.get("certificate")
    if answer.get("status") == "replied" and isinstance(certificate, bytes):
        return _from_certificate(certificate)
    if "reject_code" in answer:
        return CallOutcome(OutcomeKind.REJECTED, reject=reject_of(answer), resent=resent)
    raise AnswerMalformed("a call's answer has neither a certificate nor a reject")


def certified_outcome(certificate: Certificate, request_id: bytes) -> CallOutcome:
    """The outcome of a call in a verified certificate.

    :param request_id: 32 bytes
    :raises CertificateInvalid: the certificate does not show what has become of this request
    """
    found = request_status(certificate, request_id)
    if found.status == "replied":
        return CallOutcome(OutcomeKind.REPLIED, found.reply)
    if found.status == "rejected":
        reject = _rejected(found.reject_code or 0, found.reject_message or "", found.error_code)
        return CallOutcome(OutcomeKind.REJECTED, reject=reject, certified=True)
    if found.status == "unknown":
        raise CertificateInvalid("the certificate shows that the subnet does not know the request")
    return DONE if found.status == "done" else UNDER_WAY


def decoded(body: bytes) -> dict[str, Any]:
    """Decode a CBOR map.

    :raises AnswerMalformed: it is not a CBOR map
    """
    try:
        answer = cbor.loads(body)
    except FormatError as refused:
        try:
            answer = known_alone(body, ANSWER, refused)
        except FormatError as error:
            if body.lstrip()[:1] == b"<":
                raise AnswerMalformed("a web page, as no replica sends") from None
            raise AnswerMalformed(str(error)) from None
    if not isinstance(answer, dict):
        raise AnswerMalformed("the answer is not a CBOR map")
    return answer


def reject_of(answer: Mapping[str, Any]) -> Rejected:
    """Read a reject from the fields of an answer. A message of more than 8,192 characters is cut.

    :raises AnswerMalformed: the answer has no reject
    """
    code, message, error_code = answer.get("reject_code"), answer.get("reject_message", ""), answer.get("error_code")
    if type(code) is not int or not isinstance(message, str):
        raise AnswerMalformed("a malformed reject")
    return _rejected(code, message, error_code if isinstance(error_code, str) else None)


def _rejected(code: int, message: str, error_code: str | None) -> Rejected:
    """Make a reject of bounded length: what reports it may be kept for long."""
    return Rejected(code, message[:_MAX_REJECT], None if error_code is None else error_code[:_MAX_ERROR_CODE])


def query_reply(answer: Mapping[str, Any]) -> bytes:
    """The reply in Candid in the answer to a query.

    :param answer: the CBOR map (interface spec, "Request: Query call")
    :raises Rejected: the query was rejected
    :raises AnswerMalformed: the answer has neither a reply nor a reject
    """
    status = answer.get("status")
    if status == "replied":
        reply = answer.get("reply")
        arg = reply.get("arg") if isinstance(reply, dict) else None
        if isinstance(arg, bytes):
            return arg
    elif status == "rejected":
        raise reject_of(answer)
    raise AnswerMalformed("a query's answer has neither a reply nor a reject")


def http_error(answer: ParsedResponse, now_s: float) -> HttpError:
    """The error for an answer whose status is not 2xx.

    :param now_s: seconds since 1970, for a Retry-After that is a date
    """
    headers = answer.headers
    header = headers.get(b"x-ic-error-cause", b"").decode("latin-1")
    edge_id = _UNPRINTABLE.sub("", headers.get(b"x-request-id", b"").decode("latin-1"))[:_MAX_EDGE_ID]
    text = answer.body[: 10 * _DETAIL].decode("utf-8", "replace") if _is_text(headers) else ""
    error_cause, message = cause_of(header, text)
    if error_cause in message[: len(error_cause) + 10]:
        detail = message
    else:
        detail = f"{error_cause}: {message}" if message else error_cause
    return HttpError(
        answer.status,
        _UNPRINTABLE.sub(" ", detail)[:_DETAIL],
        retry_after(headers.get(b"retry-after"), now_s),
        edge_id,
        error_cause,
        answer.resent,
    )


def retry_after(value: bytes | None, now_s: float, longest: float = _MAX_RETRY_AFTER) -> float | None:
    """Parse a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3).

    :param longest: seconds that are returned at most
    :return: seconds; None if it is invalid
    """
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        seconds = float(text)
    else:
        date = http_date(text)
        if date is None:
            return None
        seconds = date - now_s
    return min(max(seconds, 0.0), longest)


def _is_text(headers: Mapping[bytes, bytes]) -> bool:
    kind = headers.get(b"content-type", b"text/plain")
    return kind.startswith((b"text/plain", b"application/json"))


def _from_certificate(certificate: bytes) -> CallOutcome:
    """Read the status of the one request in the certificate of a call's answer, without verifying it."""
    try:
        content = cbor.loads(certificate, max_depth=_TREE_DEPTH)
    except FormatError as refused:
        try:
            content = known_alone(certificate, CERTIFICATE, refused, max_depth=_TREE_DEPTH)
        except FormatError as error:
            raise AnswerMalformed(f"certificate: {error}") from None
    tree = content.get("tree") if isinstance(content, dict) else None
    try:
        for label, requests in _children(tree):
            if label == b"request_status":
                for _, request in _children(requests):
                    fields = {}
                    for name, node in _children(request):
                        if node[0] == 3:
                            fields[name] = node[1]
                    if b"status" in fields:
                        return _from_status(fields)
    except (TypeError, ValueError, IndexError, KeyError, UnicodeDecodeError):
        raise AnswerMalformed("a call's certificate has a malformed tree") from None
    return UNDER_WAY


def _from_status(fields: Mapping[bytes, Any]) -> CallOutcome:
    """The outcome that the leaves of a request show. They are not signed, so they may hold values of any type.

    :raises ValueError: a leaf that is read has no bytes, or an error code that is not ASCII
    :raises KeyError: a leaf is missing
    """
    # comparing with bytes is enough for nearly every answer
    status = fields[b"status"]
    if status == b"replied":
        if fields[b"reply"] == UNIT_OK:
            return _OK
        return CallOutcome(OutcomeKind.REPLIED, _bytes(fields[b"reply"]))
    if status == b"rejected":
        error_code = fields.get(b"error_code")
        reject = _rejected(
            int.from_bytes(_bytes(fields[b"reject_code"])[:1], "little"),
            _bytes(fields[b"reject_message"]).decode("utf-8", "replace"),
            None if error_code is None else _bytes(error_code).decode("ascii"),
        )
        return CallOutcome(OutcomeKind.REJECTED, reject=reject, certified=True)
    # "received", "processing", or what a later version of the IC may report of a call in progress
    return DONE if _bytes(status) == b"done" else UNDER_WAY


def _bytes(leaf: Any) -> bytes:
    if type(leaf) is not bytes:
        raise ValueError("a leaf without bytes")
    return leaf


def _children(tree: Any) -> list[tuple[bytes, Any]]:
    """The labels below the root of a hash tree as decoded from CBOR, with what is below each of them."""
    found = []
    stack = [tree]
    while stack:
        node = stack.pop()
        kind = node[0]
        if kind == 1:
            stack.append(node[2])
            stack.append(node[1])
        elif kind == 2:
            found.append((node[1], node[2]))
    return found
