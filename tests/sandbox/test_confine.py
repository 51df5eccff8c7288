"""What a worker does while its layers are put on, and no whole run can show."""

import os
from collections.abc import Callable
from typing import Final

import pytest

from sandbox.confinement import confine
from sandbox.confinement.kernel import PR_SET_PDEATHSIG, SYS_GETPPID, SYS_PRCTL, SYS_SETRESUID, SYS_UNSHARE, make, prctl
from tests.children import fork
from tests.kernel import until

# By which call the ids change, and the steps from the zygote's process id.
CHANGES: Final[dict[str, tuple[int, Callable[[int], list[confine.Step]]]]] = {
    "another uid": (SYS_SETRESUID, lambda zygote: confine.becoming(os.getuid(), zygote)),
    "a user namespace": (SYS_UNSHARE, confine.entering_user_namespace),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("zygote_ends", [True, False])
def test_a_worker_whose_zygote_ends_while_its_ids_change_does_not_outlive_it(
    change: str, zygote_ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel forgets the signal with the ids: a zygote that ends then ends nobody, without a PID namespace."""
    changing, steps_of = CHANGES[change]
    told, tell = os.pipe()
    zygote = fork()
    if not zygote:
        parent = os.getpid()
        gate, opened = os.pipe()
        if fork():
            os.close(tell)
            os.close(opened)
            os.read(gate, 1)
            os._exit(0)

        def made(number: int, *arguments: int) -> int:
            if number in (SYS_PRCTL, SYS_GETPPID):
                return make(number, *arguments)
            if number == changing:
                prctl(PR_SET_PDEATHSIG, 0)
                if zygote_ends:
                    os.close(opened)
                    until(lambda: os.getppid() != parent, "the zygote is gone")
            return 0

        monkeypatch.setattr(confine, "make", made)
        try:
            confine.take(steps_of(parent))
            os.write(tell, b"went on")
        except ProcessLookupError:
            os.write(tell, b"ended")
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read()
    os.waitpid(zygote, 0)
    assert said == (b"ended" if zygote_ends else b"went on")
