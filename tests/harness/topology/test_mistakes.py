"""What a user reads about a topology file that is wrong: where, what, and what would be right; all of it, once."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from harness.topology.values import DESCRIPTOR_KINDS
from tests.harness.topologies import HEAD, PAIR, mistakes_in

Write = Callable[..., Path]

NO_NAME: Final = "is no name; names are at most 64 letters, digits, _ and -, and begin with a letter"
SECTIONS: Final = (
    "schema, name, vars, matrix, defaults, kinds, profiles, workers, routes, channels, refused, scenario, within"
)
SETTINGS: Final = (
    "program, command, protocol, layout, confinement, service_port, grants, facets, inherit, args, env, limits, ready, "
    "stop"
)
STEPS: Final = "makeboundsock, accept, connect, sendmsg, recvmsg, socketpair, mem_obj_create, export, close"
A_MAP: Final = "1:1: expected a map with the keys schema, name and workers"
FIXED: Final = "3, 4 and 5 are the service port, its address and the control channel"
# Lines 1 to 5: r.0 to r.2, which export their addresses, and b.
REPLICAS: Final = f"""{HEAD}workers:
  r: {{program: "m:f", protocol: stream, service_port: exported, replicas: 3}}
  b: {{program: "m:f", protocol: stream}}
"""
PAIRS: Final = "{grant: r.*, to: s.*, pair: true}"
UNATTACHED: Final = "kill, pause, resume, revoke, barrier, wait, expect, repeat, parallel"
A_STEP: Final = f"a step is {{at: worker, do: …}}, or has one of the keys {UNATTACHED}"


def worker(settings: str) -> str:
    """Return a topology whose line 4 is one worker; its settings begin in column 7."""
    return f"{HEAD}workers:\n  a: {{{settings}}}\n"


def settings(more: str) -> str:
    """Return a topology whose line 4 is a worker that lacks nothing; `more` begins in column 41."""
    return worker(f'program: "m:f", protocol: stream, {more}')


def step(text: str) -> str:
    """Return a topology whose line 7 is one step, which begins in column 3. a has a service port, b has none."""
    return f"{PAIR}scenario:\n- {text}\n"


def step_on_c(text: str) -> str:
    """Return a topology whose line 8 is one step, which begins in column 3, at a, who holds the connection c."""
    return f"{PAIR}scenario:\n- {{at: a, do: accept, as: c}}\n- {text}\n"


BOMB: Final = "".join(f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]\n" for level in range(1, 7))

# What the file says, and the whole of what is said about it.
MISTAKES: Final[dict[str, tuple[str, list[str]]]] = {
    # No YAML, or no topology
    "empty": ("", [A_MAP]),
    "comments alone": ("# later\n", [A_MAP]),
    "text": ("hello\n", [A_MAP]),
    "a list": ("- schema: 1\n", [A_MAP]),
    "an open bracket": ("schema: [1\n", ["2:1: no YAML: expected ',' or ']', but got '<stream end>'"]),
    "a tab": (f"{HEAD}workers:\n\ta: {{}}\n", [r"4:1: no YAML: found character '\t' that cannot start any token"]),
    "a control character": ("schema: 1\nname: t\x07\n", ["2:8: no YAML: U+0007 in it"]),
    "two documents": (f"{PAIR}---\nschema: 1\n", ["6:1: a second document; a file is one topology"]),
    "an alias to nothing": (f"{PAIR}vars: *v\n", ["6:7: no YAML: found undefined alias 'v'"]),
    "an alias in itself": (f"{PAIR}vars: &v {{x: *v}}\n", ["6:7: an alias that contains itself"]),
    "an alias bomb": (f"x0: &x0 [{'1, ' * 10}]\n{BOMB}{PAIR}", ["1:37: more than 100000 values"]),
    "too deep": (settings(f"args: {{x: {'[' * 99}{']' * 99}}}"), ["4:148: nested deeper than 100 levels"]),
    "much too deep": ("[" * 500, ["1:1: nested deeper than 100 levels"]),
    "a number as a key": (f"{PAIR}1: x\n", ["6:1: a key must be text, not 1"]),
    "true as a key": (settings("args: {true: x}"), ["4:48: a key must be text, not true"]),
    "nothing as a key": (f"{PAIR}~: x\n", ["6:1: a key must be text, not nothing"]),
    "a list as a key": (f"{PAIR}[a]: x\n", ["6:1: a key must be text, not a list"]),
    "a map as a key": (f"{PAIR}? {{a: b}}\n: x\n", ["6:3: a key must be text, not a map"]),
    "a number as a worker": (f"{HEAD}workers: {{1: {{}}}}\n", ["3:11: a key must be text, not 1"]),
    "an unknown tag": (
        "schema: 1\nname: !app t\n" + PAIR.removeprefix(HEAD),
        ["2:7: unknown tag '!app'; there is !!binary, and YAML's own are not needed"],
    ),
    "an unknown tag on a map": (
        f"{HEAD}workers: !app {{a: {{}}}}\n",
        ["3:10: unknown tag '!app'; there is !!binary, and YAML's own are not needed"],
    ),
    "a set": (
        settings("args: {x: !!set {y, z}}"),
        ["4:51: unknown tag '!!set'; there is !!binary, and YAML's own are not needed"],
    ),
    "no number": ("schema: !!int x\nname: t\n" + PAIR.removeprefix(HEAD), ["1:9: 'x' is no !!int"]),
    "a number beyond measure": (settings(f"args: {{x: {'9' * 20}}}"), ["4:51: a number of more than 64 bits"]),
    "half of a pair": (
        settings(r'args: {x: "\ud800"}'),
        [r"4:51: '\ud800' is no text: half of a surrogate pair is no character"],
    ),
    "a merge key": (
        f"{HEAD}kinds:\n  k: &k {{program: 'm:f'}}\nworkers:\n  a: {{<<: *k, protocol: stream}}\n",
        ["6:7: no merge keys (<<): kinds and defaults are what workers share"],
    ),
    "a duplicate key": (f"{PAIR}name: u\n", ["6:1: duplicate key 'name'; it stands in line 2 already"]),
    "a duplicate worker": (f"{PAIR}  a: {{}}\n", ["6:3: duplicate key 'a'; it stands in line 4 already"]),
    "a duplicate deep down": (
        settings("args: {x: [{y: 1, y: 2}]}"),
        ["4:59: duplicate key 'y'; it stands in line 4 already"],
    ),
    # The top level
    "a later schema": (PAIR.replace("1", "2", 1), ["1:9: expected schema 1, not 2"]),
    "schema true": (PAIR.replace("1", "true", 1), ["1:9: expected schema 1, not true"]),
    "schema as text": (PAIR.replace("1", "'1'", 1), ["1:9: expected schema 1, not '1'"]),
    "schema as a fraction": (PAIR.replace("1", "1.0", 1), ["1:9: expected schema 1, not 1.0"]),
    "schema left out": (PAIR.replace(" 1", "", 1), ["1:1: the key 'schema' has no value"]),
    "no schema": (PAIR.replace("schema: 1\n", ""), ["1:1: the key 'schema' is missing"]),
    "no name": (PAIR.replace("name: t\n", ""), ["1:1: the key 'name' is missing"]),
    "an empty name": (PAIR.replace(": t\n", ": ''\n"), [f"2:7: '' {NO_NAME}"]),
    "a bad name": (PAIR.replace(": t\n", ": 9 lives\n"), [f"2:7: '9 lives' {NO_NAME}"]),
    "a long name": (PAIR.replace(": t\n", f": {'n' * 65}\n"), [f"2:7: '{'n' * 65}' {NO_NAME}"]),
    "a number as name": (PAIR.replace(": t\n", ": 5\n"), [f"2:7: 5 {NO_NAME}"]),
    "a list as name": (PAIR.replace(": t\n", ": [t]\n"), [f"2:7: a list {NO_NAME}"]),
    "a date as name": (PAIR.replace(": t\n", ": 2024-01-31\n"), [f"2:7: '2024-01-31' {NO_NAME}"]),
    "binary as name": (PAIR.replace(": t\n", ": !!binary aGk=\n"), [f"2:7: binary data {NO_NAME}"]),
    "no workers": (HEAD, ["1:1: the key 'workers' is missing"]),
    "workers misspelt": (
        PAIR.replace("workers", "worker"),
        ["3:1: unknown key 'worker'; did you mean 'workers'?"],
    ),
    "workers left out": (f"{HEAD}workers:\n", ["3:1: the key 'workers' has no value"]),
    "an empty map of workers": (f"{HEAD}workers: {{}}\n", ["3:10: expected at least one worker"]),
    "a list of workers": (f"{HEAD}workers: [a]\n", ["3:10: expected a map, not a list"]),
    "an unknown section": (f"{PAIR}zoo: 1\n", [f"6:1: unknown key 'zoo'; there are {SECTIONS}"]),
    "facets": (f"{PAIR}facets: false\n", [f"6:1: unknown key 'facets'; there are {SECTIONS}"]),
    "refused as a map": (f"{PAIR}refused: {{x: 1}}\n", ["6:10: expected a list, not a map"]),
    "refused by an unknown axis": (
        f"{PAIR}matrix: {{protocol: [stream]}}\nrefused: [{{protocl: stream}}]\n",
        ["7:12: unknown variable or axis 'protocl'; did you mean 'protocol'?"],
    ),
    "refused at a value that is not there": (
        f"{PAIR}matrix: {{protocol: [stream]}}\nrefused: [{{protocol: stream}}, {{protocol: [steam]}}]\n",
        ["7:43: steam is not on the axis 'protocol'; did you mean 'stream'?"],
    ),
    "a bad duration": (
        f"{PAIR}within: soon\n",
        ["6:9: 'soon' is no duration; write a number and ms, s or m, as in 5s"],
    ),
    # Workers, kinds, defaults
    "a worker as text": (f"{HEAD}workers: {{a: probe}}\n", ["3:14: expected a map, not the text 'probe'"]),
    "a worker left out": (f"{HEAD}workers:\n  a:\n", ["4:3: expected a map, not nothing"]),
    "a worker without a name": (f"{PAIR}  '': {{}}\n", [f"6:3: '' {NO_NAME}"]),
    "a worker's bad name": (f"{PAIR}  fe.0: {{}}\n", [f"6:3: 'fe.0' {NO_NAME}"]),
    "a kind's bad name": (f"{PAIR}kinds: {{a b: {{}}}}\n", [f"6:9: 'a b' {NO_NAME}"]),
    "an unknown setting": (
        worker('programm: "m:f", protocol: stream'),
        ["4:7: unknown key 'programm'; did you mean 'program'?"],
    ),
    "a layout of another protocol": (
        settings("layout: 2013"),
        ["4:49: stream goes with the layout 2010, not with 2013"],
    ),
    "an unknown layout": (
        settings("layout: 2011"),
        ["4:49: unknown wire layout '2011'; did you mean '2013'?"],
    ),
    "a grant between layouts": (
        (
            f'{HEAD}defaults: {{program: "m:f", protocol: socketpair}}\nworkers:\n  a: {{service_port: exported}}\n'
            "  b: {layout: recent}\nroutes: [{grant: a, to: b}]\n"
        ),
        ["7:10: a writes the layout 2013 and b recent: they could not read one another"],
    ),
    "confinement": (
        f"{PAIR}defaults: {{confinement: loose}}\n",
        ["6:25: unknown profile 'loose'; there are none, descriptors, strict, names, tightest"],
    ),
    "limits as a number": (settings("limits: 5"), ["4:49: expected a map, not 5"]),
    "an unknown limit": (
        settings("limits: {memory: 1GiB}"),
        ["4:50: unknown key 'memory'; there are address_space, open_files, cpu, wall, output"],
    ),
    "a limit without a unit": (
        settings("limits: {address_space: 1000000}"),
        ["4:65: 1000000 is no size; write a number and B, KiB, MiB or GiB, as in 256MiB"],
    ),
    "a limit of another unit": (
        settings("limits: {address_space: 1GB}"),
        ["4:65: '1GB' is no size; write a number and B, KiB, MiB or GiB, as in 256MiB"],
    ),
    "a limit of nothing": (
        settings("limits: {address_space: 0B}"),
        ["4:65: a size of 0B, which no limit can be"],
    ),
    "no open files": (
        settings("limits: {open_files: 0}"),
        ["4:62: 0 is no number of open files; write 16..1048576"],
    ),
    "fewer open files than there are at the start": (
        settings("limits: {open_files: 21}"),
        ["4:6: a starts with descriptors up to 5; write limits: {open_files: 22}"],
    ),
    "a limit of time without a unit": (
        settings("limits: {cpu: 1}"),
        ["4:55: 1 is no duration; write a number and ms, s or m, as in 5s"],
    ),
    # What runs
    "a program and a command": (settings("command: [ls]"), ["4:41: a program and a command; it can be one of them"]),
    "a command as text": (
        worker("protocol: stream, command: ls -l"),
        ["4:34: a command is a list: the executable, then its arguments, as in [./server, --port, 3]"],
    ),
    "an empty command": (
        worker("protocol: stream, command: []"),
        ["4:34: a command is a list: the executable, then its arguments, as in [./server, --port, 3]"],
    ),
    "a list in a command": (
        worker("protocol: stream, command: [ls, [a]]"),
        ["4:39: expected text or a number, not a list"],
    ),
    "a null character in a command": (
        worker(r'protocol: stream, command: [ls, "a\0"]'),
        ["4:39: a command cannot hold a null character"],
    ),
    "a command that is nowhere": (
        worker("protocol: stream, command: [no-such-command]"),
        ["4:35: no executable 'no-such-command' beside the file or on PATH"],
    ),
    "a file that is nowhere": (
        worker("protocol: stream, command: [./no-such-file]"),
        ["4:35: no executable './no-such-file' beside the file"],
    ),
    "a file that cannot be executed": (
        worker("protocol: stream, command: [./t.imclab.yaml]"),
        ["4:35: './t.imclab.yaml' cannot be executed: chmod +x, or name its interpreter first"],
    ),
    "a folder as a command": (
        worker("protocol: stream, command: [.]"),
        ["4:35: no executable '.' beside the file or on PATH"],
    ),
    "a kind's command that is nowhere": (
        f"{PAIR}kinds: {{k: {{command: [./nowhere]}}}}\ndefaults: {{kind: k}}\n",
        [f"7:12: unknown key 'kind'; there are {SETTINGS}"],
    ),
    "the defaults' command that is nowhere": (
        f"{HEAD}workers: {{a: {{protocol: stream}}}}\ndefaults: {{command: [./nowhere]}}\n",
        ["4:22: no executable './nowhere' beside the file"],
    ),
    "grants in an unknown way": (
        settings("grants: letters"),
        ["4:49: unknown way to be granted addresses 'letters'; there are descriptors, messages"],
    ),
    "facets as text": (settings("facets: none"), ["4:49: expected true or false, not the text 'none'"]),
    # Replicas
    "no replicas": (settings("replicas: 0"), ["4:51: 0 is no number of replicas; write 1..10000"]),
    "replicas as text": (settings("replicas: many"), ["4:51: 'many' is no number of replicas; write 1..10000"]),
    "replicas in defaults": (
        f"{PAIR}defaults: {{replicas: 2}}\n",
        [f"6:12: unknown key 'replicas'; there are {SETTINGS}"],
    ),
    "the number of no replica": (
        settings('args: {x: "{{replica}}"}'),
        ["4:6: a has no replicas, and so no {{replica}}"],
    ),
    "a variable replica": (
        f"{PAIR}vars: {{replica: 1}}\n",
        ["6:8: 'replica' is each replica's own number; choose another"],
    ),
    "an axis replica": (
        f"{PAIR}matrix: {{replica: [1]}}\n",
        ["6:10: 'replica' is each replica's own number; choose another"],
    ),
    "the number of a replica in a route": (
        f'{PAIR}routes: [{{grant: a, to: b, as: "x{{{{replica}}}}"}}]\n',
        ["6:32: unknown variable 'replica'; there are none"],
    ),
    "a bare name of replicas": (
        f"{REPLICAS}routes: [{{grant: r, to: b}}]\n",
        ["6:18: 'r' selects no replica of r; write r.0 to r.2, or r.* for all"],
    ),
    "a replica that is not there": (
        f"{REPLICAS}routes: [{{grant: r.3, to: b}}]\n",
        ["6:18: 'r.3' selects no replica of r; write r.0 to r.2, or r.* for all"],
    ),
    "a replica of what has none": (
        f"{REPLICAS}routes: [{{grant: r.0, to: b.0}}]\n",
        ["6:27: b has no replicas; write b"],
    ),
    "all of what has none": (f"{REPLICAS}scenario: [{{kill: b.*}}]\n", ["6:19: b has no replicas; write b"]),
    "kill a bare name of replicas": (
        f"{REPLICAS}scenario: [{{kill: r}}]\n",
        ["6:19: 'r' selects no replica of r; write r.0 to r.2, or r.* for all"],
    ),
    "a step at a bare name of replicas": (
        f"{REPLICAS}scenario: [{{at: r, do: socketpair}}]\n",
        ["6:17: 'r' selects no replica of r; write r.0 to r.2, or r.* for all"],
    ),
    "an exit of a bare name of replicas": (
        f"{REPLICAS}scenario: [{{expect: {{exit: {{r: 1}}}}}}]\n",
        ["6:29: 'r' selects no replica of r; write r.0 to r.2, or r.* for all"],
    ),
    "a mistake in a step of all replicas": (
        f"{REPLICAS}scenario: [{{at: r.*, do: close, descriptor: x}}]\n",
        ["6:45: r.0 holds no 'x' here; there are bound_socket, address, INVALID"],
    ),
    "the number of no replica in a step": (
        f'{REPLICAS}scenario: [{{at: b, do: socketpair}}, {{at: b, do: connect, address: "{{{{replica}}}}"}}]\n',
        ["6:37: b is no replica, and so has no {{replica}}"],
    ),
    "pairs of nothing": (
        f"{REPLICAS}routes: [{{grant: r.*, to: b, pair: true}}]\n",
        ["6:36: r.* selects 3 and b 1; pair joins as many replicas of one as of the other"],
    ),
    "pairs that do not come out even": (
        f"{REPLICAS}  s: {{program: 'm:f', protocol: stream, replicas: 2}}\nroutes:\n{' ' * 8}[{PAIRS}]\n",
        ["8:38: r.* selects 3 and s.* 2; pair joins as many replicas of one as of the other"],
    ),
    # Exports that come later
    "an export with two names": (
        f"{PAIR}routes: [{{grant: a.x.y, to: b}}]\n",
        ["6:18: 'a.x.y' is no address; write a, or a.name for a later export"],
    ),
    "a grant to an address": (f"{PAIR}routes: [{{grant: a, to: b.x}}]\n", ["6:25: 'b.x' is no worker; b is one"]),
    "an export that nobody is granted": (
        step("{at: a, do: export, address: address, name: extra}"),
        ["7:47: no route grants a.extra to anybody"],
    ),
    "an export without a name": (
        step("{at: a, do: export, address: address}"),
        ["7:3: the key 'name' is missing"],
    ),
    "a step at a command": (
        f"{HEAD}workers: {{a: {{command: [sh], protocol: stream}}}}\nscenario: [{{at: a, do: socketpair}}]\n",
        ["4:17: a is a command, and obeys no steps; a Python program can"],
    ),
    # Files and channels
    "a number that is fixed": (
        settings("inherit: [{descriptor: 5, file: t.imclab.yaml, mode: r}]"),
        [f"4:64: 5 is no number to choose; write 6..999 ({FIXED})"],
    ),
    "a number that is text": (
        settings("inherit: [{descriptor: six, file: t.imclab.yaml, mode: r}]"),
        [f"4:64: 'six' is no number to choose; write 6..999 ({FIXED})"],
    ),
    "a file that is not there": (
        settings("inherit: [{descriptor: 7, file: nowhere, mode: r}]"),
        ["4:73: 'nowhere' beside the file: No such file or directory"],
    ),
    "a file in a folder that is not there": (
        settings("inherit: [{descriptor: 7, file: nowhere/new, mode: w}]"),
        ["4:73: 'nowhere/new' beside the file: No such file or directory"],
    ),
    "a folder as a file": (
        settings("inherit: [{descriptor: 7, file: ., mode: r}]"),
        ["4:73: '.' beside the file: neither a regular file nor a character device"],
    ),
    "an unknown mode": (
        settings("inherit: [{descriptor: 7, file: t.imclab.yaml, mode: a}]"),
        ["4:94: unknown mode 'a'; there are r, w, rw"],
    ),
    "a number twice": (
        settings(
            "inherit: [{descriptor: 7, file: /dev/null, mode: r}, {descriptor: 7, file: /dev/zero, mode: r, as: z}]"
        ),
        ["4:6: a: 'z' and 'descriptor_7' both are descriptor 7"],
    ),
    "a name that an import has": (
        f"{PAIR}routes: [{{grant: a, to: b, as: c}}]\nchannels: [{{between: [a.8, b.8], as: c}}]\n",
        ["5:6: b: the name 'c' is taken; choose another with as"],
    ),
    "a channel with one end": (
        f"{PAIR}channels: [{{between: [a.8]}}]\n",
        ["6:22: a channel is between two descriptors, as in [a.8, b.8]"],
    ),
    "a channel without a number": (
        f"{PAIR}channels: [{{between: [a, b.8]}}]\n",
        ["6:23: 'a' has no number; write worker.number, as in a.8"],
    ),
    "a channel to nobody": (
        f"{PAIR}channels: [{{between: [a.8, c.8]}}]\n",
        ["6:28: unknown worker 'c'; there are a, b"],
    ),
    "a channel at a fixed number": (
        f"{PAIR}channels: [{{between: [a.8, b.5]}}]\n",
        ["6:28: '5' is no number to choose; write 6..999"],
    ),
    "a channel of another kind": (
        f"{PAIR}channels: [{{between: [a.8, b.8], kind: stream}}]\n",
        ["6:40: unknown kind of channel 'stream'; there are connected, data_only"],
    ),
    "a channel with itself": (
        f"{PAIR}channels: [{{between: [a.8, a.8]}}]\n",
        ["4:6: a: 'descriptor_8' and 'descriptor_8' both are descriptor 8"],
    ),
    "a channel between some and one": (
        f"{REPLICAS}channels: [{{between: [r.*.8, b.8]}}]\n",
        ["6:22: r.*.8 selects 3 and b.8 1; a channel has two ends"],
    ),
    "a kind of a kind": (
        f"{PAIR}kinds: {{k: {{kind: l}}}}\n",
        [f"6:13: unknown key 'kind'; there are {SETTINGS}"],
    ),
    "an unknown protocol": (
        worker('program: "m:f", protocol: steam'),
        ["4:33: unknown protocol 'steam'; did you mean 'stream'?"],
    ),
    "no protocol at all": (
        worker('program: "m:f", protocol: tcp'),
        ["4:33: unknown protocol 'tcp'; there are stream, datagram, socketpair, acknowledged"],
    ),
    "a number as protocol": (
        worker('program: "m:f", protocol: 5'),
        ["4:33: 5 is no protocol; write a name, as in stream"],
    ),
    "a list as protocol": (
        worker('program: "m:f", protocol: [stream]'),
        ["4:33: a list is no protocol; write a name, as in stream"],
    ),
    "protocol left out": (worker('program: "m:f", protocol: '), ["4:23: the key 'protocol' has no value"]),
    "protocol not said": (
        worker('program: "m:f"'),
        ["4:6: a has no protocol: say it here, in its kind or under defaults"],
    ),
    "program not said": (
        worker("protocol: stream"),
        ["4:6: a has no program: say it, or a command, here, in its kind or under defaults"],
    ),
    "a program without a function": (
        worker("program: probe, protocol: stream"),
        ["4:16: 'probe' is no program; write package.module:function"],
    ),
    "a number as program": (
        worker("program: 1, protocol: stream"),
        ["4:16: 1 is no program; write package.module:function"],
    ),
    "an unknown service_port": (
        settings("service_port: export"),
        ["4:55: unknown service_port 'export'; did you mean 'exported'?"],
    ),
    "a list as args": (settings("args: [1]"), ["4:47: expected a map, not a list"]),
    "binary as args": (
        settings("args: {x: [1, !!binary aGk=]}"),
        ["4:55: no binary data here: arguments travel as JSON"],
    ),
    "a number in env": (settings("env: {X: 1}"), ["4:50: expected text, not 1"]),
    "a list as env": (settings("env: [X]"), ["4:46: expected a map, not a list"]),
    "a bad name in env": (
        settings("env: {A=B: x}"),
        ["4:47: 'A=B' cannot be the name of an environment variable"],
    ),
    "a null in env": (
        settings(r'env: {A: "\0"}'),
        ["4:50: an environment variable cannot hold a null character"],
    ),
    "ready as text": (settings("ready: 5s"), ["4:48: expected a map, not the text '5s'"]),
    "ready without within": (settings("ready: {}"), ["4:48: the key 'within' is missing"]),
    "a duration without a unit": (
        settings("ready: {within: 5}"),
        ["4:57: 5 is no duration; write a number and ms, s or m, as in 5s"],
    ),
    "a duration of nothing": (settings("stop: {within: 0s}"), ["4:56: a duration of 0 would pass at once"]),
    "an unknown kind": (
        f"{PAIR}  c: {{kind: prob}}\nkinds: {{probe: {{}}}}\n",
        ["6:13: unknown kind 'prob'; did you mean 'probe'?"],
    ),
    "a kind where there are none": (settings("kind: probe"), ["4:47: unknown kind 'probe'; there are none"]),
    "a number as kind": (settings("kind: 1"), ["4:47: expected text, not 1"]),
    # Routes
    "routes as a map": (f"{PAIR}routes: {{grant: a, to: b}}\n", ["6:9: expected a list, not a map"]),
    "a route as a list": (f"{PAIR}routes: [[a, b]]\n", ["6:10: expected a map, not a list"]),
    "a route to nobody": (f"{PAIR}routes: [{{grant: a}}]\n", ["6:10: the key 'to' is missing"]),
    "a route's key misspelt": (
        f"{PAIR}routes: [{{grant: a, too: b}}]\n",
        ["6:21: unknown key 'too'; did you mean 'to'?"],
    ),
    "routes of unknown workers": (
        f"{PAIR}routes: [{{grant: x, to: y}}]\n",
        ["6:18: unknown worker 'x'; there are a, b", "6:25: unknown worker 'y'; there are a, b"],
    ),
    "a grant of a number": (f"{PAIR}routes: [{{grant: 1, to: b}}]\n", ["6:18: expected text, not 1"]),
    "a grant of what is not exported": (
        f"{PAIR}routes: [{{grant: b, to: a}}]\n",
        [
            (
                "6:18: b exports nothing: its service_port is none, not exported; "
                "or say grants: messages, if it makes its own"
            )
        ],
    ),
    "a grant between protocols": (
        f'{PAIR}  c: {{program: "m:f", protocol: datagram}}\nroutes: [{{grant: a, to: c}}]\n',
        ["7:10: a speaks stream and c datagram: an address is of use in its own protocol alone"],
    ),
    "the same import twice": (
        f"{PAIR}routes: [{{grant: a, to: b}}, {{grant: a, to: b}}]\n",
        ["6:29: b imports 'a' already; choose another name with as"],
    ),
    "the same name twice": (
        f"{PAIR}routes: [{{grant: a, to: b}}, {{grant: a, to: b, as: a}}]\n",
        ["6:51: b imports 'a' already; choose another name with as"],
    ),
    "an import's bad name": (f"{PAIR}routes: [{{grant: a, to: b, as: 1st}}]\n", [f"6:32: '1st' {NO_NAME}"]),
    "an import's name left out": (f"{PAIR}routes: [{{grant: a, to: b, as: }}]\n", ["6:28: the key 'as' has no value"]),
    "an import that hides the worker's own": (
        f"{PAIR}routes: [{{grant: a, to: b, as: address}}]\n",
        ["6:32: 'address' is what every worker calls something of its own; choose another name with as"],
    ),
    # The scenario
    "scenario as a map": (f"{PAIR}scenario: {{kill: a}}\n", ["6:11: expected a list, not a map"]),
    "scenario left out": (f"{PAIR}scenario:\n", ["6:1: the key 'scenario' has no value"]),
    "a step as text": (step("kill"), [f"7:3: {A_STEP}"]),
    "an empty step": (step("{}"), [f"7:3: {A_STEP}"]),
    "a step without do": (step("{at: a}"), ["7:3: the key 'do' is missing"]),
    "a step without at": (step("{do: socketpair}"), ["7:3: the key 'at' is missing"]),
    "an unknown step": (step("{at: a, do: conect}"), ["7:15: unknown step 'conect'; did you mean 'connect'?"]),
    "kill as do": (step("{at: a, do: kill}"), [f"7:15: unknown step 'kill'; there are {STEPS}"]),
    "a number as do": (step("{at: a, do: 1}"), ["7:15: expected a step's name, not 1"]),
    "kill misspelt": (step("{kil: a}"), ["7:4: unknown step 'kil'; did you mean 'kill'?"]),
    "a wait of some time with a deadline": (
        step("{wait: 1s, within: 2s}"),
        ["7:14: unknown key 'within'; there are when, wait"],
    ),
    "a wait of any time": (
        step("{wait: a while}"),
        ["7:10: 'a while' is no duration; write a number and ms, s or m, as in 5s"],
    ),
    "a wait for nothing": (step("{wait: {}}"), ["7:10: nothing to wait for; write exit or report"]),
    "a wait for something unknown": (
        step("{wait: {ready: a}}"),
        ["7:11: unknown key 'ready'; there are exit, report"],
    ),
    "a wait for nobody's end": (step("{wait: {exit: c}}"), ["7:17: unknown worker 'c'; there are a, b"]),
    "a wait for the ends of some and nobody": (
        step("{wait: {exit: [a, c]}}"),
        ["7:21: unknown worker 'c'; there are a, b"],
    ),
    "a wait for a number's end": (step("{wait: {exit: [a, 1]}}"), ["7:21: expected text, not 1"]),
    "a wait for nobody's report": (
        step("{wait: {report: {c: total}}}"),
        ["7:20: unknown worker 'c'; there are a, b"],
    ),
    "barrier without a name": (step("{barrier: 1}"), ["7:13: expected text, not 1"]),
    "barrier at a worker": (step("{barrier: x, at: a}"), ["7:3: the key 'do' is missing"]),
    "pause nobody": (step("{pause: c}"), ["7:11: unknown worker 'c'; there are a, b"]),
    "pause twice": (step("{pause: a}\n- {pause: a}"), ["8:11: a was paused in line 7; resume it first"]),
    "a step at the paused": (
        step("{pause: a}\n- {at: a, do: socketpair}"),
        ["8:8: a was paused in line 7; resume it first"],
    ),
    "resume who is not paused": (step("{resume: a}"), ["7:12: a is not paused here"]),
    "resume twice": (step("{pause: a}\n- {resume: a}\n- {resume: a}"), ["9:12: a is not paused here"]),
    "resume the killed": (step("{kill: a}\n- {resume: a}"), ["8:12: a was killed in line 7"]),
    "pause the killed": (step("{kill: a}\n- {pause: a}"), ["8:11: a was killed in line 7"]),
    "resume with a deadline": (
        step("{resume: a, within: 1s}"),
        ["7:15: unknown key 'within'; there are when, resume"],
    ),
    "revoke what nobody exports": (
        step("{revoke: c, from: b}"),
        ["7:12: unknown worker 'c'; there are a, b"],
    ),
    "revoke from nobody": (step("{revoke: a, from: c}"), ["7:21: unknown worker 'c'; there are a, b"]),
    "revoke from whom": (step("{revoke: a}"), ["7:3: the key 'from' is missing"]),
    "revoke what was not granted": (step("{revoke: a, from: b}"), ["7:12: no route grants a to b"]),
    "revoke what all have": (
        f"{PAIR}routes: [{{grant: a, to: b}}]\nscenario:\n- {{revoke: a, from: b}}\n",
        ["8:21: b holds a's own address, and not one of its own that could be taken from it"],
    ),
    "repeat without steps": (step("{repeat: 3}"), ["7:3: the key 'steps' is missing"]),
    "repeat no steps": (step("{repeat: 3, steps: []}"), ["7:22: expected at least one step"]),
    "repeat a step that is no list": (
        step("{repeat: 3, steps: {at: a, do: socketpair}}"),
        ["7:22: expected a list, not a map"],
    ),
    "repeat for ever": (
        step("{repeat: forever, steps: [{at: a, do: socketpair}]}"),
        ["7:12: 'forever' is no number of rounds; write 1..10000"],
    ),
    "repeat nought times": (
        step("{repeat: 0, steps: [{at: a, do: socketpair}]}"),
        ["7:12: 0 is no number of rounds; write 1..10000"],
    ),
    "repeat an unknown step": (
        step("{repeat: 2, steps: [{at: a, do: conect}]}"),
        ["7:35: unknown step 'conect'; did you mean 'connect'?"],
    ),
    "repeat a key misspelt": (
        step("{repeat: 2, steps: [{at: a, do: accept, ass: c}]}"),
        ["7:43: unknown key 'ass'; did you mean 'as'?"],
    ),
    "repeat at nobody": (
        step("{repeat: 2, steps: [{at: c, do: socketpair}]}"),
        ["7:28: unknown worker 'c'; there are a, b"],
    ),
    "repeat a kill": (step("{repeat: 2, steps: [{kill: a}]}"), ["7:30: a was killed in line 7"]),
    "repeat beyond measure": (
        step("{repeat: 10000, steps: [{repeat: 10000, steps: [{at: a, do: socketpair}]}]}"),
        ["7:1: more than 20000 steps"],
    ),
    "a round where nothing is repeated": (
        step('{at: a, do: close, descriptor: "c{{round}}"}'),
        ["7:3: nothing is repeated here, and so there is no {{round}}"],
    ),
    "one branch alone": (
        step("{parallel: [{at: a, do: socketpair}]}"),
        ["7:14: expected at least two branches"],
    ),
    "parallel as a map": (step("{parallel: {kill: a}}"), ["7:14: expected a list, not a map"]),
    "a branch that is no step": (step("{parallel: [{kill: a}, kill]}"), [f"7:26: {A_STEP}"]),
    "a branch with an unknown step": (
        step("{parallel: [{kill: a}, [{at: b, do: conect}]]}"),
        ["7:39: unknown step 'conect'; did you mean 'connect'?"],
    ),
    "a worker in two branches": (
        step("{parallel: [{kill: a}, [{at: a, do: socketpair}]]}"),
        ["7:26: a is in the branch in line 7 already; it does one thing after the other"],
    ),
    "a step's unknown key": (
        step("{at: a, do: socketpair, named: x}"),
        ["7:27: unknown key 'named'; there are when, at, do, within, expect, as"],
    ),
    "another step's key": (
        step("{at: a, do: accept, socket: x}"),
        ["7:23: unknown key 'socket'; there are when, at, do, within, expect, bound, as"],
    ),
    "a step at nobody": (step("{at: c, do: socketpair}"), ["7:8: unknown worker 'c'; there are a, b"]),
    "a step's bad deadline": (
        step("{at: a, do: socketpair, within: -1s}"),
        ["7:35: '-1s' is no duration; write a number and ms, s or m, as in 5s"],
    ),
    "kill nobody": (step("{kill: c}"), ["7:10: unknown worker 'c'; there are a, b"]),
    "kill a list": (step("{kill: [a]}"), ["7:10: expected text, not a list"]),
    "kill twice": (step("{kill: a}\n- {kill: a}"), ["8:10: a was killed in line 7"]),
    "a step at the killed": (step("{kill: a}\n- {at: a, do: socketpair}"), ["8:8: a was killed in line 7"]),
    "kill with an expectation": (
        step("{kill: a, expect: {exit: {a: SIGKILL}}}"),
        ["7:13: unknown key 'expect'; there are when, kill, within"],
    ),
    "expect nothing": (step("{expect: {}}"), ["7:12: nothing to expect; write exit or report"]),
    "an unknown worker's report": (
        step("{expect: {report: {c: {n: 1}}}}"),
        ["7:22: unknown worker 'c'; there are a, b"],
    ),
    "a report as a value": (step("{expect: {report: {a: 5}}}"), ["7:25: expected a map, not 5"]),
    "a comparison with no number": (
        step('{expect: {report: {a: {n: [1, ">= many"]}}}}'),
        [
            "7:33: '>= many' compares with no number; write one, as in >=0.95, or ==>= many for text that begins so",
        ],
    ),
    "a report in binary": (
        step("{expect: {report: {a: {n: !!binary aGk=}}}}"),
        ["7:29: no binary data here: arguments travel as JSON"],
    ),
    "a report of a replica that is none": (
        step('{expect: {report: {a: {n: "{{replica}}"}}}}'),
        ["7:25: a is no replica, and so has no {{replica}}"],
    ),
    "more bytes sent than a word": (
        step_on_c("{at: a, do: sendmsg, socket: c, expect: {sent: many}}"),
        ["8:50: 'many' is no number and compares with none; write a whole number, or as in \">=100\""],
    ),
    "expect as text": (step("{expect: fine}"), ["7:12: expected a map, not the text 'fine'"]),
    "exit misspelt": (step("{expect: {exits: {a: 1}}}"), ["7:13: unknown key 'exits'; did you mean 'exit'?"]),
    "an unknown worker's exit": (step("{expect: {exit: {c: 1}}}"), ["7:20: unknown worker 'c'; there are a, b"]),
    "an unknown signal": (
        step("{expect: {exit: {a: SIGKIL}}}"),
        ["7:23: unknown signal 'SIGKIL'; did you mean 'SIGKILL'?"],
    ),
    "an exit status out of range": (
        step("{expect: {exit: {a: 256}}}"),
        ["7:23: 256 is no exit status; write 0..255 or a signal, as in SIGKILL"],
    ),
    "true as exit status": (
        step("{expect: {exit: {a: true}}}"),
        ["7:23: true is no exit status; write 0..255 or a signal, as in SIGKILL"],
    ),
    "an unknown errno": (
        step("{at: a, do: accept, expect: {error: EIOO}}"),
        ["7:39: unknown errno 'EIOO'; did you mean 'EIO'?"],
    ),
    "an errno of which nothing is near": (
        step("{at: a, do: accept, expect: {error: refused}}"),
        ["7:39: unknown errno 'refused'"],
    ),
    "a number as errno": (
        step("{at: a, do: accept, expect: {error: 5}}"),
        ["7:39: 5 is no errno; write a name, as in E2BIG"],
    ),
    "errno left out": (step("{at: a, do: accept, expect: {error: }}"), ["7:32: the key 'error' has no value"]),
    "an error and something else": (
        step_on_c("{at: a, do: recvmsg, socket: c, expect: {error: EIO, data: x}}"),
        ["8:43: an error, and nothing else: a step that fails has no other result"],
    ),
    "an expectation of another step": (
        step("{at: a, do: accept, expect: {data: x}}"),
        ["7:32: unknown key 'data'; there is error"],
    ),
    "a name before it is given": (
        step("{at: a, do: close, descriptor: c}\n- {at: a, do: accept, as: c}"),
        ["7:34: a holds no 'c' here; there are bound_socket, address, INVALID"],
    ),
    "a name of another worker": (
        step_on_c("{at: b, do: close, descriptor: c}"),
        ["8:34: b holds no 'c' here; there is INVALID"],
    ),
    "a name of a step that fails": (
        step("{at: a, do: accept, as: c, expect: {error: EIO}}\n- {at: a, do: close, descriptor: c}"),
        ["8:34: a holds no 'c' here; there are bound_socket, address, INVALID"],
    ),
    "a descriptor's name misspelt": (
        step_on_c("{at: a, do: sendmsg, socket: c, descriptors: [INVALID, addres]}"),
        ["8:58: a holds no 'addres' here; did you mean 'address'?"],
    ),
    "one descriptor for a list": (
        step_on_c("{at: a, do: sendmsg, socket: c, descriptors: address}"),
        ["8:48: expected a list, not the text 'address'"],
    ),
    "more descriptors than a step can name": (
        step_on_c(f"{{at: a, do: sendmsg, socket: c, descriptors: [{'INVALID, ' * 65}]}}"),
        ["8:48: 65 names for at most 64 descriptors"],
    ),
    "accept without a service port": (
        step("{at: b, do: accept}"),
        ["7:3: b has no service port: give it one, or say which BoundSocket"],
    ),
    "a bound that is not there": (
        step("{at: b, do: accept, bound: bound_socket}"),
        ["7:30: b has no service port: give it one, or say which BoundSocket"],
    ),
    "too many names": (step("{at: a, do: accept, as: [c, d]}"), ["7:27: 2 names for at most 1 descriptor"]),
    "nine names": (
        step_on_c("{at: a, do: recvmsg, socket: c, as: [d, e, f, g, h, i, j, k, l]}"),
        ["8:39: 9 names for at most 8 descriptors"],
    ),
    "a name twice": (step("{at: a, do: socketpair, as: [c, c]}"), ["7:35: the name 'c' twice"]),
    "a number as a name": (step("{at: a, do: socketpair, as: [c, 1]}"), [f"7:35: 1 {NO_NAME}"]),
    "a name that is taken": (
        step("{at: a, do: accept, as: INVALID}"),
        ["7:27: 'INVALID' is what every worker calls something of its own; choose another name"],
    ),
    "a name for what gives nothing": (
        step_on_c("{at: a, do: close, descriptor: c, as: d}"),
        ["8:37: unknown key 'as'; there are when, at, do, within, expect, descriptor"],
    ),
    "a number as data": (
        step_on_c("{at: a, do: sendmsg, socket: c, data: 5}"),
        ["8:41: data is text, !!binary or {size: N}"],
    ),
    "data of an unknown form": (
        step_on_c("{at: a, do: sendmsg, socket: c, data: {sizes: 5}}"),
        ["8:41: data is text, !!binary or {size: N}"],
    ),
    "data of a negative size": (
        step_on_c("{at: a, do: sendmsg, socket: c, data: {size: -1}}"),
        ["8:41: a size of -1, outside 0..16777216"],
    ),
    "bad binary": (step_on_c("{at: a, do: sendmsg, socket: c, data: !!binary a}"), ["8:41: 'a' is no !!binary"]),
    "too much data": (
        step_on_c(f"{{at: a, do: sendmsg, socket: c, data: {'x' * 65537}}}"),
        ["8:41: 65537 bytes of data; write at most 65536, or {size: N} to generate them"],
    ),
    "yes for true": (
        step_on_c("{at: a, do: sendmsg, socket: c, nonblock: yes}"),
        ["8:45: expected true or false, not the text 'yes'"],
    ),
    "a size with a unit": (
        step("{at: a, do: mem_obj_create, size: 64KiB}"),
        ["7:37: expected a whole number, not the text '64KiB'"],
    ),
    "half a byte": (step("{at: a, do: mem_obj_create, size: 1.5}"), ["7:37: expected a whole number, not 1.5"]),
    "true as a size": (step("{at: a, do: mem_obj_create, size: true}"), ["7:37: expected a whole number, not true"]),
    "kinds of descriptors": (
        step_on_c("{at: a, do: recvmsg, socket: c, expect: {descriptors: [SocketAdress, ConnectedSocket]}}"),
        [
            "8:58: unknown kind of descriptor 'SocketAdress'; did you mean 'SocketAddress'?",
            f"8:72: unknown kind of descriptor 'ConnectedSocket'; there are {', '.join(DESCRIPTOR_KINDS)}",
        ],
    ),
    # Variables, the matrix, when
    "vars as a list": (f"{PAIR}vars: [x]\n", ["6:7: expected a map, not a list"]),
    "a variable that is a map": (
        f"{PAIR}vars: {{x: {{y: 1}}}}\nwithin: '{{{{x}}}}'\n",
        ["6:11: expected text, a number, true or false, not a map"],
    ),
    "a variable left out": (f"{PAIR}vars:\n  x:\n", ["7:3: expected text, a number, true or false, not nothing"]),
    "a variable's bad name": (f"{PAIR}vars: {{a b: 1}}\n", [f"6:8: 'a b' {NO_NAME}"]),
    "matrix as a list": (f"{PAIR}matrix: [x]\n", ["6:9: expected a map, not a list"]),
    "an axis of one value": (
        f"{PAIR}matrix: {{x: 5s}}\nwithin: '{{{{x}}}}'\n",
        ["6:13: expected a list, not the text '5s'"],
    ),
    "an axis of maps": (
        f"{PAIR}matrix: {{x: [1, {{y: 2}}]}}\nscenario: [{{kill: a, when: {{x: 1}}}}]\n",
        ["6:17: expected text, a number, true or false, not a map"],
    ),
    "an empty axis": (f"{PAIR}matrix: {{x: []}}\n", ["6:13: an axis without values leaves no cell"]),
    "an axis with the same value twice": (f"{PAIR}matrix: {{x: [1, 2, 1]}}\n", ["6:20: 1 twice on the axis 'x'"]),
    "an axis with values that look the same": (
        f"{PAIR}matrix: {{x: [true, 'true']}}\n",
        ["6:20: true twice on the axis 'x'"],
    ),
    "an axis named like a variable": (
        f"{PAIR}vars: {{x: 1}}\nmatrix: {{x: [1]}}\n",
        ["7:10: 'x' is a variable already"],
    ),
    "a matrix beyond measure": (
        f"{PAIR}matrix:\n" + "".join(f"  x{axis}: [{', '.join(map(str, range(10)))}]\n" for axis in range(5)),
        ["7:3: a matrix of more than 1000 cells"],
    ),
    "a variable of one below": (
        f"{PAIR}vars: {{x: '{{{{y}}}}', y: 1}}\n",
        ["6:11: 'y' has no value yet; a variable may use those above it"],
    ),
    "a variable of an axis": (
        f"{PAIR}vars: {{x: '{{{{y}}}}'}}\nmatrix: {{y: [1]}}\n",
        ["6:11: 'y' is an axis; only what comes after vars and matrix may use it"],
    ),
    "an unknown variable": (
        f"{PAIR}vars: {{patience: 1s}}\nwithin: '{{{{patient}}}}'\n",
        ["7:9: unknown variable 'patient'; did you mean 'patience'?"],
    ),
    "an unknown variable in a route": (
        f"{PAIR}routes: [{{grant: '{{{{who}}}}', to: b}}]\n",
        ["6:18: unknown variable 'who'; there are none"],
    ),
    "what only follows from an unknown variable": (
        f"{PAIR}vars: {{x: '{{{{y}}}}'}}\nwithin: '{{{{x}}}}'\n",
        ["6:11: unknown variable 'y'; there are none"],
    ),
    "an environment variable that is not set": (
        f"{PAIR}within: ${{IMCLAB_TEST_UNSET}}\n",
        ["6:9: 'IMCLAB_TEST_UNSET' is not in the environment; write ${IMCLAB_TEST_UNSET:-default}"],
    ),
    "an unknown axis in when": (
        f"{PAIR}matrix: {{protocol: [stream]}}\nscenario: [{{kill: a, when: {{protocl: stream}}}}]\n",
        ["7:29: unknown variable or axis 'protocl'; did you mean 'protocol'?"],
    ),
    "an unknown value in when": (
        f"{PAIR}matrix: {{protocol: [stream]}}\nscenario: [{{kill: a, when: {{protocol: [stream, steam]}}}}]\n",
        ["7:48: steam is not on the axis 'protocol'; did you mean 'stream'?"],
    ),
    "a key that pydantic has a meaning for": (
        f'{PAIR}"[key]": 1\n',
        [f"6:1: unknown key '[key]'; there are {SECTIONS}"],
    ),
    "such a key in a worker": (
        settings('"[key]": 1'),
        [f"4:41: unknown key '[key]'; there are {SETTINGS}, kind, replicas"],
    ),
    "such a key as a variable": (f'{PAIR}vars: {{"[key]": 1}}\n', [f"6:8: '[key]' {NO_NAME}"]),
    "a number of a channel beyond measure": (
        f"{PAIR}channels: [{{between: [a.{'8' * 5000}, b.8]}}]\n",
        [f"6:23: '{'8' * 5000}' is no number to choose; write 6..999"],
    ),
    "a duration beyond measure": (
        settings(f"limits: {{cpu: {'9' * 400}s}}"),
        ["4:55: more than a week; write at most 10080m"],
    ),
    "a value on an axis that is no text": (
        f"{PAIR}matrix: {{m: ['${{IMCLAB_TEST_BYTES}}']}}\n",
        ["6:14: a value on an axis is text, in UTF-8"],
    ),
    "more workers than can be planned": (
        (
            f"{HEAD}matrix: {{m: [{', '.join(map(str, range(30)))}]}}\n"
            'workers:\n  r: {program: "m:f", protocol: stream, replicas: 1000}\n'
        ),
        ["5:3: 30000 workers in all cells together; there can be 20000"],
    ),
    "more steps than can be planned": (
        f'{HEAD}workers:\n  r: {{program: "m:f", protocol: stream, replicas: 5000}}\nscenario:\n'
        + "- {at: r.*, do: socketpair}\n" * 5,
        ["6:1: more than 20000 steps"],
    ),
    "ends that are expected differently": (
        step("{expect: {exit: {a: 1}}}\n- {expect: {exit: {a: 2}}}"),
        ["8:23: a is expected to end otherwise in line 7"],
    ),
    "no base64": (step_on_c("{at: a, do: sendmsg, socket: c, data: !!binary '@@@'}"), ["8:41: '@@@' is no !!binary"]),
    "a channel between layouts": (
        (
            f'{HEAD}defaults: {{program: "m:f", protocol: socketpair}}\nworkers: {{a: {{}}, b: {{layout: recent}}}}\n'
            "channels: [{between: [a.8, b.8]}]\n"
        ),
        ["5:12: a writes the layout 2013 and b recent: they could not read one another (kind: data_only could)"],
    ),
    "a variable that is imclab's own": (
        worker("protocol: stream, command: [ls], env: {LISTEN_FDS: '7'}"),
        ["4:6: a: LISTEN_FDS is what imclab itself tells a command; choose another name"],
    ),
    "a fraction of a second of processor time": (
        settings("limits: {cpu: 500ms}"),
        ["4:55: 500ms is no whole number of seconds, which are what processor time is counted in"],
    ),
    "too little to start in": (
        settings("limits: {address_space: 1KiB}"),
        ["4:65: 1KiB is too little to start anything in; write at least 64MiB"],
    ),
    "when as text": (
        f"{PAIR}scenario: [{{kill: a, when: stream}}]\n",
        ["6:28: expected a map, not the text 'stream'"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_once_at_its_place_with_what_would_be_right(
    case: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCLAB_TEST_BYTES", "\udcff")
    text, expected = MISTAKES[case]
    assert mistakes_in(write(text)) == expected


def test_the_pair_that_the_mistakes_are_made_in_has_none_of_its_own(write: Write) -> None:
    assert mistakes_in(write(step_on_c("{kill: a}"))) == []


def test_all_mistakes_of_a_file_are_told_at_once_and_in_order(write: Write) -> None:
    text = """\
