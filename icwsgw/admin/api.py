"""The admin API: its paths and the handling of each request. :mod:`icwsgw.admin.api_site` is the HTTP server.

    GET  /v1/status                 what the status page shows
    GET  /v1/sessions               ?canister= &principal= &state= &address= &origin= &older= &idle= &limit=
    GET  /v1/sessions/<id>
    GET  /v1/sessions/ended         ?canister= &principal= &limit=: those of the last ten minutes
    GET  /v1/canisters              ?canister= &limit=
    GET  /v1/top                    ?sort= &canister= &principal= &limit=
    GET  /v1/config
    GET  /v1/certificates
    POST /v1/kick                   {"session": id} | {"canister": id, "principal": text}, "code": 1008 | 4100,
                                    "for": seconds
    GET  /v1/bans
    POST /v1/unban                  {"canister": id, "principal": text}
    GET  /v1/maintenance
    POST /v1/maintenance            {"on": true | false}
    POST /v1/drain                  {"window": seconds}
    POST /v1/upgrade                {}: hand over to a new process
    GET  /v1/deny
    POST /v1/deny, POST /v1/allow   {"canister": id}
    GET  /v1/options
    PUT  /v1/options                {name: value | [value, ...] | null, ...}, "reset": true
    GET  /v1/log-levels
    PUT  /v1/log-levels             {component: level, ...}, "reset": true

Each request applies to all processes of a gateway (``--workers``). The answer lists the workers that have not answered
within two seconds (``missing_workers``). Such a worker applies the change later, when it reads the order or after its
restart.

Denied canisters, bans, maintenance, options and log levels stay in force after a reload. SIGHUP also announces a
renewed certificate, and this must not admit a canister that an operator has just denied.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from twisted.internet.defer import Deferred

from icwsgw.admin.access import Refused
from icwsgw.admin.control import Answer, ControlRequest, Overrides
from icwsgw.admin.parameters import DEFAULT_LIMIT, read_body, read_levels, read_options, read_query
from icwsgw.admin.views import certificates_document, config_document, options_document, top_document
from icwsgw.config.provenance import Provenance
from icwsgw.config.running import fitting_options, with_options
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import ConfigError, IcwsError
from icwsgw.gateway.introspection import merge_quotas
from icwsgw.observe.levels import EVERYTHING, level_name, parse_levels
from icwsgw.observe.logs import get_logger

#: Canisters that can be denied at run time, and components whose levels can be set.
MAX_DENIED = 10_000
MAX_LEVELS = 100
MAX_BANS = 10_000

_log = get_logger("admin")


class Replies(NamedTuple):
    """The answers of the processes that serve clients.

    :ivar given: answers by worker number; a gateway of one process has number 0
    :ivar missing: numbers of the workers that have not answered
    """

    given: dict[int, Answer]
    missing: list[int]


class Upgrader(Protocol):
    """Hands a gateway over to a new process (:class:`icwsgw.handover.predecessor.Predecessor`)."""

    def hand_over(self) -> Deferred[dict[str, Any]]:
        """Start a new process and hand over to it.

        :return: fires with what was handed over, or fails with IcwsError
        """

    def retire(self) -> None:
        """Stop this process, which has handed over."""


class AdministeredGateway(Protocol):
    """The gateway as the admin API sees it, with one process or several."""

    overrides: Overrides
    #: hands over to a new process; None: this process cannot
    upgrader: Upgrader | None
    #: where the values of options come from; None: unknown
    provenance: Provenance | None

    @property
    def config(self) -> GatewayConfig: ...

    @property
    def configured(self) -> GatewayConfig:
        """The configuration without the options that were set at run time."""

    @property
    def draining(self) -> bool:
        """Return whether the gateway is draining."""

    def request(self, request: ControlRequest) -> Deferred[Replies]:
        """Send a request to the processes that serve clients; see :mod:`icwsgw.admin.control`."""

    def override(self, overrides: Overrides) -> Deferred[Replies]:
        """Apply these overrides in all present and future processes."""

    def status_document(self) -> Deferred[dict[str, Any]]:
        """Return the status document."""

    def seconds(self) -> float:
        """Return the seconds of the system's monotonic clock."""

    def drain(self, window: float | None) -> None:
        """Begin to drain, as on SIGTERM.

        :param window: seconds over which clients are closed; None: as many as the network needs
        """


class Request(NamedTuple):
    """A request to the API.

    :ivar path: the path as sent, without the query
    :ivar by: the sender, for the log
    """

    method: str
    path: str
    query: str
    body: bytes
    by: str


class Done(NamedTuple):
    """The answer to a request.

    :ivar document: the body, sent as JSON
    :ivar then: called after the answer has been sent
    """

    document: dict[str, Any]
    status: int = 200
    then: Callable[[], None] | None = None


