"""``python -m bench``: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from bench import axes, compare, profiling, results, suite, sweep, tables, worker
from bench.gateway import BenchError, GatewayOptions
from bench.options import DEFAULTS, LATENCIES, RunOptions, scaled
from bench.queues import RETAIN

_HELP = {
    "clients": "clients (churn: sessions in parallel)",
    "canisters": "canisters they are distributed over",
    "count": "down: messages in all; up: of each client (with rate 0)",
    "rate": "messages (churn: sessions) a second; 0: as fast as possible, or a closed loop",
    "size": "bytes of an application message",
    "seconds": "length of the measured part",
    "max_messages": "messages of a page",
    "window": "echo: messages of a client under way, with rate 0",
    "slow": "slow: clients that stop reading",
    "cycles": "idle: how often all open and close",
    "concurrency": "clients that open at the same time",
    "calm": "seconds of calm before anything is measured",
    "stall": "seconds without progress after which a run is given up",
    "verify_every": "verify each n-th message of a session in full (certificate, witness, content)",
    "linger": "seconds that clients wait for the answer to their close frame; 0: they drop the connection at once",
    "load_processes": "processes of clients",
    "keep_alive_timeout": "storm: seconds that clients have to answer",
    "rounds": "storm: acknowledgement rounds, one after the other",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Measures IC WebSocket gateways.")
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="run scenarios")
    run.add_argument("scenarios", nargs="+", choices=sorted(DEFAULTS), metavar="SCENARIO")
    run.add_argument(
        "--latency",
        nargs="+",
        type=_latency,
        metavar="QUERY[/CALL]",
        help="latencies in ms, a run for each; default: the scenario's own",
    )
    _run_options(run)
    _gateway_options(run)
    _output_options(run)
    run.add_argument("--repeat", type=int, default=1, help="run everything so many times")
    run.add_argument(
        "--find-largest",
        action="store_true",
        help="storm: how many clients stay open, from --clients on, to within a tenth",
    )

    whole = commands.add_parser("suite", help="the table of targets")
    whole.add_argument("cases", nargs="*", help="beginnings of cases' names; default: all")
    whole.add_argument("--list", action="store_true", help="name the cases")
    whole.add_argument("--scale", type=float, default=1.0, help="clients, messages and seconds times this")
    whole.add_argument("--repeat", type=int, default=1, help="run everything so many times")
    whole.add_argument("--linger", type=float, help=_HELP["linger"])
    _gateway_options(whole)
    _output_options(whole)

    growth = commands.add_parser("sweep", help="how cost grows with connections, canisters, messages, latency")
    growth.add_argument("axes", nargs="*", help=f"of {', '.join(axes.BY_KEY)}; default: all")
    growth.add_argument("--list", action="store_true", help="name the steps")
    growth.add_argument("--most", type=float, help="no step beyond this number, for a quick look")
    growth.add_argument("--seconds", type=float, help="length of each step's measured part")
    growth.add_argument("--repeat", type=int, default=1, help="run everything so many times")
    growth.add_argument("--linger", type=float, help=_HELP["linger"])
    _gateway_options(growth)
    _output_options(growth)

    shown = commands.add_parser("tables", help="results as Markdown, sweeps by axis, sets side by side")
    shown.add_argument("sets", nargs="+", type=Path, help="results or folders of results")

    two = commands.add_parser("compare", help="ratios of two results or folders of results")
    two.add_argument("a", type=Path)
    two.add_argument("b", type=Path)

    profile = commands.add_parser("profile", help="where our gateway's time goes in a scenario")
    profile.add_argument("scenario", choices=sorted(DEFAULTS))
    profile.add_argument("--profiler", choices=("cprofile", "py-spy"), default="cprofile")
    profile.add_argument("--top", type=int, default=30, help="functions to show")
    profile.add_argument("--keep", type=Path, help="keep the raw profile in this file")
    profile.add_argument("--latency", type=_latency, default=(0.0, 0.0), metavar="QUERY[/CALL]")
    _run_options(profile)
    _gateway_options(profile)

    plot = commands.add_parser("plot", help="SVG pictures of results (needs matplotlib)")
    plot.add_argument("sets", nargs="+", type=Path, help="results or folders of results")
    plot.add_argument("--out", type=Path, default=Path("docs/plots"), help="folder for the pictures")

    replica = commands.add_parser("replica", help="a mock replica by itself, for a gateway started by hand")
    replica.add_argument("--port", type=int, default=4943)
    return parser


def _latency(text: str) -> tuple[float, float]:
    query, _, call = text.partition("/")
    return float(query), float(call or 0)


def _run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load")
    for each in fields(RunOptions):
        if each.name in _HELP:
            kind = float if each.type in ("float", float) else int
            group.add_argument("--" + each.name.replace("_", "-"), type=kind, help=_HELP[each.name])
    group.add_argument("--calls", choices=("200", "202"), help="calls are answered when executed, or when accepted")
    group.add_argument(
        "--certificates", choices=("real", "fake"), help="fake: fixed bytes instead of certificates and trees"
    )
    group.add_argument("--pin", action="store_true", help="the gateway on the first CPU, all else on the last")


def _gateway_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("gateway", "Ours is started for each run unless another one is named.")
    group.add_argument("--gateway", default="", metavar="URL", help="one that runs already; with --pid, --replica-port")
    group.add_argument("--pid", type=_pids, default=[], metavar="N[,N]", help="its processes; children are found")
    group.add_argument("--replica-port", type=int, default=0, help="where it looks for its replica")
    group.add_argument(
        "--command",
        dest="gateway_command",
        default="",
        help="command line of another gateway; {port}, {metrics}, {replica} (URL) and {dir} are filled in",
    )
    group.add_argument("--python", default=sys.executable, help="interpreter whose twistd runs ours")
    group.add_argument(
        "--option", action="append", default=[], metavar="--NAME=VALUE", help="an option for ours; repeatable"
    )
    group.add_argument("--reactor", default="", help="twistd's --reactor for ours")
    group.add_argument("--tls", action="store_true", help="ours listens with TLS")


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", default="", help="a word for the record; also the folder below --results")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="folder for the results")


def _pids(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _gateway(args: argparse.Namespace) -> GatewayOptions:
    if args.gateway and not args.pid:
        raise BenchError("--gateway needs --pid, whose CPU time is measured")
    return GatewayOptions(
        url=args.gateway,
        pids=args.pid,
        command=args.gateway_command,
        python=args.python,
        options=args.option,
        twistd=[f"--reactor={args.reactor}"] if args.reactor else [],
        tls=args.tls,
    )


def _options(scenario: str, latency: tuple[float, float], args: argparse.Namespace) -> RunOptions:
    options = replace(DEFAULTS[scenario], query_ms=latency[0], call_ms=latency[1], pin=args.pin)
    given = {name: getattr(args, name) for name in _HELP if getattr(args, name) is not None}
    if args.calls is not None:
        given["calls"] = args.calls
    if args.certificates is not None:
        given["real"] = args.certificates == "real"
    if scenario == "slow" and given.get("rate") == 0:
        raise ValueError("slow needs a rate")
    options = replace(options, **given)
    if scenario == "down" and options.rate == 0 and options.count > RETAIN * options.canisters:
        raise ValueError(f"a canister of the mock replica keeps {RETAIN:,} messages: a smaller --count")
    return options


def _folder(args: argparse.Namespace) -> Path:
    where: Path = args.results
    return where / args.label if args.label else where


def _run(args: argparse.Namespace) -> int:
    gateway = _gateway(args)
    if args.find_largest:
        return _find_largest(args, gateway)
    runs = [
        (_options(scenario, latency, args), gateway)
        for _ in range(args.repeat)
        for scenario in args.scenarios
        for latency in args.latency or LATENCIES[scenario]
    ]
    done = results.run_all(runs, _folder(args), replica_port=args.replica_port, label=args.label)
    return 0 if len(done) == len(runs) else 1


def _find_largest(args: argparse.Namespace, gateway: GatewayOptions) -> int:
    if args.scenarios != ["storm"]:
        raise ValueError("--find-largest is for storm alone")
    for latency in args.latency or LATENCIES["storm"]:
        options = _options("storm", latency, args)

        def survive(clients: int, options: RunOptions = options) -> bool:
            (result,) = results.run_all(
                [(replace(options, clients=clients), gateway)],
                _folder(args),
                replica_port=args.replica_port,
                label=args.label,
            )
            return not any(result[name] for name in results.FAULTS)

        most = sweep.fitting(replace(options, clients=1 << 30), 1, sweep.descriptors()).clients
        found = sweep.largest(survive, options.clients, most)
        print(f"queries of {latency[0]:g} ms, calls of {latency[1]:g} ms: {found:,} clients, {options.rounds} rounds")
    return 0


def _suite(args: argparse.Namespace) -> int:
    cases = suite.choose(args.cases)
    if args.list:
        for case in cases:
            print(f"{case.key:24}{case.what}")
        return 0
    gateway = _gateway(args)
    done = []
    for case in cases * args.repeat:
        own = replace(gateway, options=[*gateway.options, *case.gateway]) if gateway.ours else gateway
        options = scaled(case.options, args.scale)
        if args.linger is not None:
            options = replace(options, linger=args.linger)
        (result,) = results.run_all(
            [(options, own)],
            _folder(args),
            replica_port=args.replica_port,
            label=args.label,
        )
        done.append((case, result))
    print(suite.report(done))
    return 0


def _sweep(args: argparse.Namespace) -> int:
    gateway = _gateway(args)
    steps = list(sweep.steps(sweep.choose(args.axes), ours=gateway.ours, most=args.most))
    if args.list:
        for step in steps:
            print(f"{step.axis.key:12}{step.at:>8g} {step.axis.unit}, {step.workers} worker{'s' * (step.workers > 1)}")
        return 0
    done = sweep.sweep(
        steps * args.repeat,
        gateway,
        _folder(args),
        seconds=args.seconds,
        linger=args.linger,
        replica_port=args.replica_port,
        label=args.label,
    )
    print(tables.tables({args.label: done}))
    return 0


def _tables(args: argparse.Namespace) -> int:
    print(tables.tables({where.name: results.read(where) for where in args.sets}))
    return 0


def _compare(args: argparse.Namespace) -> int:
    a, b = results.read(args.a), results.read(args.b)
    rows = compare.compare(a, b)
    print(compare.table(rows, str(args.a), str(args.b)))
    for where, names in zip((args.a, args.b), compare.unmatched(a, b), strict=True):
        for name in names:
            print(f"only in {where}: {name}", file=sys.stderr)
    return 0 if rows else 1


def _profile(args: argparse.Namespace) -> int:
    gateway = _gateway(args)
    if not gateway.ours:
        raise BenchError("only our own gateway can be profiled")
    options = _options(args.scenario, args.latency, args)
    print(profiling.profile(options, gateway, args.profiler, args.top, args.keep))
    return 0


def _plot(args: argparse.Namespace) -> int:
    from bench import plotting

    for path in plotting.plot({str(where.name): results.read(where) for where in args.sets}, args.out):
        print(path)
    return 0


def _replica(args: argparse.Namespace) -> int:
    print(f"mock replica on http://127.0.0.1:{args.port}, ^C ends it", file=sys.stderr)
    worker.main(["replica", f'{{"port": {args.port}, "alone": true}}'])
    return 0


_COMMANDS = {
    "run": _run,
    "suite": _suite,
    "sweep": _sweep,
    "tables": _tables,
    "compare": _compare,
    "profile": _profile,
    "plot": _plot,
    "replica": _replica,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of the command line; return the exit status."""
    args = _parser().parse_args(arguments)
    worker.raise_file_limit()
    try:
        return _COMMANDS[args.command](args)
    except (BenchError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
