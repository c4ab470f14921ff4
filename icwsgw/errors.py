"""Every failure the gateway knows by name: whose fault it is and what it is called in metrics.

Each class has a ``cause``, the bounded label under which logs and metrics count it. A cause that
needs an answer to a client has a close code beside it in :mod:`icwsgw.core.session_machine`.

    IcwsError
    |- ConfigError              the operator's: refused before anything starts
    |- FormatError              bytes that do not decode (also a ValueError)
    |- SignatureInvalid         a signature, delegation or certificate that does not verify
    |  `- CertificateInvalid
    |- TransportError           the network's: try again (``retryable``)
    |  |- ConnectFailed  |- ConnectionLost  |- RequestTimeout  |- AnswerTooLarge  |- AnswerMalformed
    |- HttpError                an HTTP status that is not 2xx
    |- Rejected                 the IC's or the canister's reject of a query or a call
    |- CanisterRefused          the CDK's ``variant { Err : text }``
    `- NotReady                 no root key yet: the replica has not been reached
"""

from __future__ import annotations


class IcwsError(Exception):
    """Root of the gateway's own exceptions."""

    cause = "internal"


class ConfigError(IcwsError):
    """A wrong option, file or key: one clear line for the operator, exit status 1."""

    cause = "config"


class FormatError(IcwsError, ValueError):
    """Bytes that are not what their format asks for."""

    cause = "format"


class SignatureInvalid(IcwsError):
    """A signature or delegation that does not verify."""

    cause = "signature"


class CertificateInvalid(SignatureInvalid):
    """A certificate that does not verify, is too old, or does not cover the canister."""

    cause = "certificate"


class TransportError(IcwsError):
    """The request or its answer was lost on the way; sending it again is safe."""

    cause = "transport"
    retryable = True


class ConnectFailed(TransportError):
    """No connection to the host: refused, unresolved, unreachable, TLS failure, or too slow."""

    cause = "connect"


class ConnectionLost(TransportError):
    """The connection ended before the answer was whole."""

    cause = "connection_lost"


class RequestTimeout(TransportError):
    """No whole answer within the request's deadline."""

    cause = "timeout"


class AnswerTooLarge(TransportError):
    """The answer's body is longer than the caller allows."""

    cause = "answer_too_large"
    retryable = False


class AnswerMalformed(TransportError):
    """What came back is not HTTP, or not the CBOR that was asked for."""

    cause = "answer_malformed"


_PASSING = frozenset({404, 408, 421, 425, 429})


class HttpError(IcwsError):
    """An HTTP status outside 2xx.

    :ivar status: the status, for example 429
    :ivar detail: plain text for logs and clients, at most 200 characters
    :ivar word: the network's word for the cause, for example "no_healthy_nodes", or empty; see
        icwsgw.core.failure_source
    :ivar retry_after: seconds the server asked to wait, or None
    :ivar resent: the request was sent before, and may have been taken then
    :ivar edge_id: by which the boundary nodes' operators find the request (x-request-id), or empty; only for logs
    """

    cause = "http"

    def __init__(
        self,
        status: int,
        detail: str = "",
        retry_after: float | None = None,
        edge_id: str = "",
        word: str = "",
        resent: bool = False,
    ) -> None:
        text = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
        super().__init__(f"{text} (x-request-id {edge_id})" if edge_id else text)
        self.edge_id = edge_id
        self.status = status
        self.detail = detail
        self.word = word
        self.resent = resent
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later.

        408, 429 and 5xx are what boundary nodes and replicas answer when they cannot help now. Redirects, 404, 421 and
        425 come from what stands before them (a proxy that is set up anew, another host's page) and pass as well:
        each request is idempotent, and the paths are right. So may what a boundary node's policy forbids; another 403
        is a replica's, of a signature that is wrong.
        """
        return self.status in _PASSING or self.status >= 500 or 300 <= self.status < 400 or self.forbidden

    @property
    def forbidden(self) -> bool:
        """Whether a boundary node's policy of the moment refuses it."""
        return self.status == 403 and self.word == "forbidden"


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
    """The CDK's own ``variant { Err : text }``: the canister ran and said no."""

    cause = "canister_refused"


class NotReady(IcwsError):
    """The replica has not been reached yet, so there is no root key to trust."""

    cause = "not_ready"
