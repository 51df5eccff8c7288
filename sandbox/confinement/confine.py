"""Puts a worker's layers on, one after the other, in the only order that works; each fails closed.

namespaces of the run     while we may still enter them; before the descriptors are in place
own uid                   before the capabilities that it takes are given up
user namespace            where it has no power over anything of the others'
capabilities, no_new_privs, not_dumpable
Landlock                  needs no_new_privs, and the paths that it names
seccomp                   last, for it takes the calls away that the others are made of
"""

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.confinement import capabilities, landlock, namespaces, seccomp
from sandbox.confinement.kernel import prctl
from sandbox.confinement.policy import Layer

# linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38


class LayerError(Exception):
    """A layer that could not be put on."""


def enter(told: Mapping[str, Any], run: Mapping[str, int]) -> None:
    """Enter the run's namespaces (descriptors by kind, borrowed) that the manifest says. Raises LayerError."""
    for kind in told["namespaces"]:
        try:
            namespaces.enter(kind, run[kind])
        except OSError as error:
            raise LayerError(f"{namespaces.LAYERS[kind].value}: {error}") from error


def confine(told: Mapping[str, Any], die_with_parent: Callable[[], None]) -> None:
    """Put on the layers that the manifest says.

    told: layers (their names), uid, readable, listable and executable paths, abstract_names, and the seccomp program in
    base64. Raises LayerError.
    """
    layers = set(told["layers"])
    steps: list[tuple[Layer, Callable[[], object]]] = [
        # A user namespace brings all of them back, its own: without one, another uid has no power to drop them.
        *([] if Layer.USER_NAMESPACE.value in layers else [(Layer.CAPABILITIES, narrow_capabilities)]),
        (Layer.OWN_UID, lambda: become(told["uid"])),
        (Layer.USER_NAMESPACE, namespaces.enter_user_namespace),
        (Layer.CAPABILITIES, give_up_capabilities),
        (Layer.NO_NEW_PRIVS, lambda: prctl(PR_SET_NO_NEW_PRIVS, 1)),
        (Layer.NOT_DUMPABLE, lambda: prctl(PR_SET_DUMPABLE, 0)),
        (
            Layer.LANDLOCK,
            lambda: landlock.restrict(
                told["readable"], told["listable"], told["executable"], abstract_names=told["abstract_names"]
            ),
        ),
        (Layer.SECCOMP, lambda: seccomp.load(base64.b64decode(told["seccomp"]))),
    ]
    for layer, put_on in steps:
        if layer.value in layers:
            try:
                put_on()
            except OSError as error:
                raise LayerError(f"{layer.value}: {error}") from error
            if layer in (Layer.OWN_UID, Layer.USER_NAMESPACE):
                # Whoever changes its ids forgets what is to become of it when its parent dies.
                die_with_parent()


def become(uid: int) -> None:
    """Be another user, alone in a group of the same number. Raises OSError."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def narrow_capabilities() -> None:
    """Where we have the power to, have nothing that is executed gain a capability. Raises OSError."""
    if capabilities.effective() >> capabilities.CAP_SETPCAP & 1:
        capabilities.drop_bounding_set()


def give_up_capabilities() -> None:
    """Have no capability, now or later: a user namespace has brought all of them back. Raises OSError."""
    narrow_capabilities()
    capabilities.drop_all()
