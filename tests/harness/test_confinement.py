"""Profiles in topologies: which there are, what they rule out, what they lack, and what a worker finds under them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from harness import Outcome, Status, run_topology
from harness.events import Refusal
from harness.planner import only_plan_of, plans_of
from harness.report.plan import described
from harness.report.text import account
from harness.spawn import Zygote
from harness.supervisor import run_plan
from sandbox.confinement.namespaces import BUILT_AT
from sandbox.confinement.policy import PROFILES, Layer
from sandbox.protocols import PROTOCOLS
from tests.harness.topologies import HEAD, mistakes_in, written
from tests.harness.written import ONE_WORKER, write

ROOT: Final = Path(__file__).parents[2]
CONFINED: Final = ("strict", "names")
DESCRIPTOR_PROTOCOLS: Final = ("socketpair", "acknowledged")

TALK: Final = """
    matrix: {protocol: [stream, datagram, socketpair, acknowledged]}
    defaults: {protocol: "{{protocol}}", confinement: CONFINEMENT, program: "sandbox.programs.probe:main"}
    workers:
      a: {service_port: exported}
      b: {service_port: unexported}
    routes: [{grant: a, to: b}]
    scenario:
      - {at: b, do: connect, address: a, as: c}
      - {at: a, do: accept, as: c}
      - {at: b, do: socketpair, as: [left, right]}
      - {at: b, do: mem_obj_create, size: 1048576, as: memory}
      - {at: b, do: sendmsg, socket: c, data: {size: 131072}, descriptors: [address, left, memory]}
      - {at: a, do: recvmsg, socket: c, as: [of_b, left, memory],
         expect: {data: {size: 131072}, descriptors: [SocketAddress, DataOnlySocket, SharedMemory]}}
      - {at: a, do: makeboundsock, as: [port, mine]}
      - {at: a, do: connect, address: of_b, as: d}
      - {at: b, do: accept, as: d}
      - {at: b, do: close, descriptor: d}
      - {at: a, do: recvmsg, socket: d, expect: {error: EIO}}