schema: 2
name: 1st
workrs: {}
defaults: {protocol: steam}
kinds:
  probe: {programm: "m:f"}
workers:
  a: {kind: probe, service_port: exported}
  b: {kind: prob}
  c.0: {kind: probe}
routes:
  - {grant: x, to: a}
  - {grant: a, too: y}
  - {grant: c.0, to: a}
scenario:
  - {at: z, do: conect}
  - {at: z, do: accept}
  - {kill: c.0, after: 1s}
  - {expect: {exit: {b: SIGKIL}}}
  - {at: a, do: close, descriptor: "{{unknown}}"}
within: 5
within: 6s
"""
    assert mistakes_in(write(text)) == [
        "1:9: expected schema 1, not 2",
        f"2:7: '1st' {NO_NAME}",
        "3:1: unknown key 'workrs'; did you mean 'workers'?",
        "4:22: unknown protocol 'steam'; did you mean 'stream'?",
        "6:11: unknown key 'programm'; did you mean 'program'?",
        "9:13: unknown kind 'prob'; did you mean 'probe'?",
        f"10:3: 'c.0' {NO_NAME}",
        "12:13: unknown worker 'x'; there are a, b",
        "13:16: unknown key 'too'; did you mean 'to'?",
        "14:13: unknown worker 'c.0'; there are a, b",
        "16:10: unknown worker 'z'; there are a, b",
        "16:17: unknown step 'conect'; did you mean 'connect'?",
        "17:10: unknown worker 'z'; there are a, b",
        "18:12: unknown worker 'c.0'; there are a, b",
        "18:17: unknown key 'after'; there are when, kill, within",
        "19:25: unknown signal 'SIGKIL'; did you mean 'SIGKILL'?",
        "20:36: unknown variable 'unknown'; there are none",
        "21:9: 5 is no duration; write a number and ms, s or m, as in 5s",
        "22:1: duplicate key 'within'; it stands in line 21 already",
    ]


def test_a_mistake_that_several_cells_make_is_told_once(write: Write) -> None:
    text = f"""{PAIR}matrix: {{x: [1, 2, 3]}}
