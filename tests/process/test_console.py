"""What every command line program does around its main function, tested in subprocesses."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = "from icwsgw.process.console import run_command\n"


def start(body: str, *arguments: str, pipe: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM + body, *arguments], stdout=pipe, stderr=pipe)


def test_the_status_is_what_the_command_returns_for_its_arguments() -> None:
    assert start("run_command(lambda arguments, environment: len(arguments))", "a", "b", "c").wait() == 3


def test_the_command_gets_the_environment() -> None:
    assert start("run_command(lambda arguments, environment: 'PATH' in environment and 7)").wait() == 7


def test_a_reader_that_closes_the_pipe_is_no_error() -> None:
    body = """
def print_without_end(arguments, environment):
    while True:
        print("y" * 1000)

run_command(print_without_end)
"""
    writer = start(body, pipe=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.read(1)
    writer.stdout.close()
    _, errors = writer.communicate()
    assert (writer.returncode, errors) == (0, b"")


def test_ctrl_c_ends_a_command_without_a_traceback() -> None:
    body = """
import signal

def wait(arguments, environment):
    # a shell starts what runs in its background with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("waiting", flush=True)
    signal.pause()

run_command(wait)
"""
    waiter = start(body, pipe=subprocess.PIPE)
    assert waiter.stdout is not None
    waiter.stdout.readline()
    waiter.send_signal(signal.SIGINT)
    _, errors = waiter.communicate()
    assert (waiter.returncode, errors) == (130, b"")
