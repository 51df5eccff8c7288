"""The configs, with one among them who says what nobody should: it is told, and the others do what they came for."""

from pathlib import Path

from tests.sandbox.programs.changed import run_changed

SILENT_AND_MALFORMED = """
    from sandbox.errors import EndOfStream
    from sandbox.programs.messages import hear, say

    def main(worker):
        silent = worker.imc.imc_connect(worker.imports["{server}"])
        with worker.imc.imc_connect(worker.imports["{server}"]) as connection:
            say(worker.imc, connection, "{kind}", {{}})
            try:
                hear(worker.imc, connection)
            except EndOfStream:
                return original(worker)
"""


def test_a_reducer_outlives_a_mapper_that_is_malformed(tmp_path: Path) -> None:
    source = SILENT_AND_MALFORMED.format(server="reducer", kind="counts")
    changed = {'words: ">=1000000"': 'words: ">=1"', 'distinct: ">=10000"': 'distinct: ">=1"'}
    outcome = run_changed(tmp_path, "word-count", "word_count:mapper", source, changed)
    assert outcome.passed, outcome.reason
    assert outcome.workers["reducer"].reports["malformed"] == ["'counts' is neither counts nor a question"] * 4


def test_a_mapper_outlives_a_reader_that_is_malformed(tmp_path: Path) -> None:
    source = SILENT_AND_MALFORMED.format(server="mapper.2", kind="text")
    changed = {'words: ">=1000000"': 'words: ">=1"', 'distinct: ">=10000"': 'distinct: ">=1"'}
    outcome = run_changed(tmp_path, "word-count", "word_count:reader", source, changed)
    assert outcome.passed, outcome.reason
    assert outcome.workers["mapper.2"].reports["malformed"] == ["'text' is no share"]


def test_a_coordinator_outlives_a_sink_that_is_malformed(tmp_path: Path) -> None:
    source = SILENT_AND_MALFORMED.format(server="coordinator", kind="x")
    outcome = run_changed(tmp_path, "pipeline", "pipeline:sink", source, {">=1000000": ">=1"})
    assert outcome.passed, outcome.reason
    assert outcome.workers["coordinator"].reports["malformed"] == ["'x' has no place in a chain"]


def test_a_judge_outlives_a_member_that_is_malformed(tmp_path: Path) -> None:
    source = """
        from sandbox.errors import EndOfStream
        from sandbox.programs.messages import hear, say

        def main(worker):
            if "judge" not in worker.imports:
                return original(worker)
            silent = worker.imc.imc_connect(worker.imports["judge"])
            with worker.imc.imc_connect(worker.imports["judge"]) as connection:
                say(worker.imc, connection, "heard", {})
                try:
                    hear(worker.imc, connection)
                except EndOfStream:
                    return original(worker)
    """
    outcome = run_changed(tmp_path, "chat", "chat:member", source)
    assert outcome.passed, outcome.reason
    assert outcome.workers["judge"].reports["malformed"] == ["'heard' tells nothing of what was heard"] * 5


def test_renderers_that_want_all_audits_and_one_another_s_names_keep_nobody_out(tmp_path: Path) -> None:
    source = """
        from sandbox.programs.messages import close_all, hear, say

        def main(worker):
            for _ in range(8):
                with worker.imc.imc_connect(worker.imports["broker"]) as broker:
                    say(worker.imc, broker, "come", "steady.0")
                    shown, *addresses = browser.introduced(hear(worker.imc, broker))
                for address in addresses:
                    for count in (10**9, 200):
                        with worker.imc.imc_connect(address) as connection:
                            say(worker.imc, connection, "audit", count)
                with worker.imc.imc_connect(addresses[1]) as network:
                    say(worker.imc, network, "get", {"pass": shown, "url": "steady.0"})
                    close_all(hear(worker.imc, network).descriptors)
                close_all(addresses)
            return original(worker)
    """
    # The auditor is told of all who came, and so of more than it expects: here it is to wait for nobody.
    changed = {"args: {clients: 6}": "args: {clients: 0}"}
    text = (Path(__file__).parents[3] / "configs" / "browser.imclab.yaml").read_text(encoding="utf-8")
    expected = text[text.index("  - expect:\n") : text.index("  - {expect: {exit:")]
    # Nor does anybody else: who is to crash may be the last.
    changed[expected] = "  - {wait: {exit: [steady.*, late, crashes]}, within: 30s}\n"
    outcome = run_changed(tmp_path, "browser", "browser:renderer", source, changed)
    assert outcome.passed, outcome.reason
