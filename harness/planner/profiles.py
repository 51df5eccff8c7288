"""Which policy holds a worker: a profile's, built in or the file's own, or the tightest that its protocol allows."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.planner.findings import Findings
from harness.seccomp_compiler import calls, is_call
from harness.topology.load import Location
from harness.topology.mistakes import nearest
from harness.topology.model import Profile, Topology
from sandbox.confinement.policy import PROFILES, Layer, Policy, allow
from sandbox.protocols import PROTOCOLS, AddressForm

TIGHTEST: Final = "tightest"
# From the tightest on.
BY_TIGHTNESS: Final = ("strict", "names")
# The kernel gives these to whoever has no privileges only where none can be gained.
NEEDS_NO_NEW_PRIVS: Final = frozenset({Layer.LANDLOCK, Layer.SECCOMP})


class Profiles:
    """The profiles of one cell, by name."""

    def __init__(self, topology: Topology, folder: Path, findings: Findings) -> None:
        self._own = topology.profiles
        self._folder = folder
        self._findings = findings
        self._policies: dict[str, Policy] = dict(PROFILES)
        for name in self._own:
            if name in PROFILES or name == TIGHTEST:
                findings.add(("profiles", name), f"{name!r} is a profile already; choose another name", at_key=True)
            elif not findings.is_damaged(("profiles", name)):
                self._resolve(name)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """All of them, those that are built in among them."""
        return self._policies

    def policy(self, name: str | None, protocol: str | None, path: Location) -> Policy:
        """Return the policy that `confinement: name` means for a worker of this protocol."""
        if name == TIGHTEST:
            fitting = (PROFILES[tight] for tight in BY_TIGHTNESS if not denied(PROFILES[tight], protocol))
            return next(fitting, PROFILES["none"])
        if name is not None and name not in self._policies:
            if not self._findings.is_damaged(("profiles", name)):
                options = [*self._policies, TIGHTEST]
                if name not in options:
                    self._findings.known_profile(name, options, path)
            return PROFILES["none"]
        return self._policies[name or "none"]

    def _resolve(self, name: str) -> None:
        """Make the policies of a profile and of those that it extends, the innermost first."""
        chain: dict[str, None] = {}
        while name in self._own and name not in self._policies and name not in chain:
            chain[name] = None
            name = self._own[name].extends
        if name in chain:
            last = next(reversed(chain))
            self._findings.add_once(("profiles", last, "extends"), f"{last} extends itself")
        elif name not in self._policies:
            self._unknown(name, next(reversed(chain)))
        base = self._policies.get(name, PROFILES["none"])
        for extending in reversed(chain):
            own = self._own[extending]
            self._check(own, extending, base)
            base = self._policies[extending] = extended(extending, base, own, self._folder)

    def _unknown(self, name: str, extending: str) -> None:
        """Find a base that there is none of."""
        path = ("profiles", extending, "extends")
        if name == TIGHTEST:
            text = f"{TIGHTEST} is no profile of its own: it chooses {' or '.join(BY_TIGHTNESS)}; extend one of them"
            self._findings.add_once(path, text)
        else:
            others = [*PROFILES, *(other for other in self._own if other != extending)]
            self._findings.known(name, others, path, "profile")

    def _check(self, own: Profile, name: str, base: Policy) -> None:
        """Find layers that cannot be left off, calls that there are none of, and paths that cannot be shown."""
        path = ("profiles", name)
        left = base.layers - set(map(Layer, own.without))
        for index, layer in enumerate(map(Layer, own.without)):
            where = (*path, "without", index)
            if layer not in base.layers:
                self._findings.add_once(where, f"{own.extends} has no layer {layer.value} that could be left off")
            elif layer is Layer.NO_NEW_PRIVS and (
                needing := sorted(other.value for other in left & NEEDS_NO_NEW_PRIVS)
            ):
                text = (
                    f"{' and '.join(needing)} cannot be without {layer.value}; leave {' and '.join(needing)} off, too"
                )
                self._findings.add_once(where, text)
        for index, call in enumerate(own.allow):
            if not is_call(call):
                self._findings.add_once(
                    (*path, "allow", index), f"unknown system call {call!r}{nearest(call, calls())}"
                )
        for index, shown in enumerate(own.readable):
            where = (*path, "readable", index)
            if path_of(shown, self._folder) == "/":
                self._findings.add_once(where, "not all that there is can be readable; name what the program needs")
            elif not Path(path_of(shown, self._folder)).exists():
                self._findings.add_once(where, f"{shown!r}: No such file or directory")


def path_of(shown: str, folder: Path) -> str:
    """Return the path that a profile means, which begins at the file's folder where it is relative."""
    return os.path.abspath(folder / shown)  # noqa: PTH100 - links are to stay what they are


def extended(name: str, base: Policy, own: Profile, folder: Path) -> Policy:
    """Return a policy that is `base` with what a profile says of its own."""
    return replace(
        base,
        name=name,
        base=base.base or base.name,
        layers=base.layers - set(map(Layer, own.without)),
        refuses=base.refuses if own.refuse is None else own.refuse,
        allowed=tuple(dict.fromkeys((*base.allowed, *own.allow))),
        allow_missing=base.allow_missing | set(map(Layer, own.allow_missing)),
        rules=(*(rule for rule in base.rules if rule.call not in own.allow), *allow(*own.allow)),
        readable=(*base.readable, *(path_of(shown, folder) for shown in own.readable)),
    )


def denied(policy: Policy, protocol: str | None) -> list[str]:
    """Return what the protocol is made of and the policy takes away: calls; where it leaves them, what names are in."""
    if not protocol or not policy.refuses:
        return []
    if calls := sorted(filter(policy.denies, PROTOCOLS[protocol].calls)):
        return calls
    if PROTOCOLS[protocol].address_form is not AddressForm.TOKEN:
        return []
    reached = policy.abstract_names or Layer.LANDLOCK not in policy.layers
    return [
        *(["the network that its names are in"] if Layer.NETWORK_NAMESPACE in policy.layers else []),
        *([] if reached else ["the abstract names of others"]),
    ]
