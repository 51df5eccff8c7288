"""What each worker of a run is told of its confinement, and the namespaces that they enter."""

import math
import os
import resource
import secrets
import shutil
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sandbox
from harness.errors import MissingLayerError
from harness.plan import OPEN_FILES, Limits, Plan, WorkerPlan
from harness.seccomp_compiler import program_of
from harness.spawn import Terms, Zygote
from sandbox.confinement.namespaces import LAYERS
from sandbox.confinement.policy import NATIVE, Layer, in_their_order

# Python workers import from the standard library, from here, and their own module.
STANDARD_LIBRARY: Final = str(Path(os.__file__).parent)
SANDBOX: Final = str(Path(sandbox.__file__).parent)
# What native programs load: where libraries are, and what finds and loads them.
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
# Of these, what the standard library's own extension modules load.
OF_THIS_MACHINE: Final = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
EXTENSIONS: Final = (OF_THIS_MACHINE.removeprefix("/usr"), OF_THIS_MACHINE, "/lib64", "/usr/lib64", "/etc/ld.so.cache")
LOADERS: Final = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1")
# Uids that no system gives to anybody; where in them a run's begin is drawn, so that runs at the same time differ.
FIRST_UID: Final = 0x6000_0000
UIDS: Final = 0x1000_0000


# What this process has seen to work, by its user and whether there was a PID namespace. To try takes 40 ms of a run;
# what works no more is an error all the same, when it is to be made or put on.
KNOWN_TO_WORK: Final[dict[tuple[int, bool], set[Layer]]] = {}


@dataclass(frozen=True, slots=True)
class Assignment:
    """The terms of a worker, and the folder of its program.

    `layers` are those that it has, `without` those that it was to have: they are missing here, and may be.
    """

    terms: Terms
    folder: str
    layers: frozenset[Layer]
    without: frozenset[Layer]


WHAT: Final[Mapping[Layer, str]] = {
    Layer.NO_NEW_PRIVS: "no program that it executes gains privileges",
    Layer.NOT_DUMPABLE: "nobody but root can look into it; a native program, which is executed, is without",
    Layer.CAPABILITIES: "it has none of root's powers",
    Layer.OWN_UID: "a user of its own, for root to give",
    Layer.PID_NAMESPACE: "it sees no processes but the run's, and none of these outlives the run",
    Layer.IPC_NAMESPACE: "no System V memory, no POSIX queues of others",
    Layer.UTS_NAMESPACE: "the host's name is not told",
    Layer.NETWORK_NAMESPACE: "no interface but a loopback of its own, and no abstract names of others",
    Layer.USER_NAMESPACE: "whatever it becomes, it has power over nothing outside",
    Layer.EMPTY_ROOT: "no file but those that it needs to read",
    Layer.LANDLOCK: "no file, no TCP port, no abstract name, no signal to others, whatever the root shows",
    Layer.SECCOMP: "no system call but those on a list",
}
ADVICE: Final[Mapping[Layer, str]] = {
    Layer.PID_NAMESPACE: "allow user namespaces (sysctl user.max_user_namespaces) or be root",
    Layer.IPC_NAMESPACE: "allow user namespaces (sysctl user.max_user_namespaces) or be root",
    Layer.UTS_NAMESPACE: "allow user namespaces (sysctl user.max_user_namespaces) or be root",
    Layer.NETWORK_NAMESPACE: "allow user namespaces (sysctl user.max_user_namespaces) or be root",
    Layer.USER_NAMESPACE: "allow user namespaces (sysctl user.max_user_namespaces)",
    Layer.EMPTY_ROOT: "allow user namespaces (sysctl user.max_user_namespaces) or be root",
    Layer.LANDLOCK: "a kernel of 6.12 or newer, with landlock among its LSMs (lsm=landlock,… on its command line)",
    Layer.SECCOMP: "a kernel with CONFIG_SECCOMP_FILTER, and libseccomp",
    Layer.CAPABILITIES: "be root, or allow user namespaces",
    Layer.OWN_UID: "be root of the whole machine, or an ordinary user",
}


def wanted(worker: WorkerPlan) -> frozenset[Layer]:
    """Return the layers that a worker is to have, of those that it can have.

    A uid of its own is root's to give. What is executed can be looked into by its user, whatever it was before.
    """
    impossible = set[Layer]()
    if os.geteuid():
        impossible.add(Layer.OWN_UID)
    if worker.command:
        impossible.add(Layer.NOT_DUMPABLE)
    return worker.policy.layers - impossible


async def prepare(plan: Plan, zygote: Zygote) -> dict[str, Assignment]:
    """Have the zygote make ready what the workers need to be confined, and return what is whose, by name.

    Raises MissingLayerError for a layer that does not work here and that its profile does not allow to be missing.
    """
    there = await _working_layers(plan, zygote)
    kinds = [kind for kind, layer in LAYERS.items() if layer in there]
    paths = (path for worker in plan.workers.values() for path in shown(worker, plan.folder))
    confinements = list[Mapping[str, Any]]()
    # By what it depends on: many workers are alike.
    numbers = dict[tuple[object, ...], int]()
    assigned = dict[str, Assignment]()
    first = FIRST_UID + secrets.randbelow(UIDS)
    for index, (name, worker) in enumerate(plan.workers.items()):
        layers = wanted(worker) & there
        confinement = None
        if layers:
            alike = (id(worker.policy), worker.program, worker.command, layers)
            if alike not in numbers:
                numbers[alike] = len(confinements)
                confinements.append(_told(worker, plan.folder, layers))
            confinement = numbers[alike]
        # In an empty root there is no such folder; what a native program needs of it is shown.
        folder = "/" if worker.command and Layer.EMPTY_ROOT in layers else str(plan.folder)
        limits = tuple({**no_more_than_ours(worker.policy.limits), **limits_of(worker.limits)}.items())
        late_limits = tuple(no_more_than_ours(worker.policy.late_limits).items())
        terms = Terms(confinement, first + index, limits, late_limits)
        assigned[name] = Assignment(terms, folder, layers, wanted(worker) - layers)
    await zygote.prepare(
        {
            "kinds": kinds,
            "shown": list(dict.fromkeys(paths)) if kinds else [],
            "folders": [str(plan.folder)],
            "confinements": confinements,
        },
        (assignment.terms for assignment in assigned.values()),
    )
    return assigned


