"""Several processes that serve as one gateway: a supervisor and its workers.

    supervisor   binds the listening sockets and accepts nothing itself; starts the workers and hands them the sockets;
                 serves --prometheus-endpoint for all; passes signals on; starts a worker that died again
    worker       the service of a single process, on sockets it was given, with identities of its own

A worker is a process of its own, not a fork: it begins with ``python -m icwsgw.workers.worker``, reads its orders
(:mod:`~icwsgw.workers.orders`) from a pipe, and answers on another. When the pipe ends, so does the supervisor's life,
and the worker ends too. What is said over the pipes is one JSON object a line::

    supervisor -> worker   the orders, as the first line; then
                           {"do": "say"}: whether it is well
                           {"do": "report", "number": n, "status": wanted}    {"do": "reload", "config": ...}
                           {"do": "drain", "window": seconds}    {"do": "hurry"}
                           {"do": "replaced", "canister", "sender", "at", "left", "own"}
                           {"do": "ask", "number": n, "what": {...}}
    worker -> supervisor   {"said": "ready"}    {"said": "well", "findings": ...}
                           {"said": "report", "number": n, ...}
                           {"said": "answer", "number": n, "answer": {...}}: null where it has failed
                           {"said": "stopped_accepting"}: it does not accept any more
                           {"said": "accepted", "canister", "sender", "at", "left": false}: a client was accepted by
                           its canister, at this time of the canister's (ns, 0 if it is not known)
                           {"said": "accepted", "canister", "sender", "at", "left": true}: a client left before its
                           canister's first message came; the canister knew it, and it was opened by this time
"""
