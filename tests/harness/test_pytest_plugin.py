"""Topologies as tests: the fixture `imclab`, and the collection of *.imclab.yaml."""

from pathlib import Path
from typing import Final

import pytest

from tests.harness.topologies import HEAD, PAIR

pytest_plugins = ["pytester"]

PASSES: Final = f"""{HEAD}matrix: {{protocol: [socketpair, acknowledged]}}
vars: {{greeting: hello}}
workers: {{a: {{program: "own:main", protocol: "{{{{protocol}}}}", args: {{greeting: "{{{{greeting}}}}"}}}}}}
"""
OWN: Final = "def main(worker): worker.report('greeting', worker.args['greeting'])\n"
FAILS: Final = f"""{HEAD}workers: {{a: {{program: "sandbox.programs.probe:main", protocol: socketpair}}}}
scenario: [{{at: a, do: socketpair, expect: {{error: EIO}}}}]
"""
SERIAL: Final = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
PARALLEL: Final = (*SERIAL, "-n", "2")
# What one process of several does by itself takes no second one to be seen.
REMOTE: Final = (*SERIAL, "-n", "1")


def topology(pytester: pytest.Pytester, text: str, name: str = "t.imclab.yaml") -> Path:
    """Return a topology in the folder of the inner run, with the program own beside it."""
    file = pytester.path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    (file.parent / "own.py").write_text(OWN, encoding="utf-8")
    return file


