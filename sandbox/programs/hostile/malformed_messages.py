"""Sends messages that are malformed in every way, over a connection that is good: none is answered, each next one is.

So nothing of theirs is left behind either, and a receiver that stopped at the first one would not get here.
"""

from struct import pack

from sandbox.abi import DESCRIPTORS_MAX, USER_BYTES_MAX
from sandbox.programs.hostile.means import attack, ends, send_raw
from sandbox.wire import AREA_ALIGNMENT, END_TAG, HEADER, HEADER_WITHOUT_DESCRIPTORS, MAGIC, NO_PADDING
from sandbox.worker import Worker


def with_area(*tags: int, payload: bytes = b"", end: bytes = bytes([END_TAG])) -> bytes:
    """Return a message whose descriptor area has these tags."""
    area = bytes(tags) + payload + end
    area += bytes(-len(area) % AREA_ALIGNMENT)
    return HEADER.pack(MAGIC, len(area), NO_PADDING) + area


SHARED_MEMORY = 7
BYTES = (
    b"",
    b"x",
    HEADER_WITHOUT_DESCRIPTORS[:-1],
    HEADER.pack(MAGIC ^ 1, 0, NO_PADDING),
    HEADER.pack(MAGIC, 0, b"smuggled"),
    HEADER.pack(MAGIC, 16, NO_PADDING),
    HEADER.pack(MAGIC, 0xFFFFFFFF, NO_PADDING),
    HEADER.pack(MAGIC, 1, NO_PADDING) + bytes([END_TAG]),
    with_area(),
    with_area(20),
    with_area(0, end=b""),
    with_area(0, end=bytes([END_TAG, 1])),
    with_area(4),
    with_area(5),
    with_area(14),
    with_area(15),
    with_area(*[0] * (DESCRIPTORS_MAX + 1)),
    with_area(SHARED_MEMORY, payload=pack("<q", -65536)),
    with_area(SHARED_MEMORY, payload=pack("<q", 1 << 62)),
    HEADER_WITHOUT_DESCRIPTORS + bytes(USER_BYTES_MAX + 1),
)


def main(worker: Worker) -> None:
    """Send each of them alone and with descriptors that it does not tell of, and in between a good one."""
    with attack(worker) as victim, victim.connect() as connection, ends() as pair:
        answered = 0
        for data in BYTES:
            for fds in ((), pair, pair * 100):
                send_raw(connection.socket, data, fds)
                worker.imc.imc_sendmsg(connection, b"good")
                answered += worker.imc.imc_recvmsg(connection).data == b"good"
        worker.report("answered", answered == 3 * len(BYTES))
