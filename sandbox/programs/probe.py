"""A worker that does what the scenario says, one step at a time, and tells exactly what came of it."""

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sandbox import control
from sandbox.abi import NONBLOCK
from sandbox.descriptors import INVALID, Descriptor, SocketAddress, SocketDescriptor
from sandbox.errors import ImcError
from sandbox.worker import Worker

Result = dict[str, Any]


def main(worker: Worker) -> int:
    """Obey until the supervisor closes the control channel."""
    probe = Probe(worker)
    while (step := worker.next_step()) is not None:
        worker.answer(probe.obey(step))
    return 0


class Probe:
    """The descriptors that a probe holds, by the names that the scenario gave them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._imc = worker.imc
        self._named: dict[str, Any] = {**worker.inherited, "INVALID": INVALID}
        if worker.bound_socket is not None and worker.address is not None:
            self._named |= {"bound_socket": worker.bound_socket, "address": worker.address}

    def obey(self, step: Mapping[str, Any]) -> Result:
        """Perform one step, and return its result: `error` is None or the errno's name."""
        try:
            return {"error": None} | OPERATIONS[step["do"]](self, step)
        except ImcError as error:
            return {"error": errno.errorcode[error.errno or errno.EIO], "detail": error.strerror}

    def _held(self, name: str) -> Any:
        """Return a descriptor of any kind, for a step may name a wrong one on purpose; an import may be yet to come."""
        return self._named[name] if name in self._named else self._worker.imports[name]

    def _hold(self, step: Mapping[str, Any], descriptors: Iterable[Descriptor]) -> Result:
        """Keep `descriptors` under the step's names; close what has no name. Returns what each of them is."""
        described = []
        for index, descriptor in enumerate(descriptors):
            described.append(describe(descriptor))
            if index < len(step["as"]):
                self._named[step["as"][index]] = descriptor
            else:
                descriptor.close()
        return {"descriptors": described}

    def makeboundsock(self, step: Mapping[str, Any]) -> Result:
        """imc_makeboundsock, held as [BoundSocket, SocketAddress]."""
        return self._hold(step, self._imc.imc_makeboundsock())

    def accept(self, step: Mapping[str, Any]) -> Result:
        """imc_accept on the service port, or on the BoundSocket that the step names."""
        return self._hold(step, [self._imc.imc_accept(self._held(step["bound"]))])

    def connect(self, step: Mapping[str, Any]) -> Result:
        """imc_connect to an import, or to an address that arrived."""
        address = self._held(step["address"])
        return {"address": describe(address)} | self._hold(step, [self._imc.imc_connect(address)])

    def sendmsg(self, step: Mapping[str, Any]) -> Result:
        """imc_sendmsg with data and descriptors."""
        descriptors = [self._held(name) for name in step["descriptors"]]
        flags = NONBLOCK if step["nonblock"] else 0
        data = control.unpack_data(step["data"])
        sent = self._imc.imc_sendmsg(self._held(step["socket"]), data, descriptors, flags)
        return {"sent": sent, "descriptors": [describe(descriptor) for descriptor in descriptors]}

    def recvmsg(self, step: Mapping[str, Any]) -> Result:
        """imc_recvmsg; the descriptors that arrive are held in order."""
        flags = NONBLOCK if step["nonblock"] else 0
        message = self._imc.imc_recvmsg(self._held(step["socket"]), step["size"], step["max_descriptors"], flags)
        held = self._hold(step, message.descriptors)
        return {"data": control.digest(message.data), "flags": message.flags} | held

    def socketpair(self, step: Mapping[str, Any]) -> Result:
        """imc_socketpair, both ends held."""
        return self._hold(step, self._imc.imc_socketpair())

    def mem_obj_create(self, step: Mapping[str, Any]) -> Result:
        """imc_mem_obj_create of so many bytes."""
        return self._hold(step, [self._imc.imc_mem_obj_create(step["size"])])

    def export(self, step: Mapping[str, Any]) -> Result:
        """Offer an address to whoever a route grants it, under a name."""
        address = self._held(step["address"])
        self._worker.export(step["name"], address)
        return {"address": describe(address)}

    def close(self, step: Mapping[str, Any]) -> Result:
        """Close what the step names. The name stays, so that a later step can show what EBADF means."""
        self._held(step["descriptor"]).close()
        return {}


OPERATIONS: Final[Mapping[str, Callable[[Probe, Mapping[str, Any]], Result]]] = {
    "makeboundsock": Probe.makeboundsock,
    "accept": Probe.accept,
    "connect": Probe.connect,
    "sendmsg": Probe.sendmsg,
    "recvmsg": Probe.recvmsg,
    "socketpair": Probe.socketpair,
    "mem_obj_create": Probe.mem_obj_create,
    "export": Probe.export,
    "close": Probe.close,
}


def describe(descriptor: Descriptor) -> dict[str, str]:
    """Return the kind of `descriptor` and, for an address or a socket, what its duplicates have in common."""
    described = {"kind": "INVALID" if descriptor is INVALID else type(descriptor).__name__}
    if isinstance(descriptor, SocketAddress | SocketDescriptor) and descriptor.fileno() >= 0:
        described["identity"] = descriptor.identity()
    return described