"""


def talk(tmp_path: Path, confinement: str, protocol: str) -> Outcome:
    return run_topology(write(tmp_path, TALK.replace("CONFINEMENT", confinement)), protocol=protocol)


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_descriptor_protocols_work_under_strict_untouched(protocol: str, tmp_path: Path) -> None:
    assert talk(tmp_path, "strict", protocol).reason == "all as expected"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("confinement", ["none", "descriptors", "names", "tightest"])
def test_every_protocol_works_under_the_other_profiles(confinement: str, protocol: str, tmp_path: Path) -> None:
    outcome = talk(tmp_path, confinement, protocol)
    assert outcome.reason == "all as expected"


@pytest.mark.parametrize(
    ("protocol", "calls"), [("stream", "accept4, bind, connect, listen, socket"), ("datagram", "bind, socket")]
)
def test_name_protocols_are_refused_under_strict_for_the_calls_that_they_need(
    protocol: str, calls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.supervisor.Run", None)
    outcome = talk(tmp_path, "strict", protocol)
    assert outcome.status is Status.REFUSED
    assert outcome.reason == (
        f"{protocol} needs {calls}, which the profile strict takes away (a, b); "
        "names leaves it that, and tightest chooses between the two"
    )


@pytest.mark.parametrize("protocol", ["stream", "datagram"])
def test_to_allow_the_calls_of_names_is_not_enough_for_them(protocol: str, tmp_path: Path) -> None:
    mine = "    profiles: {mine: {extends: strict, allow: [socket, bind, listen, connect, accept4]}}"
    text = mine + TALK.replace("CONFINEMENT", "mine")
    outcome = run_topology(write(tmp_path, text), protocol=protocol)
    assert outcome.status is Status.REFUSED
    assert outcome.reason.startswith(
        f"{protocol} needs the network that its names are in, the abstract names of others, "
        "which the profile mine takes away (a, b); names leaves it that"
    )


def test_tightest_is_strict_or_names_where_the_protocol_needs_names(tmp_path: Path) -> None:
    plans = plans_of(write(tmp_path, TALK.replace("CONFINEMENT", "tightest")))
    assert {plan.axes["protocol"]: plan.workers["a"].policy.name for plan in plans} == {
        "stream": "names",
        "datagram": "names",
        "socketpair": "strict",
        "acknowledged": "strict",
    }


def test_a_refusal_may_be_expected(tmp_path: Path) -> None:
    text = TALK.replace("CONFINEMENT", "strict") + "    refused: [{protocol: [stream, datagram]}]\n"
    outcomes = {p: run_topology(write(tmp_path, text), protocol=p) for p in PROTOCOLS}
    assert {outcome.status for outcome in outcomes.values()} == {Status.PASSED}
    assert outcomes["stream"].reason.startswith("refused, as expected: stream needs")
    assert outcomes["socketpair"].reason == "all as expected"


# Profiles of one's own


def profiles(text: str, confinement: str = "mine") -> str:
    """Return a topology whose line 3 is these profiles, and whose worker has one of them in line 5."""
    worker = f'{{program: "m:f", protocol: socketpair, confinement: {confinement}}}'
    return f"{HEAD}profiles: {text}\nworkers:\n  a: {worker}\n"


MISTAKES: Final[dict[str, tuple[str, list[str]]]] = {
    "no profile": (
        profiles("{}", "loose"),
        ["5:58: unknown profile 'loose'; there are none, descriptors, strict, names, tightest"],
    ),
    "one misspelt": (
        profiles("{mine: {extends: strict}}", "mind"),
        ["5:58: unknown profile 'mind'; did you mean 'mine'?"],
    ),
    "extends nothing": (profiles("{mine: {}}"), ["3:18: the key 'extends' is missing"]),
    "extends what there is none of": (
        profiles("{mine: {extends: loose}}"),
        ["3:28: unknown profile 'loose'; there are none, descriptors, strict, names"],
    ),
    "extends itself": (profiles("{mine: {extends: mine}}"), ["3:28: mine extends itself"]),
    "extends itself by another": (
        profiles("{mine: {extends: other}, other: {extends: mine}}"),
        ["3:53: other extends itself"],
    ),
    "extends what only chooses": (
        profiles("{mine: {extends: tightest}}"),
        ["3:28: tightest is no profile of its own: it chooses strict or names; extend one of them"],
    ),
    "extends one that extends itself": (
        profiles("{mine: {extends: a}, a: {extends: b}, b: {extends: a}}"),
        ["3:62: b extends itself"],
    ),
    "limits": (
        profiles("{mine: {extends: strict, limits: {cpu: 1s}}}"),
        ["3:36: unknown key 'limits'; limits are a worker's: say limits: there, in its kind or under defaults"],
    ),
    "one that is there": (
        profiles("{strict: {extends: none}}", "none"),
        ["3:12: 'strict' is a profile already; choose another name"],
    ),
    "an unknown layer": (
        profiles("{mine: {extends: strict, allow_missing: [landlok]}}"),
        ["3:52: unknown layer 'landlok'; did you mean 'landlock'?"],
    ),
    "a layer that is not there to be left off": (
        profiles("{mine: {extends: descriptors, without: [landlock]}}"),
        ["3:51: descriptors has no layer landlock that could be left off"],
    ),
    "a layer that others need": (
        profiles("{mine: {extends: strict, without: [landlock, no_new_privs]}}"),
        ["3:56: seccomp cannot be without no_new_privs; leave seccomp off, too"],
    ),
    "an unknown call": (
        profiles("{mine: {extends: strict, allow: [mlokc]}}"),
        ["3:44: unknown system call 'mlokc'; did you mean 'mlock'?"],
    ),
    "a path that is not there": (
        profiles("{mine: {extends: strict, readable: [/nowhere]}}"),
        ["3:47: '/nowhere': No such file or directory"],
    ),
    "a path beside the file that is not there": (
        profiles("{mine: {extends: strict, readable: [etc]}}"),
        ["3:47: 'etc': No such file or directory"],
    ),
    "everything": (
        profiles("{mine: {extends: strict, readable: [/etc/..]}}"),
        ["3:47: not all that there is can be readable; name what the program needs"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told(case: str, tmp_path: Path) -> None:
    text, expected = MISTAKES[case]
    assert mistakes_in(written(tmp_path, text)) == expected


LOOK: Final = """
    import errno, os, resource, socket

    def attempt(call, *args):
        try:
            call(*args)
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"

    def main(worker):
        worker.report("found", {
            "uid": os.getuid(),
            "passwd": attempt(os.open, "/etc/passwd", os.O_RDONLY),
            "hosts": attempt(os.open, "/etc/hosts", os.O_RDONLY),
            "socket": attempt(socket.socket),
            "host": os.uname().nodename,
            "files": resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY,
            "sync": attempt(os.sync),
        })
