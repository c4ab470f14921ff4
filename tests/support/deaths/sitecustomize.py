"""Kills a process of a handover at a named word, in tests with real processes (``tests/acceptance/test_killed.py``).

Python imports this module at its start, if its directory is in ``PYTHONPATH``. ``HANDOVER_DEATHS`` names a directory.
A process that comes to the word of which a file there has the name, ``sends made 2`` or ``hears taken``, removes the
file and kills itself: behind the word if it sends it, and before it does anything if it hears it. Numbers count the
words of a kind in this process. A file may say in its content that the ``next`` process that comes there is meant, and
that its ``parent`` is killed instead. The directory's file ``log`` has all words.
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

PLACE = os.environ.get("HANDOVER_DEATHS", "")
MODULE = "icwsgw.handover.channel"

_counts: Counter[str] = Counter()


def name_of(document: Mapping[str, Any]) -> str:
    """The name of a word."""
    for name in ("failed", "stop", "go", "taken", "made", "ready", "at", "end", "last", "hand_over", "take_over"):
        if name in document:
            return name
    if "version" in document:
        return "early state" if "early" in document else "state"
    return "early piece" if "early" in document else "rest"


def passed(word: str) -> None:
    """The process has come to a word."""
    _counts[word] += 1
    numbered = f"{word} {_counts[word]}"
    with open(os.path.join(PLACE, "log"), "a") as log:
        log.write(f"{os.getpid()} {numbered}\n")
    for name in (word, numbered):
        path = os.path.join(PLACE, name)
        if not os.path.exists(path):
            continue
        with open(path) as file:
            what = file.read().split()
        if "next" in what:
            with open(path, "w") as file:
                file.write(" ".join(what[1:]))
            continue
        os.unlink(path)
        os.kill(os.getppid() if "parent" in what else os.getpid(), signal.SIGKILL)


def watch(module: Any) -> None:
    """Let the channel tell what it sends and hears."""
    channel = module.Channel
    send, following = channel.send, channel.next

    def sends(self: Any, document: Any, sockets: Sequence[int] = ()) -> None:
        send(self, document, sockets)
        passed(f"sends {name_of(document)}")

    def hears(self: Any) -> Any:
        found = following(self)
        if found is not None:
            passed(f"hears {name_of(found[0])}")
        return found

    channel.send, channel.next = sends, hears


class Finder(MetaPathFinder):
    """Watches the module when it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As the import system asks."""
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


if PLACE:
    sys.meta_path.insert(0, Finder())
