"""``twistd icws``: parses the command line and makes the service."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from icwsgw._version import __version__
from icwsgw.config.dump import as_file, describe, option_help, usage_lines
from icwsgw.config.log_options import level_warnings
from icwsgw.config.provenance import Provenance
from icwsgw.config.schema import OPTIONS, REMOVED, GatewayConfig
from icwsgw.config.sources import Sourced, likely_typos, load, suspicious_variables
from icwsgw.config.usage_rows import add_repeatable, flag_rows, given_values, parameter_rows
from icwsgw.core.written_state import Document
from icwsgw.errors import ConfigError
from icwsgw.gateway.identities import require_key_file
from icwsgw.handover.preparation import prepare_handover, reported_to_predecessor
from icwsgw.handover.successor import Successor
from icwsgw.observe.levels import parse_levels
from icwsgw.observe.log_file import FileBounds
from icwsgw.observe.logs import Logger, ObservedService, get_logger, hide_clients, make_observer
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.observe.tracing_extra import load_tracing
from icwsgw.process.heap_trim import trim_heap
from icwsgw.process.local_choices import LocalChoices
from icwsgw.process.ownership import NewFiles, switches_to
from icwsgw.process.reload import Reloader
from icwsgw.process.signals import held, ignore_unused
from icwsgw.process.startup import (
    closed_stdout_is_an_end,
    exit_zero_on_signals,
    freeze_startup_objects,
    keep_starter_stderr,
    one_line,
    report_start_errors,
)
from icwsgw.process.systemd import Notifier, NotifyingService
from icwsgw.reactor.clock import use_monotonic_time

if TYPE_CHECKING:
    from twisted.application.service import MultiService


#: Commands and options of the command line that are not options of the gateway.
_COMMANDS = {
    "config=": "Read options from a TOML file. [ICWS_CONFIG]",
    "check-config": "Check options, addresses and files, print the effective configuration, then exit.",
    "print-config": "Print the effective configuration as a --config file, with the source of each value, then exit.",
    "print-principal": "Print the principals of the key file for these options, then exit.",
    "version": "Print the version, then exit.",
    "help": "Print this text, then exit.",
}

#: Text for removed options: ``--help`` does not list them, but shell completions show it.
_REMOVED_WORDS = "No effect any more."


class Options(usage.Options):
    """The command line of ``twistd icws``; after parsing, ``sourced`` holds the configuration, ``provenance`` its
    sources.

    An invalid argument ends the process with status 1 and one line on stderr.
    """

    synopsis = "[options]"
    longdesc = "Each option is also an environment variable (ICWS_ and the name) and a key of the --config file."

    optParameters = [  # noqa: N815
        ["config", None, None, _COMMANDS["config="], Path],
        *parameter_rows(OPTIONS, option_help),
        *([entry.name, None, None, _REMOVED_WORDS] for entry in REMOVED if not entry.is_flag),
    ]
    optFlags = [  # noqa: N815
        *([name, None, _COMMANDS[name]] for name in ("check-config", "print-config", "print-principal")),
        *flag_rows(OPTIONS, option_help),
        *([no + entry.name, None, _REMOVED_WORDS] for entry in REMOVED if entry.is_flag for no in ("", "no-")),
    ]

    def __init__(self) -> None:
        # a daemon changes its directory
        self.directory = os.getcwd()
        self.gathered: dict[str, tuple[Any, ...]] = {}
        self.sourced: Sourced | None = None
        self._choices: LocalChoices | None = None
        super().__init__()  # type: ignore[no-untyped-call]

    def getUsage(self, width: int | None = None) -> str:  # noqa: N802
        """Return the text of ``--help``: the most common options first, then the others by subject."""
        return "\n".join(usage_lines(self.longdesc, _COMMANDS, width or 80)) + "\n"

    @property
    def config(self) -> GatewayConfig:
        """The effective configuration."""
        assert self.sourced is not None, "the command line has not been read"
        return self.sourced.config

    def parseOptions(self, options: list[str] | None = None) -> None:  # noqa: N802
        """Read the command line.

        :raises SystemExit: the command line is invalid; the exception holds one line for stderr
        """
        try:
            with closed_stdout_is_an_end():
                super().parseOptions(options)  # type: ignore[no-untyped-call]
        except (usage.UsageError, ConfigError) as error:
            Successor.report(str(error))
            raise SystemExit(one_line(error) + likely_typos(error, self.longOpt)) from None

    def parseArgs(self, *arguments: str) -> None:  # noqa: N802
        """Refuse positional arguments.

        :raises UsageError: there is one
        """
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is no option: options begin with --, and flags take no value")

    def postOptions(self) -> None:  # noqa: N802
        """Add the other sources, check the configuration, and run the commands that only print.

        :raises ConfigError: the configuration is invalid
        :raises SystemExit: a command has printed its result
        """
        given = {**self.gathered, **given_values(OPTIONS, self)}
        for removed in REMOVED:
            value = self[removed.name] or self[f"no-{removed.name}"] if removed.is_flag else self[removed.name]
            if value or value == "":
                given[removed.name] = value
        # kept for reloads; the path is absolute because a daemon changes its directory
        self._given, self._file = given, self["config"] and self["config"].absolute()
        self.sourced = sourced = load(given, os.environ, self["config"])
        self.provenance = Provenance(sourced)
        if self["check-config"] or self["print-config"] or self["print-principal"]:
            held.release()
        if self["check-config"]:
            from icwsgw.process.check_config import check_files

            notes = self.choose()
            found = check_files(self.config)
            for warning in (*notes, *_warnings(self.sourced), *found):
                print(one_line(warning), file=sys.stderr)
        if self["print-principal"]:
            from icwsgw.process.check_config import principals

            print("\n".join(principals(self.config)))
            raise SystemExit(0)
        if self["check-config"] or self["print-config"]:
            print("\n".join(as_file(sourced) if self["print-config"] else describe(self.sourced)))
            raise SystemExit(0)

    def read_again(self) -> GatewayConfig:
        """Read the environment and the file again; values of the command line stay.

        :raises ConfigError: the configuration is invalid
        """
        sourced = load(self._given, os.environ, self._file)
        if self._choices is not None:
            sourced = sourced._replace(config=self._choices.kept(sourced.config))
        self.provenance.read_again(sourced)
        return sourced.config

    def choose(self) -> list[str]:
        """Choose what depends on what runs on this machine; see :mod:`icwsgw.process.local_choices`.

        :returns: what was chosen and why, one sentence each
        """
        assert self.sourced is not None, "the command line has not been read"
        if self._choices is None:
            self._choices = LocalChoices(self.sourced, Path.cwd())
            self.sourced = self._choices.sourced
            self.provenance = Provenance(self.sourced)
        return self._choices.notes

    def opt_version(self) -> None:
        """Display the gateway's version and exit."""
        print(f"icwsgw {__version__}")
        raise SystemExit(0)

    # the short forms of the Rust gateway
    opt_h = usage.Options.opt_help
    opt_V = opt_version  # noqa: N815


