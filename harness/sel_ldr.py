"""sel_ldr's own command line, as `imclab sel-ldr` takes it. Pure: arguments and environment in, what to load out.

Parsed by getopt as sel_ldr does: options end at the first argument that is none, any one character may part d and D.
"""

import getopt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sandbox.abi import CONTROL_CHANNEL
from sandbox.protocols import PROTOCOLS

# native_client/src/trusted/service_runtime/sel_main.c
BAD_OPTION: Final = 255
NO_MODULE: Final = 1
OPTIONS: Final = "aB:cE:ef:Fgh:i:l:QRr:Ssvw:X:Z"
ARGV0: Final = "NaClMain"
HANDING: Final = frozenset({"-i", "-h", "-r", "-w"})
PREFIX: Final = "NACLENV_"
# What strtol() with base 0 reads.
# All the digits there are: none of them is taken for what parts two numbers.
NUMBER: Final = r"[+-]?(?:0[xX][0-9a-fA-F]++|0[0-7]*+|[1-9][0-9]*+)"

USAGE: Final = """\
usage: imclab sel-ldr [option…] [--] module [argument…]

  module        an executable, or package.module:function, a Python worker program
  -X d          make a service port (descriptor 3, its address 4) and send the address over the module's descriptor d,
                as one IMC message without data; -X -1 makes the port and sends nothing
  -i d:D        our descriptor D, an IMC socket, appears as the module's descriptor d
  -h d:D  -r d:D  -w d:D   our descriptor D appears as d, for reading and writing, for reading, for writing
                (any one character may part d and D; what is narrowed to less than ours is, has a place in its file of
                its own)
  -E name=value the module's environment, after each NACLENV_name=value of ours; there is nothing else in it
  -f file       the module, so that all arguments are its own
  -l file       append what is told to this file, too (or NACLLOG)
  -v            tell more (or NACLVERBOSITY=n)
  -F            load the module and quit
  -Q -c -s -Z   no effect: there is no platform check and no validator to switch off
  -S -e         no effect: the signals of the module are always reported
  -a -g -B file -R   refused: no file system for the module, no debug stub, no blob library, no module by RPC

IMCLAB_PROTOCOL (stream, datagram, socketpair, acknowledged; socketpair unless said) and IMCLAB_LAYOUT (2010, 2013,
recent) choose how the service port works and how its address is sent.
Exit status: the module's; (-N) & 255 for signal N; 255 for a bad option; 1 where there is no module that can be loaded.
"""

REFUSED: Final[Mapping[str, str]] = {
    "-a": "a module has no file system here; use -r, -w or -h for the files that it needs",
    "-g": "there is no debug stub; the module is a process that a debugger can attach to",
    "-B": "there is no blob library; the module brings what it needs",
    "-R": "a module cannot come by RPC; name it",
}


@dataclass(frozen=True, slots=True)
class Handed:
    """A descriptor of ours, `theirs` in the module; `option` is i, h, r or w."""

    option: str
    ours: int
    theirs: int


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be done: `module` and its arguments, its descriptors, its environment.

    `port`: whether it has a service port, and over which of its descriptors the address goes, -1 for none.
    """

    module: str
    arguments: tuple[str, ...]
    handed: tuple[Handed, ...] = ()
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "socketpair"
    layout: str | None = None
    log: str | None = None
    verbosity: int = 0
    quits: bool = False


class Refusal(Exception):
    """A command line that cannot be obeyed: what to say, and the exit status."""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.exit_status = exit_status


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Load:
    """Return what the command line asks for. Raises Refusal."""
    try:
        options, rest = getopt.getopt(list(arguments), OPTIONS)
    except getopt.GetoptError as error:
        raise Refusal(f"{error}\n\n{USAGE}", BAD_OPTION) from None
    refused = next((option for option, _ in options if option in REFUSED), None)
    if refused is not None:
        raise Refusal(f"{refused}: {REFUSED[refused]}", BAD_OPTION)
    # Of an option that is given twice, the last counts.
    last = dict(options)
    port = _port(last["-X"]) if "-X" in last else None
    handed = tuple(_handed(option, value) for option, value in options if option in HANDING)
    given = dict(_variable(value) for option, value in options if option == "-E")
    protocol, layout = _protocol(environment)
    module = last.get("-f")
    if module is None and rest:
        module, *rest = rest
    if not module:
        raise Refusal(f"no module\n\n{USAGE}", NO_MODULE)
    return Load(
        module=module,
        arguments=tuple(rest),
        handed=handed,
        port=port,
        environment=_inherited(environment) | given,
        protocol=protocol,
        layout=layout,
        log=last.get("-l", environment.get("NACLLOG")) or None,
        verbosity=_verbosity(environment) + sum(option == "-v" for option, _ in options),
        quits="-F" in last,
    )


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != PREFIX
    }


def _variable(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not equals or not name:
        raise Refusal(f"-E {value}: write name=value", BAD_OPTION)
    return name, text


def _port(value: str) -> int:
    if not re.fullmatch(NUMBER, value) or _number(value) < -1:
        raise Refusal(f"-X {value}: write a descriptor of the module's, as in -X {CONTROL_CHANNEL}, or -1", BAD_OPTION)
    return _number(value)


def _handed(option: str, value: str) -> Handed:
    match = re.fullmatch(f"({NUMBER}).({NUMBER})", value, re.DOTALL)
    numbers = [_number(number) for number in match.groups()] if match else [-1]
    if min(numbers) < 0:
        raise Refusal(f"{option} {value}: write d:D, the module's descriptor and ours", BAD_OPTION)
    return Handed(option[1], ours=numbers[1], theirs=numbers[0])


def _number(text: str) -> int:
    """Return what strtol() with base 0 makes of `text`, where 010 is 8."""
    digits = text.lstrip("+-")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits.startswith("0") else 10
    return int(digits, base) * (-1 if text.startswith("-") else 1)


def _verbosity(environment: Mapping[str, str]) -> int:
    text = environment.get("NACLVERBOSITY", "")
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


def _protocol(environment: Mapping[str, str]) -> tuple[str, str | None]:
    protocol = environment.get("IMCLAB_PROTOCOL") or "socketpair"
    layout = environment.get("IMCLAB_LAYOUT") or None
    if protocol not in PROTOCOLS:
        raise Refusal(f"IMCLAB_PROTOCOL={protocol}: there are {', '.join(PROTOCOLS)}", BAD_OPTION)
    layouts = PROTOCOLS[protocol].layouts
    if layout is not None and layout not in layouts:
        raise Refusal(f"IMCLAB_LAYOUT={layout}: {protocol} goes with {' or '.join(layouts)}", BAD_OPTION)
    return protocol, layout
