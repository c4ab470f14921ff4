"""logrotate, the real one, with the configuration of deploy/ and a real gateway."""

from __future__ import annotations

import gzip
import re
import signal
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack, start_stack
from tests.acceptance.crowd import connect, eventually, leave
from tests.deploy.fleet import replaced
from tests.deploy.tools import DEPLOY, run, tool

pytestmark = pytest.mark.deploy

CONFIG = DEPLOY / "logrotate" / "icws"
#: The units that are signalled, as a pattern of systemctl.
UNITS = "icws[.@]*service"


def rotate(directory: Path, config: Path) -> None:
    """Run logrotate as its timer does, as if the time had come."""
    run(tool("logrotate", "logrotate"), "--force", "--state", directory / "state", config)


def sessions(*files: Path) -> list[str]:
    """The sessions that the files say have ended."""
    return re.findall(r"session ended .*?session=(\S+)", "".join(map(content, files)))


def content(path: Path) -> str:
    """The text of a file, which may be compressed."""
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()


@pytest.mark.parametrize("way", ["signal", "copytruncate"])
def test_no_line_is_lost_and_every_rotation_begins_new_files(way: str, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    log = logs / "icws.log"
    options = ("--workers=2", "--log-file-level=info", "--log-file-bytes=0")
    stack = start_stack(tmp_path, *options, twistd=(f"--logfile={log}",))
    try:
        rotate_thrice(way, tmp_path, log, stack)
    finally:
        stack.server.kill()


def test_the_units_of_the_gateway_are_signalled_and_no_others() -> None:
    units = [path.name.replace("@", "@8081") for path in (DEPLOY / "systemd").glob("icws*.service")]
    assert sorted(units) == ["icws.service", "icws@8081.service"]
    assert all(fnmatchcase(unit, UNITS) for unit in units)
    assert not any(fnmatchcase(unit, UNITS) for unit in ("icws-devnet.service", "icwsx.service", "icws.target"))


def rotate_thrice(way: str, tmp_path: Path, log: Path, stack: Stack) -> None:
    """Rotate between the ends of sessions, and look for the lines about them."""
    traces = tmp_path / "data" / "traces"
    config = tmp_path / "logrotate.conf"
    changes = {
        "/var/log/icws/*.log": str(log),
        # as of the unit icws, or of icws@PORT
        "/var/lib/icws/traces": str(traces if way == "signal" else tmp_path / "none"),
        "/var/lib/icws/*/traces": f"{tmp_path}/{'none' if way == 'signal' else '*'}/traces",
        "    su icws icws\n": "",
        f"systemctl kill --kill-who=main --signal=USR1 '{UNITS}'": f"kill -USR1 {stack.server.process.pid}",
    }
    text = replaced(CONFIG.read_text(), changes)
    if way == "copytruncate":
        text = text.replace("    nocreate\n", "    copytruncate\n")
        text = text[: text.index("    sharedscripts")] + "}\n"
    config.write_text(text)
    config.chmod(0o600)

    def one_leaves() -> None:
        before = log.read_text().count("session ended") if log.exists() else 0
        leave(connect(stack))
        eventually(lambda: log.read_text().count("session ended") > before, "its line")

    for round in range(3):
        one_leaves()
        rotate(tmp_path, config)
        if way == "signal":
            eventually(lambda: log.exists() and "log files begin anew" in log.read_text(), "the gateway has a new file")
        assert log.read_bytes().count(b"\0") == 0
        assert log.read_text().count("session ended") == 0, round
    one_leaves()
    # the second last stays as it is for a day, because somebody may still write to it
    assert sorted(path.name for path in log.parent.iterdir()) == [
        "icws.log",
        "icws.log.1",
        "icws.log.2.gz",
        "icws.log.3.gz",
    ]
    files = [log.parent / name for name in ("icws.log.3.gz", "icws.log.2.gz", "icws.log.1", "icws.log")]
    assert [len(sessions(path)) for path in files] == [1, 1, 1, 1]
    assert len({found for path in files for found in sessions(path)}) == 4

    # and the workers' own files: a line of each session, in one of them. Each file has a writer of its own
    def lines() -> list[str]:
        return [content(path) for path in traces.iterdir()]

    eventually(lambda: sum(text.count('"session ended"') for text in lines()) == 4, "a line of each session")
    assert not any("\0" in text for text in lines())
    eventually(lambda: len(list(traces.glob("*.log"))) == 3, "the supervisor's, and two workers'")
    stack.server.process.send_signal(signal.SIGTERM)
    assert stack.server.wait() == 0
