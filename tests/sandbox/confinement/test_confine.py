"""What layers that change the ids must not undo."""

import ctypes
import os
import signal

import pytest

from sandbox.confinement.confine import becoming, entering_user_namespace, take
from sandbox.confinement.kernel import LIBC, checked, die_with_parent
from tests.children import in_child

PR_GET_PDEATHSIG = 2  # linux/prctl.h
SOMEBODY = 1_999_999_997

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become others")


def signal_when_the_parent_dies() -> int:
    number = ctypes.c_int()
    checked(int(LIBC.prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)))
    return number.value


@only_root
@in_child
def test_whoever_became_another_still_dies_with_its_parent() -> None:
    die_with_parent()
    take(becoming(SOMEBODY, os.getppid()))
    assert os.getresuid() == os.getresgid() == (SOMEBODY,) * 3
    assert os.getgroups() == []
    assert signal_when_the_parent_dies() == signal.SIGKILL


@only_root
@in_child
def test_to_change_the_ids_alone_would_forget_it() -> None:
    die_with_parent()
    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
    assert signal_when_the_parent_dies() == 0


@in_child
def test_whoever_is_nobody_still_dies_with_its_parent() -> None:
    die_with_parent()
    take(entering_user_namespace(os.getppid()))
    assert os.getuid() == 65534
    assert signal_when_the_parent_dies() == signal.SIGKILL
