"""Files that a command was asked to write: told before anything is measured for them, where that can be known."""

import os
from pathlib import Path

from harness.errors import UsageError


def require_writable(*files: Path) -> None:
    """Find out before minutes were spent. Raises UsageError for a file that cannot be written."""
    for file in files:
        if not file.parent.is_dir():
            raise UsageError(f"{file}: there is no folder {file.parent}")
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise UsageError(f"{file}: it cannot be written")


def write_text(file: Path, text: str) -> None:
    """Write a file anew. Raises UsageError where that cannot be done."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: it cannot be written: {error.strerror}") from None
