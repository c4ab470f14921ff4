"""A child program that ends when the program that started it ends."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from icwsgw.testing.child_program import end_with
from tests.acceptance.processes import ROOT
from tests.support.measured import interpreter


def test_the_end_of_a_stream_ends_the_program() -> None:
    ended = threading.Event()
    reader, writer = os.pipe()
    thread = end_with(reader, ended.set)
    os.write(writer, b"not the end")
    assert not ended.is_set()
    os.close(writer)
    thread.join(10)
    assert ended.is_set()
    os.close(reader)


@pytest.mark.acceptance
def test_it_is_twistd_in_the_foreground() -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [*interpreter(), "-m", "icwsgw.testing.child_program", "icws-devnet", "--nonsense"],
        cwd=ROOT,
        stdin=reader,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(reader)
    os.close(writer)
    assert done.returncode == 1
    assert "twistd icws-devnet: option --nonsense not recognized" in done.stderr
