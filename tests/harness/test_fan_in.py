"""Many clients of one hub that does not accept yet: how many connect, and who waits. Then nobody is lost.

The clients are looked at from outside, until each has either connected or is waiting in the system call that connects.
As nobody accepts, the state can change no more then.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from harness.events import Event, Reported, WorkerStarted
from harness.journal import Journal
from harness.outcome import Outcome
from harness.supervisor import run_topology
from tests.harness.written import write

CLIENTS: Final = 40
# The system calls in which a connect waits (asm/unistd_64.h of x86-64, then the generic table): connect, sendmsg, poll.
WAITING_CALLS: Final = frozenset({"42", "46", "7", "203", "211", "73"})

TOPOLOGY: Final = f"""
defaults: {{{{protocol: {{protocol}}{{facets}}}}}}
workers:
  hub:
    program: "sandbox.programs.fan_in:hub"
    service_port: exported
    args: {{{{clients: {CLIENTS}, held: true}}}}
  client: {{{{program: "sandbox.programs.fan_in:client", service_port: unexported, replicas: {CLIENTS}}}}}
  starter:
    program: "starts:main"
    service_port: unexported
    inherit: [{{{{descriptor: 20, file: go, mode: r}}}}]
routes:
  - {{{{grant: hub, to: client.*}}}}
  - {{{{grant: starter.go, to: hub, as: go}}}}
"""
STARTS: Final = """
    import time

    def main(worker):
        while not worker.inherited["descriptor_20"].read(1):
            time.sleep(0.005)
        worker.export("go", worker.address)
"""


def datagrams_that_wait() -> int:
    """Return how many datagrams the kernel queues at a socket before a sender has to wait."""
    return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text(encoding="ascii")) + 1


# Backlog 5 lets 6 wait. A facet is a queue of its own for each client.
CONNECT: Final[Mapping[tuple[str, str], Callable[[], int]]] = {
    ("stream", ", facets: false"): lambda: 6,
    ("stream", ""): lambda: 6,
    ("datagram", ", facets: false"): datagrams_that_wait,
    ("datagram", ""): lambda: CLIENTS,
    ("socketpair", ", facets: false"): lambda: CLIENTS,
    ("socketpair", ""): lambda: CLIENTS,
    ("acknowledged", ", facets: false"): lambda: 0,
    ("acknowledged", ""): lambda: 0,
}


def settled(events: list[Event]) -> tuple[int, int] | None:
    """Return how many have connected and how many wait for it, once each of them does one or the other."""
    connected = {event.worker for event in events if isinstance(event, Reported) and event.key == "waited"}
    pids = {e.worker: e.pid for e in events if isinstance(e, WorkerStarted) and e.worker.startswith("client")}
    waiting = {worker for worker, pid in pids.items() if worker not in connected and is_waiting(pid)}
    return (len(connected), len(waiting)) if len(connected) + len(waiting) == CLIENTS else None


def is_waiting(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/syscall").read_text(encoding="ascii").split()[0] in WAITING_CALLS
    except OSError:
        return False


@pytest.mark.parametrize(("protocol", "facets"), CONNECT)
def test_who_waits_before_the_hub_accepts_and_that_nobody_is_lost(
    protocol: str, facets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal()
    monkeypatch.setattr("harness.supervisor.Journal", lambda: journal)
    (tmp_path / "go").touch()
    file = write(tmp_path, TOPOLOGY.format(protocol=protocol, facets=facets), starts=STARTS)
    outcomes = list[Outcome]()
    run = threading.Thread(target=lambda: outcomes.append(run_topology(file)))
    run.start()
    expected = (CONNECT[protocol, facets](), CLIENTS - CONNECT[protocol, facets]())
    deadline = time.monotonic() + 20
    # One that is on its way to the supervisor with its report may look as if it waited: the state has to last.
    seen: list[tuple[int, int] | None] = []
    while seen[-3:] != [expected] * 3 and time.monotonic() < deadline:
        seen.append(settled(list(journal.events)))
        time.sleep(0.01)
    (tmp_path / "go").write_text("go", encoding="utf-8")
    run.join()
    assert seen[-1] == expected
    assert outcomes[0].reason == "all as expected"
    assert len(set(outcomes[0].workers["hub"].reports["served"])) == CLIENTS  # type: ignore[call-overload]
