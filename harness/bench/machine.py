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
    command = [
        "git",
        "-C",
        str(Path(harness.__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
