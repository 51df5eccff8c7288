"""Runs topologies and ends them at random moments, in a network namespace of its own; prints what was left.

    python -m tests.harness.interrupting SIGNAL COUNT TOPOLOGY CONFINEMENT [impatient]

It is the subreaper of all that it starts, so whatever outlives a run becomes its child, and the abstract names in its
network namespace are those of its runs alone. Prints one line for each end that lay inside a run, `INSIDE milliseconds
status`, and raises where anything is left. Whoever is impatient
sends the signal again and again until the run has ended.
"""

import ctypes
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from harness import cli, run_topology
from sandbox.protocols import PROTOCOLS
from sandbox.zygote import map_ids

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNET = 0x4000_0000
CLONE_NEWUSER = 0x1000_0000
GONE_SECONDS = 10


def isolate() -> None:
    """Enter a network namespace; a user does so in a user namespace, as the same user there."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET):
        if libc.unshare(CLONE_NEWNET | CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "unshare")
        map_ids(uid, gid)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_in_child(topology: str, protocol: str, confinement: str, command: bool) -> tuple[int, int]:
    """Fork a supervisor; returns its pid and a pipe that brings a byte when it begins and ends when it does."""
    chosen = {"protocol": protocol, "confinement": confinement}
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        if command:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.argv[1:] = ["run", topology, "--protocol", protocol, "--set", f"confinement={confinement}"]
            cli.interrupts.listen()
        os.write(writer, b"<")
        run = cli.status_of_command if command else lambda: int(not run_topology(topology, **chosen).passed)
        status = run()
        cli.interrupts.stop_listening()
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)


def wait_until_nothing_is_left() -> None:
    """Reap whatever comes; the alarm ends this process where something stays."""
    signal.alarm(GONE_SECONDS)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    signal.alarm(0)
    names = [line for line in Path("/proc/self/net/unix").read_text().splitlines() if "@" in line]
    assert not names, names
    left = list(Path(os.environ["TMPDIR"]).iterdir())
    assert not left, left


def wait_impatiently(pid: int, number: signal.Signals) -> int:
    """Send the signal every few milliseconds until the process is gone, and return its wait status."""
    pidfd = os.pidfd_open(pid)
    while not select.select([pidfd], [], [], random.uniform(0, 0.01))[0]:  # noqa: S311
        os.kill(pid, number)
    os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def interrupt_once(
    number: signal.Signals, topology: str, protocol: str, confinement: str, moment: float, impatient: bool
) -> str | None:
    """End one run after so many seconds; None where it had ended by itself before."""
    pid, pipe = run_in_child(topology, protocol, confinement, command=number is not signal.SIGKILL)
    assert os.read(pipe, 1) == b"<"
    ended_before, _, _ = select.select([pipe], [], [], moment)
    os.kill(pid, number)
    status = wait_impatiently(pid, number) if impatient else os.waitpid(pid, 0)[1]
    os.close(pipe)
    wait_until_nothing_is_left()
    code = os.waitstatus_to_exitcode(status)
    return None if ended_before or code == 0 else f"INSIDE {moment * 1000:.1f} {code}"


def main_loop(number: signal.Signals, count: int, topology: str, confinement: str, impatient: bool) -> None:
    isolate()
    began = time.monotonic()
    pid, pipe = run_in_child(topology, "socketpair", confinement, command=False)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(pipe)
    longest = time.monotonic() - began
    wait_until_nothing_is_left()
    inside = 0
    while inside < count:
        moment = random.uniform(0, longest)  # noqa: S311 - a moment, not a secret
        protocol = list(PROTOCOLS)[inside % len(PROTOCOLS)]
        line = interrupt_once(number, topology, protocol, confinement, moment, impatient)
        if line:
            inside += 1
            sys.stdout.write(f"{line}\n")
        else:
            # The first one took longer than others do; so that not too many end by themselves.
            longest = (longest + moment) / 2


def main() -> None:
    """Do as the command line says."""
    name, count, file, profile, *impatience = sys.argv[1:]
    main_loop(signal.Signals[name], int(count), file, profile, impatient=impatience == ["impatient"])


if __name__ == "__main__":
    main()