"""


def look(tmp_path: Path, text: str) -> dict[str, Any]:
    outcome = run_topology(write(tmp_path, text, look=LOOK))
    assert outcome.reason == "all as expected", outcome.workers["a"].stderr.text()
    found = outcome.workers["a"].reports["found"]
    assert isinstance(found, dict)
    return found


def test_a_profile_of_one_s_own_is_another_with_something_changed(tmp_path: Path) -> None:
    text = """
        profiles:
          base: {extends: strict, readable: [/etc/hosts]}
          mine: {extends: base, allow: [sync]}
        workers: {a: {program: "look:main", protocol: socketpair, confinement: PROFILE}}
    """
    strict = look(tmp_path, text.replace("PROFILE", "strict"))
    assert (strict["passwd"], strict["hosts"], strict["socket"], strict["sync"]) == (
        "ENOENT",
        "ENOENT",
        "EPERM",
        "done",
    )
    mine = look(tmp_path, text.replace("PROFILE", "mine"))
    assert (mine["passwd"], mine["hosts"], mine["socket"]) == ("ENOENT", "done", "EPERM")
    none = look(tmp_path, text.replace("PROFILE", "none"))
    assert (none["passwd"], none["hosts"], none["socket"]) == ("done", "done", "done")
    assert (strict["host"], strict["files"], none["files"]) == ("worker", True, False)
    assert none["host"] == os.uname().nodename


READS: Final = """
    def main(worker):
        for path in worker.args["paths"]:
            try:
                with open(path, "rb") as file:
                    file.read(1)
                said = "read"
            except OSError as error:
                said = type(error).__name__
            worker.report(path, said)
