"""The least time that a device could take: each operator at peak arithmetic or at peak bandwidth.

A roofline is a lower bound and no forecast: kernels reach a part of the peak, and launches, caches, transfers and
the input pipeline are left out. Source: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sed_torch.costing.devices import Device
from sed_torch.costing.storage import Storages
from sed_torch.lowering.work import macs_of

__all__ = ["OperatorWork", "seconds", "works"]


@dataclass(frozen=True, slots=True)
class OperatorWork:
    """What one operator does in a forward.

    Attributes:
        node: name of the node.
        path: dotted path of its module.
        op: operator.
        flops: floating-point operations, two for a multiply-accumulate, one for any other entry of the result.
        bytes: bytes of its operands and of its result, each moved once.
        dtype: of its result, which says at which peak it runs.
    """

    node: str
    path: str
    op: str
    flops: float
    bytes: int
    dtype: str

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in operations a byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    def bound(self, device: Device) -> Literal["compute", "memory"]:
        """What limits it on a device."""
        return (
            "compute" if self.flops / _peak(device, self.dtype) > self.bytes / device.bandwidth else "memory"
        )

    def seconds(self, device: Device) -> float:
        """The least time on a device."""
        return max(self.flops / _peak(device, self.dtype), self.bytes / device.bandwidth)


def _peak(device: Device, dtype: str) -> float:
    return device.flops.get(dtype, device.flops["float32"])


def works(storages: Storages) -> tuple[OperatorWork, ...]:
    """The work of every operator that moves memory; views do nothing."""
    found = []
    for node in storages.graph.nodes:
        macs = macs_of(storages.graph, node)
        leaves = node.shape is not None or macs  # layers of many operators leave several results
        if node.inputs and leaves and not node.shares and node.op != "item":
            size = storages.own_bytes(node.name) + sum(storages.own_bytes(i) for i in node.inputs)
            times = storages.times if node.name in storages.batched else 1.0
            flops = 2 * macs * times or storages.entries(node.name)
            dtype = storages.dtypes[node.name] or storages.dtypes[node.inputs[0]]
            found.append(OperatorWork(node.name, node.path, node.op, flops, size, dtype))
    return tuple(found)


def seconds(work: tuple[OperatorWork, ...], device: Device, *, training: bool) -> float:
    """The least time of a forward; of a step when training, whose backward does and moves twice as much."""
    return sum(w.seconds(device) for w in work) * (3 if training else 1)
