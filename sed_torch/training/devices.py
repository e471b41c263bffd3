"""Which device a run takes, and the global state that makes it repeatable there."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from sed_torch.errors import SedTorchError

__all__ = ["repeatable", "resolve_device"]


def resolve_device(device: str, slot: int = 0) -> torch.device:
    """The device of a name; ``cuda`` without a number goes round the GPUs by ``slot``.

    Args:
        device: ``"auto"`` (CUDA, else MPS, else the CPU), ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"cpu"``.
        slot: number of the run.

    Raises:
        SedTorchError: the name is none of these, or this machine has no such device.
    """
    kind, _, index = device.partition(":")
    if kind == "auto" and not index:
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind not in ("cuda", "mps", "cpu") or (index and not index.isdecimal()):
        raise SedTorchError(f"unknown device {device!r}: expected auto, cuda, cuda:N, mps or cpu")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= int(index or 0):
            raise SedTorchError(
                f"device {device!r}: torch {torch.__version__} sees {count} CUDA devices here; use --device auto or "
                "cpu, or see what 'sed-torch doctor' finds"
            )
        return torch.device("cuda", int(index) if index else slot % count)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SedTorchError(
            f"device {device!r}: torch {torch.__version__} finds no MPS here; use auto or cpu"
        )
    return torch.device(kind)


@contextlib.contextmanager
def repeatable(device: torch.device, seed: int, threads: int) -> Iterator[None]:
    """Generators seeded, deterministic algorithms on CUDA, a fixed number of CPU threads; all put back after.

    An operator that has no deterministic algorithm on CUDA runs all the same, as its author left it.
    """
    on_cuda = device.type == "cuda"
    state, legacy, before = random.getstate(), np.random.get_state(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        try:
            torch.set_num_threads(threads)
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            with _deterministic() if on_cuda else contextlib.nullcontext():
                yield
        finally:
            torch.set_num_threads(before)
            random.setstate(state)
            np.random.set_state(legacy)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn = torch.backends.cudnn
    # by its context manager, which also works where something (torch.testing does) froze the flags of the process
    kept = {name: getattr(cudnn, name) for name in inspect.signature(cudnn.flags).parameters}
    flags = {**kept, "deterministic": True, "benchmark": False}
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        with cudnn.flags(**flags), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*deterministic", UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])
