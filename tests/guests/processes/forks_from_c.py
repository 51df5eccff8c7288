"""Has children without end by vfork, a call of its own, here to six hundred."""

from sandbox.confinement.policy import Layer
from tests.guests.guest import Guest

# Behind seccomp is the limit on processes.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EAGAIN"},
    settings={"command": ["{{compiled}}/forks_from_c"]},
)
