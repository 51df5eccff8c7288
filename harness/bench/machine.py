"""What was measured, and on what."""

import os
import platform
import subprocess
from pathlib import Path

import harness


def machine() -> dict[str, str]:
    """Return the commit that was measured, the kernel, the Python, and how many cores there are."""
    return {
        "commit": commit(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": str(len(os.sched_getaffinity(0))),
    }


def commit() -> str:
    """Return the commit of the checkout, and whether anything in it differs; "unknown" where there is none."""
    root = Path(harness.__file__).resolve().parent.parent
    try:
        # We may be installed somewhere in a repository that is another's.
        if Path(said_by_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"
        return said_by_git(root, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def said_by_git(folder: Path, *arguments: str) -> str:
    """Return what git says in this folder. Raises OSError, CalledProcessError."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
