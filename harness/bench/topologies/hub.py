"""A hub that all are connected to at the same time, and answers once all are."""

from sandbox.worker import Worker


def hub(worker: Worker) -> None:
    """Accept args.clients connections; then answer one message of each."""
    assert worker.bound_socket is not None  # noqa: S101 - the topology says so
    connections = [worker.imc.imc_accept(worker.bound_socket) for _ in range(worker.args["clients"])]
    for connection in connections:
        worker.imc.imc_sendmsg(connection, worker.imc.imc_recvmsg(connection).data)


def client(worker: Worker) -> int:
    """Connect, say something, and see that it comes back."""
    connection = worker.imc.imc_connect(worker.imports["hub"])
    worker.imc.imc_sendmsg(connection, b"hello")
    return int(worker.imc.imc_recvmsg(connection).data != b"hello")
