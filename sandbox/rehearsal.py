"""What any worker does, done before there are workers, by the launcher.

The first times that Python runs a function it counts them, writes instructions into it that suit what it met, and takes
down in caches what it found by which name. In a fork each of these is a page that the kernel copies, in each worker. So
the launcher lives a worker's life, over and over, without the layers; then little is left to a fork but to count
references, which is where `heap.py` comes in.

Nothing of it is left that a worker could see.
"""

import _socket
import marshal
import os
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final

import sandbox.programs
from sandbox.abi import CONTROL_CHANNEL, CONTROL_CHANNEL_NAME, SERVICE_PORT, SERVICE_PORT_ADDRESS, UNUSED_NAME
from sandbox.confinement.confine import NOTHING, PARENT, becoming, put_on
from sandbox.confinement.policy import Layer
from sandbox.descriptors import over
from sandbox.heap import fill_holes, gather
from sandbox.start import (
    KEPT,
    UNDERSTUDY,
    cut,
    differ,
    forget_the_zygote,
    is_told,
    limit,
    limit_open_files,
    place_descriptors,
    run_program,
    start,
    warm_up,
    what_to_become,
)
from sandbox.transport import send_packet, seqpacket_pair

# Python writes into a function when it is called for the eighth time, and again when what it wrote is reached.
TIMES: Final = 10
PROGRAM: Final = UNDERSTUDY.rpartition(".")[2]
# As the supervisor tells it of a worker that has nothing but what all have.
TOLD: Final[Mapping[str, Any]] = {
    "name": PROGRAM,
    "protocol": "socketpair",
    "layout": None,
    "descriptors": [
        (SERVICE_PORT, UNUSED_NAME, "nothing"),
        (SERVICE_PORT_ADDRESS, UNUSED_NAME, "nothing"),
        (CONTROL_CHANNEL, CONTROL_CHANNEL_NAME, "ConnectedSocket"),
    ],
    "exports": False,
    "env": {},
    "program": f"{PROGRAM}:main",
    "path": list(sandbox.programs.__path__),
    "argv": [PROGRAM],
    "args": {},
    "late": (),
    "supervised": True,
}


def rehearse(kept: int) -> int:
    """Live a worker's life, until Python has nothing more to learn of it, and have its code lie together.

    All descriptors are closed but 0, 1, 2 and `kept`, which has another number then: that is returned.
    """
    ran = {id(start.__code__): start.__code__}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            ran.setdefault(id(frame.f_code), frame.f_code)

    sys.setprofile(note)
    try:
        kept = live(kept)
    finally:
        sys.setprofile(None)
    fill_holes()
    gather(ran.values())
    for _ in range(TIMES):
        kept = live(kept)
    return kept


def live(kept: int) -> int:
    """Be a worker from after the fork to its end, which comes at once. Returns the number that `kept` has then."""
    told_by, way = seqpacket_pair()
    channel, far_channel = seqpacket_pair()
    gate, _ = os.pipe()
    tell(way, channel)
    forget_the_zygote()
    differ()
    NOTHING.enter()
    NOTHING.give_up(0)
    put_on([(Layer.OWN_UID, [(PARENT, os.getppid())])])
    # Not taken.
    becoming(0, 0)
    # No limit is lowered by it.
    limit({"RLIMIT_NOFILE": 0})
    sock = over(told_by)
    is_told(sock)
    warm_up()
    told, placements = what_to_become(sock)
    held = (sock.detach(), gate, kept, way, far_channel)
    # Closes the gate's other end, so that it is open.
    told_by, gate, kept, way, far_channel = place_descriptors(placements, held)
    limit_open_files({})
    cut(told_by, gate, os.getppid(), NOTHING.seal())
    os.close(way)
    supervisor = over(far_channel)
    # There is no step, and none will come.
    supervisor.shutdown(_socket.SHUT_WR)
    path, argv = sys.path.copy(), sys.argv.copy()
    run_program(told, is_confined=True)
    sys.path[:], sys.argv[:] = path, argv
    del sys.modules[PROGRAM]
    while KEPT:
        # Now, and not when it is collected: its number is another's by then.
        if (closing := KEPT.pop().control_channel) is not None:
            closing.close()
    os.closerange(SERVICE_PORT, CONTROL_CHANNEL)
    supervisor.close()
    return kept


def tell(way: int, channel: int) -> None:
    """Say over `way` (borrowed) what to become, as the supervisor does, with `channel`, which this takes over."""
    memory = os.memfd_create("imclab-rehearsal", os.MFD_CLOEXEC)
    os.write(memory, marshal.dumps(dict(TOLD)))
    nothing = 0
    fds = {0: 0, 1: 1, 2: 2, SERVICE_PORT: nothing, SERVICE_PORT_ADDRESS: nothing, CONTROL_CHANNEL: channel}
    sock = over(way)
    send_packet(sock, (marshal.dumps((list(fds), False)),), (memory, *fds.values()))
    sock.detach()
    os.close(memory)
    os.close(channel)
