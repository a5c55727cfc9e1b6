"""Keeps the packets of all links off a processor, for a process that must never wait for them.

A packet that a process releases goes up the receiver's stack at once, in that process's time; and whatever else has
arrived on its processor meanwhile is processed there as well: acknowledgements on their way through switches, other
hosts' traffic. With receive packet steering (Documentation/networking/scaling.rst), every interface of the network
hands what it receives to the other processors. Measured with 60 links full in both directions on two cores
(bench/delay_cost.py): 0.1 to 10 % of the packets were more than 1 ms late, instead of 25 to 90 %.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_PRIVATE, _MS_REC, _MNT_DETACH = 1 << 18, 1 << 14, 2


def processor_to_keep() -> int | None:
    """The one that packets are kept off: the last, since the first gets most interrupts. None: there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1] if len(allowed) > 1 else None


def mask_without(processor: int) -> str:
    """All other processors that this process may use, as the kernel writes sets: hexadecimal, a comma every 32 bits."""
    bits = sum(1 << other for other in os.sched_getaffinity(0) if other != processor)
    digits = f"{bits:x}"
    groups = []
    while digits:
        digits, group = digits[:-8], digits[-8:]
        groups.append(group)
    return ",".join(reversed(groups))


def steer(places: Iterable[tuple[int, list[str]]], mask: str, enter: Callable[[int], None]) -> None:
    """Have those interfaces hand what they receive to the processors of the mask.

    `places`: (process in a namespace, its interfaces); `enter(pid)` takes the calling thread into that network
    namespace. sysfs shows the interfaces of the network namespace in which it was mounted, so it is mounted once for
    each, in a mount namespace that is the calling process's own from here on. Raises OSError if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _call(libc.unshare, _CLONE_NEWNS)
    _call(libc.mount, None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    folder = tempfile.mkdtemp(prefix="mnbed-sysfs-")
    try:
        for pid, interfaces in places:
            enter(pid)
            _call(libc.mount, b"sysfs", folder.encode(), b"sysfs", 0, None)
            try:
                for interface in interfaces:
                    Path(folder, "class/net", interface, "queues/rx-0/rps_cpus").write_text(mask)
            finally:
                _call(libc.umount2, folder.encode(), _MNT_DETACH)
    finally:
        os.rmdir(folder)


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
