r"""Writes docs/man/icws.1, the gateway's manual page, from the declarations in icwsgw/config/schema.py.

A test fails if the page is out of date. scripts/man_page_ctl.py writes the page of icwsctl.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mdoc import roff, sentences

from icwsgw.config.option import GROUPS, Option
from icwsgw.config.schema import OPTIONS, REMOVED

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "man" / "icws.1"

#: Update this by hand when the text below changes.
DATE = "November 29, 2026"

HEAD = r"""
.\" Made by scripts/man_page.py: change that, or the declarations in icwsgw/config/schema.py.
.Dd @DATE@
.Dt ICWS 1
.Os
.Sh NAME
.Nm icws
.Nd WebSocket gateway for canisters of the Internet Computer
.Sh SYNOPSIS
.Nm twistd
.Op Fl \-nodaemon
.Op Fl \-pidfile Ns = Ns Op Ar file
.Cm icws
.Op Ar options
.Nm twistd
.Cm icws
.Fl \-check\-config | Fl \-print\-config | Fl \-print\-principal
.Op Ar options
.Nm twistd
.Cm icws
.Fl \-version | Fl \-help
.Sh DESCRIPTION
.Nm
gives canisters of the Internet Computer WebSockets.
It accepts connections of clients that use the IC WebSocket SDK, relays their
signed messages to canisters, and polls the canisters for certified messages.
It is a drop-in replacement for the Rust program
.Em ic_websocket_gateway
with the same options, key file and protocol.
.Pp
It runs under
.Xr twistd 1 .
Under a service manager, put
.Fl \-nodaemon
and
.Fl \-pidfile Ns =
before
.Cm icws :
they keep the process in the foreground without a pid file.
.Sh OPTIONS
Each option is also an environment variable and a key of the file that
.Fl \-config
names.
Precedence: command line, environment, file, default.
Durations take the units ms, s, m and h, sizes K, M and G.
Flags have opposites: the name with
.Ql no-
before it.
.Ss Without serving
.Bl -tag -width Ds
.It Fl \-check\-config
Check options, addresses and files, print the effective configuration, then
exit.
.It Fl \-config Ar file
Read options from a TOML file.
.br
.Ev ICWS_CONFIG
.It Fl \-help
List all options, then exit.
.It Fl \-print\-config
Print the effective configuration as a file for
.Fl \-config ,
with the source of each value, then exit.
.It Fl \-print\-principal
Print the principals of the key file for
.Fl \-workers
and
.Fl \-identities ,
then exit.
.It Fl \-version
Show the version, then exit.
.El
""".strip()

TAIL = r"""
.Sh SIGNALS
.Bl -tag -width Ds
.It Dv SIGTERM , SIGINT
Drain and stop: readiness turns 503, the gateway stops accepting, closes clients
with code 4100 over
.Fl \-drain\-window ,
sends ws_close to canisters, then exits.
A second signal closes all sessions at once and gives ws_close two seconds.
.It Dv SIGHUP
Read the configuration file and the certificates again.
Options that say so are reloaded; others need a restart and are named in the
log.
An invalid file is ignored and logged as one error.
.El
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev ICWS_CONFIG
The file of
.Fl \-config .
.It Ev ICWS_ Ns Ar NAME
The option
.Ar name ,
in upper case with underscores.
.It Ev RUST_LOG_STDOUT , RUST_LOG_FILE , RUST_LOG_TELEMETRY
Log levels in the form of the Rust gateway; the options take precedence.
.It Ev NOTIFY_SOCKET , WATCHDOG_USEC
Set by
.Xr systemd 1 :
the gateway reports that it is ready, reloads, stops, and is alive.
.It Ev LISTEN_FDS , LISTEN_PID , LISTEN_FDNAMES
Set by
.Xr systemd 1
for addresses that begin with
.Ql systemd\&: .
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa data/key_pair
The identity of the gateway: an Ed25519 key in PKCS#8 (DER), made at the first
start with mode 0600.
Use one key for one running gateway only.
.It Pa data/traces/gateway_ Ns Ar start Ns Pa .log
The log in JSON, when
.Fl \-log\-file\-level
asks for it;
.Ar start
is the time of the start in milliseconds.
.It Pa twistd.pid
The process number, unless
.Fl \-pidfile Ns =
says otherwise.
.El
.Pp
.Pa data
is
.Fl \-data\-dir .
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Stopped by a signal, or finished with a command such as
.Fl \-check\-config .
.It 1
An option, address, key or certificate is invalid, or a port is in use; one
line on standard error says which.
.El
.Sh EXAMPLES
A gateway for mainnet, its metrics for the machines of an internal network:
.Bd -literal -offset indent
twistd --nodaemon --pidfile= icws \e
    --ic-network-url https://icp-api.io \e
    --prometheus-endpoint 10.0.0.5:9090
