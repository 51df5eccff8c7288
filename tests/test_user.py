"""The tests' ordinary user has nothing of root's, comes to what tests need, and leaves the host as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import user

ASK = """
import json, os, sys
from pathlib import Path

def attempt(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return "done"

own, closed = map(Path, sys.argv[1:])
import harness, psutil
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
    "powers": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
    "itself": attempt(lambda: open("/proc/self/environ").read()),
    "own": attempt((own / "new").touch),
    "closed": attempt((closed / "secret").read_text),
    "beside": attempt(lambda: os.listdir(closed)),
    "uid_of_own": own.stat().st_uid,
}))
"""


def asked(own: Path, closed: Path) -> Any:
    command = [*user.as_user(own), sys.executable, "-c", ASK, str(own), str(closed)]
    done = subprocess.run(command, cwd=user.ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_it_is_nobody_and_comes_to_what_it_needs(tmp_path: Path) -> None:
    if (why_not := user.why_not()) is not None:
        pytest.skip(why_not)
    # Beneath a folder that is closed: one that the user is to have, and others.
    closed, own = tmp_path / "closed", tmp_path / "closed" / "folder" / "own"
    own.mkdir(parents=True)
    (closed / "secret").write_text("root's")
    (closed / "secret").chmod(0o600)
    closed.chmod(0o700)
    told = asked(own, closed)
    if os.geteuid() == 0:
        uid = told["uid_of_own"]
        assert uid in user.UIDS
        assert (told["uids"], told["gids"], told["groups"]) == ([uid] * 3, [uid] * 3, [])
        assert told["closed"] == 2, "it is not covered"
        assert closed.stat().st_uid == 0
    assert told["powers"] == ["0000000000000000"]
    assert (told["itself"], told["own"], told["beside"]) == ("done", "done", "done")
    # The host is as it was.
    assert (closed / "secret").read_text() == "root's"
    assert closed.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in closed.iterdir()} == {"folder", "secret"}
    assert [path.name for path in own.iterdir()] == ["new"]
