"""Requests to the network by blocking HTTP: status, certified state, queries and calls.

The command line uses it, and other programs may.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from icwsgw import blocking_http
from icwsgw.blocking_http import HttpAnswer
from icwsgw.client.client_errors import ClientError
from icwsgw.errors import CertificateInvalid, ConnectFailed, FormatError, HttpError, IcwsError, Rejected, TransportError
from icwsgw.ic import cbor
from icwsgw.ic.certificate import Certificate, verify_certificate
from icwsgw.ic.certified import RequestStatus, request_status
from icwsgw.ic.envelope import (
    SignedRequest,
    Signer,
    anonymous_request,
    call_content,
    query_content,
    read_state_content,
    sign_request,
)
from icwsgw.ic.hashtree import Found
from icwsgw.ic.network_limits import SECOND_NS
from icwsgw.ic.networks import is_loopback
from icwsgw.ic.principal import ANONYMOUS, Principal

#: Versions of the API that are tried, the newest last: every program reads the certificates of the oldest.
QUERY_VERSIONS: Final = ("v2", "v3")
READ_STATE_VERSIONS: Final = ("v2", "v3")
CALL_VERSIONS: Final = ("v3", "v4", "v2")
_MAX_ANSWER: Final = 8 << 20
_TTL_NS: Final = 120 * SECOND_NS
_NONCE: Final = 16
#: Seconds between two looks at a call that takes longer than its answer.
_LOOK_S: Final = 0.5
#: Seconds for one submission, at least: the network answers after 10 if the call takes longer.
SUBMIT_TIMEOUT: Final = 15.0
#: Statuses of a proxy that has lost the answer from behind it.
_LOST_BEHIND: Final = (502, 504)
_MAY_BE_EXECUTED: Final = "It may have been executed."


class _Unreached(ClientError):
    """Nothing was sent."""


class _Lost(ClientError):
    """A request was sent, and its answer was lost: the network may have accepted it."""


class _Refused(ClientError):
    """The network answered with a status that is no success, or with something unknown.

    :ivar status: the HTTP status
    """

    def __init__(self, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class NetworkRequests:
    """Requests to one network.

    :param url: its URL
    :param timeout: seconds for each request as a whole; the submission of a call has 15 at least, since the network
        answers it after 10 at the latest
    :param check_time: whether certificates more than five minutes off this machine's clock are refused
    :raises ClientError: it is not a URL of this kind
    """

    def __init__(self, url: str, timeout: float = 10.0, *, check_time: bool = True) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._check_time = check_time
        # a proxy of this machine's environment does not reach this machine's own ports
        self._direct = is_loopback(_host(url))

    def status(self) -> dict[str, Any]:
        """Return the answer of ``/api/v2/status``.

        :raises ClientError: the network cannot be reached, or answers something else
        """
        answer = self._send("/api/v2/status", None)
        fields = _fields(answer)
        if answer.status != 200 or fields is None:
            raise ClientError(
                f"{self.url} answers HTTP {answer.status} instead of a status",
                _moved(answer) or "Is this the URL of a network?",
            )
        return fields

    def read_state(self, canister: Principal, paths: Sequence[Sequence[bytes]], root_key: bytes) -> Certificate:
        """Return the verified certificate for paths below a canister.

        :raises ClientError: the network cannot be reached, or refuses
        :raises CertificateInvalid: the certificate does not verify, or differs from this machine's clock by
            more than five minutes
        """
        content = read_state_content(ANONYMOUS, paths, time.time_ns() + _TTL_NS)
        return self._read_state(canister, anonymous_request(content), root_key)

    def _read_state(self, canister: Principal, request: SignedRequest, root_key: bytes) -> Certificate:
        answer = self._post(READ_STATE_VERSIONS, canister, "read_state", request)
        return self._certificate(answer, canister, root_key)

    def _certificate(self, answer: HttpAnswer, canister: Principal, root_key: bytes) -> Certificate:
        fields = _fields(answer)
        if answer.status != 200 or fields is None or not isinstance(fields.get("certificate"), bytes):
            raise self._refused(answer)
        now_ns = time.time_ns() if self._check_time else None
        return verify_certificate(fields["certificate"], root_key_der=root_key, canister_id=canister, now_ns=now_ns)

    def metadata(self, canister: Principal, name: bytes, root_key: bytes) -> bytes | None:
        """Return a canister's public metadata, certified; None: it has none of this name.

        :raises ClientError: the network cannot be reached, or refuses, also where the metadata is private
        :raises CertificateInvalid: as for :meth:`read_state`
        """
        path = (b"canister", canister.raw, b"metadata", name)
        found = self.read_state(canister, [path], root_key).lookup(path)
        return found.value if isinstance(found, Found) else None

    def query(self, canister: Principal, method: str, arg: bytes, identity: Signer) -> bytes:
        """Return the reply to a query.

        :raises ClientError: the network cannot be reached, or refuses
        :raises Rejected: the network or the canister rejects the query
        """
        content = query_content(identity.principal, canister, method, arg, time.time_ns() + _TTL_NS)
        answer = self._post(QUERY_VERSIONS, canister, "query", sign_request(identity, content))
        fields = _fields(answer)
        if answer.status != 200 or fields is None:
            raise self._refused(answer)
        self._raise_reject(answer, fields)
        reply = fields.get("reply")
        found = reply.get("arg") if isinstance(reply, dict) else None
        if not isinstance(found, bytes):
            raise self._refused(answer)
        return found

    def call(self, canister: Principal, method: str, arg: bytes, identity: Signer, root_key: bytes) -> bytes:
        """Return the certified reply to a call. Blocks until it is executed, about two minutes at most.

        If an answer is lost, the identical call is sent again: the network executes it once. To call this method again
        is another call. The hint of an error says if this one may have been executed.

        :param root_key: the network's root key in DER
        :raises ClientError: the network cannot be reached, or refuses; or the outcome is not known after two minutes
        :raises Rejected: the network or the canister rejects the call
        :raises CertificateInvalid: as for :meth:`read_state`; the call may have been executed
        """
        content = call_content(identity.principal, canister, method, arg, time.time_ns() + _TTL_NS, os.urandom(_NONCE))
        request = sign_request(identity, content)
        sent = _SentCall(
            method,
            lambda: self._submit(canister, request, root_key),
            lambda: self._look(canister, request.request_id, identity, root_key),
        )
        try:
            return sent.reply()
        except CertificateInvalid as error:
            raise CertificateInvalid(f"{error}; the call may have been executed") from error

    def _submit(self, canister: Principal, request: SignedRequest, root_key: bytes) -> RequestStatus:
        """Send a call once, and return what its answer certifies; "unknown": the network has only accepted it.

        :raises Rejected: not certified, so that it tells nothing about an earlier copy of the call
        """
        answer = self._post(CALL_VERSIONS, canister, "call", request, max(self._timeout, SUBMIT_TIMEOUT))
        if answer.status == 202:
            return RequestStatus("unknown")
        if answer.status == 200:
            # rejected before it was executed; API v2 gives no status then
            self._raise_reject(answer, _fields(answer) or {})
        return request_status(self._certificate(answer, canister, root_key), request.request_id)

    def _look(self, canister: Principal, request_id: bytes, identity: Signer, root_key: bytes) -> RequestStatus:
        """Look once how a call has ended; only its sender may read it."""
        path = (b"request_status", request_id)
        content = read_state_content(identity.principal, [path], time.time_ns() + _TTL_NS)
        return request_status(self._read_state(canister, sign_request(identity, content), root_key), request_id)

    def _post(
        self,
        versions: Sequence[str],
        canister: Principal,
        what: str,
        request: SignedRequest,
        timeout: float | None = None,
    ) -> HttpAnswer:
        for version in versions:
            answer = self._send(f"/api/{version}/canister/{canister}/{what}", request.body, timeout)
            if answer.status != 404:
                break
        return answer

    def _send(self, path: str, body: bytes | None, timeout: float | None = None) -> HttpAnswer:
        seconds = self._timeout if timeout is None else timeout
        try:
            return blocking_http.request(
                self.url + path, body, timeout=seconds, max_bytes=_MAX_ANSWER, direct=self._direct
            )
        except ConnectFailed as error:
            raise _Unreached(f"{self.url} cannot be reached: {error}", "Is the network running there?") from error
        except TransportError as error:
            raise _Lost(f"{self.url} has not answered: {error}", "Is this the URL of a network?") from error

    def _raise_reject(self, answer: HttpAnswer, fields: Mapping[str, Any]) -> None:
        """Raise the reject in an answer, if there is one.

        :raises Rejected: there is one
        :raises ClientError: there is one, and it is malformed
        """
        if "reject_code" not in fields:
            return
        code, error_code = fields["reject_code"], fields.get("error_code")
        if type(code) is not int:
            raise self._refused(answer)
        message = str(fields.get("reject_message", ""))
        raise Rejected(code, message, error_code if isinstance(error_code, str) else None)

    def _refused(self, answer: HttpAnswer) -> _Refused:
        detail = answer.body[:300].decode(errors="replace").strip() if _fields(answer) is None else "an unknown answer"
        says = f"{self.url} answers HTTP {answer.status}"
        return _Refused(f"{says}: {detail}" if detail else says, _moved(answer), answer.status)


class _SentCall:
    """One call, until its outcome is known.

    :param submit: sends it, always the same bytes; see :meth:`NetworkRequests._submit`
    :param look: reads its certified status
    """

    def __init__(self, method: str, submit: Callable[[], RequestStatus], look: Callable[[], RequestStatus]) -> None:
        self._method = method
        self._submit = submit
        self._look = look
        self._end = time.monotonic() + _TTL_NS / SECOND_NS
        self._accepted = False
        self._failure = ""

    def reply(self) -> bytes:
        """Send the call, and return its reply; errors are those of :meth:`NetworkRequests.call`."""
        outcome = self._first()
        resubmits = True
        while outcome.reply is None:
            if outcome.reject_code is not None:
                raise Rejected(outcome.reject_code, outcome.reject_message or "", outcome.error_code)
            if outcome.status == "done":
                raise ClientError(f"the outcome of {self._method} is no longer known", "It has ended.")
            if time.monotonic() > self._end:
                raise ClientError(f"the outcome of {self._method} is not known{self._failure}", _MAY_BE_EXECUTED)
            time.sleep(_LOOK_S)
            # a look too, since the network may accept no copy of a call that it has executed
            outcome = self._again(resubmits and not self._accepted)
            self._accepted = self._accepted or outcome.status != "unknown"
            resubmits = not resubmits
        return outcome.reply

    def _first(self) -> RequestStatus:
        try:
            outcome = self._submit()
        except _Lost as error:
            return self._failed(error)
        except _Refused as error:
            if error.status in _LOST_BEHIND:
                return self._failed(error)
            if error.status >= 500 or error.status == 200:
                # what fails within the network, or is no answer of it, tells nothing about the call
                raise ClientError(str(error), _MAY_BE_EXECUTED) from error
            raise
        self._accepted = True
        return outcome

    def _again(self, resubmits: bool) -> RequestStatus:
        try:
            outcome = self._submit() if resubmits else self._look()
        except (_Unreached, _Lost) as error:
            return self._failed(error)
        except Rejected as error:
            # not certified: it is about this copy of the call
            return self._failed(error)
        except _Refused as error:
            if resubmits or error.status == 200 or HttpError(error.status).retryable:
                return self._failed(error)
            raise ClientError(str(error), _MAY_BE_EXECUTED) from error
        self._accepted = self._accepted or resubmits
        return outcome

    def _failed(self, error: IcwsError) -> RequestStatus:
        self._failure = f": {error}"
        return RequestStatus("unknown")


def _moved(answer: HttpAnswer) -> str:
    """Return what to do about a redirect; empty: the answer is none."""
    return f"It redirects to {answer.location}: give the URL where the network is." if answer.location else ""


def _host(url: str) -> str:
    """Return the host of a network's URL.

    :raises ClientError: it is not a URL of this kind
    """
    why = ""
    try:
        parts = urlsplit(url)
        if parts.username is not None:
            # it may have a password too
            url = "a URL with a user name"
        # both raise ValueError too
        host, _ = parts.hostname, parts.port
        if parts.query or parts.fragment:
            why = ": it has more than a host, a port and a path"
        elif host and parts.username is None and parts.scheme in ("http", "https"):
            return host
    except ValueError as error:
        why = f": {error}"
    raise ClientError(f"{url} is not the URL of a network{why}", "Give http://HOST:PORT or https://HOST.")


def _fields(answer: HttpAnswer) -> dict[str, Any] | None:
    try:
        fields = cbor.loads(answer.body)
    except FormatError:
        return None
    return fields if isinstance(fields, dict) else None
