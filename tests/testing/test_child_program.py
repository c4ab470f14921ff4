"""A program that ends with its starter."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest

from icwsgw.testing.child_program import end_with
from tests.acceptance.processes import ROOT
from tests.support.measured import interpreter


def test_the_end_of_a_stream_ends_the_program() -> None:
    ended = threading.Event()
    end_with(io.BytesIO(b"whatever"), ended.set).join(10)
    assert ended.is_set()
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as stream, open(writer, "wb", buffering=0) as other:
        ended.clear()
        thread = end_with(stream, ended.set)
        other.write(b"not the end")
        assert not ended.is_set()
        other.close()
        thread.join(10)
    assert ended.is_set()


@pytest.mark.acceptance
def test_it_is_twistd_in_the_foreground() -> None:
    done = subprocess.run(
        [*interpreter(), "-m", "icwsgw.testing.child_program", "icws-devnet", "--nonsense"],
        cwd=ROOT,
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "twistd icws-devnet: option --nonsense not recognized" in done.stderr
    assert sys.executable
