"""Starts a program that cannot ask ptrace for a processor's whole register state: `old_registers.py PROGRAM ARG...`.

user-mode-linux 6.1 has room for 2,696 bytes of it, and panics on processors with more (AMX: 11,008). Refused with EIO,
PTRACE_GETREGSET and PTRACE_SETREGSET make it fall back to FXSAVE's 512 bytes, which leave out the upper halves of AVX.
A program of its own: code between fork and exec is not safe in a process with threads.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence

# linux/prctl.h, linux/seccomp.h, linux/audit.h, linux/filter.h
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_AUDIT_ARCH_X86_64, _NR_PTRACE = 0xC000003E, 101
_GETREGSET, _SETREGSET = 0x4204, 0x4205
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
# struct seccomp_data: number of the call, architecture, lower half of the first argument.
_NUMBER, _ARCHITECTURE, _REQUEST = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""Operation, instructions to jump over if equal, and if not, operand."""


def refusing(error: int, requests: Sequence[int]) -> list[Instruction]:
    """A filter that answers `error` to those of ptrace's requests."""
    skips = len(requests)
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 0, skips + 3, _AUDIT_ARCH_X86_64),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_EQUAL, 0, skips + 1, _NR_PTRACE),
        (_LOAD, 0, 0, _REQUEST),
        *((_JUMP_EQUAL, skips - number, 0, request) for number, request in enumerate(requests)),
        (_RETURN, 0, 0, _RET_ALLOW),
        (_RETURN, 0, 0, _RET_ERRNO | error),
    ]


def install_filter(instructions: Sequence[Instruction]) -> None:
    """For this process and all its descendants, irrevocably. Raises OSError if the kernel does not allow it."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in instructions))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for option, value, pointer in (
        (_PR_SET_NO_NEW_PRIVS, 1, None),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program),
    ):
        if prctl(option, ctypes.c_ulong(value), pointer, None, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"no seccomp filter can be installed: {os.strerror(number)}")


def main() -> None:
    """Install the filter and become the program."""
    try:
        install_filter(refusing(errno.EIO, (_GETREGSET, _SETREGSET)))
    except OSError as error:
        sys.exit(str(error.strerror))
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
