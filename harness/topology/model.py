"""What a topology file may say: the one source of the parser, of its JSON schema, and of what is called a mistake."""

from typing import Annotated, Final

from pydantic import Field

from harness.topology.steps import Step
from harness.topology.values import (
    AddressSpace,
    Arguments,
    ChannelKind,
    Command,
    Duration,
    Ends,
    Environment,
    FileMode,
    Grants,
    Key,
    LayerName,
    Layout,
    Model,
    Name,
    Number,
    OpenFiles,
    Program,
    ProtocolName,
    Replicas,
    Scalar,
    SchemaVersion,
    Seconds,
    ServicePort,
    Size,
    Wanted,
    described,
)

RUN_SECONDS: Final = 60.0


class Within(Model):
    """How long something may take."""

    within: Annotated[Duration, described("A number and ms, s or m.", "5s")]


class Limits(Model):
    """What a worker may use of the machine; of what it forks, each process anew."""

    address_space: Annotated[
        AddressSpace | None, described("Of virtual memory; more is ENOMEM, in Python a MemoryError.", "256MiB")
    ] = None
    open_files: Annotated[OpenFiles | None, described("Descriptors; one more is EMFILE. 1024 unless said.", 1024)] = (
        None
    )
    cpu: Annotated[Seconds | None, described("Of processor time, in whole seconds; then SIGXCPU.", "10s")] = None
    wall: Annotated[Duration | None, described("From its start to its end; then SIGKILL.", "30s")] = None
    output: Annotated[
        Size | None,
        described("To stdout and stderr together, kept or not; more is an offence. 64MiB unless said.", "1GiB"),
    ] = None


class Inherit(Model):
    """A host's file at a descriptor of the worker's, as sel_ldr's -r, -w and -h d:D."""

    descriptor: Annotated[Number, described("Its number there.", 7)]
    file: Annotated[str, described("Its path, from the topology file's folder on.", "words.txt")]
    mode: Annotated[FileMode, described("r: for reading, w: for writing, from nothing on, rw: for both.", "r")]
    as_: Annotated[Name | None, described("Its name there: descriptor_7 and so on unless said.", "text")] = Field(
        default=None, alias="as"
    )


class WorkerSettings(Model):
    """What `defaults`, a kind and a worker may say; the nearer one wins, maps are merged, lists are not."""

    program: Annotated[
        Program | None,
        described("A Python program: package.module:function.", "sandbox.programs.probe:main", "hello:client"),
    ] = None
    command: Annotated[Command | None, described("Any executable and its arguments.", ["./store", "--size", 100])] = (
        None
    )
    protocol: Annotated[ProtocolName | None, described("How connections come about.", "socketpair")] = None
    layout: Annotated[
        Layout | None, described("The wire layout: the protocol's usual one unless said.", "2013", "recent")
    ] = None
    confinement: Annotated[
        str | None,
        described(
            "The profile that holds the worker: none, descriptors, strict, names, one of `profiles`, or tightest, "
            "which is strict, or names where the protocol needs names. none unless said.",
            "tightest",
        ),
    ] = None
    service_port: Annotated[
        ServicePort | None,
        described(
            "exported: descriptors 3 and 4, and others may be granted the address (sel_ldr -X 5); "
            "unexported: only the descriptors (-X -1); none: neither.",
            "exported",
        ),
    ] = None
    grants: Annotated[
        Grants | None,
        described(
            "How its addresses come: as descriptors from 6 on, or each in a message on the control channel.", "messages"
        ),
    ] = None
    facets: Annotated[
        bool | None,
        described("Whether each grant of its addresses is an address of its own. Yes unless said.", False),
    ] = None
    inherit: Annotated[
        tuple[Inherit, ...] | None,
        described("Files of the host's that it starts with.", [{"descriptor": 7, "file": "words.txt", "mode": "r"}]),
    ] = None
    args: Annotated[Arguments, described("worker.args of a Python program.", {"clients": 64})] = Field(
        default_factory=dict
    )
    env: Annotated[Environment, described("Its environment; there is nothing else in it.", {"LANG": "C"})] = Field(
        default_factory=dict
    )
    limits: Annotated[Limits, described("What it may use of the machine.", {"cpu": "10s"})] = Limits()
    ready: Annotated[
        Within | None, described("Within what time it has to announce that it runs: 5s unless said.", {"within": "5s"})
    ] = None
    stop: Annotated[
        Within | None, described("Within what time it has to stop at the end: 2s unless said.", {"within": "2s"})
    ] = None


class WorkerEntry(WorkerSettings):
    """One worker, or `replicas` of it."""

    kind: Annotated[str | None, described("The kind that it is of.", "probe")] = None
    replicas: Annotated[Replicas | None, described("How many of it there are: fe.0, fe.1 and so on.", 3)] = None


