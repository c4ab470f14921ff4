"""The Candid arguments and answers of the CDK's WebSocket methods, for both the gateway and the devnet's canisters.

Source: omnia-network/ic-websocket-cdk-rs, src/ic-websocket-cdk/src/types.rs and its ws_types.did. Principals, keys and
contents are plain ``bytes`` in these modules, because the gateway compares and forwards them and rarely parses them.
"""

from __future__ import annotations

from icwsgw.ic.ws.arguments import (
    UNIT_OK,
    CloseArgs,
    MessageArgs,
    OpenArgs,
    decode_close_args,
    decode_message_args,
    decode_open_args,
    decode_unit_result,
    encode_close,
    encode_message_args,
    encode_open_args,
    encode_result_err,
    encode_result_ok,
    is_open_of_version_0_1,
    is_service_message,
    message_number,
    usual_message_head,
)
from icwsgw.ic.ws.batch import (
    Batch,
    Message,
    decode_get_args,
    encode_batch,
    encode_batch_err,
    encode_get_messages,
    nonce_of_key,
    parse_get_messages,
)
from icwsgw.ic.ws.service_messages import (
    CLOSE_REASONS,
    AckMessage,
    CloseMessage,
    KeepAliveMessage,
    OpenMessage,
    ServiceMessage,
    decode_service_message,
    encode_service_message,
)

__all__ = [
    "CLOSE_REASONS",
    "UNIT_OK",
    "AckMessage",
    "Batch",
    "CloseArgs",
    "CloseMessage",
    "KeepAliveMessage",
    "Message",
    "MessageArgs",
    "OpenArgs",
    "OpenMessage",
    "ServiceMessage",
    "decode_close_args",
    "decode_get_args",
    "decode_message_args",
    "decode_open_args",
    "decode_service_message",
    "decode_unit_result",
    "encode_batch",
    "encode_batch_err",
    "encode_close",
    "encode_get_messages",
    "encode_message_args",
    "encode_open_args",
    "encode_result_err",
    "encode_result_ok",
    "encode_service_message",
    "is_open_of_version_0_1",
    "is_service_message",
    "message_number",
    "nonce_of_key",
    "parse_get_messages",
    "usual_message_head",
]