.Ed
.Pp
With TLS, four processes, and room for 10,000 clients of one canister:
.Bd -literal -offset indent
twistd --nodaemon --pidfile= icws \e
    --gateway-address tcp:443 --workers 4 --identities 3 \e
    --tls-certificate-pem-path /etc/icws/tls/fullchain.pem \e
    --tls-certificate-key-pem-path /etc/icws/tls/privkey.pem \e
    --ic-network-url https://icp-api.io
.Ed
.Pp
The command line of the Rust gateway, unchanged:
.Bd -literal -offset indent
twistd --nodaemon --pidfile= icws --gateway-address 0.0.0.0:8080 \e
    --ic-network-url http://127.0.0.1:4943 --polling-interval 100
.Ed
.Pp
A trial with an embedded replica and demo canisters:
.Bd -literal -offset indent
twistd --nodaemon --pidfile= icws --devnet
.Ed
.Pp
Check whether it is ready for clients:
.Bd -literal -offset indent
curl --fail http://127.0.0.1:9090/health/ready
.Ed
.Pp
The completion for
.Nm twistd
that comes with
.Xr zsh 1
knows the options of
.Nm
too.
.Sh DIAGNOSTICS
The gateway closes clients with a code and a sentence; the operator's guide says
for each code what to check.
.Sh SEE ALSO
.Xr icws-capacity 1 ,
.Xr icws-client 1 ,
.Xr icwsctl 1 ,
.Xr twistd 1 ,
.Xr systemd.service 5
.Pp
The operator's guide
.Pa docs/operations.md ,
.Pa docs/runbook.md ,
and
.Pa docs/options.md
with an example of each option, in the source repository.
""".strip()


def option(entry: Option) -> Iterator[str]:
    """Format one option."""
    name = roff(entry.name)
    if entry.is_flag:
        yield f".It Fl \\-{name}"
    else:
        yield f".It Fl \\-{name} Ar {argument(entry)}"
    yield from sentences(entry.help)
    default = roff(entry.kind.readable(entry.default))
    yield f"Default: {default}."
    yield from sentences(entry.reason)
    if entry.kind.bounds:
        yield f"From {roff(entry.kind.bounds)}."
    if entry.reloaded:
        yield "Reloaded at SIGHUP."
    yield ".br"
    yield from (f".Ev {name}" for name in (entry.variable, *entry.variables))


def argument(entry: Option) -> str:
    """Return the placeholder for the option's value."""
    unit = entry.kind.unit
    if "|" in unit:
        return " | Ar ".join(word.strip() for word in unit.split("|"))
    return {
        "0 to 1": "share",
        "addresses": "address",
        "canister ids": "canister",
        "origins": "origin",
        "networks": "network",
    }.get(unit, unit)


def options() -> Iterator[str]:
    """Format all options by group."""
    for group in GROUPS:
        yield f".Ss {group}"
        yield ".Bl -tag -width Ds"
        for entry in OPTIONS:
            if entry.group == group:
                yield from option(entry)
        yield ".El"
    yield ".Ss Removed options"
    yield "These are still accepted, with any value."
    yield "They have no effect but a warning in the log:"
    yield from (f".Fl {roff('-' + entry.name)}{' ,' if entry is not REMOVED[-1] else ' .'}" for entry in REMOVED)


def page() -> str:
    """The whole page."""
    parts: Iterable[str] = (HEAD.replace("@DATE@", DATE), *options(), TAIL)
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
