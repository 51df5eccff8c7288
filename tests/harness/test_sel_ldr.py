"""sel_ldr's command line: what is asked for, and which mistake is told with which exit status."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sel_ldr import OPTIONS, REFUSED, USAGE, Handed, Load, Refusal, parse


def refused(arguments: str, **environment: str) -> tuple[int, str]:
    """Return the exit status and the first line of what is said of this command line."""
    with pytest.raises(Refusal) as refusal:
        parse(arguments.split(), environment)
    return refusal.value.exit_status, str(refusal.value).splitlines()[0]


ASKED_FOR = {
    "m": Load("m", ()),
    "-- m": Load("m", ()),
    "m a -v --": Load("m", ("a", "-v", "--")),
    "-v m -v": Load("m", ("-v",), verbosity=1),
    "-vv -v -- m -X 5": Load("m", ("-X", "5"), verbosity=3),
    "-f m a b": Load("m", ("a", "b")),
    "-f m -- -v": Load("m", ("-v",)),
    "-X 5 -i 5:9 m": Load("m", (), (Handed("i", 9, 5),), port=5),
    "-X5 -i5:9 m": Load("m", (), (Handed("i", 9, 5),), port=5),
    "-X -1 m": Load("m", (), port=-1),
    "-X 0x5 m": Load("m", (), port=5),
    "-h 7:1 -r 010:0x2 -w 9.3 m": Load("m", (), (Handed("h", 1, 7), Handed("r", 2, 8), Handed("w", 3, 9))),
    "-i 6,4 -i 6x5 m": Load("m", (), (Handed("i", 4, 6), Handed("i", 5, 6))),
    "-E A=b -E C= -E D=e=f m": Load("m", (), environment={"A": "b", "C": "", "D": "e=f"}),
    "-l log m": Load("m", (), log="log"),
    "-F m": Load("m", (), quits=True),
    "-QcsZSe m": Load("m", ()),
}


@pytest.mark.parametrize("arguments", ASKED_FOR)
def test_a_command_line_asks_for(arguments: str) -> None:
    assert parse(arguments.split(), {}) == ASKED_FOR[arguments]


@given(
    st.sampled_from("ihrw"),
    st.integers(0, 2000),
    st.characters(exclude_characters="0123456789abcdefABCDEFxX", exclude_categories=["Cs"]),
    st.integers(0, 2000),
)
def test_any_one_character_parts_d_and_d(option: str, theirs: int, separator: str, ours: int) -> None:
    load = parse([f"-{option}", f"{theirs}{separator}{ours}", "m"], {})
    assert load.handed == (Handed(option, ours, theirs),)


@given(st.lists(st.text(st.sampled_from("XihrwEflvaQ-0159:= m"), max_size=6), max_size=6))
def test_every_command_line_is_obeyed_or_refused(arguments: list[str]) -> None:
    module, status = None, 0
    try:
        module = parse(arguments, {}).module
    except Refusal as refusal:
        status = refusal.exit_status
    assert status in (1, 255) or any(argument.endswith(str(module)) for argument in arguments)


BAD_OPTIONS = {
    "-x m": "option -x not recognized",
    "--help": "option --help not recognized",
    "-X": "option -X requires argument",
    "-i": "option -i requires argument",
    "-X five m": "-X five: write a descriptor of the module's, as in -X 5, or -1",
    "-X -2 m": "-X -2: write a descriptor of the module's, as in -X 5, or -1",
    "-i 5 m": "-i 5: write d:D, the module's descriptor and ours",
    "-r 5:: m": "-r 5::: write d:D, the module's descriptor and ours",
    "-w 5::6 m": "-w 5::6: write d:D, the module's descriptor and ours",
    "-h -1:5 m": "-h -1:5: write d:D, the module's descriptor and ours",
    "-i 907 m": "-i 907: write d:D, the module's descriptor and ours",
    "-i 5:-1 m": "-i 5:-1: write d:D, the module's descriptor and ours",
    "-E A m": "-E A: write name=value",
    "-E =a m": "-E =a: write name=value",
}


@pytest.mark.parametrize("arguments", BAD_OPTIONS)
def test_a_bad_option_is_255_and_named(arguments: str) -> None:
    assert refused(arguments) == (255, BAD_OPTIONS[arguments])


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_has_no_meaning_here_is_refused_by_name(option: str) -> None:
    status, text = refused(f"{option} value m")
    assert (status, text) == (255, f"{option}: {REFUSED[option]}")


@pytest.mark.parametrize("arguments", ["", "-v", "--", "-X 5", "-F"])
def test_no_module_is_1(arguments: str) -> None:
    assert refused(arguments) == (1, "no module")


def test_options_are_looked_at_before_the_module() -> None:
    assert refused("-i 5")[0] == 255
    assert refused("-a")[0] == 255


def test_the_environment_is_what_has_the_prefix_and_then_what_the_options_say() -> None:
    load = parse(["-E", "B=3", "m"], {"NACLENV_A": "1", "NACLENV_B": "2", "LANG": "C", "PATH": "/bin"})
    assert load.environment == {"A": "1", "B": "3"}


def test_log_and_verbosity_come_from_the_environment_too() -> None:
    load = parse(["-v", "m"], {"NACLLOG": "log", "NACLVERBOSITY": "2"})
    assert (load.log, load.verbosity) == ("log", 3)
    assert parse(["-l", "other", "m"], {"NACLLOG": "log"}).log == "other"
    assert parse(["m"], {"NACLVERBOSITY": "much"}).verbosity == 0


def test_the_protocol_and_its_layout_come_from_the_environment() -> None:
    load = parse(["m"], {"IMCLAB_PROTOCOL": "acknowledged", "IMCLAB_LAYOUT": "recent"})
    assert (load.protocol, load.layout) == ("acknowledged", "recent")
    assert refused("m", IMCLAB_PROTOCOL="tcp")[0] == 255
    assert refused("m", IMCLAB_PROTOCOL="stream", IMCLAB_LAYOUT="2013")[0] == 255


def test_the_usage_documents_every_option() -> None:
    for option in re.findall("[A-Za-z]", OPTIONS):
        assert f"-{option}" in USAGE
