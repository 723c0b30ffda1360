"""How much memory the way back through a network needs."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class Kept(saved_tensors_hooks):
    """Counts the bytes that autograd keeps between the way forward and the way back; a context.

    Storages that several nodes of the graph keep count once. What lives for a moment inside an operation is not seen.

    Args:
        weights: Are there anyway, and not counted.
    """

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        super().__init__(self._pack, self._unpack)
        self.most_bytes = 0
        self._bytes = 0
        self._users: dict[int, int] = {}  # by address of the storage
        self._free = {weight.untyped_storage().data_ptr() for weight in weights}

    def _pack(self, tensor: Tensor) -> Tensor | _Held:
        return tensor if tensor.untyped_storage().data_ptr() in self._free else _Held(self, tensor)

    def _unpack(self, packed: Tensor | _Held) -> Tensor:
        return packed.tensor if isinstance(packed, _Held) else packed

    def take(self, address: int, size: int) -> None:
        """One more user of a storage."""
        users = self._users.get(address, 0)
        self._users[address] = users + 1
        if users == 0:
            self._bytes += size
            self.most_bytes = max(self.most_bytes, self._bytes)

    def drop(self, address: int, size: int) -> None:
        """One user less."""
        self._users[address] -= 1
        if self._users[address] == 0:
            del self._users[address]
            self._bytes -= size


class _Held:
    """A tensor as long as a node of the graph keeps it."""

    def __init__(self, counter: Kept, tensor: Tensor) -> None:
        self.counter = counter
        self.tensor = tensor.detach()  # as it is, the result of a node would keep that node alive
        storage = tensor.untyped_storage()
        self.address, self.size = storage.data_ptr(), storage.nbytes()
        counter.take(self.address, self.size)

    def __del__(self) -> None:
        self.counter.drop(self.address, self.size)