"""


def test_a_path_may_lie_in_a_folder_that_is_shown_too_and_be_a_link_to_elsewhere(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for file in (tmp_path / "outer/one", inner / "two", tmp_path / "elsewhere", tmp_path / "unnamed"):
        file.write_text("something")
    (tmp_path / "outer/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "outer/dangling").symlink_to(tmp_path / "unnamed")
    changed = (tmp_path / "elsewhere").stat().st_mtime_ns
    paths = [str(tmp_path / name) for name in ("outer/one", "outer/inner/two", "outer/link", "elsewhere")]
    kept = [str(tmp_path / name) for name in ("unnamed", "outer/dangling")]
    text = f"""
        profiles:
          mine: {{extends: strict, readable: [{inner}, {tmp_path}/outer, outer/inner/two, {tmp_path}/outer/link]}}
          other: {{extends: strict, readable: [/etc/hosts]}}
          whole: {{extends: strict, readable: [/etc]}}
        defaults: {{protocol: socketpair, program: "reads:main"}}
        workers:
          a: {{confinement: mine, args: {{paths: {paths + kept + ["/etc/hosts"]}}}}}
          b: {{confinement: other, args: {{paths: [/etc/hosts, /etc/passwd, {paths[0]}]}}}}
          c: {{confinement: whole, args: {{paths: [/etc/hosts, /etc/passwd]}}}}
          d: {{confinement: strict, command: [/bin/true]}}
    """
    outcome = run_topology(write(tmp_path, text, reads=READS))
    assert outcome.passed, outcome.reason
    # Nothing of the host's is touched to show it.
    assert (tmp_path / "elsewhere").stat().st_mtime_ns == changed
    found = {name: worker.reports for name, worker in outcome.workers.items()}
    assert found["a"] == {
        **dict.fromkeys(paths, "read"),
        **dict.fromkeys(kept, "FileNotFoundError"),
        "/etc/hosts": "PermissionError",
    }
    # All roots of a run are the same one, of which Landlock leaves each worker its own.
    assert found["b"] == {"/etc/hosts": "read", "/etc/passwd": "PermissionError", paths[0]: "PermissionError"}
    assert found["c"] == {"/etc/hosts": "read", "/etc/passwd": "read"}


@pytest.mark.parametrize(
    ("shown", "file", "said"),
    [
        ("/sys", "/sys/kernel/uevent_seqnum", "read"),
        ("/dev", "/dev/zero", "PermissionError"),
        ("/dev/zero", "/dev/zero", "read"),
    ],
)
def test_a_folder_with_mounts_in_it_can_be_shown_and_a_device_that_is_named(
    shown: str, file: str, said: str, tmp_path: Path
) -> None:
    text = f"""
        profiles: {{mine: {{extends: strict, readable: [{shown}]}}}}
        workers: {{a: {{program: "reads:main", protocol: socketpair, confinement: mine, args: {{paths: [{file}]}}}}}}
    """
    outcome = run_topology(write(tmp_path, text, reads=READS))
    assert (outcome.passed, outcome.workers["a"].reports) == (True, {file: said})


def test_a_program_of_several_files_is_a_package_or_has_them_named(tmp_path: Path) -> None:
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "__init__.py").touch()
    (tmp_path / "several" / "inside.py").write_text("WHAT = 'a package'\n")
    (tmp_path / "several" / "program.py").write_text(
        "from several import inside\ndef main(worker): worker.report('what', inside.WHAT)\n"
    )
    beside = "import helper\ndef main(worker): worker.report('what', helper.WHAT)\n"
    text = """
        profiles: {mine: {extends: strict, readable: [helper.py]}}
        defaults: {protocol: socketpair, confinement: strict}
        workers:
          package: {program: "several.program:main"}
          named: {program: "beside:main", confinement: mine}
    """
    outcome = run_topology(write(tmp_path, text, beside=beside, helper="WHAT = 'a name'"))
    assert outcome.passed, outcome
    assert {name: worker.reports["what"] for name, worker in outcome.workers.items()} == {
        "package": "a package",
        "named": "a name",
    }


def test_the_whole_standard_library_can_be_imported(tmp_path: Path) -> None:
    imports = f"""
        import importlib

        # Those that say something when they are imported, open a browser, or are of other systems.
        LEFT_OUT = {{"this", "antigravity", "idlelib", "turtledemo", "lib2to3"}}

        def main(worker):
            failed = {{}}
            for name in {sorted(name for name in sys.stdlib_module_names if not name.startswith("_"))}:
                if name not in LEFT_OUT:
                    try:
                        importlib.import_module(name)
                    except ImportError as error:
                        failed[name] = str(error)
            worker.report("failed", failed)
    """
    text = """
        matrix: {confinement: [none, strict]}
        workers: {a: {program: "imports:main", protocol: socketpair, confinement: "{{confinement}}"}}
    """
    file = write(tmp_path, text, imports=imports)
    none, strict = (run_topology(file, confinement=confinement) for confinement in ("none", "strict"))
    assert none.passed, none.reason
    assert strict.passed, strict.reason
    assert strict.workers["a"].reports == none.workers["a"].reports


def test_a_script_may_be_executed_by_what_env_finds(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env sh\necho it runs\n")
    script.chmod(0o755)
    text = "workers: {a: {command: [./script], protocol: socketpair, confinement: strict, service_port: none}}\n"
    outcome = run_topology(write(tmp_path, text))
    assert outcome.passed, outcome.reason
    assert outcome.workers["a"].stdout.text() == "it runs\n"


@pytest.mark.parametrize("protocol", ["stream", "datagram"])
def test_what_does_not_fit_a_protocol_is_tried_where_the_profile_says_so(protocol: str, tmp_path: Path) -> None:
    text = f"""
        profiles:
          fits: {{extends: strict, without: [seccomp, landlock], refuse: true}}
          tried: {{extends: fits, refuse: false}}
          as_well: {{extends: tried}}
        defaults: {{protocol: {protocol}, program: "sandbox.programs.probe:main"}}
        workers: {{a: {{confinement: PROFILE}}}}
        scenario: [{{at: a, do: makeboundsock}}]
    """
    reason = run_topology(write(tmp_path, text.replace("PROFILE", "fits"))).reason
    assert reason.startswith(f"{protocol} needs the network that its names are in, which the profile fits takes away")
    for profile in ("tried", "as_well"):
        assert run_topology(write(tmp_path, text.replace("PROFILE", profile))).passed


@pytest.mark.parametrize(
    ("without", "changed"), [("seccomp", {"socket": "done"}), ("uts_namespace", {"host": os.uname().nodename})]
)
def test_a_layer_is_left_off_and_no_other(without: str, changed: dict[str, str], tmp_path: Path) -> None:
    text = """
        profiles: {mine: {extends: strict, without: [WITHOUT]}}
        workers: {a: {program: "look:main", protocol: socketpair, confinement: PROFILE}}
    """.replace("WITHOUT", without)
    strict = look(tmp_path, text.replace("PROFILE", "strict"))
    mine = look(tmp_path, text.replace("PROFILE", "mine"))
    compared = ("passwd", "socket", "host")
    assert {key: mine[key] for key in compared if mine[key] != strict[key]} == changed


# Layers that are missing


WITHOUT: Final = """
import json, sys
from harness.planner import only_plan_of
from harness.supervisor import run_plan
from pathlib import Path
from harness.report.text import account
plan = only_plan_of(Path(sys.argv[1]), {"profile": sys.argv[2]})
outcome = run_plan(plan)
print(json.dumps([str(outcome.status), outcome.reason, account(plan, outcome).splitlines()]))
"""


def test_a_layer_that_is_missing_is_an_error_that_names_it_unless_it_may_be(tmp_path: Path) -> None:
    off = 'echo 0 > /proc/sys/user/max_net_namespaces; echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "/bin/sh", "-c", off, "sh"]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    text = """
        matrix: {profile: [strict, lenient]}
        profiles: {lenient: {extends: strict, allow_missing: [network_namespace, user_namespace, own_uid]}}
        defaults: {program: "look:main", protocol: socketpair, confinement: "{{profile}}"}
        workers: {a: {}, b: {}}
    """
    file = write(tmp_path, text, look=LOOK)

    def without(profile: str) -> list[Any]:
        command = [*wrapper, sys.executable, "-c", WITHOUT, str(file), profile]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30)
        told: list[Any] = json.loads(done.stdout)
        return told

    status, reason, told = without("strict")
    assert status == "unsupported"
    advice = "allow user namespaces (sysctl user.max_user_namespaces)"
    assert reason == (
        "a, b: of the profile strict, there is missing here: own_uid ([Errno 1] Operation not permitted; be root of "
        "the whole machine, or an ordinary user), network_namespace ([Errno 28] No space left on device; "
        f"{advice} or be root), user_namespace ([Errno 28] No space left on device; {advice}); "
        "or say allow_missing: [own_uid, network_namespace, user_namespace] in a profile of your own"
    )
    assert told == ["written[strict]", f"  unsupported, and nothing was started: {reason}"]
    status, reason, told = without("lenient")
    assert (status, reason) == ("passed", "all as expected")
    assert "  a  starts under lenient, without own_uid, network_namespace, user_namespace, with no service port" in told


def test_without_libseccomp_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import seccomp_compiler  # noqa: PLC0415 - its cache is to be emptied

    seccomp_compiler.compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    text = 'workers: {a: {program: "look:main", protocol: socketpair, confinement: strict}}\n'
    outcome = run_topology(write(tmp_path, text, look=LOOK))
    assert outcome.status is Status.UNSUPPORTED
    assert "libseccomp is not here (Debian: apt install libseccomp2)" in outcome.reason


# What is told of it


def test_plan_and_account_tell_the_profile(tmp_path: Path) -> None:
    file = write(tmp_path, TALK.replace("CONFINEMENT", "strict"))
    plan = only_plan_of(file, {"protocol": "socketpair"})
    layers = ", ".join(layer.value for layer in Layer)
    assert f"    profile strict: {layers}\n" in described(plan)
    assert "\n  a  starts under strict with 3 BoundSocket" in account(plan, run_plan(plan))


def test_what_a_profile_refused_is_counted_and_told(tmp_path: Path) -> None:
    tries = """
        import ctypes, os, socket

        def main(worker):
            for attempt in (socket.socket, socket.socket, lambda: os.open("/etc/passwd", os.O_RDONLY)):
                try:
                    attempt()
                except OSError as error:
                    worker.refused("open" if error.filename else "socket", error)
            ctypes.CDLL(None).ptrace(0, 0, 0, 0)
    """
    text = """
        workers: {a: {program: "tries:main", protocol: socketpair, confinement: strict}}
        scenario: [{wait: {exit: a}}, {expect: {exit: {a: SIGSYS}}}]
    """
    plan = only_plan_of(write(tmp_path, text, tries=tries), {})
    outcome = run_plan(plan)
    assert outcome.reason == "all as expected"
    assert outcome.workers["a"].profile == "strict"
    assert outcome.workers["a"].refusals == {
        Refusal("socket", "EPERM", "seccomp"): 2,
        Refusal("socket", "EPERM"): 2,
        Refusal("open", "ENOENT"): 1,
        Refusal("a system call that nothing honest makes", "SIGSYS", "seccomp"): 1,
    }
    told = [line for line in account(plan, outcome).splitlines() if "refused" in line]
    assert sorted(told) == [
        "  a  says that it was refused open: ENOENT",
        "  a  says that it was refused socket: EPERM, 2 times",
        "  a  was refused a system call that nothing honest makes: SIGSYS (seccomp)",
        "  a  was refused socket: EPERM (seccomp), 2 times",
    ]


def test_a_run_that_lacks_a_layer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is missing is the zygote's to say: what it says is another here."""

    async def lacking(_: object, layers: Iterable[Layer]) -> dict[Layer, str]:
        return {layer: "not here" for layer in layers if layer in (Layer.LANDLOCK, Layer.UTS_NAMESPACE)}

    monkeypatch.setattr("harness.spawn.Zygote.lacking", lacking)
    monkeypatch.setattr("harness.confinement.KNOWN_TO_WORK", {})
    text = """
        profiles: {mine: {extends: strict, allow_missing: [landlock, uts_namespace]}}
        defaults: {program: "idle:main", protocol: socketpair}
        workers: {a: {confinement: mine}, b: {confinement: descriptors}}
    """
    plan = only_plan_of(write(tmp_path, text, idle="def main(worker): pass"), {})
    outcome = run_plan(plan)
    assert outcome.reason == "all as expected"
    assert outcome.workers["a"].without == ("uts_namespace", "landlock")
    assert {*outcome.workers["a"].layers, "uts_namespace", "landlock"} >= {
        layer.value for layer in Layer if layer is not Layer.OWN_UID
    }
    assert {"uts_namespace", "landlock"}.isdisjoint(outcome.workers["a"].layers)
    assert (outcome.workers["b"].layers, outcome.workers["b"].without) == (("no_new_privs",), ())
    told = account(plan, outcome)
    assert "  a  starts under mine, without uts_namespace, landlock, with no service port" in told
    assert "  b  starts under descriptors with no service port" in told


