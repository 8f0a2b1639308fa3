"""Whether the system has io_uring, and how a container runtime takes it away."""

import ctypes
import os
import struct

IO_URING_SETUP = 425
_libc = ctypes.CDLL(None, use_errno=True)


def refusal():
    """Why io_uring_setup fails; empty: it does not."""
    parameters = ctypes.create_string_buffer(120)
    descriptor = _libc.syscall(IO_URING_SETUP, 4, parameters)
    if descriptor < 0:
        return os.strerror(ctypes.get_errno())
    os.close(descriptor)
    return ""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse():
    """For `preexec_fn`: from here on io_uring_setup is answered with EPERM, as by common seccomp profiles."""
    load_number = struct.pack("HBBI", 0x20, 0, 0, 0)
    skip_unless_setup = struct.pack("HBBI", 0x15, 0, 1, IO_URING_SETUP)
    say_eperm = struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 1)
    allow = struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000)
    program = _Program(4, load_number + skip_unless_setup + say_eperm + allow)
    pr_set_no_new_privs, pr_set_seccomp, mode_filter = 38, 22, 2
    if _libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0) or _libc.prctl(
            pr_set_seccomp, mode_filter, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
