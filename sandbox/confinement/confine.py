"""A worker's layers: made ready in the zygote, put on after the fork in the only order that works; each fails closed.

Ready means as system calls, of which nothing is left to do but to make them: why, `kernel.py` says.

no_new_privs, Landlock    while the ruleset is there, a descriptor; Landlock needs no_new_privs, or to be root
namespaces of the run     while their descriptors are there, and we may enter them
                          (its own descriptors in their places, limits that it may take power to set)
own uid                   before the capabilities that it takes are given up
user namespace            where it has no power over anything of the others'
capabilities, not_dumpable
                          (the limit on processes: one from before the user namespace all workers of a user would share)
seccomp                   last, for it takes the calls away that the others are made of
"""

import errno
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.confinement import capabilities, landlock, namespaces, seccomp
from sandbox.confinement.kernel import (
    DIE_WITH_PARENT,
    SYS_GETPPID,
    SYS_PRCTL,
    SYS_SETGROUPS,
    SYS_SETRESGID,
    SYS_SETRESUID,
    SYS_UNSHARE,
    Call,
    call_of,
    failure,
    make,
)
from sandbox.confinement.policy import Layer

# linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38

# A system call, and what it returns where all is well.
Step = tuple[Call, int]


# Who is our parent?
PARENT: Final = call_of(SYS_GETPPID)


class LayerError(Exception):
    """A layer that could not be put on."""


class Confinement:
    """What workers of one kind put on, each of them a child of whoever makes this.

    told     layers (their names); readable, listable and executable paths, and abstract_names, for Landlock; the
             seccomp program, and as `listened_to` that which has a listener
    world    descriptors of the namespaces that the run has, by kind; borrowed, for good
    ruleset  that which `ruleset_of` makes of it, where Landlock is among the layers; owned

    Raises OSError where it cannot be learned which capabilities there are.
    """

    def __init__(self, told: Mapping[str, Any], world: Mapping[str, int], ruleset: int | None) -> None:
        layers = {Layer(name) for name in told["layers"]}
        self._parent = os.getpid()
        self._has_own_uid = Layer.OWN_UID in layers
        self._entering = list[tuple[Layer, list[Step]]]()
        self._narrowing = list[tuple[Layer, list[Step]]]()
        self._giving_up = list[tuple[Layer, list[Step]]]()
        if Layer.NO_NEW_PRIVS in layers:
            self._entering.append((Layer.NO_NEW_PRIVS, [(call_of(SYS_PRCTL, PR_SET_NO_NEW_PRIVS, 1), 0)]))
        if ruleset is not None:
            self._entering.append((Layer.LANDLOCK, [(landlock.restricting(ruleset), 0)]))
        for kind, layer in namespaces.LAYERS.items():
            if layer in layers:
                self._entering.append((layer, [(namespaces.entering(kind, world[kind]), 0)]))
        if Layer.USER_NAMESPACE in layers:
            self._giving_up.append((Layer.USER_NAMESPACE, entering_user_namespace(self._parent)))
        if Layer.CAPABILITIES in layers:
            # A user namespace brings all of them back, its own: without one, another uid has no power to drop them.
            if Layer.USER_NAMESPACE in layers:
                self._giving_up.append((Layer.CAPABILITIES, narrowing_capabilities()))
            elif may_narrow_capabilities():
                self._narrowing.append((Layer.CAPABILITIES, narrowing_capabilities()))
            self._giving_up.append((Layer.CAPABILITIES, dropping_capabilities()))
        if Layer.NOT_DUMPABLE in layers:
            self._giving_up.append((Layer.NOT_DUMPABLE, [(call_of(SYS_PRCTL, PR_SET_DUMPABLE, 0), 0)]))
        has_filter = Layer.SECCOMP in layers
        self._filter = seccomp.Filter(told["seccomp"], told["listened_to"]) if has_filter else None

    def enter(self) -> None:
        """Put on what takes the zygote's descriptors. Raises LayerError."""
        put_on(self._entering)

    def give_up(self, uid: int) -> None:
        """Leave all power behind; `uid` is for those that have one of their own. Raises LayerError."""
        put_on(self._narrowing)
        if self._has_own_uid:
            put_on([(Layer.OWN_UID, becoming(uid, self._parent))])
        put_on(self._giving_up)

    def seal(self) -> int:
        """Leave no call but those that are allowed.

        Returns the listener of the seccomp program, which is the caller's, or NO_LISTENER. Raises LayerError.
        """
        try:
            return seccomp.NO_LISTENER if self._filter is None else self._filter.load()
        except OSError as error:
            raise LayerError(f"{Layer.SECCOMP.value}: {error}") from error


def put_on(layers: Iterable[tuple[Layer, Iterable[Step]]]) -> None:
    """Put layers on. Raises LayerError."""
    for layer, steps in layers:
        try:
            take(steps)
        except OSError as error:
            raise LayerError(f"{layer.value}: {error}") from error


def take(steps: Iterable[Step]) -> None:
    """Make the calls. Raises OSError."""
    for call, expected in steps:
        if make(*call) != expected:
            raise ProcessLookupError(errno.ESRCH, "the zygote is gone") if call == PARENT else failure()


# What workers put on that are not confined.
NOTHING: Final = Confinement({"layers": ()}, {}, None)


def ruleset_of(told: Mapping[str, Any]) -> int:
    """Return a ruleset that allows what Landlock is to allow. Raises LayerError."""
    try:
        return landlock.make_ruleset(
            told["readable"], told["listable"], told["executable"], abstract_names=told["abstract_names"]
        )
    except OSError as error:
        raise LayerError(f"{Layer.LANDLOCK.value}: {error}") from error


def becoming(uid: int, parent: int) -> list[Step]:
    """Return the steps to be another user, alone in a group of the same number."""
    return [
        (call_of(SYS_SETGROUPS, 0, 0), 0),
        (call_of(SYS_SETRESGID, uid, uid, uid), 0),
        (call_of(SYS_SETRESUID, uid, uid, uid), 0),
        *remembering_to_die(parent),
    ]


def entering_user_namespace(parent: int) -> list[Step]:
    """Return the steps to be nobody in a user namespace of our own: no id is mapped, so that none can be assumed."""
    return [(call_of(SYS_UNSHARE, namespaces.CLONE_NEWUSER), 0), *remembering_to_die(parent)]


def remembering_to_die(parent: int) -> list[Step]:
    """Return the steps after our ids have changed: the kernel forgets then that we are to end with the zygote.

    So it is said again; and looked whether the zygote, our parent, has ended meanwhile.
    """
    return [(DIE_WITH_PARENT, 0), (PARENT, parent)]


def narrowing_capabilities() -> list[Step]:
    """Return the steps to have nothing that is executed gain a capability. Raises OSError."""
    return [(call, 0) for call in capabilities.dropping_bounding_set()]


def dropping_capabilities() -> list[Step]:
    """Return the steps to have no capability any more."""
    return [(call, 0) for call in capabilities.DROPPING_ALL]


def may_narrow_capabilities() -> bool:
    """Say whether we, and so our children, may take these steps. Raises OSError."""
    return bool(capabilities.effective() >> capabilities.CAP_SETPCAP & 1)
