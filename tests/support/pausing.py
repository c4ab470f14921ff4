"""The part of the gateway's ``Client`` interface that pauses and resumes reading, for fake clients."""

from __future__ import annotations


class Pausing:
    """Checks that a session pauses and resumes its client alternately.

    :ivar paused: whether the gateway has paused reading
    """

    paused = False

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False
