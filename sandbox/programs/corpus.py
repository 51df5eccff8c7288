"""Real text for workers to work at: the sources of Python's standard library, in UTF-8.

python -m sandbox.programs.corpus FILE
"""

import itertools
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SIZE: Final = 20 * 1024 * 1024


def sources(folder: Path) -> Iterator[bytes]:
    """Yield each Python source below `folder` as UTF-8, in order; what is no text (some of the tests) is left out."""
    for file in sorted(folder.rglob("*.py")):
        if "site-packages" in file.parts:
            continue
        try:
            with tokenize.open(file) as source:
                text = source.read()
        except (SyntaxError, UnicodeDecodeError):
            continue
        yield text.encode()


def write(file: Path, folder: Path, size: int) -> None:
    """Write the sources below `folder` to `file`, over and over, until it has `size` bytes or more."""
    # Whoever is stopped in between leaves nothing that looks finished.
    part = file.with_name(f"{file.name}.part")
    with part.open("wb") as out:
        for source in itertools.cycle(sources(folder)):
            if out.tell() >= size:
                break
            out.write(source)
    part.replace(file)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sysconfig.get_path("stdlib")), SIZE)
