"""The gateway's exceptions, by the source of the failure.

Each class has a ``cause``: the label under which logs and metrics count it, from a fixed set. If a failure closes a
client's connection, :mod:`icwsgw.core.session_machine` maps its cause to a close code.

    IcwsError
    |- ConfigError              the operator's mistake, refused before anything starts
    |- FormatError              bytes that do not decode (also a ValueError)
    |- SignatureInvalid         a signature, delegation or certificate that does not verify
    |  `- CertificateInvalid
    |- TransportError           a failure of the network; most can be retried (``retryable``)
    |  |- ConnectFailed  |- ConnectionLost  |- RequestTimeout  |- AnswerTooLarge  |- AnswerMalformed
    |- HttpError                an HTTP status that is not 2xx
    |- Rejected                 the IC or the canister rejected a query or a call
    |- CanisterRefused          the CDK's ``variant { Err : text }``
    `- NotReady                 no root key yet: the replica has not been reached
"""

from __future__ import annotations


class IcwsError(Exception):
    """Base class of the gateway's exceptions."""

    cause = "internal"


class ConfigError(IcwsError):
    """An option, file or key is invalid. The process prints one line for the operator and exits with status 1."""

    cause = "config"


class FormatError(IcwsError, ValueError):
    """The bytes do not follow their format."""

    cause = "format"


class SignatureInvalid(IcwsError):
    """A signature or delegation does not verify."""

    cause = "signature"


class CertificateInvalid(SignatureInvalid):
    """A certificate does not verify, is too old, or does not cover the canister."""

    cause = "certificate"


class TransportError(IcwsError):
    """The request or its answer was lost in transit; it is safe to send the request again."""

    cause = "transport"
    retryable = True


class ConnectFailed(TransportError):
    """No connection to the host: refused, unresolved, unreachable, TLS failure, or too slow."""

    cause = "connect"


class ConnectionLost(TransportError):
    """The connection ended before the answer was complete."""

    cause = "connection_lost"


class RequestTimeout(TransportError):
    """No complete answer arrived within the request's time limit."""

    cause = "timeout"


class AnswerTooLarge(TransportError):
    """The answer's body is longer than the caller allows."""

    cause = "answer_too_large"
    retryable = False


class AnswerMalformed(TransportError):
    """The answer is not valid HTTP, or not the expected CBOR."""

    cause = "answer_malformed"


_PASSING = frozenset({404, 408, 421, 425, 429})


class HttpError(IcwsError):
    """An HTTP status outside 2xx.

    :ivar status: the status, for example 429
    :ivar detail: plain text for logs and clients, at most 200 characters
    :ivar error_cause: the network's error code, for example "no_healthy_nodes", or empty; see
        icwsgw.core.failure_source
    :ivar retry_after: the seconds that the server asked to wait, or None
    :ivar resent: whether the request was sent before, and may have been accepted then
    :ivar edge_id: the x-request-id by which operators of boundary nodes find the request, or empty; only for logs
    """

    cause = "http"

    def __init__(
        self,
        status: int,
        detail: str = "",
        retry_after: float | None = None,
        edge_id: str = "",
        error_cause: str = "",
        resent: bool = False,
    ) -> None:
        text = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
        super().__init__(f"{text} (x-request-id {edge_id})" if edge_id else text)
        self.edge_id = edge_id
        self.status = status
        self.detail = detail
        self.error_cause = error_cause
        self.resent = resent
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later.

        Boundary nodes and replicas answer 408, 429 and 5xx for temporary failures. Redirects, 404, 421 and 425 come
        from something in front of them, such as a proxy during a restart or another host's page. They are temporary
        too, because the gateway's paths are correct. A retry is safe because each request is idempotent. A 403 from a
        boundary node's policy (:attr:`forbidden`) may also be temporary; any other 403 comes from a replica and means
        an invalid signature.
        """
        return self.status in _PASSING or self.status >= 500 or 300 <= self.status < 400 or self.forbidden

    @property
    def forbidden(self) -> bool:
        """Whether a boundary node's current policy refuses the request."""
        return self.status == 403 and self.error_cause == "forbidden"


class Rejected(IcwsError):
    """A reject of the IC, certified or not (interface spec, section reject codes).

    :ivar code: 1 SYS_FATAL, 2 SYS_TRANSIENT, 3 DESTINATION_INVALID, 4 CANISTER_REJECT, 5 CANISTER_ERROR, 6 SYS_UNKNOWN
    :ivar message: the reject message
    :ivar error_code: for example "IC0503", or None
    """

    cause = "rejected"

    def __init__(self, code: int, message: str, error_code: str | None = None) -> None:
        super().__init__(f"reject {code}{f' {error_code}' if error_code else ''}: {message}")
        self.code = code
        self.message = message
        self.error_code = error_code


class CanisterRefused(IcwsError):
    """The CDK returned ``variant { Err : text }``: the canister executed the request and refused it."""

    cause = "canister_refused"


class NotReady(IcwsError):
    """The replica has not been reached yet, so there is no root key to trust."""

    cause = "not_ready"
