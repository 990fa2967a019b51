"""Run commands of ehrtraj, each in a fork of this process, and end them at a chosen change to files.

This program is started with `shim.c` preloaded. For each line of JSON on standard input, {"armed": n, "errno": e,
"arguments": [...]}, it prints one: {"status": ..., "passed": ..., "kinds": [...], "stderr": ...}.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import tempfile
import traceback

# These modules are imported once, before the forks. They are not used here, since a fork would lose their threads.
import ehrtraj.api
import ehrtraj.cli
import ehrtraj.cli.run
import ehrtraj.concepts.run
import ehrtraj.enrich.run
import ehrtraj.exports.run
import ehrtraj.pipeline.run
import ehrtraj.reports.run
from ehrtraj.cli.registry import application
from ehrtraj.runtime.sizes import Sizes

_STATE = struct.Struct("<8q")
_SIZES = Sizes(shard_rows=4000)


def _run(arguments: list[str], stderr: int) -> None:
    os.setpgid(0, 0)
    os.dup2(stderr, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["ehrtraj", *arguments]
    code = 1
    try:
        ehrtraj.cli.main(_SIZES)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    handle = os.open(os.environ["FAULT_STATE"], os.O_RDWR)
    state = mmap.mmap(handle, _STATE.size)
    for line in sys.stdin:
        asked = json.loads(line)
        state[:] = _STATE.pack(asked["armed"], 0, asked["errno"], 0, 0, 0, 0, 0)
        with tempfile.TemporaryFile() as printed:
            child = os.fork()
            if child == 0:
                _run(asked["arguments"], printed.fileno())
            _, status = os.waitpid(child, 0)
            printed.seek(0)
            words = printed.read().decode(errors="replace")
        _, passed, _, *kinds = _STATE.unpack(state[:])
        answer = {"status": os.waitstatus_to_exitcode(status), "passed": passed, "kinds": kinds, "stderr": words}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    # A command imports further modules when it is made.
    for command in ("build", "concepts", "export"):
        application([command])
    _serve()
