"""Keeps something in the kernel's keyrings."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "success"})

KEYCTL_GET_KEYRING_ID = 0  # linux/keyctl.h
KEY_SPEC_PROCESS_KEYRING = -2


@reported
def main(_: Worker) -> None:
    """Have a keyring of its own."""
    call("keyctl", KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1)
