"""Kills a process of a handover at a given message (fault injection for ``tests/acceptance/test_killed_handovers.py``).

Python imports this module at its start if its directory is in ``PYTHONPATH``. ``HANDOVER_KILLS`` names a directory of
kill points. The name of a file there is a direction and a message, with an optional number: ``sends made 2`` is the
second message ``made`` that this process sends, ``receives taken`` is each message ``taken`` that it receives. A
process that reaches a kill point deletes the file and kills itself with SIGKILL: after it has sent the message, or
before it handles a received one. Words in the file change this: ``next`` skips one process, ``parent`` kills the parent
process instead. All messages are logged to the directory's file ``log``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

DIRECTORY = os.environ.get("HANDOVER_KILLS", "")
MODULE = "icwsgw.handover.channel"

_counts: Counter[str] = Counter()


def name_of(document: Mapping[str, Any]) -> str:
    """The name of a message."""
    for name in ("failed", "stop", "go", "taken", "made", "ready", "at", "end", "last", "hand_over", "take_over"):
        if name in document:
            return name
    if "version" in document:
        return "early state" if "early" in document else "state"
    return "early piece" if "early" in document else "rest"


def reached(message: str) -> None:
    """Log a message, and kill the process if it is a kill point."""
    _counts[message] += 1
    numbered = f"{message} {_counts[message]}"
    with open(os.path.join(DIRECTORY, "log"), "a") as log:
        log.write(f"{os.getpid()} {numbered}\n")
    for name in (message, numbered):
        path = os.path.join(DIRECTORY, name)
        if not os.path.exists(path):
            continue
        with open(path) as file:
            options = file.read().split()
        if "next" in options:
            with open(path, "w") as file:
                file.write(" ".join(options[1:]))
            continue
        os.unlink(path)
        os.kill(os.getppid() if "parent" in options else os.getpid(), signal.SIGKILL)


def watch(module: Any) -> None:
    """Patch the channel so that each message that it sends or receives is checked."""
    channel = module.Channel
    send, receive = channel.send, channel.next

    def sends(self: Any, document: Any, sockets: Sequence[int] = ()) -> None:
        send(self, document, sockets)
        reached(f"sends {name_of(document)}")

    def receives(self: Any) -> Any:
        found = receive(self)
        if found is not None:
            reached(f"receives {name_of(found[0])}")
        return found

    channel.send, channel.next = sends, receives


class PatchingFinder(MetaPathFinder):
    """Patches the module when it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if name != MODULE:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            watch(module)

        loader.exec_module = exec_module
        return spec


if DIRECTORY:
    sys.meta_path.insert(0, PatchingFinder())