@pytest.mark.parametrize("options", [SERIAL, PARALLEL], ids=["serially", "in parallel"])
def test_each_cell_is_a_test_that_passes_where_its_run_does(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    topology(pytester, PASSES)
    topology(pytester, FAILS, "fails.imclab.yaml")
    result = pytester.runpytest_inprocess("-v", *options)
    result.assert_outcomes(passed=2, failed=1)
    for line in ("*t.imclab.yaml::t[[]socketpair]*", "*t.imclab.yaml::t[[]acknowledged]*", "*fails.imclab.yaml::t*"):
        result.stdout.fnmatch_lines([line])


def test_a_cell_is_chosen_by_its_id(pytester: pytest.Pytester) -> None:
    topology(pytester, PASSES)
    pytester.runpytest_inprocess("t.imclab.yaml::t[acknowledged]", *SERIAL).assert_outcomes(passed=1)
    pytester.runpytest_inprocess("-k", "socketpair", *SERIAL).assert_outcomes(passed=1, deselected=1)


def test_a_failed_run_is_told_in_its_own_words_and_without_a_traceback(pytester: pytest.Pytester) -> None:
    file = topology(pytester, FAILS)
    result = pytester.runpytest_inprocess(*SERIAL)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"{file}:4:12: a: socketpair: expected EIO, got success",
            "  a  starts with no service port",
            "  a ✗ socketpair",
            f"repeat it: imclab run -v {file}",
            "kept in: */t0",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


SPEAKS: Final = """
import sys

def main(worker):
    print("to stdout")
    sys.stderr.write("to stderr\\n")
    return 3
"""


@pytest.mark.parametrize("options", [SERIAL, REMOTE], ids=["here", "in a process of xdist's"])
def test_what_a_failed_run_said_is_kept_and_a_passed_one_leaves_nothing(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    text = f'{HEAD}matrix: {{p: [socketpair]}}\nworkers: {{"a": {{program: "%s:main", protocol: "{{{{p}}}}"}}}}\n'
    topology(pytester, text % "speaks", "fails.imclab.yaml")
    topology(pytester, text % "quiet", "passes.imclab.yaml")
    pytester.makepyfile(speaks=SPEAKS, quiet="def main(worker): print('said')")
    pytester.makepyfile(
        test_it="def test_it(imclab):\n"
        "    assert imclab('passes.imclab.yaml').passed\n"
        "    assert not imclab('fails.imclab.yaml').passed\n"
    )
    kept_below = pytester.path / "kept"
    result = pytester.runpytest_inprocess(f"--basetemp={kept_below}", *options)
    result.assert_outcomes(passed=2, failed=1)
    reports = sorted(kept_below.rglob("report.txt"))
    assert sorted(report.parent.name for report in reports) == ["imclab-1", "t_socketpair_0"]
    for report in reports:
        assert (report.parent / "a.stdout").read_text(encoding="utf-8") == "to stdout\n"
        assert (report.parent / "a.stderr").read_text(encoding="utf-8") == "to stderr\n"
        assert f"kept in: {report.parent}" in report.read_text(encoding="utf-8")
        assert "a exited with 3" in report.read_text(encoding="utf-8")


def test_a_cell_of_any_name_has_its_report(pytester: pytest.Pytester) -> None:
    text = FAILS.replace("workers:", f"matrix: {{m: [{'x' * 300}, '../é']}}\nworkers:")
    topology(pytester, text)
    result = pytester.runpytest_inprocess(*SERIAL)
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("kept in: ") >= 2
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("options", [SERIAL, REMOTE], ids=["here", "in a process of xdist's"])
def test_a_wrong_topology_is_an_error_of_collection_with_all_its_mistakes(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    file = topology(pytester, f"{PAIR}zoo: 1\nroutes: 5\n")
    result = pytester.runpytest_inprocess(*options)
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"*{file}:6:1: unknown key 'zoo'*", f"*{file}:7:9: expected a list, not 5"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_other_yaml_files_are_no_tests(pytester: pytest.Pytester) -> None:
    topology(pytester, PASSES, "topology.yaml")
    topology(pytester, PASSES, "t.imclab.yml")
    assert pytester.runpytest_inprocess(*SERIAL).ret == pytest.ExitCode.NO_TESTS_COLLECTED


FIXTURE_USED: Final = """
    import pytest
    from harness.errors import TopologyError

    def test_a_cell_is_run_and_its_outcome_returned(imclab):
        outcome = imclab("t.imclab.yaml", protocol="socketpair")
        assert outcome.passed and outcome.cell == "t[socketpair]"
        assert outcome.workers["a"].exit_status == 0
        assert outcome.workers["a"].reports == {"greeting": "hello"}

    def test_variables_are_replaced(imclab):
        outcome = imclab("t.imclab.yaml", protocol="acknowledged", greeting="hi")
        assert outcome.workers["a"].reports == {"greeting": "hi"}

    def test_a_run_that_fails_is_an_outcome_and_no_exception(imclab):
        outcome = imclab("fails.imclab.yaml")
        assert not outcome.passed and str(outcome.status) == "failed"

    def test_a_matrix_needs_its_axes(imclab):
        with pytest.raises(TopologyError, match="a matrix of 2 cells; choose one by protocol"):
            imclab("t.imclab.yaml")

    def test_a_file_that_is_nowhere_is_told(imclab):
        with pytest.raises(TopologyError, match="nowhere.imclab.yaml:1:1: cannot read the file"):
            imclab("nowhere.imclab.yaml")
"""


@pytest.mark.parametrize("options", [SERIAL, REMOTE], ids=["here", "in a process of xdist's"])
def test_the_fixture_runs_a_topology_that_lies_beside_the_test(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    # Not in the folder in which pytest was started.
    topology(pytester, PASSES, "within/t.imclab.yaml")
    topology(pytester, FAILS, "within/fails.imclab.yaml")
    pytester.makepyfile(**{"within/test_it": FIXTURE_USED})
    pytester.runpytest_inprocess("within/test_it.py", *options).assert_outcomes(passed=5)


def test_the_fixture_prefers_a_file_of_the_folder_in_which_pytest_was_started(pytester: pytest.Pytester) -> None:
    topology(pytester, PASSES)
    topology(pytester, FAILS, "within/t.imclab.yaml")
    test = "def test_it(imclab): assert imclab('t.imclab.yaml', protocol='socketpair').passed\n"
    pytester.makepyfile(**{"within/test_it": test})
    pytester.runpytest_inprocess("within/test_it.py", *SERIAL).assert_outcomes(passed=1)