add_repeatable(Options, OPTIONS, option_help)


def _warnings(sourced: Sourced) -> list[str]:
    """Return warnings about probable mistakes in the configuration, one sentence each."""
    concern = sourced.config.network.concern
    return [
        *sourced.ignored,
        *suspicious_variables(os.environ),
        *([concern] if concern else []),
        *level_warnings(sourced.config),
    ]


def _log_observer(config: GatewayConfig, twistd: dict[str, Any]) -> object:
    """Make the log observer of the configuration.

    :param twistd: the options of twistd
    :raises ConfigError: a log file cannot be opened
    """
    hide_clients(config.log_clients)
    try:
        return make_observer(
            parse_levels(config.log_level),
            config.log_format,
            file_levels=parse_levels(config.log_file_level),
            traces=config.data_dir / "traces",
            bounds=FileBounds(config.log_file_bytes, config.log_file_count),
            twistd=twistd,
        )
    except OSError as error:
        raise ConfigError(f"cannot write the log {error.filename}: {error.strerror}") from None


def _log_notes(log: Logger, sourced: Sourced, notes: list[str]) -> None:
    """Log what the operator should know of the configuration."""
    for warning in _warnings(sourced):
        log.warn(warning)
    for note in notes:
        log.info(note)
    config = sourced.config
    if config.query_budget is None and config.queries_per_second is not None:
        log.info(
            "requests to the network are limited, because it counts them by address",
            per_second=config.queries_per_second,
            gateways_per_address=config.gateways_per_address,
        )
    if config.opentelemetry_collector_endpoint and not config.exports_traces:
        log.info("no traces are exported at this level", level=config.trace_level)


