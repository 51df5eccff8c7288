"""Takes a copy of the root's mount, to look at what is beneath others."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# A user may not in the namespace of the host.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "EPERM"}, user={"control": "EPERM"})

AT_FDCWD = -100  # fcntl.h
OPEN_TREE_CLONE = 1  # linux/mount.h


@reported
def main(_: Worker) -> None:
    """Take it by open_tree(2)."""
    os.close(call("open_tree", AT_FDCWD, b"/", OPEN_TREE_CLONE))
