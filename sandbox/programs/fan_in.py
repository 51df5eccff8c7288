"""Many clients of one hub, all at once: who has to wait, who is refused, and whether anybody is lost.

Each client connects, says its name and waits for an answer that holds it. The hub may be told to begin with its first
step only, so that the queue before it fills up. Both tell what they saw, and end with 1 if anything was lost.
"""

import errno
import resource

from sandbox.errors import ImcError
from sandbox.worker import Worker


def hub(worker: Worker) -> int:
    """Accept args.clients connections and answer each. With args.held, begin when the supervisor says that it ends."""
    assert worker.bound_socket is not None  # noqa: S101 - a hub without a port is of no use
    if worker.args.get("held"):
        worker.imports["go"]
    served = []
    for _ in range(worker.args["clients"]):
        with worker.imc.imc_accept(worker.bound_socket) as connection:
            name = worker.imc.imc_recvmsg(connection).data
            worker.imc.imc_sendmsg(connection, b"served " + name)
            served.append(name.decode())
    worker.report("served", served)
    return int(len(set(served)) != worker.args["clients"])


def client(worker: Worker) -> int:
    """Connect to the hub, and see that it answers."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    try:
        connection = worker.imc.imc_connect(worker.imports["hub"])
    except ImcError as error:
        worker.report("refused", errno.errorcode[error.errno or errno.EIO])
        return 1
    # To wait in a system call is to leave the processor of one's own accord.
    worker.report("waited", resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw > before)
    worker.imc.imc_sendmsg(connection, worker.name.encode())
    return int(worker.imc.imc_recvmsg(connection).data != b"served " + worker.name.encode())
