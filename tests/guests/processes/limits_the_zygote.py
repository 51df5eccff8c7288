"""Asks for a limit of the zygote's; who may ask may lower it too, until all workers die of it."""

from sandbox.confinement.policy import Layer
from tests.guests.guest import Guest

# Behind seccomp is, as root, a uid of its own; a user's workers have nothing else.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EPERM", "own_uid": "EPERM", "seccomp own_uid": "success"},
    user={"seccomp": "success"},
    settings={"command": ["{{compiled}}/limits_the_zygote"]},
)
