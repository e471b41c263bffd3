"""What an optimiser keeps beside each trainable parameter."""

from __future__ import annotations

from collections.abc import Mapping

from sed_torch.errors import InputError

__all__ = ["OPTIMIZERS", "state_bytes"]

OPTIMIZERS: Mapping[str, tuple[float, str]] = {
    "none": (0.0, "no optimiser: gradients only"),
    "sgd": (0.0, "torch.optim.SGD without momentum"),
    "sgd-momentum": (1.0, "torch.optim.SGD with momentum: one buffer"),
    "adam": (2.0, "torch.optim.Adam: first and second moments"),
    "adamw": (2.0, "torch.optim.AdamW: first and second moments"),
    "amsgrad": (3.0, "Adam or AdamW with amsgrad: a maximum beside the two moments"),
    "nadam": (2.0, "torch.optim.NAdam"),
    "radam": (2.0, "torch.optim.RAdam"),
    "adamax": (2.0, "torch.optim.Adamax"),
    "rmsprop": (1.0, "torch.optim.RMSprop without momentum and centring"),
    "adagrad": (1.0, "torch.optim.Adagrad"),
    "adadelta": (2.0, "torch.optim.Adadelta"),
    "lion": (1.0, "Lion (arXiv 2302.06675): one momentum"),
    "lamb": (2.0, "LAMB (arXiv 1904.00962): the moments of Adam"),
    "adamw-8bit": (0.5, "AdamW with both moments in 8 bits (arXiv 2110.02861), block constants left out"),
}
"""Name → (entries of state for each entry of a trainable parameter, in the parameter's own dtype or, for the
8-bit kind, in units of float32; what it is)."""


def state_bytes(optimizer: str, parameter_bytes: float) -> float:
    """Bytes of the optimiser's state for trainable parameters of so many bytes.

    Raises:
        InputError: for an optimiser that is not in :data:`OPTIMIZERS`.
    """
    if optimizer not in OPTIMIZERS:
        raise InputError(
            f"unknown optimizer {optimizer!r}: expected one of {', '.join(OPTIMIZERS)}. "
            "For another one take the entry with as many buffers a parameter."
        )
    return OPTIMIZERS[optimizer][0] * parameter_bytes
