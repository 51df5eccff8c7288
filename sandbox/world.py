"""What the workers of a run have in common, made once before the first fork: namespaces, and Landlock's rulesets.

A child makes them, and ends at once: descriptors keep them. What it is told, by the supervisor:

    kinds, shown        the namespaces that workers may enter; a root among them shows these paths
    confinements        what `confinement/confine.py` puts on
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox.confinement import namespaces
from sandbox.confinement.confine import Confinement, ruleset_of
from sandbox.confinement.policy import Layer
from sandbox.descriptors import over
from sandbox.transport import receive_packet, send_packet, seqpacket_pair

SAID_MAX: Final = 4096


def confinements_of(common: Mapping[str, Any]) -> list[Confinement]:
    """Return the confinements, ready to be put on by whoever is forked after this. Raises LayerError, OSError."""
    made = make(common)
    kinds, confinements = common["kinds"], common["confinements"]
    world = {kind: made.pop(0) for kind in kinds}
    return [Confinement(told, world, made.pop(0) if restricts_files(told) else None) for told in confinements]


def make(common: Mapping[str, Any]) -> list[int]:
    """Have a child make them, and return a descriptor of each namespace and each ruleset, in the order that was told.

    Raises OSError.
    """
    reader, writer = (over(end) for end in seqpacket_pair())
    pid = os.fork()
    if not pid:
        try:
            for fd in made(common):
                send_packet(writer, (b"made",), (fd,))
            send_packet(writer, (b"all",))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor tells it
            send_packet(writer, (str(error).encode()[:SAID_MAX],))
        finally:
            os._exit(0)
    writer.close()
    buffer = bytearray(SAID_MAX)
    fds = list[int]()
    while (packet := receive_packet(reader, buffer)).fds:
        fds += packet.fds
    reader.close()
    os.waitpid(pid, 0)
    said = buffer[: packet.size].decode(errors="replace")
    if said != "all":
        raise OSError(said or "whoever made it ended")
    return fds


def made(common: Mapping[str, Any]) -> Iterator[int]:
    """Yield what a child makes, as `make` returns it; it leaves its own namespaces. Raises LayerError, OSError."""
    told = [told for told in common["confinements"] if restricts_files(told)]
    # A path is another file in the root that is made.
    here = {index: ruleset_of(told) for index, told in enumerate(told) if Layer.EMPTY_ROOT.value not in told["layers"]}
    yield from namespaces.make(common["kinds"], common["shown"]).values()
    for index, one in enumerate(told):
        yield here[index] if index in here else ruleset_of(one)


def restricts_files(told: Mapping[str, Any]) -> bool:
    """Say whether this confinement has a ruleset."""
    return Layer.LANDLOCK.value in told["layers"]
