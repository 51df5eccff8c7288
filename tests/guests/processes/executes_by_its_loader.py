"""Executes a shell by the loader, which is executable, and executes what it can read."""

from sandbox.confinement.policy import Layer
from tests.guests.guest import Guest

# What the loader says when it cannot read a program; behind the empty root is Landlock.
# Its own uid is off as well, for the program may lie where only root comes: the empty root is made before that.
GUEST = Guest(
    Layer.EMPTY_ROOT,
    strict="exit 127",
    without={"empty_root own_uid": "exit 127"},
    settings={"command": ["{{compiled}}/executes_by_its_loader"]},
)
