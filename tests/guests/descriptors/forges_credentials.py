"""Says to whoever trusts the kernel that it is another process: the zygote."""

import os
import socket
import struct

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# In its user namespace there is no user that it could name; behind that it is the capability that is missing.
# Unconfined, a user has it in the user namespace of the run.
GUEST = Guest(Layer.USER_NAMESPACE, strict="EINVAL", without={"user_namespace": "EPERM"})

SCM_CREDENTIALS = 2  # linux/socket.h


@reported
def main(_: Worker) -> None:
    """Send credentials with a message."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forged = struct.pack("3i", 1, os.getuid(), os.getgid())
    with left, right:
        left.sendmsg([b"trust me"], [(socket.SOL_SOCKET, SCM_CREDENTIALS, forged)])
