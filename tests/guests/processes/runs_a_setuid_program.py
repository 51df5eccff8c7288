"""Runs a program that makes whoever runs it somebody else (setuid)."""

from sandbox.confinement.policy import Layer
from tests.guests.guest import Guest

# Behind no_new_privs, without which neither Landlock nor seccomp can be had, are mounts on which no file does that.
GUEST = Guest(
    Layer.NO_NEW_PRIVS,
    strict="nobody else",
    user={"strict": "skipped: only root can give a file to somebody else", "control": "skipped: as above"},
    settings={"command": ["{{compiled}}/runs_a_setuid_program"]},
)
