"""Become another user, then become another program. PostgreSQL refuses to run as root.

    python as_user.py UID GID [--traverse] -- PROGRAM ARGUMENT...

`--traverse` keeps one right of root, CAP_DAC_READ_SEARCH: to pass through folders such as /root that
the user may not enter. This file is run by path, never imported, and needs nothing but the standard
library. It is a program of its own, and not a `preexec_fn`, because an engine has threads, and Python
code between fork and exec in a process with threads can deadlock.
"""

import ctypes
import os
import sys

_PR_SET_SECUREBITS = 28
_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def become(uid: int, gid: int, *, traverse: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True) if traverse else None
    if libc is not None:
        # Without this, setuid away from root drops every capability, and access(2), by which
        # PostgreSQL's programs look for each other, leaves them out of account for good.
        _check(libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0), "keep capabilities")
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)
    if libc is not None:
        bit = 1 << _CAP_DAC_READ_SEARCH
        sets = (_Sets * 2)(_Sets(bit, bit, bit), _Sets(0, 0, 0))
        _check(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets), "set capabilities")
        # ambient: the one kind that a plain program still has after exec
        raised = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0)
        _check(raised, "pass the capability on")


def main(arguments: list[str]) -> None:
    split = arguments.index("--")
    own, command = arguments[:split], arguments[split + 1 :]
    uid, gid = int(own[0]), int(own[1])
    become(uid, gid, traverse="--traverse" in own[2:])
    os.execv(command[0], command)  # noqa: S606 - becoming a program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
