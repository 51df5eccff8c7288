"""What /proc tells of a process: of this one, of one that is gone, of one that wishes us ill."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.hang import Part
from harness.inspection import processes as looking
from harness.inspection.processes import children, family, identities_of, identity_at, look
from sandbox.descriptors import SocketAddress
from sandbox.imc import Imc
from sandbox.transport import seqpacket_pair
from tests.kernel import Background, OpenDescriptors, until

HERE = "/proc/self"


def fd_path(fd: int) -> str:
    return f"{HERE}/fd/{fd}"


@pytest.mark.parametrize("protocol", ["stream", "datagram", "socketpair"])
def test_an_address_has_the_identity_that_it_has_for_its_holder(protocol: str) -> None:
    bound, address = Imc(protocol).imc_makeboundsock()
    with bound, address:
        assert identity_at(fd_path(address.fileno())) == address.identity()
        assert identity_at(fd_path(bound.fileno())) == bound.identity()
        assert address.identity() in identities_of(HERE)


def test_a_memfd_that_only_has_the_name_of_a_token_is_none(open_descriptors: OpenDescriptors) -> None:
    fd = os.memfd_create("imc-token")
    with SocketAddress(fd):
        os.write(fd, b"x" * 28)
        assert identity_at(fd_path(fd)) == "/memfd:imc-token (deleted)"
    assert open_descriptors.only()


def test_a_descriptor_that_is_gone_has_no_identity() -> None:
    assert identity_at(fd_path(1 << 20)) == ""


def test_a_table_tells_what_may_be_read_and_written_and_what_an_epoll_watches() -> None:
    reader, writer = os.pipe()
    epoll = select.epoll()
    epoll.register(reader, select.EPOLLIN)
    try:
        (process,) = look([os.getpid()])
        table = {entry.number: entry for entry in process.table}
        assert table[reader].identity == table[writer].identity
        assert (table[reader].reads, table[reader].writes) == (True, False)
        assert (table[writer].reads, table[writer].writes) == (False, True)
        assert table[epoll.fileno()].watched == (reader,)
    finally:
        epoll.close()
        os.close(reader)
        os.close(writer)


def test_each_thread_is_told_with_the_descriptor_that_it_waits_on() -> None:
    left, right = seqpacket_pair()
    with SocketAddress(left), SocketAddress(right):
        waiting = Background(lambda: os.read(left, 1))
        waiting.until_it_waits("unix", "skb")
        (process,) = look([os.getpid()])
        (thread,) = [thread for thread in process.threads if thread.number == waiting.native_id()]
        os.write(right, b"x")
        waiting.result()
    assert thread.wait is not None
    assert (thread.seen, thread.state, thread.wait.call, thread.wait.reads) == (True, "S", "read", (left,))


def test_what_a_poll_waits_for_is_read_from_its_memory() -> None:
    left, right = seqpacket_pair()
    with SocketAddress(left), SocketAddress(right):
        poller = select.poll()
        poller.register(left, select.POLLIN)
        waiting = Background(poller.poll)
        waiting.until_it_waits("poll")
        (process,) = look([os.getpid()])
        (thread,) = [thread for thread in process.threads if thread.number == waiting.native_id()]
        os.write(right, b"x")
        waiting.result()
    assert thread.wait is not None
    assert thread.wait.reads == (left,)


def test_a_process_that_is_gone_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert look([gone.pid]) == ()


def commands_of(pid: int) -> list[str]:
    return [process.command for process in look(family(pid, children()))]


def test_children_belong_to_the_family() -> None:
    script = "import subprocess; subprocess.run(['sleep', '1000'])"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as parent:
        try:
            # It is a fork of its parent before it is a program of its own.
            until(lambda: commands_of(parent.pid)[1:] == ["sleep"], "its child is seen")
        finally:
            # Not those that are found: what is tested may find too few.
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_name_that_looks_like_the_fields_behind_it_misleads_nobody(tmp_path: Path) -> None:
    awkward = tmp_path / ") R 1 (x"
    awkward.symlink_to("/bin/sleep")
    with subprocess.Popen([str(awkward), "1000"]) as process:
        try:
            until(lambda: process.pid in children().get(os.getpid(), []), "it is our child")
            until(lambda: bool(look([process.pid])[0].threads[0].wait), "it sleeps")
            assert look([process.pid])[0].threads[0].state == "S"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("bound", "part"),
    [("THREADS_MAX", Part.THREADS), ("DESCRIPTORS_MAX", Part.DESCRIPTORS), ("PROCESSES_MAX", Part.PROCESSES)],
)
def test_what_is_left_out_for_its_number_is_noted(bound: str, part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        pids = [os.getpid(), os.getppid()]
        assert [process.unseen for process in look(pids)] == [frozenset()] * 2
        monkeypatch.setattr(looking, bound, 1)
        (ours, *_) = look(pids)
        assert part in ours.unseen
        assert {"THREADS_MAX": len(ours.threads), "DESCRIPTORS_MAX": len(ours.table)}.get(bound, 1) == 1
    finally:
        done.set()
        other.join()


def test_what_is_left_out_for_want_of_time_is_noted() -> None:
    past = time.monotonic() - 1
    (process,) = look([os.getpid(), os.getppid()], past)
    assert {Part.DESCRIPTORS, Part.PROCESSES} <= process.unseen
    assert len(process.table) == 1
    unseen: set[Part] = set()
    assert len(children(past, unseen)) <= 1
    assert unseen == {Part.PROCESSES}


def test_of_an_epoll_that_watches_too_many_no_number_is_told_that_was_cut_in_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = [end for _ in range(100) for end in os.pipe()]
    epoll = select.epoll()
    try:
        for end in ends:
            epoll.register(end, 0)
        for size in (looking.FACTS_BYTES, *range(1000, 1200)):
            monkeypatch.setattr(looking, "FACTS_BYTES", size)
            entry = looking._entry(HERE, epoll.fileno())
            assert entry is not None
            assert entry.more
            assert entry.watched
            assert set(entry.watched) <= set(ends)
    finally:
        epoll.close()
        for end in ends:
            os.close(end)