scenario:
  - {{at: a, do: accept, as: only_then, when: {{x: 1}}}}
  - {{at: a, do: close, descriptor: elsewhere}}
  - {{at: a, do: close, descriptor: only_then}}
"""
    told = mistakes_in(write(text))
    assert [mistake.partition(";")[0] for mistake in told] == [
        "9:36: a holds no 'elsewhere' here",
        "10:36: a holds no 'only_then' here",
    ]


def test_mistakes_that_different_cells_make_are_all_told(write: Write) -> None:
    text = (
        f'{HEAD}matrix: {{p: [steam, stream, datagran]}}\nworkers: {{a: {{program: "m:f", protocol: "{{{{p}}}}"}}}}\n'
    )
    assert mistakes_in(write(text)) == [
        "4:41: unknown protocol 'datagran'; did you mean 'datagram'?",
        "4:41: unknown protocol 'steam'; did you mean 'stream'?",
    ]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"greting": "hi"}, "1:1: no variable or axis 'greting'; did you mean 'greeting'?"),
        ({"x": 1}, "1:1: no variable or axis 'x'; there are greeting, protocol"),
        ({"protocol": "steam"}, "7:20: steam is not on the axis 'protocol'; did you mean 'stream'?"),
        ({"greeting": ["hi"]}, "1:1: 'greeting' can be text, a number, true or false, not a list"),
        ({"greeting": None}, "1:1: 'greeting' can be text, a number, true or false, not nothing"),
    ],
)
def test_what_is_chosen_has_to_be_there(write: Write, chosen: dict[str, object], expected: str) -> None:
    file = write(f"{PAIR}vars: {{greeting: hello}}\nmatrix: {{protocol: [stream, datagram]}}\n")
    assert mistakes_in(file, chosen) == [expected]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"name: \xff\n", "it is not UTF-8"), (b"\xff\xfes\x00c\x00", "it is not UTF-8")],
    ids=["a stray byte", "UTF-16"],
)
def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "t.imclab.yaml"
    file.write_bytes(content)
    assert mistakes_in(file) == [f"1:1: cannot read the file: {reason}"]


def test_a_file_that_is_missing_or_a_folder_is_told(tmp_path: Path) -> None:
    assert mistakes_in(tmp_path / "nowhere") == ["1:1: cannot read the file: No such file or directory"]
    assert mistakes_in(tmp_path) == ["1:1: cannot read the file: Is a directory"]
