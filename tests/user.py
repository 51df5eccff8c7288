"""An ordinary user for tests that root runs, to be run as one as well: no id of root's, no power of root's.

    python -I tests/user.py FOLDER … -- COMMAND …       becomes one that owns these folders, and executes the command

What a test needs may lie where only root comes, as an interpreter beneath /root does. In a mount namespace of the
user's own a folder with the same names covers what is closed to others, with nothing in it but the way to what the test
needs; on the host nothing is changed but whose the folders are.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from sandbox.confinement.kernel import mount, unshare
from sandbox.confinement.namespaces import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, outermost

ROOT: Final = Path(__file__).parents[1]
# Nobody's, but within the 65536 ids that a container has; each time another, for much of what is limited is a user's.
UIDS: Final = range(50_000, 60_000)
SEARCHABLE: Final = 0o001


def as_user(*folders: Path) -> list[str]:
    """Return what to put before a command that an ordinary user is to execute, who then owns these folders.

    Nothing, where we are one.
    """
    if os.geteuid() != 0:
        return []
    return [sys.executable, "-I", __file__, *map(str, folders), "--"]


@cache
def why_not() -> str | None:
    """Return why there can be no ordinary user here who may have what one usually may; None where there can."""
    done = subprocess.run([*as_user(), "unshare", "--user", "true"], check=False, capture_output=True, text=True)
    return f"no ordinary user with user namespaces here: {done.stderr}" if done.returncode else None


def become_user(folders: Iterable[str]) -> None:
    """Be a user that nobody is, and own these folders. Raises OSError."""
    uid = UIDS.start + secrets.randbelow(len(UIDS))
    for folder in folders:
        os.chown(folder, uid, uid)
    open_the_way({str(ROOT), sys.prefix, sys.base_prefix, *folders})
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def open_the_way(paths: set[str]) -> None:
    """Have everybody come as far as to these paths, in a mount namespace of our own. Raises OSError."""
    needed = outermost(set(map(os.path.realpath, paths)))
    closed = {str(ancestor) for path in needed for ancestor in Path(path).parents if is_closed(ancestor)}
    if not closed:
        return
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    for cover in outermost(closed):
        there = {path: os.open(path, os.O_PATH) for path in needed if Path(cover) in Path(path).parents}
        mount("cover", cover, "tmpfs", 0, "mode=755")
        for path, fd in there.items():
            Path(path).mkdir(0o755, parents=True)
            mount(f"/proc/self/fd/{fd}", path, None, MS_BIND | MS_REC)
            os.close(fd)


def is_closed(folder: Path) -> bool:
    """Say whether others cannot reach what lies in a folder."""
    return not folder.stat().st_mode & SEARCHABLE


if __name__ == "__main__":
    end_of_folders = sys.argv.index("--")
    become_user(sys.argv[1:end_of_folders])
    command = sys.argv[end_of_folders + 1 :]
    os.execvp(command[0], command)  # noqa: S606 - a shell is what nobody wants here
