"""The part of the gateway's ``Client`` interface that pauses and resumes reading, for fake clients."""

from __future__ import annotations


class Pausing:
    """A session pauses who is not paused, and resumes who is.

    :ivar paused: whether the gateway wants to hear nothing at present
    """

    paused = False

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False