def test_the_plan_tells_what_a_profile_of_one_s_own_changes(tmp_path: Path) -> None:
    text = """
        profiles:
          base: {extends: names, allow_missing: [landlock, empty_root], allow: [mlock]}
          mine: {extends: base, readable: [/etc/hosts], allow: [sync, mlock]}
        workers: {a: {program: "look:main", protocol: socketpair, confinement: mine}}
    """
    lines = described(only_plan_of(write(tmp_path, text), {})).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("    profile mine: "))
    policy = PROFILES["names"]
    limits = ", ".join(f"{name} {value}" for name, value in {**policy.limits, **policy.late_limits}.items())
    assert lines[first + 1 : first + 6] == [
        "      made of names",
        "      allow_missing empty_root, landlock",
        "      readable /etc/hosts",
        "      allow mlock, sync",
        f"      limits {limits}",
    ]


def test_a_chain_of_profiles_may_be_of_any_length(tmp_path: Path) -> None:
    chain = ", ".join(f"p{number}: {{extends: p{number + 1}}}" for number in range(3000))
    text = profiles(f"{{{chain}, p3000: {{extends: strict, allow: [sync]}}}}", "p0")
    policy = only_plan_of(written(tmp_path, text), {}).workers["a"].policy
    assert (policy.name, policy.base, policy.allowed, policy.denies("sync")) == ("p0", "strict", ("sync",), False)


