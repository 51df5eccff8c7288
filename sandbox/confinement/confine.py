"""A worker's layers: made ready in the zygote, put on after the fork in the only order that works; each fails closed.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from sandbox.confinement import capabilities, landlock, namespaces, seccomp
from sandbox.confinement.kernel import die_with_parent, prctl
from sandbox.confinement.policy import Layer

# linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38

T = TypeVar("T")
# A layer, and what puts it on: raises OSError.
Step = tuple[Layer, Callable[[], object]]


class LayerError(Exception):
    """A layer that could not be put on."""


class Confinement:
    """What workers of one kind put on.

    told     layers (their names); readable, listable and executable paths, and abstract_names, for Landlock; the
             seccomp program, and as `listened_to` that which has a listener
    world    descriptors of the namespaces that the run has, by kind; borrowed, for good
    ruleset  that which `ruleset_of` makes of it, where Landlock is among the layers; owned
    """

    def __init__(self, told: Mapping[str, Any], world: Mapping[str, int], ruleset: int | None) -> None:
        layers = {Layer(name) for name in told["layers"]}
        self._entering: list[Step] = []
        self._giving_up: list[Step] = []
        self._has_own_uid = Layer.OWN_UID in layers
        # A user namespace brings all of them back, its own: without one, another uid has no power to drop them.
        self._narrows_first = Layer.CAPABILITIES in layers and Layer.USER_NAMESPACE not in layers
        if Layer.NO_NEW_PRIVS in layers:
            self._entering.append((Layer.NO_NEW_PRIVS, partial(prctl, PR_SET_NO_NEW_PRIVS, 1)))
        if ruleset is not None:
            self._entering.append((Layer.LANDLOCK, partial(landlock.restrict, ruleset)))
        for kind, layer in namespaces.LAYERS.items():
            if layer in layers:
                self._entering.append((layer, partial(namespaces.enter, kind, world[kind])))
        if Layer.USER_NAMESPACE in layers:
            self._giving_up.append((Layer.USER_NAMESPACE, enter_user_namespace))
        if Layer.CAPABILITIES in layers:
            self._giving_up.append((Layer.CAPABILITIES, give_up_capabilities))
        if Layer.NOT_DUMPABLE in layers:
            self._giving_up.append((Layer.NOT_DUMPABLE, partial(prctl, PR_SET_DUMPABLE, 0)))
        has_filter = Layer.SECCOMP in layers
        self._filter = seccomp.Filter(told["seccomp"], told["listened_to"]) if has_filter else None

    def enter(self) -> None:
        """Put on what takes the zygote's descriptors. Raises LayerError."""
        for layer, put_on in self._entering:
            attempt(layer, put_on)

    def give_up(self, uid: int) -> None:
        """Leave all power behind; `uid` is for those that have one of their own. Raises LayerError."""
        if self._narrows_first:
            attempt(Layer.CAPABILITIES, narrow_capabilities)
        if self._has_own_uid:
            attempt(Layer.OWN_UID, partial(become, uid))
        for layer, put_on in self._giving_up:
            attempt(layer, put_on)

    def seal(self) -> int:
        """Leave no call but those that are allowed.

        Returns the listener of the seccomp program, which is the caller's, or NO_LISTENER. Raises LayerError.
        """
        return seccomp.NO_LISTENER if self._filter is None else attempt(Layer.SECCOMP, self._filter.load)


# What workers put on that are not confined.
NOTHING: Final = Confinement({"layers": ()}, {}, None)


def attempt(layer: Layer, put_on: Callable[[], T]) -> T:
    """Put a layer on, and return what that returns. Raises LayerError."""
    try:
        return put_on()
    except OSError as error:
        raise LayerError(f"{layer.value}: {error}") from error


def ruleset_of(told: Mapping[str, Any]) -> int:
    """Return a ruleset that allows what Landlock is to allow. Raises LayerError."""
    try:
        return landlock.make_ruleset(
            told["readable"], told["listable"], told["executable"], abstract_names=told["abstract_names"]
        )
    except OSError as error:
        raise LayerError(f"{Layer.LANDLOCK.value}: {error}") from error


def become(uid: int) -> None:
    """Be another user, alone in a group of the same number. Raises OSError."""
    with remembering_to_die():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def enter_user_namespace() -> None:
    """Be nobody in a user namespace of our own. Raises OSError."""
    with remembering_to_die():
        namespaces.enter_user_namespace()


@contextmanager
def remembering_to_die() -> Iterator[None]:
    """Have our ids change, with which the kernel forgets what is to become of us when the zygote, our parent, ends.

    Until then it is known: who is the parent before is the zygote. Raises ProcessLookupError where it ends meanwhile.
    """
    parent = os.getppid()
    yield
    die_with_parent()
    if os.getppid() != parent:
        raise ProcessLookupError(errno.ESRCH, "the zygote is gone")


def narrow_capabilities() -> None:
    """Where we have the power to, have nothing that is executed gain a capability. Raises OSError."""
    if capabilities.effective() >> capabilities.CAP_SETPCAP & 1:
        capabilities.drop_bounding_set()


def give_up_capabilities() -> None:
    """Have no capability, now or later: a user namespace has brought all of them back. Raises OSError."""
    narrow_capabilities()
    capabilities.drop_all()
