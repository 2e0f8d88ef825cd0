"""Children of `treadle dev` and of `treadle bench` must not outlive it, whatever ends it."""

import os
import signal
import sys

_VARIABLE = "TREADLE_END_WITH_PARENT"
_PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """What to add to a child's environment for `end_with_parent` to take effect."""
    return {_VARIABLE: str(os.getpid())}


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, if the parent asked for it. Linux only."""
    parent = os.environ.pop(_VARIABLE, "")
    if not parent or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # It may have ended before the kernel was asked.
    if str(os.getppid()) != parent:
        os.kill(os.getpid(), signal.SIGTERM)
