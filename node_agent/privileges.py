"""Giving up root for good: every process that reads a user's files, runs a user's code or writes results starts so.

Nothing can restore root afterwards: no saved ids, no capabilities, an empty bounding set, and no_new_privs, so that not
even a set-uid program can. Only if the user is root itself is access to all files kept. Capabilities belong to threads,
so a process does this while it has only one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Collection, Sequence

# linux/prctl.h
_PR_SET_PDEATHSIG, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
# linux/capability.h: _LINUX_CAPABILITY_VERSION_3, and two words of 32 capabilities each.
_VERSION_3, _MAX_CAPABILITIES = 0x20080522, 64
# What is kept if root itself calls mnbed, without sudo: reading and writing files, whoever owns them.
_ROOT_KEEPS = frozenset({1, 2})  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
# No core dumps with a user's data, and no higher priority than other processes.
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_MEMLOCK: 8 << 20,
}


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def drop_for_good(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Become that user, for this process and all that it starts; a caller who is not root stays the same user.

    Raises OSError if the kernel refuses any part of it, and RuntimeError if any of root's privileges is left.
    """
    # A container's root may lack some of them; nobody can keep what they do not have.
    keep = frozenset(one for one in _ROOT_KEEPS if uid == 0 and _permitted() >> one & 1)
    was_root = os.geteuid() == 0
    if was_root:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _bound_capabilities(keep)
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _set_capabilities(keep)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    for limit, value in _LIMITS.items():
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if was_root:
        _check(uid, gid, keep)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends. Call it after `drop_for_good`, which would undo it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _bound_capabilities(keep: Collection[int]) -> None:
    for number in range(_MAX_CAPABILITIES):
        if number not in keep and _libc().prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            _prctl(_PR_CAPBSET_DROP, number)


def _set_capabilities(keep: Collection[int]) -> None:
    word = sum(1 << number for number in keep)
    data = (_Data * 2)(_Data(word, word, 0), _Data(0, 0, 0))
    if _libc().capset(ctypes.byref(_Header(_VERSION_3, 0)), data) != 0:
        raise _error("capset")


def _permitted() -> int:
    data = (_Data * 2)()
    if _libc().capget(ctypes.byref(_Header(_VERSION_3, 0)), data) != 0:
        raise _error("capget")
    return int(data[0].permitted) | int(data[1].permitted) << 32


def _check(uid: int, gid: int, keep: Collection[int]) -> None:
    """Kernels, containers and security modules differ: never continue with any of root's privileges left."""
    kept = os.getresuid() == (uid,) * 3 and os.getresgid() == (gid,) * 3
    if not kept or _permitted() & ~sum(1 << number for number in keep):
        raise RuntimeError("root could not be given up")
    if uid != 0:
        with contextlib.suppress(OSError):
            os.setuid(0)
            raise RuntimeError("root could be regained")


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise _error(f"prctl {option}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"root cannot be given up: {what}: {os.strerror(number)}")
