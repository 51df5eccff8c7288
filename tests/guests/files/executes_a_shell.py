"""Becomes a shell."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp is the empty root; where there are programs, Landlock has none executed.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    control="exit 7",
    without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "EACCES"},
)


@reported
def main(_: Worker) -> None:
    """Execute one that ends with 7."""
    os.execve("/bin/sh", ["sh", "-c", "exit 7"], {})  # noqa: S606
