"""What is known of a network before training: SED, counts, and rival proxies with its first weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import SedTorchError
from sed_torch.proxies import compute
from sed_torch.scoring.features import pack_features
from sed_torch.scoring.model import score

__all__ = ["predict"]


def predict(
    model: nn.Module, input_size: tuple[int, ...], proxies: Sequence[str], seed: int
) -> dict[str, Any]:
    """The predictors' part of a :class:`~sed_torch.training.RunRow`; the model and its device are left alone.

    Args:
        model: with real weights.
        input_size: of an image, with a batch dimension.
        proxies: keys of :data:`sed_torch.proxies.PROXIES`.
        seed: of the random inputs of proxies.
    """
    missing: dict[str, str] = {}
    sed, features = None, None
    try:
        scored = score(model, input_size=input_size)
        sed = scored.total
        features = pack_features(scored.features, scored.wiring)
        if sed is None:
            missing["sed"] = scored.reason or "undefined"
    except SedTorchError as error:  # it may train all the same
        missing["sed"] = str(error).splitlines()[0]
    found = compute(model, ["params", "macs", *proxies], input_size=input_size, seed=seed)
    missing.update(found.reasons)
    params = found.values["params"]
    return {
        "sed": sed,
        "features": features,
        "params": None if params is None else int(params),
        "macs": found.values["macs"],
        "proxies": FrozenMapping({p: found.values[p] for p in proxies}),
        "missing": "; ".join(f"{k}: {v}" for k, v in missing.items()) or None,
    }