def _make_gateway(options: Options, reactor: Any, recent: RecentWarnings, successor: Successor | None) -> Any:
    """Make the service of one process, or the supervisor of several.

    :raises ConfigError: a key, a certificate or an address is invalid
    """
    config = options.config
    if successor is not None:
        require_key_file(config.key_path)
    endpoints = None if successor is None else successor.endpoints()
    inheritances = [] if successor is None else successor.inherit(config.workers, config.identities)
    if config.workers > 1:
        from icwsgw.workers.supervisor import make_supervisor

        return make_supervisor(config, reactor, options.parent, recent, endpoints, inheritances)
    from icwsgw.service import make_gateway_service

    inherited = inheritances[0].inherited if inheritances else ()
    return make_gateway_service(config, reactor, recent, endpoints, inherited)


def _prepare_handover(
    gateway: Any,
    options: Options,
    environment: dict[str, str],
    notifier: Notifier,
    notifying: Any,
    reloader: Reloader,
    successor: Successor | None,
) -> None:
    """Let the gateway hand over to a new process, and take over from the process that has started this one."""
    config = options.config
    if config.workers == 1:
        prepare_handover(gateway, options, environment, notifier, notifying, reloader, successor)
        return
    from icwsgw.workers.handed_supervisor import HandedSupervisor
    from icwsgw.workers.succession import Succession

    def succeed(began: Callable[[Document], None]) -> None:
        assert successor is not None
        inheritances = successor.inherit(config.workers, config.identities)
        Succession(gateway, successor.channel, inheritances, began, reloader).prepare()

    handed = HandedSupervisor(gateway)
    prepare_handover(gateway, options, environment, notifier, notifying, reloader, successor, handed, succeed)


def _handle_signals(reactor: Any, gateway: Any, log: Logger) -> None:
    exit_zero_on_signals(reactor, gateway.skip_drain_window)
    # prepare_handover() uses SIGHUP, SIGUSR1 and SIGUSR2
    ignore_unused(reactor, lambda name: log.info("signal ignored", signal=name), {signal.SIGUSR2})


def makeService(options: Options) -> MultiService:  # noqa: N802
    """Return the gateway's service, with its log, for twistd.

    :raises ConfigError: a file, a key, a certificate or an address is invalid
    :raises SystemExit: a signal has asked for the end meanwhile
    """
    from twisted.internet import reactor

    use_monotonic_time(reactor)
    notes = options.choose()
    config = options.config
    twistd: dict[str, Any] = options.parent or {}
    log = get_logger("service")
    daemon = not twistd.get("nodaemon", True)
    if daemon:
        keep_starter_stderr(reactor)
    report_start_errors(log=log.error if daemon else None)
    new_files = NewFiles(config.data_dir)
    observer = _log_observer(config, twistd)
    recent = RecentWarnings().listen()
    assert options.sourced is not None, "the command line has not been read"
    _log_notes(log, options.sourced, notes)
    if config.exports_traces:
        load_tracing()
    environment = dict(os.environ)
    notifier = Notifier.from_environment(reactor)
    successor = Successor.from_environment(reactor)
    with reported_to_predecessor(successor):
        gateway = _make_gateway(options, reactor, recent, successor)
    gateway.provenance = options.provenance
    user = switches_to(twistd)
    if user is not None:
        new_files.give_to(*user)
    _handle_signals(reactor, gateway, log)
    freeze_startup_objects(reactor)
    trim_heap(reactor)
    reloader = Reloader(config, options.read_again, gateway, notifier.reloading)
    root = ObservedService(observer)
    gateway.setServiceParent(root)
    notifying: Any = NotifyingService(notifier, reactor, lambda: gateway.config.longest_stop)
    notifying.setServiceParent(root)
    _prepare_handover(gateway, options, environment, notifier, notifying, reloader, successor)
    if held.stopping:
        # nothing has begun that would have to end
        raise SystemExit(0)
    return root
