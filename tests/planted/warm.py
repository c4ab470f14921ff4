"""A Python process that has imported the dependencies and forks for each run, which saves a second of CPU each time.

It reads a line of JSON for each run (``cwd``, ``arguments`` as of ``python``, ``seconds`` of CPU, ``output``, a file),
and writes one when the run has ended: its ``status``, negative when it was killed, and its CPU ``seconds``. It must not
import anything of this project, since each run has its own copy; so it is started by its path.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import signal
import sys
from importlib import import_module

LOADED = [
    *("pytest", "hypothesis", "hypothesis.extra.pytestplugin", "twisted.web.client", "twisted.protocols.tls"),
    *("autobahn.websocket.protocol", "cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ec"),
    *("nacl.signing", "cbor2", "OpenSSL.SSL", "prometheus_client", "idna", "service_identity"),
]


def child(cwd: str, arguments: list[str], seconds: float, output: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(cwd)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # a limit in real time too: a run that waits forever uses no CPU
    signal.alarm(int(10 * seconds) + 60)
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 6))
    sys.path[0] = cwd
    mark, module, *rest = arguments
    assert mark == "-m"
    sys.argv = [module, *rest]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    for name in LOADED:
        try:
            import_module(name)
        except ImportError:
            pass
    assert not {"icwsgw", "tests", "twisted.internet.reactor"} & set(sys.modules)
    running: list[int] = []

    def end(*_: object) -> None:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        os._exit(143)

    signal.signal(signal.SIGTERM, end)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pid = os.fork()
        if not pid:
            child(**order)
        running[:] = [pid]
        _, status = os.waitpid(pid, 0)
        running.clear()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
