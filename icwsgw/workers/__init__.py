"""Several processes that serve as one gateway: a supervisor and its workers.

    supervisor   binds the listening sockets but accepts no connection; starts the workers and passes them the sockets;
                 serves --prometheus-endpoint for all workers; forwards signals; restarts a worker that has died
    worker       runs the single-process service on the sockets from the supervisor, with separate identities

A worker is a new process, not a fork. The supervisor starts it with ``python -m icwsgw.workers.worker``. The worker
reads its start parameters (:mod:`~icwsgw.workers.orders`) and later orders from one pipe, and writes answers to
another. The end of the order pipe means that the supervisor has died, and the worker then stops. Each line on a pipe is
one JSON object::

    supervisor -> worker   the start parameters, as the first line; then
                           {"do": "report_health"}
                           {"do": "report", "number": n, "status": wanted}    {"do": "reload", "config": ...}
                           {"do": "drain", "window": seconds}    {"do": "hurry"}
                           {"do": "replaced", "canister", "sender", "at", "left", "own"}: a client was accepted; in a
                           handover, supervisors of different versions send it too, without ``own``
                           {"do": "ask", "number": n, "what": {...}}
                           {"do": "rotate_logs"}    {"do": "access_lists"}: look at the copies of the lists
                           {"do": "siblings", "room": whether another worker accepts connections}
                           {"do": "serve"}: accept connections, after a start that waits for a handover
    worker -> supervisor   {"type": "ready"}    {"type": "health", "findings": ...}
                           {"type": "report", "number": n, ...}
                           {"type": "answer", "number": n, "answer": {...}}: null if the request failed
                           {"type": "stopped_accepting"}: the worker no longer accepts connections
                           {"type": "room", "room": false}: the worker has its share of ``--max-connections``; true:
                           it has room again
                           {"type": "accepted", "canister", "sender", "at", "left": false}: the canister accepted the
                           client; ``at`` is the canister's time (ns, 0 if unknown)
                           {"type": "accepted", "canister", "sender", "at", "left": true}: the client left before the
                           canister's first message arrived; the canister knew the client, and opened the session no
                           later than ``at``

A socket beside the pipes carries the sockets of a handover (:mod:`icwsgw.workers.passage`).
"""