class Route(Model):
    """An address that a worker is granted."""

    grant: Annotated[
        str, described("Whose address: a worker, fe.* for all replicas, bob.extra for what bob exports later.", "bob")
    ]
    to: Annotated[str, described("Who is granted it.", "alice", "fe.*")]
    as_: Annotated[
        Name | None, described("Under which name it imports it: what `grant` says unless said.", "friend")
    ] = Field(default=None, alias="as")
    pair: Annotated[
        bool, described("The first replica is granted the first one's address, the second the second's.", True)
    ] = False
    facets: Annotated[
        bool | None,
        described("Whether the grant is an address of its own; false: the exporter's own, one for all.", False),
    ] = None


class Channel(Model):
    """A pair of sockets, an end at each of two descriptors, as sel_ldr's -i."""

    between: Annotated[Ends, described("Each worker.number.", ["launcher.8", "module.8"])]
    kind: Annotated[
        ChannelKind, described("connected: for data and descriptors; data_only: for data.", "data_only")
    ] = "connected"
    as_: Annotated[Name | None, described("Its name at both ends: descriptor_8 and so on unless said.", "side")] = (
        Field(default=None, alias="as")
    )


class Profile(Model):
    """A profile of your own: another one with something changed."""

    extends: Annotated[str, described("The profile that it is but for what is said here.", "strict")]
    allow_missing: Annotated[
        tuple[LayerName, ...], described("Layers without which it goes where the kernel lacks them.", ["landlock"])
    ] = ()
    without: Annotated[
        tuple[LayerName, ...],
        described("Layers that are left off, whatever the kernel has: to see what each is for.", ["network_namespace"]),
    ] = ()
    refuse: Annotated[
        bool | None,
        described(
            "Whether a protocol that needs what the profile takes away is refused before anything starts. Yes unless "
            "said; false: it is tried, to see what fails.",
            False,
        ),
    ] = None
    allow: Annotated[
        tuple[str, ...], described("More system calls that are allowed, whatever their arguments.", ["mlock"])
    ] = ()
    readable: Annotated[
        tuple[str, ...],
        described(
            "More paths that may be read, with all that lies beneath; a relative one begins at this file's folder.",
            ["/usr/share/zoneinfo"],
        ),
    ] = ()


class Topology(Model):
    """A system of untrusted processes, and what is to happen in it."""

    schema_: Annotated[SchemaVersion, described("The version of this format.", 1)] = Field(alias="schema")
    name: Annotated[Name, described("What it is called in reports and test ids.", "introduction")]
    vars: Annotated[
        dict[Key, Scalar], described("Variables, for {{name}} elsewhere; --set replaces them.", {"clients": 64})
    ] = Field(default_factory=dict)
    matrix: Annotated[
        dict[Key, tuple[Scalar, ...]],
        described("Axes: each combination of their values is a cell, one run.", {"protocol": ["stream", "socketpair"]}),
    ] = Field(default_factory=dict)
    defaults: Annotated[WorkerSettings, described("What all workers have in common.", {"protocol": "{{protocol}}"})] = (
        WorkerSettings()
    )
    kinds: Annotated[
        dict[Key, WorkerSettings],
        described(
            "What workers of the same kind have in common.", {"probe": {"program": "sandbox.programs.probe:main"}}
        ),
    ] = Field(default_factory=dict)
    profiles: Annotated[
        dict[Key, Profile],
        described(
            "Profiles of your own, for `confinement`.", {"old": {"extends": "strict", "allow_missing": ["landlock"]}}
        ),
    ] = Field(default_factory=dict)
    workers: Annotated[
        dict[Key, WorkerEntry],
        described("The workers.", {"bob": {"kind": "probe", "service_port": "exported"}}),
    ] = Field(min_length=1)
    routes: Annotated[
        tuple[Route, ...],
        described("Who is granted whose address; nobody is granted any other.", [{"grant": "bob", "to": "alice"}]),
    ] = ()
    channels: Annotated[
        tuple[Channel, ...],
        described("Connections that are there from the start.", [{"between": ["launcher.8", "module.8"]}]),
    ] = ()
    refused: Annotated[
        tuple[dict[str, Wanted], ...],
        described("Cells, by the values of axes and variables, that are to be refused.", [{"protocol": "stream"}]),
    ] = ()
    scenario: Annotated[
        tuple[Step, ...] | None,
        described(
            "What is to happen. Without one, a run passes when all workers have exited with 0.",
            [{"at": "alice", "do": "connect", "address": "bob"}],
        ),
    ] = None
    within: Annotated[Duration, described("How long a run may take: 60s unless said.", "60s")] = RUN_SECONDS
