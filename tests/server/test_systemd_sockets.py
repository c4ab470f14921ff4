import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from icwsgw.config.addresses import parse_description
from icwsgw.errors import ConfigError
from icwsgw.server import systemd_sockets
from icwsgw.server.systemd_sockets import handed_over, systemd_endpoint
from tests.test_layering import ROOT


def given(count: int, names: str | None = None, pid: int | None = None) -> dict[str, str]:
    variables = {"LISTEN_FDS": str(count), "LISTEN_PID": str(os.getpid() if pid is None else pid)}
    return variables if names is None else {**variables, "LISTEN_FDNAMES": names}


def endpoint(address: str, environment: dict[str, str]) -> Any:
    return systemd_endpoint(MemoryReactorClock(), parse_description(address), environment)


def test_what_systemd_says() -> None:
    assert handed_over(given(2, "web:admin")) == [("web", 3), ("admin", 4)]
    assert handed_over(given(2)) == [("unknown", 3), ("unknown", 4)], "sd_listen_fds_with_names(3)"
    assert handed_over(given(2, "one")) == [("unknown", 3), ("unknown", 4)]
    assert handed_over(given(1, "web", pid=1)) == []
    assert handed_over({}) == handed_over({"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}) == []


@pytest.mark.parametrize(
    ("address", "descriptor", "family"),
    [
        ("systemd:domain=INET:name=admin", 4, socket.AF_INET),
        ("systemd:domain=INET6:index=1", 4, socket.AF_INET6),
        ("systemd:UNIX:index=0", 3, socket.AF_UNIX),
    ],
)
def test_a_socket_by_name_or_index(address: str, descriptor: int, family: int) -> None:
    made = endpoint(address, given(2, "web:admin"))
    assert (made.fileno, made.addressFamily) == (descriptor, family)


def test_the_variables_of_the_start_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values may have equals signs in them, and be empty."""
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"LISTEN_FDNAMES=a=b\0EMPTY=\0\0LISTEN_FDS=1\0")
    assert systemd_sockets._environment_of_the_start() == {"LISTEN_FDNAMES": "a=b", "EMPTY": "", "LISTEN_FDS": "1"}


def test_a_socket_without_a_name() -> None:
    assert endpoint("systemd:domain=INET:index=0", given(1)).fileno == 3
    assert endpoint("systemd:domain=INET:name=unknown", given(1)).fileno == 3


@pytest.mark.parametrize(
    ("address", "environment", "words"),
    [
        ("systemd:domain=INET:name=icws", given(2), r"by index and name: 0 \(unknown\), 1 \(unknown\)$"),
        ("systemd:domain=INET:index=2", given(2, "a:b"), r"no such socket; .* 0 \(a\), 1 \(b\)$"),
        ("systemd:domain=INET:index=-1", given(1), "no such socket"),
        ("systemd:domain=INET:index=0", given(1, pid=1), "none to this process"),
        ("systemd:domain=X25:index=0", given(1), "needs domain=INET, INET6 or UNIX"),
        ("systemd:domain=INET:index=0:name=a", given(1), "one of them"),
        ("systemd:domain=INET:index=0:colour=red", given(1), "colour is not known"),
    ],
)
def test_what_is_not_there(address: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        endpoint(address, environment)


def test_variables_that_twisted_has_removed() -> None:
    program = (
        "import os; import twisted.internet.endpoints; from icwsgw.server.systemd_sockets import handed_over; "
        "print('LISTEN_FDS' in os.environ, handed_over())"
    )
    # the shell's process becomes Python's, so LISTEN_PID is right
    command = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$0" -c "$1"'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False [('web', 3)]\n"