class NotAllowed(Refused):
    """The path does not support the method.

    :ivar allow: the methods that the path supports
    """

    def __init__(self, allow: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allow))
        super().__init__(405, f"there is {self.allow} here")


_Handler = Callable[[Request], Awaitable[Done]]


class Api:
    """Answers requests that have passed access control."""

    def __init__(self, service: AdministeredGateway) -> None:
        self._service = service
        self._routes: dict[str, dict[str, _Handler]] = {
            "/v1/status": {"GET": self._status},
            "/v1/sessions": {"GET": self._sessions},
            "/v1/sessions/ended": {"GET": self._ended},
            "/v1/canisters": {"GET": self._canisters},
            "/v1/top": {"GET": self._top},
            "/v1/config": {"GET": self._config},
            "/v1/certificates": {"GET": self._certificates},
            "/v1/kick": {"POST": self._kick},
            "/v1/bans": {"GET": self._bans},
            "/v1/unban": {"POST": self._unban},
            "/v1/maintenance": {"GET": self._maintenance, "POST": self._set_maintenance},
            "/v1/drain": {"POST": self._drain},
            "/v1/upgrade": {"POST": self._upgrade},
            "/v1/deny": {"GET": self._denied, "POST": self._deny},
            "/v1/allow": {"POST": self._allow},
            "/v1/options": {"GET": self._options, "PUT": self._set_options},
            "/v1/log-levels": {"GET": self._levels, "PUT": self._set_levels},
        }

    async def answer(self, request: Request) -> Done:
        """Answer a request.

        :raises Refused: the request is invalid, or cannot be carried out
        """
        path = request.path.rstrip("/")
        handlers = self._routes.get(path)
        if handlers is None and path.startswith("/v1/sessions/"):
            handlers = {"GET": self._session}
        if handlers is None:
            raise Refused(404, f"there is no {path[:64] or '/'} here; there is: {', '.join(self._routes)}")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in handlers:
            raise NotAllowed([*handlers, *(["HEAD"] if "GET" in handlers else [])])
        return await handlers[method](request)

    # read requests

    async def _status(self, request: Request) -> Done:
        read_query(request.query)
        return Done(await self._service.status_document())

    async def _sessions(self, request: Request) -> Done:
        names = "canister", "principal", "state", "address", "origin", "older", "idle", "limit"
        only = read_query(request.query, *names)
        limit = only.setdefault("limit", DEFAULT_LIMIT)
        rows, more, missing = await self._rows({"what": "sessions", **only})
        return Done({"sessions": rows[:limit], "more": more or len(rows) > limit, "missing_workers": missing})

    async def _session(self, request: Request) -> Done:
        read_query(request.query)
        session = unquote(request.path.rstrip("/").rpartition("/")[2])
        rows, _, missing = await self._rows({"what": "sessions", "id": session})
        if not rows:
            raise Refused(404, _no_session(session, missing))
        return Done(rows[0])

    async def _ended(self, request: Request) -> Done:
        only = read_query(request.query, "canister", "principal", "limit")
        limit = only.setdefault("limit", DEFAULT_LIMIT)
        rows, more, missing = await self._rows({"what": "ended", **only})
        rows.sort(key=lambda row: -row["ended"])
        return Done({"sessions": rows[:limit], "more": more or len(rows) > limit, "missing_workers": missing})

    async def _canisters(self, request: Request) -> Done:
        only = read_query(request.query, "canister", "limit")
        limit = only.setdefault("limit", DEFAULT_LIMIT)
        rows, more, missing = await self._rows({"what": "canisters", **only})
        merged: dict[str, dict[str, Any]] = {}
        for row in rows:
            pollers = [{"worker": row["worker"], **poller} for poller in row["pollers"]]
            nothing = {"canister": row["canister"], "sessions": 0, "pollers": [], "quota": None}
            found = merged.setdefault(row["canister"], nothing)
            found["sessions"] += row["sessions"]
            found["pollers"] += pollers
            found["quota"] = merge_quotas(found["quota"], row.get("quota"))
        canisters = sorted(merged.values(), key=lambda row: (-row["sessions"], row["canister"]))
        more = more or len(canisters) > limit
        return Done({"canisters": canisters[:limit], "more": more, "missing_workers": missing})

    async def _top(self, request: Request) -> Done:
        only = {"sort": "rate", "limit": DEFAULT_LIMIT}
        only |= read_query(request.query, "sort", "canister", "principal", "limit")
        return Done(await top_document(self._service, only))

    async def _config(self, request: Request) -> Done:
        read_query(request.query)
        return Done(config_document(self._service))

    async def _certificates(self, request: Request) -> Done:
        read_query(request.query)
        return Done(await certificates_document(self._service))

    async def _rows(self, request: ControlRequest) -> tuple[list[dict[str, Any]], bool, list[int]]:
        """Return the rows of all processes, each with its worker; whether there are more; the missing workers."""
        replies = await self._service.request(request)
        rows = [{"worker": worker, **row} for worker, answer in sorted(replies.given.items()) for row in answer["rows"]]
        return rows, any(answer["more"] for answer in replies.given.values()), replies.missing

    # changes

    async def _kick(self, request: Request) -> Done:
        fields = read_body(request.body, "session", "canister", "principal", "code", "for")
        code = fields.pop("code", int(CloseCode.POLICY))
        seconds = fields.pop("for", None)
        session = fields.pop("session", None)
        if (session is None) == (not fields):
            raise Refused(400, "name a session, or a canister, a principal or both")
        only = fields if session is None else {"id": session}
        if seconds is not None:
            # first, so that no client is back before
            await self._ban(fields if session is None else await self._whose(session), seconds)
        replies = await self._service.request({"what": "kick", "code": code, **only})
        closed = sum(answer["closed"] for answer in replies.given.values())
        if session is not None and not closed:
            raise Refused(404, _no_session(session, replies.missing))
        _log.info("clients closed", by=request.by, closed=closed, code=code, session=session, for_s=seconds, **fields)
        return Done({"closed": closed, "missing_workers": replies.missing})

    async def _whose(self, session: str) -> dict[str, str]:
        """Return the canister and the principal of a session.

        :raises Refused: there is no such session, or it is not known yet whose it is
        """
        rows, _, missing = await self._rows({"what": "sessions", "id": session})
        if not rows:
            raise Refused(404, _no_session(session, missing))
        found = {name: rows[0][name] for name in ("canister", "principal")}
        if None in found.values():
            raise Refused(409, f"session {session[:64]!r} has not said yet whose it is: close it without a time")
        return found

    async def _ban(self, whom: Mapping[str, str], seconds: float) -> None:
        key = whom.get("canister"), whom.get("principal")
        others = [ban for ban in self._living_bans() if ban[:2] != key]
        if len(others) >= MAX_BANS:
            raise Refused(409, f"{MAX_BANS} bans are in force, no more can be")
        await self._override(bans=(*others, (*key, self._service.seconds() + seconds)))

    def _living_bans(self) -> list[tuple[str | None, str | None, float]]:
        now = self._service.seconds()
        return [ban for ban in self._service.overrides.bans if ban[2] > now]

    async def _bans(self, request: Request) -> Done:
        read_query(request.query)
        now = self._service.seconds()
        rows = [
            {"canister": canister, "principal": principal, "seconds_left": round(until - now, 3)}
            for canister, principal, until in self._living_bans()
        ]
        return Done({"bans": rows})

    async def _unban(self, request: Request) -> Done:
        fields = read_body(request.body, "canister", "principal")
        if not fields:
            raise Refused(400, "name a canister, a principal or both, as in the kick")
        key = fields.get("canister"), fields.get("principal")
        living = self._living_bans()
        rest = tuple(ban for ban in living if ban[:2] != key)
        changed, missing = len(rest) < len(living), []
        if changed:
            missing = (await self._override(bans=rest)).missing
            _log.info("ban lifted", by=request.by, **fields)
        return Done({**fields, "changed": changed, "missing_workers": missing})

    async def _maintenance(self, request: Request) -> Done:
        read_query(request.query)
        return Done({"maintenance": self._service.overrides.maintenance})

    async def _set_maintenance(self, request: Request) -> Done:
        on = read_body(request.body, "on").get("on")
        if on is None:
            raise Refused(400, 'say {"on": true} or {"on": false}')
        changed = on is not self._service.overrides.maintenance
        replies = await self._override(maintenance=on)
        if changed:
            _log.info("maintenance begins" if on else "maintenance ends", by=request.by)
        return Done({"maintenance": on, "changed": changed, "missing_workers": replies.missing})

    async def _drain(self, request: Request) -> Done:
        service = self._service
        window = read_body(request.body, "window").get("window", service.config.drain_window)
        if service.draining:
            raise Refused(409, "the gateway is already draining; SIGTERM stops it at once")
        _log.info("drain requested", by=request.by, window_s=window)
        return Done({"draining": True, "window": window}, 202, lambda: service.drain(window))

    async def _upgrade(self, request: Request) -> Done:
        read_body(request.body)
        upgrader = self._service.upgrader
        if upgrader is None:
            raise Refused(409, "this gateway cannot hand over: restart it")
        _log.info("upgrade requested", by=request.by)
        try:
            document = await upgrader.hand_over()
        except IcwsError as failure:
            raise Refused(503, f"no upgrade: {failure}") from None
        return Done(document, then=upgrader.retire)

    async def _denied(self, request: Request) -> Done:
        read_query(request.query)
        return Done(
            {"denied": list(self._service.overrides.denied), "configured": list(self._service.config.denied_canisters)}
        )

    async def _deny(self, request: Request) -> Done:
        canister, denied = self._canister(request)
        changed = canister not in denied
        if changed and len(denied) >= MAX_DENIED:
            raise Refused(409, f"{MAX_DENIED} canisters are denied at run time, no more can be: use --denied-canister")
        replies = await self._override(denied=(*denied, *([canister] if changed else [])))
        closed = sum(answer["closed"] for answer in replies.given.values())
        _log.info("canister denied", by=request.by, canister=canister, closed=closed)
        document = {"canister": canister, "denied": True, "changed": changed, "closed": closed}
        return Done({**document, "missing_workers": replies.missing})

    async def _allow(self, request: Request) -> Done:
        canister, denied = self._canister(request)
        config = self._service.config
        configured = canister in config.denied_canisters
        if canister not in denied and configured:
            raise Refused(409, f"{canister} is denied by the configuration (--denied-canister): change it, then reload")
        changed, missing = canister in denied, []
        if changed:
            replies = await self._override(denied=tuple(each for each in denied if each != canister))
            missing = replies.missing
            _log.info("canister allowed again", by=request.by, canister=canister)
        served = not configured and (not config.allowed_canisters or canister in config.allowed_canisters)
        return Done({"canister": canister, "served": served, "changed": changed, "missing_workers": missing})

    def _canister(self, request: Request) -> tuple[str, tuple[str, ...]]:
        """Return the canister that the request names, and the canisters that are denied now."""
        canister: str | None = read_body(request.body, "canister").get("canister")
        if canister is None:
            raise Refused(400, "say which canister")
        return canister, self._service.overrides.denied

    async def _options(self, request: Request) -> Done:
        read_query(request.query)
        return Done(options_document(self._service, []))

    async def _set_options(self, request: Request) -> Done:
        reset, fields = read_options(request.body)
        service = self._service
        options = {} if reset else dict(service.overrides.options)
        not_applied = fitting_options(service.configured, options)[1]
        for name, texts in fields.items():
            # behind the others, because the latest applies
            options.pop(name, None)
            if texts is not None:
                options[name] = texts
        # an option that a reload has left without effect hinders no other
        applied = {name: texts for name, texts in options.items() if name in fields or name not in not_applied}
        try:
            with_options(service.configured, applied)
        except ConfigError as error:
            raise Refused(400, str(error)) from None
        # Log first: it may be a while until all workers have answered.
        shown = ",".join(f"{name}={' '.join(texts)}" for name, texts in sorted(options.items()))
        _log.info("options set", by=request.by, options=shown or "the configuration's")
        return Done(options_document(self._service, (await self._override(options=options)).missing))

    async def _levels(self, request: Request) -> Done:
        read_query(request.query)
        return self._levels_now(await self._service.request({"what": "levels"}))

    async def _set_levels(self, request: Request) -> Done:
        reset, fields = read_levels(request.body)
        levels: dict[str, int] = {} if reset else dict(self._service.overrides.levels)
        for component, level in fields.items():
            if level is None:
                levels.pop(component, None)
            else:
                levels[component] = level
        if len(levels) > MAX_LEVELS:
            raise Refused(409, f"levels of {MAX_LEVELS} components can be set, no more")
        # Log first: the new levels may suppress this line.
        _log.info("log levels set", by=request.by, levels=_directives(levels) or "the configuration's")
        return self._levels_now(await self._override(levels=levels))

    def _levels_now(self, replies: Replies) -> Done:
        service = self._service
        in_force = parse_levels(service.config.log_level).overridden(service.overrides.levels)
        known = {component for answer in replies.given.values() for component in answer["components"]}
        return Done(
            {
                "levels": {EVERYTHING: level_name(in_force.default), **_names(in_force.components)},
                "overrides": _names(service.overrides.levels),
                "configured": service.config.log_level,
                "components": sorted(known),
                "missing_workers": replies.missing,
            }
        )

    async def _override(self, **changes: Any) -> Replies:
        return await self._service.override(replace(self._service.overrides, **changes))


def _no_session(session: str, missing: list[int]) -> str:
    text = f"there is no session {session[:64]!r}"
    return f"{text}; not all workers have answered" if missing else text


def _names(levels: Mapping[str, int]) -> dict[str, str]:
    return {component: level_name(level) for component, level in sorted(levels.items())}


def _directives(levels: Mapping[str, int]) -> str:
    return ",".join(f"{component}={name}" for component, name in _names(levels).items())