async def _working_layers(plan: Plan, zygote: Zygote) -> frozenset[Layer]:
    """Return the layers that workers are to have and that work here. Raises MissingLayerError."""
    layers = frozenset[Layer]().union(*map(wanted, plan.workers.values()))
    if not layers:
        return layers
    known = KNOWN_TO_WORK.setdefault((os.geteuid(), zygote.pid_namespace), set())
    lacking = await zygote.lacking(in_their_order(layers - known)) if layers - known else {}
    known |= layers - lacking.keys()
    missing = told_missing(plan.workers.values(), lacking)
    if missing:
        raise MissingLayerError(missing)
    return layers - lacking.keys()


def no_more_than_ours(limits: Mapping[str, int]) -> dict[str, int]:
    """Return a profile's limits, or ours where those are less: nobody asked for so much."""
    ours = {name: resource.getrlimit(getattr(resource, name))[1] for name in limits}
    return {
        name: value if ours[name] == resource.RLIM_INFINITY else min(value, ours[name])
        for name, value in limits.items()
    }


def limits_of(limits: Limits) -> dict[str, int]:
    """Return a worker's limits as setrlimit(2) has them. A crash leaves no file behind."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.open_files or (OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)),
        "RLIMIT_AS": limits.address_space,
        "RLIMIT_CPU": None if limits.cpu is None else math.ceil(limits.cpu),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def told_missing(workers: Iterable[WorkerPlan], lacking: Mapping[Layer, str]) -> str:
    """Return which layers each profile misses here, whose it is, why, and what to do; "" where none misses any."""
    users: dict[tuple[str, frozenset[Layer]], list[str]] = {}
    for worker in workers:
        if layers := wanted(worker) & lacking.keys() - worker.policy.allow_missing:
            users.setdefault((worker.policy.name, layers), []).append(worker.name)
    texts = list[str]()
    for (profile, layers), names in users.items():
        in_order = in_their_order(layers)
        told = ", ".join(f"{layer.value} ({lacking[layer]}{advice(layer)})" for layer in in_order)
        allowed = f"allow_missing: [{', '.join(layer.value for layer in in_order)}]"
        texts.append(
            f"{', '.join(names)}: of the profile {profile}, there is missing here: {told}; "
            f"or say {allowed} in a profile of your own"
        )
    return "; ".join(texts)


def advice(layer: Layer) -> str:
    """Return what to do where a layer is missing, to append to why."""
    return f"; {ADVICE[layer]}" if layer in ADVICE else ""


def _told(worker: WorkerPlan, folder: Path, layers: frozenset[Layer]) -> Mapping[str, Any]:
    """Return what `sandbox.confinement.confine.Confinement` is told."""
    readable = _readable(worker, folder)
    native = NATIVE if worker.command else ()
    return {
        "layers": sorted(layer.value for layer in layers),
        "readable": readable,
        # Where Python looks for a module, it looks what there is.
        "listable": [str(folder)] if any(Path(path).parent == folder for path in readable) else [],
        "executable": _executable(worker),
        "abstract_names": worker.policy.abstract_names,
        "seccomp": program_of(worker.policy, native) if Layer.SECCOMP in layers else b"",
        "listened_to": program_of(worker.policy, native, listened_to=True) if Layer.SECCOMP in layers else b"",
    }


def shown(worker: WorkerPlan, folder: Path) -> list[str]:
    """Return the paths that a worker has to see."""
    return [*_readable(worker, folder), *_executable(worker)] if Layer.EMPTY_ROOT in worker.policy.layers else []


def _readable(worker: WorkerPlan, folder: Path) -> list[str]:
    if worker.command:
        paths = [*LIBRARIES, worker.command[0]]
    else:
        module = worker.program.partition(":")[0].partition(".")[0]
        paths = [STANDARD_LIBRARY, *EXTENSIONS, SANDBOX, str(folder / module), str(folder / f"{module}.py")]
    return [path for path in (*paths, *worker.policy.readable) if Path(path).exists()]


def _executable(worker: WorkerPlan) -> list[str]:
    if not worker.command:
        return []
    file = worker.command[0]
    return [
        path for path in (file, *interpreters_of(file), *LOADERS) if Path(path).is_absolute() and Path(path).exists()
    ]


def interpreters_of(file: str) -> list[str]:
    """Return what the kernel executes in place of a script: its interpreter, and what env(1) would look for."""
    with Path(file).open("rb") as opened:
        first = opened.readline(256)
    words = first.removeprefix(b"#!").decode(errors="replace").split() if first.startswith(b"#!") else []
    if len(words) > 1 and Path(words[0]).name == "env":
        return [words[0], shutil.which(words[1], path=os.defpath) or ""]
    return words[:1]
