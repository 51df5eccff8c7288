"""A server that says back what it hears, in capitals, to one client after the other; and how it was started."""

import os
import sys

from sandbox.descriptors import ConnectedSocket
from sandbox.errors import EndOfStream, ImcError
from sandbox.worker import Worker


def main(worker: Worker) -> int:
    """Serve until nobody holds the address any more; the last argument is how many clients to serve at most."""
    assert worker.bound_socket is not None  # noqa: S101 - a server without a port is of no use
    if worker.address is not None:
        # Kept, it would be a holder of the address itself.
        worker.address.close()
    sys.stdout.write(f"{' '.join(sys.argv)}; {' '.join(f'{name}={text}' for name, text in os.environ.items())}\n")
    for _ in range(int(sys.argv[-1])):
        try:
            connection = worker.imc.imc_accept(worker.bound_socket)
        except EndOfStream:
            return 0
        with connection:
            serve(worker, connection)
    return 0


def serve(worker: Worker, connection: ConnectedSocket) -> None:
    """Answer one client until it leaves."""
    try:
        while True:
            message = worker.imc.imc_recvmsg(connection)
            worker.imc.imc_sendmsg(connection, message.data.upper())
    except ImcError:
        "The client is gone."
