"""Each config of these programs with one thing broken in it: a check that cannot fail is worth nothing."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import Outcome, Status
from tests.sandbox.programs.changed import run_changed


def run_broken(
    folder: Path, config: str, program: str, source: str, changed: Mapping[str, str] | None = None
) -> Outcome:
    """Run as `run_changed` does what has to fail."""
    outcome = run_changed(folder, config, program, source, changed)
    assert not outcome.passed
    return outcome


# word-count


def test_one_word_too_few_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            count = word_count.counted
            word_count.counted = lambda text: count(text.replace(b"some", b"", 1))
            return original(worker)
    """
    outcome = run_broken(tmp_path, "word-count", "word_count:mapper", source)
    assert outcome.workers["plain"].reports["equal"] is False


def test_a_share_that_is_lost_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            cuts = word_count.cuts
            word_count.cuts = lambda text, shares: [cuts(text, shares)[1], *cuts(text, shares)[1:]]
            return original(worker)
    """
    outcome = run_broken(tmp_path, "word-count", "word_count:reader", source)
    assert outcome.workers["plain"].reports["equal"] is False


def test_a_share_that_came_twice_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            say = word_count.say
            word_count.say = lambda imc, mapper, kind, body, memory: say(imc, mapper, kind, body | {"share": 0}, memory)
            return original(worker)
    """
    outcome = run_broken(tmp_path, "word-count", "word_count:reader", source)
    assert outcome.workers["reducer"].reports["shares"] == [0]
    assert outcome.workers["reducer"].exit_status == 1


# browser


def test_a_frame_under_another_s_number_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            show = browser.show
            browser.show = lambda imc, gpu, shown, number, frame: show(imc, gpu, shown, number - (number == 3), frame)
            return original(worker)
    """
    outcome = run_broken(tmp_path, "browser", "browser:renderer", source)
    assert "exited with 1" in outcome.reason


def test_a_wrong_hash_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            say = browser.say

            def say_wrongly(imc, connection, kind, body, *descriptors):
                if kind == "draw" and body["frame"] == 3:
                    body["sha256"] = "0" * 64
                say(imc, connection, kind, body, *descriptors)

            browser.say = say_wrongly
            return original(worker)
    """
    outcome = run_broken(tmp_path, "browser", "browser:renderer", source)
    assert "exited with 1" in outcome.reason


def test_frames_of_another_page_are_found_though_their_hashes_are_right(tmp_path: Path) -> None:
    source = """
        def main(worker):
            frame_of = browser.frame_of
            browser.frame_of = lambda page, number: frame_of(page[::-1], number)
            return original(worker)
    """
    outcome = run_broken(tmp_path, "browser", "browser:renderer", source)
    assert outcome.workers["auditor"].reports["right"] is False


def test_a_frame_that_is_drawn_and_lost_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            note = browser.Ledger.note
            browser.Ledger.note = lambda self, client, seen: note(self, client, seen) if seen[0] != 12 else None
            return original(worker)
    """
    outcome = run_broken(tmp_path, "browser", "browser:gpu", source)
    assert "in steady.0: expected 12, got 11" in outcome.reason


def test_a_broker_that_takes_leaving_for_vanishing_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            browser.LEFT = browser.VANISHED
            return original(worker)
    """
    outcome = run_broken(tmp_path, "browser", "browser:broker", source)
    assert 'expected "left", got "vanished"' in outcome.reason


# pipeline


def test_a_piece_that_is_lost_on_the_way_is_found(tmp_path: Path) -> None:
    source = """
        from itertools import islice

        def main(worker):
            received = pipeline.received
            pipeline.received = lambda imc, into: islice(received(imc, into), 1, None)
            return original(worker)
    """
    outcome = run_broken(tmp_path, "pipeline", "pipeline:sink", source)
    assert outcome.workers["plain"].reports["equal"] is False


def test_a_stage_that_does_nothing_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            pipeline.WORK = {work: pipeline.Work(lambda chunks: chunks, None) for work in pipeline.WORK}
            return original(worker)
    """
    outcome = run_broken(tmp_path, "pipeline", "pipeline:stage", source)
    assert outcome.workers["plain"].reports["equal"] is False


def test_an_end_that_is_not_closed_keeps_all_waiting(tmp_path: Path) -> None:
    source = """
        kept = []

        def main(worker):
            pipeline.close_all = kept.extend
            return original(worker)
    """
    # What is to be sent is sent: it is the end alone that does not come.
    changed = {"scenario:": "scenario:\n  - {wait: {exit: source}, within: 30s}", "}}}, within: 30s": "}}}, within: 1s"}
    outcome = run_broken(tmp_path, "pipeline", "pipeline:coordinator", source, changed)
    assert outcome.status is Status.TIMED_OUT
    assert outcome.reason.startswith("plain has not reported 'equal'")


# chat


@pytest.mark.parametrize(
    ("line_7", "line_8"),
    [([], [8]), ([7, 7], [8]), ([], [8, 7]), ([8], [8])],
    ids=["lost", "twice", "out of order", "another"],
)
def test_what_one_member_hears_otherwise_is_found(line_7: list[int], line_8: list[int], tmp_path: Path) -> None:
    source = f"""
        def main(worker):
            offer = chat_room.Member.offer

            def offer_wrongly(self, message):
                for line, lines in ((b"0 says line 7.", {line_7}), (b"0 says line 8.", {line_8})):
                    if self.name == "regular.1" and b'"regular.' + line in message:
                        for number in lines:
                            offer(self, message.replace(line, b"0 says line %d." % number))
                        return
                offer(self, message)

            chat_room.Member.offer = offer_wrongly
            return original(worker)
    """
    outcome = run_broken(tmp_path, "chat", "chat_room:room", source)
    assert outcome.workers["judge"].reports["right"] is False


def test_a_room_that_waits_for_one_who_does_not_listen_is_found(tmp_path: Path) -> None:
    source = """
        def main(worker):
            receive = chat_room.receive
            chat_room.receive = lambda imc, connection, _flags: receive(imc, connection, 1)
            chat_room.NONBLOCK = 0
            return original(worker)
    """
    # Whether the one that is to be killed comes to speak before all stand still is a matter of luck.
    outcome = run_broken(tmp_path, "chat", "chat_room:room", source, {"within: 30s": "within: 1s"})
    assert outcome.status is Status.TIMED_OUT
    assert "has not reported" in outcome.reason
