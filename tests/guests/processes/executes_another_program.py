"""Executes a shell; a native program may execute itself and its loader, and nothing else."""

from sandbox.confinement.policy import Layer
from tests.guests.guest import Guest

# Behind the empty root is Landlock.
# Its own uid is off as well, for the program may lie where only root comes: the empty root is made before that.
GUEST = Guest(
    Layer.EMPTY_ROOT,
    strict="ENOENT",
    without={"empty_root own_uid": "EACCES"},
    settings={"command": ["{{compiled}}/executes_another_program"]},
)
