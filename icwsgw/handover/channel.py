"""The private socket between the two processes of a handover: documents, each with the sockets that it is about.

A document is CBOR behind its length. Sockets travel beside the first byte of a document (SCM_RIGHTS), at most
:data:`MOST_SOCKETS` at a time, because the kernel takes no more than 253.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.ic import cbor

#: Sockets that travel with one document.
MOST_SOCKETS = 100
#: The longest document, bytes; and the most items of one.
MOST_BYTES = 256 << 20
MOST_ITEMS = 10_000_000

_HEAD = 4
_READ = 1 << 20


class ChannelClosed(Exception):
    """The other process has ended, or does not answer in time; the text says which."""


class Channel:
    """One end of the socket.

    :param end: a connected unix stream socket
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._data = bytearray()
        self._sockets: list[int] = []

    def send(self, document: Document, sockets: Sequence[int] = ()) -> None:
        """Send a document, and duplicates of sockets with it.

        :param sockets: descriptors, at most :data:`MOST_SOCKETS`
        :raises ChannelClosed: the other process has ended, or does not read in time
        """
        body = cbor.dumps(document)
        data = len(body).to_bytes(_HEAD, "big") + body
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", sockets))] if sockets else []
        try:
            sent = self.socket.sendmsg([data], ancillary)
            if sent < len(data):
                self.socket.sendall(memoryview(data)[sent:])
        except OSError as error:
            raise ChannelClosed(f"the other process has ended: {error.strerror or error}") from None

    def receive(self, seconds: float) -> tuple[Document, list[int]]:
        """Wait for the next document.

        :param seconds: how long the other process may be silent
        :return: the document, and the descriptors that came with it
        :raises ChannelClosed: the other process has ended, or was silent for so long
        :raises FormatError: what came is no document
        """
        self.socket.settimeout(seconds)
        while (found := self.next()) is None:
            try:
                more = self.read()
            except TimeoutError:
                raise ChannelClosed(f"the other process was silent for {seconds:.0f} s") from None
            if not more:
                raise ChannelClosed("the other process has ended")
        return found

    def read(self) -> bool:
        """Read what has come; False: the other end is closed.

        :raises BlockingIOError: nothing has come, and the socket does not block
        """
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(_READ, socket.CMSG_SPACE(4 * MOST_SOCKETS))
        except (BlockingIOError, TimeoutError):
            raise
        except OSError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors = array.array("i")
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
                self._sockets.extend(descriptors)
        if flags & socket.MSG_CTRUNC:
            return False
        self._data += data
        return bool(data)

    def next(self) -> tuple[Document, list[int]] | None:
        """The next document, if all of it has come.

        :raises FormatError: what came is no document
        """
        if len(self._data) < _HEAD:
            return None
        length = int.from_bytes(self._data[:_HEAD], "big")
        if length > MOST_BYTES:
            raise FormatError(f"a document of {length} bytes is too long")
        if len(self._data) < _HEAD + length:
            return None
        document = cbor.loads(bytes(self._data[_HEAD : _HEAD + length]), max_items=MOST_ITEMS)
        if not isinstance(document, dict):
            raise FormatError("a document is a map")
        del self._data[: _HEAD + length]
        count = document.get("sockets", 0)
        if type(count) is not int or not 0 <= count <= len(self._sockets):
            raise FormatError("sockets are missing")
        sockets, self._sockets = self._sockets[:count], self._sockets[count:]
        return document, sockets

    def close(self) -> None:
        """Close this end, and the sockets that were not asked for."""
        for descriptor in self._sockets:
            os.close(descriptor)
        self._sockets = []
        self.socket.close()
