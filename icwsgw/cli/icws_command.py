"""The command line ``icws``: ``connect``, ``send`` and ``doctor``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from icwsgw._version import __version__
from icwsgw.cli import cli_options, doctor_run
from icwsgw.cli.connection_run import ConnectionRun, ExitStatus, Plan
from icwsgw.cli.frame_trace import FrameTrace
from icwsgw.cli.message_format import FORMATS
from icwsgw.cli.message_script import ExpectStep, SendStep, Step, parse_script
from icwsgw.cli.sdk_releases import SdkRelease, parse_release
from icwsgw.client.client_errors import ClientError
from icwsgw.client.client_events import ForApplication
from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.message_verifier import MessageVerifier
from icwsgw.errors import FormatError, IcwsError
from icwsgw.escaping import escape_invisible
from icwsgw.process.console import run_command

PROGRAM = "icws"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the error without the usage and exit."""
        self.exit(ExitStatus.USAGE, f"{PROGRAM}: {escape_invisible(message)}; see {self.prog} --help\n")


def _common() -> _Parser:
    """Return the options of all commands."""
    common = _Parser(add_help=False)
    common.add_argument("--gateway", metavar="URL", help="the gateway [default: ws://127.0.0.1:8080] [ICWS_GATEWAY]")
    common.add_argument(
        "--network",
        metavar="URL",
        help="the network [default: http://127.0.0.1:4943 for a gateway of this machine, otherwise mainnet]"
        " [ICWS_NETWORK]",
    )
    common.add_argument("--root-key", metavar="KEY", help="its root key in hex, or a file with it")
    common.add_argument("--identity", metavar="FILE", help="private key in PEM [default: a new one]")
    common.add_argument("--delegation", metavar="FILE", help="delegations to this key, JSON of the JavaScript agents")
    common.add_argument("--origin", help="the header Origin, as a page at this address would send it")
    common.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=30.0, help="time limit [default: 30]")
    common.add_argument("--did", metavar="FILE", help="the interface [default: the canister's candid:service]")
    common.add_argument("--type", metavar="NAME", help="the type of messages [default: that of ws_message]")
    common.add_argument(
        "--format",
        choices=list(FORMATS),
        help="how messages are written [default: json if the type is known, otherwise hex]",
    )
    common.add_argument("canister", help="canister id")
    return common


