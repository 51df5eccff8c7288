"""Makes something for programs in the kernel (bpf)."""

import os
import struct

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Some kernels let every user do it.
GUEST = Guest(
    Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "EPERM or success"}, user={"control": "EPERM or success"}
)

BPF_MAP_CREATE = 0  # linux/bpf.h
BPF_MAP_TYPE_ARRAY = 2


@reported
def main(_: Worker) -> None:
    """Make an array of one element."""
    attributes = struct.pack("4I", BPF_MAP_TYPE_ARRAY, 4, 4, 1).ljust(120, b"\0")
    os.close(call("bpf", BPF_MAP_CREATE, attributes, len(attributes)))
