"""Public peak figures of accelerators, and the roofline they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sed_torch.errors import InputError

__all__ = ["DEVICES", "Device", "device"]

GiB = 2**30


@dataclass(frozen=True)
class Device:
    """Peak figures from a maker's data sheet: dense, without sparsity.

    Attributes:
        name: as on the sheet.
        memory: bytes.
        bandwidth: bytes a second of the main memory.
        flops: dtype → floating-point operations a second (two for a multiply-accumulate); float32 is the plain
            rate, without TF32.
        source: the data sheet.
    """

    name: str
    memory: int
    bandwidth: float
    flops: Mapping[str, float]
    source: str


def _row(
    name: str, memory: float, bandwidth: float, full: float, half: float, source: str, *, bf16: bool = True
) -> Device:
    """Memory in GiB, bandwidth in GB/s, rates in TFLOP/s for float32 and for 16-bit floats on tensor cores."""
    flops = {"float32": full * 1e12, "float16": half * 1e12}
    if bf16:
        flops["bfloat16"] = half * 1e12
    return Device(name, int(memory * GiB), bandwidth * 1e9, flops, source)


DEVICES: Mapping[str, Device] = {
    d.name: d
    for d in (
        _row("V100 32GB", 32, 900, 15.7, 125, "NVIDIA V100 data sheet (SXM2)", bf16=False),
        _row("T4 16GB", 16, 320, 8.1, 65, "NVIDIA T4 data sheet", bf16=False),
        _row("RTX 3090 24GB", 24, 936, 35.6, 71, "NVIDIA Ampere GA102 white paper"),
        _row("A10 24GB", 24, 600, 31.2, 125, "NVIDIA A10 data sheet"),
        _row("A100 40GB", 40, 1555, 19.5, 312, "NVIDIA A100 data sheet (SXM4)"),
        _row("A100 80GB", 80, 2039, 19.5, 312, "NVIDIA A100 data sheet (SXM4)"),
        _row("L4 24GB", 24, 300, 30.3, 121, "NVIDIA L4 data sheet, half of the figure with sparsity"),
        _row("L40S 48GB", 48, 864, 91.6, 362, "NVIDIA L40S data sheet"),
        _row("RTX 4090 24GB", 24, 1008, 82.6, 165, "NVIDIA Ada GPU architecture white paper"),
        _row(
            "H100 80GB", 80, 3350, 67, 989, "NVIDIA H100 data sheet (SXM5), half of the figure with sparsity"
        ),
        _row("H200 141GB", 141, 4800, 67, 989, "NVIDIA H200 data sheet, half of the figure with sparsity"),
        _row("MI300X 192GB", 192, 5300, 163.4, 1307, "AMD Instinct MI300X data sheet"),
    )
}
"""Name → peak figures."""


def device(name: str) -> Device:
    """A device by its name, or by the first part of it where that is unambiguous (``"T4"``, ``"H100"``).

    Raises:
        InputError: for a name that is not in :data:`DEVICES` or fits several.
    """
    wanted = name.lower().replace(" ", "")
    found = [d for k, d in DEVICES.items() if k.lower().replace(" ", "").startswith(wanted)] if wanted else []
    if len(found) == 1:
        return found[0]
    what = "fits " + " and ".join(d.name for d in found) if found else "is not in the table"
    raise InputError(f"GPU {name!r} {what}: expected one of {', '.join(DEVICES)}")