def _messages() -> _Parser:
    """Return the options of commands that send and receive messages."""
    messages = _Parser(add_help=False)
    messages.add_argument("--count", metavar="N", type=int, help="end after so many messages")
    messages.add_argument("--record", metavar="FILE", help="write a script of all messages, to play it again")
    messages.add_argument("--no-reconnect", action="store_true", help="end with the first connection")
    messages.add_argument("--trace", action="store_true", help="show each message of the protocol, with times")
    return messages


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = _Parser(PROGRAM, description="Talks to canisters through a WebSocket gateway.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    talk = [_common(), _messages()]
    connect = commands.add_parser(
        "connect", help="send lines, show messages", parents=talk, description="Sends each line of input."
    )
    connect.add_argument("--script", metavar="FILE", help="send and expect what a script says; - for stdin")
    connect.add_argument("--strict", action="store_true", help="fail at a message that the script does not expect")
    connect.add_argument(
        "--wait", metavar="SECONDS", type=_seconds, help="time after the end of the input [default: 2; of a script: 0]"
    )
    send = commands.add_parser(
        "send", help="send messages and end", parents=talk, description="Sends messages and ends."
    )
    send.add_argument("message", nargs="+", help="messages, in the format of --format")
    send.add_argument(
        "--expect", metavar="MESSAGE", action="append", default=[], help="wait for a message that matches; repeatable"
    )
    send.add_argument("--wait", metavar="SECONDS", type=_seconds, help="time for messages afterwards [default: 0]")
    doctor = commands.add_parser(
        "doctor",
        help="find out what keeps a canister from clients",
        parents=[_common()],
        description="Looks at everything between a client and a canister, and says what to change.",
    )
    doctor.add_argument(
        "--sdk",
        metavar="VERSION",
        type=_release,
        help="the JavaScript library of the client: a version of ic-websocket-js, or PACKAGE@VERSION",
    )
    doctor.add_argument("--message", help="a message to send, after which another one should come")
    return parser


def _release(text: str) -> SdkRelease:
    try:
        return parse_release(text)
    except FormatError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise ValueError
    return seconds


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command line and return the exit status."""
    parsed = make_parser().parse_args(arguments)
    try:
        if parsed.command == "doctor":
            return _examine(parsed, environment)
        return asyncio.run(_converse(parsed, environment))
    except FormatError as error:
        note(str(error))
        return ExitStatus.USAGE
    except IcwsError as error:
        note(cli_options.explained(error))
        return ExitStatus.FAILED


def note(text: str) -> None:
    """Tell a person what happens."""
    print(f"{PROGRAM}: {escape_invisible(text)}", file=sys.stderr, flush=True)


def _examine(parsed: argparse.Namespace, environment: Mapping[str, str]) -> int:
    where = cli_options.places(parsed, environment)
    signer = cli_options.identity(parsed)
    return doctor_run.examine(parsed, where, signer, lambda finding: _print(escape_lines(finding.lines())))


def escape_lines(text: str) -> str:
    """Escape what a terminal must not execute in each of several lines."""
    return "\n".join(map(escape_invisible, text.split("\n")))


async def _converse(parsed: argparse.Namespace, environment: Mapping[str, str]) -> int:
    where = cli_options.places(parsed, environment)
    signer = cli_options.identity(parsed)
    # blocking, before anything else runs
    key = cli_options.root_key(parsed, where.network)
    form, kind = cli_options.message_format(parsed, cli_options.interface(parsed, where, key))
    if kind is None and parsed.format is None:
        note("the canister's message type is not known, so messages are hex digits; --did FILE tells it")
    plan = _plan(parsed)
    settings = ClientSettings(reconnect=not parsed.no_reconnect)
    with contextlib.ExitStack() as files:
        recording = None if parsed.record is None else files.enter_context(_writable(parsed.record))
        # the transport is loaded here, so that --help needs none of it
        from icwsgw.client.asyncio_client import AsyncioClient

        def event(what: ForApplication) -> None:
            conversation.event(what)

        def shown(describe: Callable[[bytes, int], str]) -> Callable[[bytes], None] | None:
            return (lambda payload: conversation.frame(describe(payload, time.time_ns()))) if parsed.trace else None

        frames = FrameTrace(form, MessageVerifier(where.canister, key))
        client = AsyncioClient(
            where.gateway,
            where.canister,
            identity=signer,
            root_key=key,
            codec=cli_options.TypedBytes(kind),
            settings=settings,
            origin=parsed.origin,
            on_event=event,
            on_payload=shown(frames.received),
            on_sent=shown(frames.sent),
        )
        conversation = ConnectionRun(client, form, plan, _print, note, recording)
        if parsed.trace or plan.prompts:
            note(f"connecting to {where.gateway} as {client.identity.principal}")
        return await conversation.run()


def _plan(parsed: argparse.Namespace) -> Plan:
    steps: list[Step] | None = None
    source: IO[str] | None = None
    if parsed.command == "send":
        steps = [SendStep(0, message) for message in parsed.message]
        steps += [ExpectStep(0, message) for message in parsed.expect]
    elif parsed.script is not None:
        try:
            text = sys.stdin.read() if parsed.script == "-" else Path(parsed.script).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ClientError(f"{parsed.script}: {error}") from error
        steps = parse_script(text)
    else:
        source = sys.stdin
        if isinstance(source, io.TextIOWrapper):
            # a line that is not UTF-8 is not sent; the others are
            source.reconfigure(errors="surrogateescape")
    wait = parsed.wait if parsed.wait is not None else 2.0 if steps is None else 0.0
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    strict = parsed.command == "connect" and parsed.strict
    return Plan(steps, source, parsed.timeout, wait, parsed.count, strict, terminal and steps is None, parsed.trace)


def _writable(path: str) -> IO[str]:
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise ClientError(f"cannot write {path}: {error.strerror}") from error


def _print(line: str) -> None:
    print(line, flush=True)


def main() -> NoReturn:
    """Run ``icws`` and exit with its status."""
    run_command(run)


if __name__ == "__main__":
    main()
