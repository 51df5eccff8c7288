"""Where the command `imclab` begins: sel_ldr's own command line goes to the loader, everything else to `cli.py`.

The two are apart because neither needs what the other imports, and because -h means something else to sel_ldr.
"""

import gc
import resource
import sys


def told_of_interrupt() -> int:
    """Say what `cli.py` says of an interrupt, and return that exit status."""
    sys.stderr.write("imclab: interrupted; nothing is left running\n")
    return 130


def keep() -> None:
    """Collect from now on, but what is there already."""
    gc.freeze()
    gc.enable()


def main() -> None:
    """Run the command and exit with the documented status."""
    # What is imported stays, so that nothing is looked for meanwhile that could be collected, nor ever among it.
    gc.disable()
    if sys.argv[1:2] == ["sel-ldr"]:
        from harness import loader  # noqa: PLC0415 - see above

        keep()
        sys.exit(loader.main(sys.argv[2:]))
    try:
        from harness import cli  # noqa: PLC0415
    except KeyboardInterrupt:
        # It takes a moment, in which nobody listens yet.
        sys.exit(told_of_interrupt())
    keep()
    # A run has some seven descriptors a worker, and the usual limit is there for programs that use select(2).
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cli.main()
