"""The command line ``icws-capacity``: plans gateways for a load, as text or JSON. It needs no gateway."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence

from icwsgw._version import __version__
from icwsgw.capacity.capacity_plan import CapacityLoad, CapacityPlan, make_plan
from icwsgw.config.quantities import parse_duration, parse_size
from icwsgw.errors import ConfigError
from icwsgw.process.console import run_command

PROGRAM = "icws-capacity"


def _number(text: str) -> float:
    try:
        value = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is outside 0 to 1,000,000,000")
    return value


def _count(text: str) -> int:
    value = _number(text)
    if value != int(value) or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(value)


def _interval(text: str) -> float:
    try:
        value = parse_duration(text, 0.001)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 0.001 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is outside 1 ms to 60 s")
    return value


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        PROGRAM,
        description="Plans gateways for a load: how many, how large, with which options. docs/scaling.md has the"
        " formulas, and the measured figures that they use. Rates are those of all gateways together.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("--clients", type=_count, required=True, metavar="N", help="clients at the same time")
    parser.add_argument("--canisters", type=_count, default=1, metavar="N", help="canisters [default: 1]")
    parser.add_argument(
        "--largest-canister",
        type=_count,
        default=0,
        metavar="N",
        help="clients of the largest canister [default: all canisters have as many]",
    )
    parser.add_argument(
        "--messages-up", type=_number, default=0.0, metavar="RATE", help="messages of clients a second [default: 0]"
    )
    parser.add_argument(
        "--messages-down", type=_number, default=0.0, metavar="RATE", help="messages to clients a second [default: 0]"
    )
    parser.add_argument(
        "--message-size", type=_size, default=1000, metavar="BYTES", help="mean size of a message [default: 1000]"
    )
    parser.add_argument(
        "--opens", type=_number, default=0.0, metavar="RATE", help="sessions opened and closed a second [default: 0]"
    )
    parser.add_argument(
        "--polling-interval",
        type=_interval,
        default=0.1,
        metavar="MS",
        help="the gateways' --polling-interval [default: 100]",
    )
    parser.add_argument(
        "--group",
        type=_count,
        default=2,
        metavar="N",
        help="gateways that serve each canister, and replace each other [default: 2]",
    )
    parser.add_argument("--tls", action="store_true", help="clients' TLS ends at the gateways, not at a proxy")
    parser.add_argument(
        "--own-boundary-node", action="store_true", help="the network does not limit requests by address"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    return parser


def load_of(parsed: argparse.Namespace) -> CapacityLoad:
    """The load that a command line describes."""
    return CapacityLoad(
        clients=parsed.clients,
        canisters=parsed.canisters,
        largest=parsed.largest_canister,
        messages_up=parsed.messages_up,
        messages_down=parsed.messages_down,
        message_bytes=parsed.message_size,
        opens=parsed.opens,
        polling_interval=parsed.polling_interval,
        group=parsed.group,
        tls=parsed.tls,
        limited=not parsed.own_boundary_node,
    )


def lines(load: CapacityLoad, plan: CapacityPlan) -> Iterator[str]:
    """The plan as text."""
    rows = [
        ("gateways", f"{plan.gateways:,}, {plan.serving:,} for each canister" + _own_address(load)),
        ("clients", f"{plan.clients:,} each, {plan.most_clients:,} while one of its group is down"),
        ("canisters", f"{plan.canisters:,} each"),
        (
            "requests",
            f"{plan.requests:.0f}/s each ({plan.polls:.0f} polls, {plan.calls:.0f} calls), at most "
            f"{plan.most_requests:.0f}/s while one of its group is down",
        ),
        ("cores", f"{plan.cores:.2f} each, half of it headroom; {plan.gateways * plan.cores:.1f} in all"),
        (
            "memory",
            f"{plan.memory_bytes / 1e6:.0f} MB each at most, {plan.gateways * plan.memory_bytes / 1e9:.1f} GB in all",
        ),
        ("open files", f"{plan.descriptors:,} for each process"),
        ("traffic", f"{plan.bits_up / 1e6:.1f} Mbit/s from and {plan.bits_down / 1e6:.1f} Mbit/s to clients, each"),
        ("drain", f"{plan.drain_seconds:.0f} s each"),
        ("options", " ".join(f"--{name} {value}" for name, value in plan.options.items())),
    ]
    if plan.workers > 1:
        rows.insert(1, ("workers", f"{plan.workers} each"))
    for name, text in rows:
        yield f"{name:<12}{text}"
    for warning in plan.warnings:
        yield f"{'but':<12}{warning}"


def _own_address(load: CapacityLoad) -> str:
    return ", each with its own address" if load.limited else ""


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command line and return the exit status: 1 if something stands against the plan.

    :param environment: not used
    """
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    load = load_of(parsed)
    if load.largest > load.clients:
        parser.error("--largest-canister: it cannot have more clients than there are")
    if load.canisters > load.clients:
        parser.error("--canisters: each canister needs a client")
    plan = make_plan(load)
    if parsed.json:
        print(json.dumps(plan.to_json(), indent=2))
    else:
        print("\n".join(lines(load, plan)))
    return int(bool(plan.warnings))


def main() -> None:
    """Run ``icws-capacity`` and exit."""
    run_command(run)


if __name__ == "__main__":
    main()