def test_only_where_there_is_a_list_of_calls_is_sigsys_the_profiles_doing(tmp_path: Path) -> None:
    text = """
        defaults: {program: "ends:main", protocol: socketpair}
        workers: {a: {confinement: none}, b: {confinement: descriptors}, c: {confinement: strict}}
        scenario: [{wait: {exit: [a, b, c]}}, {expect: {exit: {a: SIGSYS, b: SIGSYS, c: SIGSYS}}}]
    """
    ends = """
        import signal, threading

        def main(worker):
            signal.pthread_kill(threading.get_ident(), signal.SIGSYS)
    """
    outcome = run_topology(write(tmp_path, text, ends=ends))
    assert outcome.reason == "all as expected"
    assert {name: len(worker.refusals) for name, worker in outcome.workers.items()} == {"a": 0, "b": 0, "c": 1}


def test_every_profile_that_is_built_in_says_what_its_layers_are() -> None:
    assert PROFILES["none"].layers == frozenset()
    assert PROFILES["strict"].layers == frozenset(Layer)
    assert PROFILES["names"].layers == frozenset(Layer) - {Layer.NETWORK_NAMESPACE}
    assert {name for name, policy in PROFILES.items() if policy.denies("socket")} == {"strict"}


def test_what_was_seen_to_work_is_not_tried_again_by_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[Layer]] = []
    lacking = Zygote.lacking

    async def counted(zygote: Zygote, layers: Iterable[Layer]) -> dict[Layer, str]:
        asked.append(frozenset(layers))
        return await lacking(zygote, asked[-1])

    monkeypatch.setattr("harness.spawn.Zygote.lacking", counted)
    monkeypatch.setattr("harness.confinement.KNOWN_TO_WORK", {})
    text = """
        matrix: {confinement: [descriptors, strict]}
        workers: {a: {program: "idle:main", protocol: socketpair, confinement: "{{confinement}}"}}
    """
    file = write(tmp_path, text, idle="def main(worker): pass")
    for confinement in ("descriptors", "strict", "strict", "descriptors"):
        assert run_topology(file, confinement=confinement).passed
    first = PROFILES["descriptors"].layers
    assert asked[0] == first
    assert not asked[1] & first
    assert len(asked) == 2


def test_a_profile_asks_for_no_more_than_we_have(tmp_path: Path) -> None:
    file = write(
        tmp_path, ONE_WORKER.replace("socketpair", "socketpair, confinement: strict"), guest="def main(w): pass\n"
    )
    program = f"from harness import run_topology; print(run_topology({str(file)!r}).reason)"
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_NPROC, (300, 300)); exec(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", limited, program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "all as expected\n"


def test_the_folder_may_be_shown_in_which_the_root_is_put_together() -> None:
    with tempfile.TemporaryDirectory(dir=BUILT_AT) as name:
        folder = Path(name)
        folder.chmod(0o755)
        text = f"""
            profiles: {{mine: {{extends: strict, readable: [{BUILT_AT}]}}}}
            defaults: {{protocol: socketpair, confinement: mine}}
            workers: {{a: {{program: "reads:main", args: {{paths: [{name}/it]}}}}}}
        """
        (folder / "it").write_text("something")
        outcome = run_topology(write(folder, text, reads=READS))
    assert (outcome.reason, outcome.workers["a"].reports) == ("all as expected", {f"{name}/it": "read"})
