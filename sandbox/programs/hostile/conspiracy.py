"""Two that conspire: one sends a connection that whoever closes it last has to wait for, the other sees to who that is.

In the connection's queue lies a TCP socket that lingers with unsent data. The exporter has the kernel drop whatever is
sent to it, while its sender hears that it was taken, so that the supervisor is the last one. It does not wait.
"""

import socket
from ctypes import POINTER, Structure, c_ubyte, c_uint, c_ushort, pointer
from struct import pack
from typing import Final

from sandbox.programs.hostile.means import Target, ends, lent, stay
from sandbox.worker import Worker

SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
DROP: Final = 6  # linux/bpf_common.h: BPF_RET | BPF_K, of no bytes
LINGERS: Final = 1


class Instruction(Structure):
    """struct sock_filter."""

    _fields_ = (("code", c_ushort), ("jt", c_ubyte), ("jf", c_ubyte), ("k", c_uint))


class Filter(Structure):
    """struct sock_fprog."""

    _fields_ = (("length", c_ushort), ("instructions", POINTER(Instruction)))


def exporter(worker: Worker) -> None:
    """Have the kernel drop every connect message; then let the other begin."""
    assert worker.bound_socket is not None  # noqa: S101 - what is filtered
    assert worker.address is not None  # noqa: S101 - it has something to grant
    drop = Filter(1, pointer(Instruction(DROP, 0, 0, 0)))
    with lent(worker.bound_socket.fileno()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(drop))
    worker.export("dropping", worker.address)
    stay(worker)


def importer(worker: Worker) -> None:
    """Send the connection, and keep nothing of it."""
    exporter = Target(worker, worker.imports["exporter"])
    assert worker.imports["dropping"].fileno() >= 0  # noqa: S101 - to ask for it is to wait for it
    listener = socket.create_server(("127.0.0.1", 0))
    lingering = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, LINGERS))
    lingering.settimeout(0)
    try:
        while True:
            lingering.send(bytes(1 << 16))
    except BlockingIOError:
        "There is more now than the other end can take."
    with ends() as (left, right), lent(left) as into_right:
        socket.send_fds(into_right, [b"x"], [lingering.fileno()])
        lingering.close()
        exporter.send(fds=[right])
    worker.report("sent", value=True)
    stay(worker)
    accepted.close()
