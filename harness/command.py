"""Where the command `imclab` begins: sel_ldr's own command line goes to the loader, everything else to `cli.py`.

The two are apart because neither needs what the other imports, and because -h means something else to sel_ldr.
"""

import resource
import sys


def main() -> None:
    """Run the command and exit with the documented status."""
    if sys.argv[1:2] == ["sel-ldr"]:
        from harness import loader  # noqa: PLC0415 - see above

        sys.exit(loader.main(sys.argv[2:]))
    from harness import cli  # noqa: PLC0415

    # A run has some seven descriptors a worker, and the usual limit is there for programs that use select(2).
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cli.main()
