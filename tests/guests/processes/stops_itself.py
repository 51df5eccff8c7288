"""Stops itself, so that it can be neither asked nor told anything."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import NoReturn

from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import SUPERVISOR, Guest, reported

# That it may; its time passes all the same, and then it is ended. Unconfined it can have a child, which wakes it.
GUEST = Guest(SUPERVISOR, strict="SIGKILL", control="woken", strict_settings={"limits": {"wall": "1s"}})


@reported
def main(_: Worker) -> str:
    """Have this thread stop all."""
    with contextlib.suppress(PermissionError):
        if not os.fork():
            wake_parent()
    call("tgkill", os.getpid(), threading.get_native_id(), signal.SIGSTOP)
    return "woken"


def wake_parent() -> NoReturn:
    """Have the parent go on once it has stopped."""
    # By its number there, for /proc is that of the host's PID namespace.
    parent = after_name("self")[1]
    while after_name(parent)[0] != "T":
        time.sleep(0.01)
    os.kill(os.getppid(), signal.SIGCONT)
    os._exit(0)


def after_name(pid: str) -> list[str]:
    """Return what proc_pid_stat(5) has after the name: state, parent, and more."""
    return Path("/proc", pid, "stat").read_text(encoding="ascii").rpartition(")")[2].split()
