"""What a process that hands over sends to a supervisor, or sends as one, before its last message.

    {"overrides": {...}}                         what the operator has changed at run time
    {"overrides_file": true, "sockets": 1}       the same, in a file whose descriptor comes along
    {"reload": true}, {"rotate": true}           a reload, or new log files, were asked for meanwhile

The process that takes over needs them if the other one dies before its last message, ``go``, which repeats them. A
process without workers reads them only when it has taken over the clients. So a long document would fill the socket,
and it travels in a file. An older version ignores what it does not know.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.handover.channel import MOST_BYTES, MOST_ITEMS, Channel, ChannelClosed
from icwsgw.handover.transfer import SILENCE_SECONDS
from icwsgw.ic import cbor
from icwsgw.observe.logs import get_logger

#: The longest document that goes through the socket itself: several fit into the buffer of any system.
MOST_EARLY_BYTES = 4 << 10

_log = get_logger("handover")


def send_early_overrides(channel: Channel, overrides: Document) -> None:
    """Send in advance what the operator has changed."""
    document: Document = {"overrides": overrides}
    data = cbor.dumps(document)
    if len(data) <= MOST_EARLY_BYTES:
        _send(channel, document)
        return
    try:
        with _file_in_memory() as file:
            file.write(data)
            file.flush()
            _send(channel, {"overrides_file": True, "sockets": 1}, [file.fileno()])
    except OSError as error:
        _log.error("what was set at run time cannot be sent in advance", reason=error)


def send_early_request(channel: Channel, request: str) -> None:
    """Send in advance that a ``reload``, or new log files (``rotate``), were asked for."""
    _send(channel, {request: True})


def read_early(document: Document, descriptors: Sequence[int]) -> Document:
    """Read what the other process has sent in advance.

    :param descriptors: those that came with it; they are closed
    :return: the document, with the content of the file in it
    :raises FormatError: the file is no such document
    """
    with ExitStack() as files:
        opened = [files.enter_context(open(descriptor, "rb")) for descriptor in descriptors]
        if not document.get("overrides_file") or not opened:
            return document
        try:
            opened[0].seek(0)
            data = opened[0].read(MOST_BYTES)
        except OSError as error:
            raise FormatError(f"a document in a file cannot be read: {error}") from None
    found = cbor.loads(data, max_items=MOST_ITEMS)
    if not isinstance(found, dict):
        raise FormatError("a document in a file is a map")
    return found


def _send(channel: Channel, document: Document, descriptors: Sequence[int] = ()) -> None:
    try:
        channel.socket.settimeout(SILENCE_SECONDS)
        try:
            channel.send(document, descriptors)
        finally:
            # the reactor reads it
            channel.socket.setblocking(False)
    except (ChannelClosed, OSError):
        # the end of the other process is noticed elsewhere
        pass


def _file_in_memory() -> BinaryIO:
    """A file without a name; not every system has those in memory."""
    try:
        return open(os.memfd_create("overrides"), "w+b")
    except (AttributeError, OSError):
        return cast(BinaryIO, TemporaryFile())
