# Architecture

What lives where, 
§and what happens to a message. [protocol.md](protocol.md) 
§has the bytes,
[decisions](decisions/README.md) 
§the reasons.

## The map

Dependencies point one way; 
§`tests/test_layering.py` holds it.

```text
  tap ──> workers ──> service ──> server, 
§admin, 
§devnet ──> gateway ──> core, 
§agent ──> ic

  for all: errors, 
§clock, 
§visible, 
§observe, 
§fastsend          operator's words: addresses, 
§options, 
§config, 
§sources
```

`core` and `ic` are pure: no Twisted, 
§no clock, 
§no chance, 
§no log. Time is an argument, 
§decisions are return values.
Everything runs in one thread, 
§the reactor's; 
§there are no locks. Only writing the log, 
§which may block for as long as
nobody reads it, 
§has a thread for each place it goes to (`observe/writer.py`).

| 
§place | 
§what lives there |
|---|---|
| 
§`tap.py` | 
§the command line of `twistd icws` and its service; 
§no logic |
| 
§`options.py`, 
§`config.py`, 
§`client_limits.py`, 
§`log_options.py`, 
§`sources.py`, 
§`addresses.py`, 
§`origins.py` | 
§what an option is; 
§the table of all, 
§and those that bound clients or say what is written; 
§command line, 
§environment and file; 
§forms of addresses; 
§web origins and what fits them |
| 
§`checks.py`, 
§`printing.py`, 
§`starting.py` | 
§`--check-config`; 
§`--print-config`; 
§how a start fails (one line), 
§how signals end the process, 
§what the collector leaves alone |
| 
§`service.py` | 
§the application tree: makes all parts, 
§starts and stops them in order |
| 
§`workers/` | 
§several processes as one gateway (`--workers`): `supervisor` (binds, 
§serves metrics), 
§`pool` (starts, 
§listens to and drains workers), 
§`process` (one worker), 
§`sockets`, 
§`orders`, 
§`lines` (pipes), 
§`questions` (with answers, 
§for the admin API), 
§`aggregate` (metrics of all), 
§`status` (the status page's document of all) 
§|
| 
§`reloading.py`, 
§`notifying.py`, 
§`descriptors.py`, 
§`directories.py` | 
§SIGHUP; 
§the service manager; 
§how many files may be open; 
§directories for this user alone |
| 
§`healthcheck.py` | 
§what the container image asks its gateway every half minute |
| 
§`fastsend.py`, 
§`fastpoll.py` | 
§sending in this turn of the reactor; 
§a turn without its logging context |
| 
§`errors.py` | 
§every failure by name: whose fault, 
§metric label |
| 
§`server/` | 
§towards clients: `protocol` (Autobahn glue), 
§`held` (what a connection holds), 
§`factory` (what connections share), 
§`admission` (one connection's way in) 
§with `limits` (counts) 
§and `proxies` (who is behind them) 
§and `proxy_header` (the PROXY protocol), 
§`outbox` (slow readers), 
§`endpoints`, 
§`tls`, 
§`frames` (nearly all traffic, 
§the short way), 
§`heads` (reads requests, 
§gives Autobahn what it needs of them) 
§with `extensions` (which offers can be taken) 
§|
| 
§`gateway/` | 
§where both sides meet: `session` (one client), 
§`poller` (one canister's way down) 
§with `heartbeat` (when) 
§and `audience` (to whom), 
§`relay` (one client's way up), 
§`departures` (a place and a token for each call) 
§and `allowance` (the same for a poller's queries), 
§`traced` (both with spans), 
§`farewells` (ws_close), 
§`registry` (the only index), 
§`facts` (rows about sessions and canisters), 
§`principals` (how many canisters for one), 
§`gateway` (admits, 
§drains), 
§`wheel` (one timer for all connections), 
§`slices` (many sessions, 
§a few a turn), 
§`gauges` and `lag` (what metrics ask for), 
§`reasons` (why a session ends), 
§`queries`, 
§`incoming` (batches before they are delivered) 
§with `verification`, 
§`identities` |
| 
§`core/` | 
§decisions: `session` (the life of a session as a table), 
§`cursor` (numbers: deliver, 
§skip, 
§gap), 
§`ahead` (answers before their turn), 
§`lifeline` (was the canister reset?), 
§`network_time` (what time the network has, 
§by evidence), 
§`window` (how many polls in flight), 
§`pacing` (when to poll or try again), 
§`budget` (all requests a second to the network, 
§a share for each kind) 
§with `lines` (who waits, 
§in turns), 
§`foresight` (when a call will have been executed), 
§`rate` (token buckets), 
§`shares` (calls under way, 
§by canister), 
§`spread` (clients over identities), 
§`waiting` (who has to leave a full room), 
§`messages` (wire messages, 
§both ways), 
§`closing` (close codes) 
§|
| 
§`agent/` | 
§towards the network: `transport` (HTTP/1.1 over a keep-alive pool, 
§an IAgent) 
§with `pool`, 
§`connection`, 
§`answers` (reads them, 
§without I/O), 
§`tunnel` (through a proxy), 
§`deadlines`, 
§`response`, 
§`url`; 
§`client` (query, 
§call, 
§status; 
§treq on top, 
§by `lean`) 
§with `outcome`, 
§`update`, 
§`routes` (URLs), 
§`versions` (which API versions there are, 
§as a table), 
§`trust` (root key, 
§node keys), 
§`readable` (certificates that all clients can verify), 
§`reach` (does the network answer, 
§do the clocks agree), 
§`witness` (hears the network's time from its answers) 
§|
| 
§`ic/` | 
§formats: `principal`, 
§`cbor`, 
§`candid/`, 
§`ws/` (the CDK's methods by offsets), 
§`request_id`, 
§`identity`, 
§`signatures`, 
§`envelope`, 
§`proof` (of a client's signatures, 
§before its ws_open leaves), 
§`hashtree`, 
§`bls`, 
§`certificate*`, 
§`certified`, 
§`query_signature` |
| 
§`devnet/` | 
§the embedded replica: `replica`, 
§`topology` (subnets, 
§nodes, 
§delegations), 
§`endpoints` with `admission` (which endpoint, 
§which node) 
§and `reading` (who may read what), 
§`ingress` with `calls` (one of them) 
§and `consensus` (pools, 
§gossip, 
§blocks), 
§`state_tree` (blocks and certificates, 
§over `merkle` trees), 
§`hosting` (one canister), 
§`cdk` (the CDK's behaviour), 
§`canisters` (echo, 
§chat), 
§`faults` (a switch for each), 
§`control`, 
§`push` (messages nobody asked for), 
§`resource` (HTTP), 
§`static/` (the demo page) 
§|
| 
§`observe/` | 
§`meters`, 
§`labels` and `metrics` (declared in one place, 
§[docs](metrics.md) 
§made of it), 
§`lag` (of the event loop), 
§`logs`, 
§`writer` (writes them from a thread), 
§`syslog` (where twistd is told so), 
§`repeats` (lines that strangers cause) 
§and `peers` (who is one of them), 
§`recent` (the last warnings, 
§for the status page), 
§`levels`, 
§`health`, 
§`tracing` (OpenTelemetry, 
§imported only where wanted), 
§`collector` (where to), 
§`notify` (what the service manager hears) 
§|
| 
§`admin/` | 
§what `--prometheus-endpoint` serves: `resource` (paths), 
§`status` (one process as a document) 
§with `history` (ten minutes of curves), 
§`merging` (documents of several as one), 
§`page` (the document as HTML) 
§with `tiles`, 
§`sparkline`, 
§`words`, 
§`static/`; 
§`bodies` (bounded, 
§for both endpoints); 
§and the admin API of `--admin-endpoint`: `site` (HTTP), 
§`access` (who may), 
§`api` with `parameters` (requests), 
§`control` (one process's answers) 
§|
| 
§`ctl/` | 
§`icwsctl`, 
§the admin API by command line; 
§loads no Twisted |

## The life of a message, 
§up

```text
  frame ──> protocol.onMessage ──> session.received ──> parse_client_frame: envelope bytes cut out, 
§untouched
        first one: decode ws_open, 
§admit, 
§check its signatures, 
§register the client key at the poller, 
§THEN relay
        ──> relay: one call under way for each client; 
§ws_open | 
§gate | 
§messages | 
§ws_close
        ──> agent.call ──> transport.fetch ──> POST /api/v*/canister/<id>/call
        outcome: accepted ──> the next leaves; 
§ executed ──> wake the poller; 
§ refused ──> close code and words
        lost, 
§429, 
§5xx ──> the identical envelope again, 
§while it is valid; 
§refused then: unknown, 
§the next leaves
```

The gate opens with the canister's first message, 
§or when the client has left: what it sent before still leaves, 
§and
`ws_close` comes last. When a client's queue is full its socket is not read.

## The life of a message, 
§down

```text
  LoopingCall tick, 
§or wake ──> poller: window says which numbers to ask ──> agent.query (treq) 
§──> Candid by offsets
        ──> cursor: deliver / skip / ask again     lifeline: same life, 
§or reset ──> 4105
        ──> BatchFramer: one ready WebSocket frame a message, 
§certificate and tree joined in once
        ──> session.deliver ──> outbox ──> socket, 
§in this turn of the reactor if nothing is queued
```

A tick returns nothing and never waits; 
§ticks overlap where queries are slow. A deep queue is asked for at several
numbers at once, 
§answers are put in order by number. A fruitful drain is followed by another half an interval later.

## States

[core/session.py](../icwsgw/core/session.py) 
§is the table: INIT (handshake sent), 
§SETUP (ws_open has left), 
§OPEN (the
canister has spoken), 
§CLOSED. An ordinary message of an open session passes no table.

Who replaces whom: a session ends an older one of the same principal (4109) 
§only when the canister has accepted it; 
§a
forged `ws_open` ends nobody's.

## Time

One wheel looks after all connections (handshake, 
§first message, 
§ping, 
§pong, 
§closing); 
§each poller has its LoopingCall;
the transport keeps its deadlines in one list. There is no timer for a connection or a request. The reactor's time is the
system's monotonic clock ([clock.py](../icwsgw/clock.py)), 
§not the wall clock, 
§which Twisted takes and somebody may set.

## What may fail, 
§and what it costs

| 
§what | 
§costs |
|---|---|
| 
§a client's text frame, 
§bad CBOR, 
§expired or forged envelope | 
§that client: a close code and a reason |
| 
§a client that does not read | 
§that client: 4104, 
§by bytes and by age |
| 
§a client that sends too fast | 
§that client: its socket is not read for a while; 
§a flood: 4108 |
| 
§strangers: slow or endless requests, 
§many connections | 
§a bounded number of bounded connections, 
§for seconds |
| 
§a bad answer: transport, 
§HTTP, 
§reject, 
§trap, 
§Candid, 
§certificate | 
§that poll; 
§the poller keeps its beat, 
§later slows down |
| 
§a hanging query | 
§nothing: others are in flight, 
§and it is given up when it is late |
| 
§hanging calls | 
§their clients; 
§a canister may have half of the calls that others leave |
| 
§canisters that strangers name | 
§a few polls, 
§calls and connections of all, 
§shared by address |
| 
§clients that send more than the network takes of one address | 
§their own messages wait, 
§in turns by canister |
| 
§a network that asks to wait | 
§as long as it asks: that canister's polls, 
§or all where two canisters hear it |
| 
§a canister silent for `--canister-grace` | 
§its clients: 4106 |
| 
§a canister reset | 
§its old clients: 4105 |
| 
§an exception of ours in a session | 
§that client: 1011, 
§and a traceback in the log |

## Start and stop

Ports are taken in the privileged phase, 
§so a taken one ends the start with a line and status 1 before anything runs. A
network that is not there yet, 
§or not there any more, 
§is a state: not ready, 
§retried with backoff; 
§so is a clock that is
wrong by more than 30 s. SIGTERM: accepting stops, 
§readiness turns
503, 
§sessions end with 4100 over the drain window, 
§every canister is told, 
§connections get their closing handshake, 
§then
the agent and the rest stop. A second SIGTERM, 
§or SIGINT, 
§ends all sessions at once, 
§gives canisters 2 s to hear of it,
and the exit status is still 0.

SIGHUP: the sources of the configuration are read again, 
§what a running gateway can take is taken (lists, 
§log levels,
drain window), 
§certificates are looked at; 
§clients of a canister that is denied now get 4110. A file of no use changes
nothing and costs one error line. What was denied or set by the admin API stays as it is.

## Several processes

```text
                      supervisor: sockets (bound, 
§not accepted from), 
§/metrics, 
§/health, 
§admin API of all, 
§signals
                       | 
§pipes: orders, 
§reports, 
§questions, 
§acceptances  \ listening sockets, 
§handed over
        worker 0: the service, 
§identities 0 .. k-1         worker 1: the service, 
§identities k .. 2k-1
```

`workers/__init__.py` has what is said over the pipes, 
§[decision 0019](decisions/0019-workers.md) 
§the reasons. A dead
worker costs its own clients and is started again; 
§when the supervisor dies, 
§the workers see the end of their pipes, 
§let
their clients go and end.

## The status page

```text
  counters ── read every 5 s ──> history ─┐
  sessions, 
§pollers, 
§log ─ when asked for ┴─> document ──> /status.json, 
§/v1/status
                                                 │  of workers: merged by the supervisor
                                                 └──> page: HTML, 
§complete; 
§its script asks for it every 3 s
```

Nothing is counted for it on the way of a message but two additions for a canister's rates.
[Decision 0022](decisions/0022-status-page.md) 
§says why the page is made here and not in the browser.

![The status page](images/status-page.png)

## Tests

Pure parts as scripts and by hypothesis (`tests/core`, 
§`tests/ic`, 
§`tests/fuzz`), 
§glue in memory (`tests/server`,
`tests/agent`), 
§the whole gateway with the devnet over a clock (`tests/memory`: an hour of acknowledgements in seconds;
`tests/simulation`: a thousand scenarios of faults and departures, 
§each from its seed), 
§real processes, 
§sockets, 
§TLS and
the JavaScript SDK (`tests/acceptance`). Formats are held to vectors and libraries of others (`tests/vectors`, 
§each with
its origin). But for real processes, 
§tests share neither files nor ports, 
§so that they can run side by side.
