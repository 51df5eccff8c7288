"""Which layers of confinement work on this machine, and for whom: each is tried, in a child, by root and by a user."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.confinement import WHAT, advice
from harness.errors import MissingLayerError
from harness.seccomp_compiler import program_of
from sandbox.confinement import namespaces, probe
from sandbox.confinement.kernel import prctl, unshare
from sandbox.confinement.policy import PROFILES, Layer

NOBODY: Final = 65534
# linux/prctl.h; a process that changed its user may not write its own maps before.
PR_SET_DUMPABLE: Final = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one layer: None where it works, else what the kernel says; by who tried it.

    `note` is what is not as it should be where it works all the same.
    """

    layer: Layer
    by: Mapping[str, str | None]
    note: str = ""


def examine() -> list[Finding]:
    """Try every layer as whoever asks may have it: root as root and, if it can, as a user; a user as one."""
    layers = list(Layer)
    found: dict[str, dict[str, str]] = {}
    if probe.attempted(_become_user) is None:
        theirs = [layer for layer in layers if layer is not Layer.OWN_UID]
        found["user"] = _in_a_child(lambda: probe.lacking(theirs), _as_user)
    if os.geteuid() == 0:
        found = {"root": _in_a_child(lambda: probe.lacking(layers), _as_root), **found}
    try:
        program_of(PROFILES["strict"])
    except MissingLayerError as error:
        found = {who: {**lacking, Layer.SECCOMP.value: str(error)} for who, lacking in found.items()}
    notes = {Layer.SECCOMP: note_on_refusals()}
    return [
        Finding(
            layer,
            {who: lacking.get(layer.value) for who, lacking in found.items() if not _is_roots(layer, who)},
            notes.get(layer, ""),
        )
        for layer in layers
    ]


def note_on_refusals() -> str:
    """Return why nobody hears here which calls a worker is refused, "" where we do."""
    said = probe.listening()
    if said is None:
        try:
            said = None if program_of(PROFILES["strict"], listened_to=True) else "libseccomp knows of no such thing"
        except MissingLayerError as error:
            said = str(error)
    return "" if said is None else f"which calls it refuses cannot be told here: {said}"


def _is_roots(layer: Layer, who: str) -> bool:
    return layer is Layer.OWN_UID and who == "user"


def _in_a_child(look: Callable[[], Mapping[Layer, str]], begin: Callable[[], None]) -> dict[str, str]:
    """Return what a child finds that has begun by becoming what it is to be."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            begin()
            # The first child of a new PID namespace is its init, as the zygote is.
            if init := os.fork():
                os.waitpid(init, 0)
            else:
                os.write(writer, json.dumps({layer.value: said for layer, said in look().items()}).encode())
        except BaseException as error:  # noqa: BLE001 - whatever it is, nothing works that was not seen to work
            said = str(error) or repr(error)
            os.write(writer, json.dumps({layer.value: said for layer in Layer}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        answer = told.read()
    os.waitpid(pid, 0)
    found: dict[str, str] = json.loads(answer)
    return found


def _as_root() -> None:
    unshare(namespaces.CLONE_NEWPID)


def _become_user() -> None:
    """Be no root. Raises OSError, as in a user namespace that has no ids but root's."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        prctl(PR_SET_DUMPABLE, 1)


def _as_user() -> None:
    """Become a user, and begin as the zygote of a user does: in a user namespace of its own, if there can be one."""
    _become_user()
    uid, gid = os.getuid(), os.getgid()
    try:
        unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWPID)
    except OSError:
        # Then what needs one will say so.
        return
    for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
        Path("/proc/self", name).write_bytes(text.encode())


def report(findings: list[Finding]) -> str:
    """Return the findings as a table, and below it what is missing, why, and what to do."""
    whose = list(findings[0].by)
    width = max(len(finding.layer.value) for finding in findings)
    lines = [f"{'layer':<{width}}  {'  '.join(f'{who:<7}' for who in whose)}  what it does"]
    for finding in findings:
        marks = (_mark(finding, who) for who in whose)
        lines.append(
            f"{finding.layer.value:<{width}}  {'  '.join(f'{mark:<7}' for mark in marks)}  {WHAT[finding.layer]}"
        )
    if "user" not in whose:
        lines.append("\nuser: not tried, for root cannot become one here: this user namespace has no id for it")
    for finding in findings:
        for who, said in finding.by.items():
            if said is not None:
                lines.append(f"\n{finding.layer.value}, {who}: {said}{advice(finding.layer)}")
        if finding.note:
            lines.append(f"\n{finding.layer.value}: {finding.note}")
    return "\n".join(lines)


def _mark(finding: Finding, who: str) -> str:
    if who not in finding.by:
        return "-"
    return "works" if finding.by[who] is None else "missing"


def is_complete(findings: list[Finding]) -> bool:
    """Say whether whoever asked has every layer."""
    return all(next(iter(finding.by.values()), None) is None for finding in findings)
