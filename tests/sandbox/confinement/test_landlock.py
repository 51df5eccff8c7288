"""Landlock alone: each right over files, ports, names and signals is taken, and given back where it is to be."""

import errno
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from sandbox.confinement import landlock
from sandbox.confinement.confine import PR_SET_NO_NEW_PRIVS
from sandbox.confinement.kernel import prctl
from sandbox.confinement.probe import attempted

DEVICE: Final = "/dev/zero"
TIOCSTI: Final = 0x5412  # asm-generic/ioctls.h
EPERM: Final = f"[Errno {errno.EPERM}]"
EACCES: Final = f"[Errno {errno.EACCES}]"
NAME: Final = f"\0imclab-landlock-{secrets.token_hex(8)}"

pytestmark = pytest.mark.skipif(
    landlock.version() < landlock.VERSION_NEEDED, reason=f"Landlock is of version {landlock.version()} here"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file, a program that is none, and a directory."""
    (tmp_path / "file").write_text("something")
    (tmp_path / "program").write_text("no program")
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "directory").mkdir()
    return tmp_path


def attempt_under(attempt: Callable[[], object], rules: tuple[Iterable[str], Iterable[str], Iterable[str]]) -> str:
    """Return what is said of an attempt where Landlock leaves these paths to read, to list and to execute."""

    def restricted() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(landlock.make_ruleset(*rules, abstract_names=False))
        attempt()

    return attempted(restricted) or "done"


def bind(folder: Path) -> None:
    os.chdir(folder)
    socket.socket(socket.AF_UNIX).bind("socket")


def connect_to_a_name(_: Path) -> None:
    socket.socket(socket.AF_UNIX).connect(NAME)


def ask_a_device(_: Path) -> None:
    fcntl.ioctl(os.open(DEVICE, os.O_RDONLY), TIOCSTI, b"x")


def bind_a_port(_: Path) -> None:
    socket.socket().bind(("127.0.0.1", 0))


def connect_to_a_port(_: Path) -> None:
    socket.socket().connect(("127.0.0.1", 1))


# What takes each right, but for that to move files from one folder to another, which is never had; what is said of it
# under Landlock, and otherwise, where it is not done.
RIGHTS: Final[dict[str, tuple[Callable[[Path], object], str, str]]] = {
    "execute": (lambda folder: os.execve(folder / "program", ["program"], {}), EACCES, "[Errno 8]"),  # noqa: S606
    "write": (lambda folder: os.open(folder / "file", os.O_WRONLY), EACCES, "done"),
    "read": (lambda folder: os.open(folder / "file", os.O_RDONLY), EACCES, "done"),
    "list": (os.listdir, EACCES, "done"),
    "remove a directory": (lambda folder: (folder / "directory").rmdir(), EACCES, "done"),
    "remove a file": (lambda folder: (folder / "file").unlink(), EACCES, "done"),
    # The device of no number is one that everybody may make.
    "make a character device": (lambda folder: os.mknod(folder / "made", stat.S_IFCHR), EACCES, "done"),
    "make a directory": (lambda folder: (folder / "made").mkdir(), EACCES, "done"),
    "make a file": (lambda folder: os.mknod(folder / "made", stat.S_IFREG), EACCES, "done"),
    "make a socket": (bind, EACCES, "done"),
    "make a pipe": (lambda folder: os.mkfifo(folder / "made"), EACCES, "done"),
    "make a block device": (lambda folder: os.mknod(folder / "made", stat.S_IFBLK, os.makedev(7, 7)), EACCES, "done"),
    "make a symbolic link": (lambda folder: (folder / "made").symlink_to("file"), EACCES, "done"),
    "truncate": (lambda folder: os.truncate(folder / "file", 0), EACCES, "done"),
    # That it may be read is no leave to ask it for anything: it was asked, and knows no terminal's requests.
    "ask a device": (ask_a_device, EACCES, "[Errno 25]"),
    "bind a port": (bind_a_port, EACCES, "done"),
    "connect to a port": (connect_to_a_port, EACCES, "[Errno 111]"),
    "connect to a name": (connect_to_a_name, EPERM, "done"),
    "signal": (lambda _: os.kill(os.getppid(), 0), EPERM, "done"),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_is_taken(right: str, folder: Path) -> None:
    if right == "make a block device" and os.geteuid():
        pytest.skip("only root may make one, and may not in a user namespace")
    attempt, refused, otherwise = RIGHTS[right]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(NAME)
        listener.listen()
        restricted = attempt_under(lambda: attempt(folder), ([DEVICE], [], []))
        unrestricted = attempted(lambda: attempt(folder)) or "done"
    assert restricted.startswith(refused), restricted
    assert unrestricted.startswith(otherwise), unrestricted


READ_LIST_EXECUTE: Final[dict[str, tuple[tuple[int, ...], list[str]]]] = {
    "readable": ((0,), ["done", "done", EACCES]),
    "listable": ((1,), [EACCES, "done", EACCES]),
    "executable": ((2,), ["done", EACCES, "[Errno 8]"]),
    "readable and executable": ((0, 2), ["done", "done", "[Errno 8]"]),
}


@pytest.mark.parametrize("given", READ_LIST_EXECUTE)
def test_what_is_given_is_no_more_than_its_name_says(given: str, folder: Path) -> None:
    places, expected = READ_LIST_EXECUTE[given]
    attempts = [RIGHTS[right][0] for right in ("read", "list", "execute")]
    readable, listable, executable = ([str(folder)] if place in places else [] for place in range(3))
    said = [attempt_under(lambda a=a: a(folder), (readable, listable, executable)) for a in attempts]  # type: ignore[misc]
    assert [text.partition("]")[0] + "]" * ("]" in text) for text in said] == expected
    assert attempt_under(lambda: os.open(folder / "file", os.O_WRONLY), (readable, listable, executable)).startswith(
        EACCES
    )
