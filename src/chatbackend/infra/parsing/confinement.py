"""Takes from this process what a parser does not need, before it touches a hostile file.

Source: setrlimit(2), prctl(2) PR_SET_PDEATHSIG.
"""

import ctypes
import math
import os
import resource
import signal
import sys
from typing import Final

from chatbackend.infra.parsing.limits import ParseLimits

_PR_SET_PDEATHSIG: Final = 1
_NICE: Final = 10


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies; elsewhere than on Linux only the pipe's end tells.

    The signal follows the thread that started the child, so the parent starts children on its main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def stay_quiet() -> int:
    """Ignore the terminal's signals (the parent decides), lose stray output, return the descriptor for answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_NICE)
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def confine(limits: ParseLimits) -> None:
    """Set the hard limits of memory, time and descriptors; no core, no file written, no further process.

    (A superuser is not held by the limit on processes.)
    """
    cpu_s = math.ceil(limits.cpu_s)
    for kind, soft, hard in (
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),  # equal ones would skip SIGXCPU, by which the parent knows the cause
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),
    ):
        most = resource.getrlimit(kind)[1]
        if most == resource.RLIM_INFINITY:
            resource.setrlimit(kind, (soft, hard))
        else:
            resource.setrlimit(kind, (min(soft, most), min(hard, most)))
