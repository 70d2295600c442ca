"""The system calls that a program in the sandbox does not get, as a seccomp filter.

What it closes: memory that no limit counts (System V and POSIX shared memory, ``memfd``), other
processes' memory, new namespaces and mounts, kernel parts that only attacks want, and sockets of
kinds that a network namespace does not shut off.
"""

from __future__ import annotations

import platform
import struct

_NUMBERS = {
    # name: (x86-64, arm64); None where there is no such call
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE, _SOCKETS = (56, 220), ((41, 198), (53, 199))
_CLONE3 = 435
_NEW_NAMESPACES = 0x7E020080
_KINDS_OF_SOCKET = (1, 2, 10)
"""Unix, IPv4, IPv6: what the namespace of the network shuts off."""
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def is_known(machine: str | None = None) -> bool:
    """Whether the numbers of this kind of processor are known here."""
    return (machine or platform.machine()) in _MACHINES


def seccomp_filter(machine: str | None = None) -> bytes:
    """A filter as ``bwrap --seccomp`` reads it."""
    column, architecture = _MACHINES[machine or platform.machine()]
    filtered = [
        _op(_LOAD, 4),
        _op(_EQUAL, architecture, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, 0),
    ]
    if column == 0:  # the x32 calls
        filtered += [_op(_AT_LEAST, 0x40000000, 0, 1), _op(_RETURN, _KILL)]
    filtered += _answered(_CLONE3, _ENOSYS)  # so that the C library uses clone
    for numbers in _NUMBERS.values():
        if numbers[column] is not None:
            filtered += _answered(numbers[column], _EPERM)
    first_argument = _op(_LOAD, 16)
    filtered += [
        _op(_EQUAL, _CLONE[column], 0, 4),
        first_argument,
        _op(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _op(_RETURN, _ERROR | _EPERM),
        _op(_RETURN, _ALLOW),
    ]
    for numbers in _SOCKETS:
        kinds = [
            _op(_EQUAL, kind, len(_KINDS_OF_SOCKET) - k, 0)
            for k, kind in enumerate(_KINDS_OF_SOCKET)
        ]
        body = [first_argument, *kinds, _op(_RETURN, _ERROR | _EAFNOSUPPORT), _op(_RETURN, _ALLOW)]
        filtered += [_op(_EQUAL, numbers[column], 0, len(body)), *body]
    filtered.append(_op(_RETURN, _ALLOW))
    return b"".join(filtered)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _answered(number: int | None, error: int) -> list[bytes]:
    """A call that fails with an error."""
    assert number is not None
    return [_op(_EQUAL, number, 0, 1), _op(_RETURN, _ERROR | error)]
