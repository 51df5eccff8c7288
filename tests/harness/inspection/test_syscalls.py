"""What the words of /proc/PID/syscall mean, on both machines."""

import struct
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.inspection.syscalls import CALLS, MACHINES, Memory, Wait, numbers_of, wait_of

X86: Final = numbers_of("x86_64")
NOWHERE: Final = 0xDEAD0000


def memory(**at: bytes) -> Memory:
    """Return a memory that has these bytes, at a1000=…, and nothing else."""
    pages = {int(address[1:], 16): data for address, data in at.items()}

    def read(address: int, size: int) -> bytes:
        if address not in pages:
            raise OSError(5, "no such memory")
        return pages[address][:size]

    return read


def words(name: str, *arguments: int, machine: str = "x86_64") -> str:
    number = {called: number for number, (called, _) in numbers_of(machine).items()}[name]
    six = [*arguments, *[0] * (6 - len(arguments))]
    return " ".join([str(number), *map(hex, six), "0x7ffc0a78bbe8", "0x7f97eb9e32ad"]) + "\n"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", ["read", "recvmsg", "accept4", "recvfrom"])
def test_what_reads_names_its_descriptor_first(machine: str, call: str) -> None:
    found = wait_of(words(call, 7, machine=machine), numbers_of(machine), memory())
    assert found == Wait(call, reads=(7,))


@pytest.mark.parametrize("machine", MACHINES)
def test_no_number_stands_for_two_calls(machine: str) -> None:
    column = 1 + MACHINES.index(machine)
    assert len(numbers_of(machine)) == sum(call[column] is not None for call in CALLS.values())


def test_a_machine_that_is_not_known_has_numbers_and_no_names() -> None:
    assert wait_of("63 0x7 0x0 0x0 0x0 0x0 0x0 0x1 0x2", numbers_of("mips"), memory()) == Wait("system call 63")


@pytest.mark.parametrize("line", ["running\n", "-1 0x7ffc0a78bbe8 0x7f97eb9e32ad\n", "", "0\n"])
def test_who_is_in_no_call_waits_for_nothing(line: str) -> None:
    assert wait_of(line, X86, memory()) is None


SOCKADDR: Final = struct.pack("=H", 1) + b"\0name"


@pytest.mark.parametrize(
    ("line", "stored", "expected"),
    [
        (words("sendmsg", 3, 0x1000), {"a1000": struct.pack("=QI4x", 0, 0)}, Wait("sendmsg", writes=(3,))),
        (
            words("sendmsg", 3, 0x1000),
            {"a1000": struct.pack("=QI4x", 0x2000, 7), "a2000": SOCKADDR},
            Wait("sendmsg", writes=(3,), name=b"\0name"),
        ),
        (words("connect", 3, 0x2000, 7), {"a2000": SOCKADDR}, Wait("connect", writes=(3,), name=b"\0name")),
        (
            words("sendto", 3, 0, 0, 0, 0x2000, 7),
            {"a2000": SOCKADDR},
            Wait("sendto", writes=(3,), name=b"\0name"),
        ),
        (
            words("poll", 0x1000, 3, 0xFFFFFFFF),
            {"a1000": struct.pack("=ihhihhihh", 5, 1, 0, -1, 1, 0, 6, 4, 0)},
            Wait("poll", reads=(5,), writes=(6,)),
        ),
        (
            words("poll", 0x1000, 1, 5000),
            {"a1000": struct.pack("=ihh", 5, 0x2000, 0)},
            Wait("poll", reads=(5,), timed=True),
        ),
        (words("poll", 0, 0, 5000), {}, Wait("poll", timed=True, sleeps=True)),
        (words("ppoll", 0x1000, 1, 0), {"a1000": struct.pack("=ihh", 5, 1, 0)}, Wait("ppoll", reads=(5,))),
        (
            words("select", 70, 0x1000, 0x2000),
            {"a1000": struct.pack("=QQ", 1 << 9, 1 << 1), "a2000": struct.pack("=QQ", 1 << 4, 0)},
            Wait("select", reads=(9, 65), writes=(4,)),
        ),
        (words("pselect6", 0, 0, 0, 0, 0x3000), {}, Wait("pselect6", timed=True, sleeps=True)),
        (words("epoll_wait", 8, 0x1000, 5, 0xFFFFFFFF), {}, Wait("epoll_wait", reads=(8,), epoll=True)),
        (words("epoll_wait", 8, 0x1000, 5, 9), {}, Wait("epoll_wait", reads=(8,), epoll=True, timed=True)),
        (words("futex", 0x1000, 0, 0, 0), {}, Wait("futex")),
        (words("futex", 0x1000, 0, 0, 0x2000), {}, Wait("futex", timed=True)),
        (words("clock_nanosleep", 0), {}, Wait("clock_nanosleep", timed=True, sleeps=True)),
        (words("wait4", 0), {}, Wait("wait4")),
    ],
)
def test_what_a_call_waits_for_lies_in_its_arguments_and_behind_them(
    line: str, stored: dict[str, bytes], expected: Wait
) -> None:
    assert wait_of(line, X86, memory(**stored)) == expected


@pytest.mark.parametrize(
    ("line", "size"), [(words("poll", 0x1000, 1025, 5000), 8192), (words("select", 1025, 0x1000, 0, 0, 0x3000), 128)]
)
def test_whoever_waits_for_more_than_is_read_does_not_only_sleep(line: str, size: int) -> None:
    # Of poll, 1024 entries that are to be ignored.
    nothing = struct.pack("=ihh", -1, 0, 0) * 1024 if size > 1024 else bytes(size)
    wait = wait_of(line, numbers_of("x86_64"), lambda *_: nothing)
    assert wait is not None
    assert (wait.more, wait.sleeps) == (True, False)


@pytest.mark.parametrize("call", ["connect", "sendmsg", "poll", "select"])
def test_memory_that_cannot_be_read_leaves_the_call_and_its_one_descriptor(call: str) -> None:
    found = wait_of(words(call, 3, NOWHERE, NOWHERE, 0, NOWHERE), X86, memory())
    assert found == Wait(call, writes=(3,) if call in {"connect", "sendmsg"} else ())


def test_only_what_a_signal_ends_for_good_is_frail() -> None:
    frail = [name for number, (name, _) in X86.items() if Wait(name).frail]
    assert sorted(frail) == ["pause", "rt_sigsuspend"]


registers = st.integers(0, 2**64 - 1)


@given(st.sampled_from(sorted(X86)), st.lists(registers, min_size=6, max_size=6), st.binary(max_size=9000))
def test_whatever_is_in_the_registers_and_in_memory_nothing_is_raised_or_read_in_heaps(
    number: int, arguments: list[int], anything: bytes
) -> None:
    sizes = []

    def read(_: int, size: int) -> bytes:
        sizes.append(size)
        return anything[:size]

    wait_of(" ".join([str(number), *map(hex, arguments), "0x0", "0x0"]), X86, read)
    assert all(size <= 8192 for size in sizes)
