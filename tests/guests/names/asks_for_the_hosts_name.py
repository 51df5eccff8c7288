"""Asks what the host is called."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.UTS_NAMESPACE, strict="worker", without={"uts_namespace": "success"})


@reported
def main(_: Worker) -> str:
    """Return success where it is another name than all workers are told."""
    name = os.uname().nodename
    return name if name == "worker" else "success"
