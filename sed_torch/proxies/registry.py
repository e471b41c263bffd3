"""The table of proxies, and the one call that runs them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch._plain import finite
from sed_torch.errors import InputError, ModelError
from sed_torch.proxies import activations, counts, gradients
from sed_torch.proxies.trial import Trial, UndefinedError, guarded, new_trial

if TYPE_CHECKING:
    pass

__all__ = ["PROXIES", "Proxy", "ProxyResult", "compute"]

_BASELINE = "Abdelfattah et al., ICLR 2021, arXiv 2101.08134"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A zero-cost proxy.

    Attributes:
        name: key in :data:`PROXIES`.
        function: a :class:`~sed_torch.proxies.trial.Trial` → the value.
        needs_forward: whether the network is run.
        needs_backward: whether gradients are taken.
        source: where it was published.
        direction: ``"higher"`` if higher values are meant to say better networks.
    """

    name: str
    function: Callable[[Trial], float]
    needs_forward: bool
    needs_backward: bool
    source: str
    direction: Literal["higher", "lower"] = "higher"


def _table(*proxies: Proxy) -> Mapping[str, Proxy]:
    return FrozenMapping({p.name: p for p in proxies})


PROXIES: Mapping[str, Proxy] = _table(
    Proxy("params", counts.params, False, False, "count"),
    Proxy("macs", counts.macs, True, False, "count"),
    Proxy("depth", counts.depth, True, False, "count"),
    Proxy("synflow", gradients.synflow, True, True, "Tanaka et al., NeurIPS 2020, arXiv 2006.05467"),
    Proxy("naswot", activations.naswot, True, False, "Mellor et al., ICML 2021, arXiv 2006.04647"),
    Proxy("jacov", activations.jacov, True, True, "Mellor et al., 2020, arXiv 2006.04647v1"),
    Proxy("snip", gradients.snip, True, True, "Lee et al., ICLR 2019, arXiv 1810.02340"),
    Proxy("grasp", gradients.grasp, True, True, "Wang et al., ICLR 2020, arXiv 2002.07376"),
    Proxy("fisher", gradients.fisher, True, True, "Turner et al., ICLR 2020, arXiv 1906.04113"),
    Proxy("grad_norm", gradients.grad_norm, True, True, _BASELINE),
    Proxy("l2_norm", gradients.l2_norm, False, False, _BASELINE),
    Proxy("zen", activations.zen, True, False, "Lin et al., ICCV 2021, arXiv 2102.01063"),
    Proxy("plain", gradients.plain, True, True, _BASELINE),
)


@dataclass(frozen=True, repr=False)
class ProxyResult(tables.Tabular):
    """Values of proxies on one model.

    Attributes:
        name: the model's class.
        values: proxy → value, or None where it is undefined.
        reasons: proxy → why its value is None.
        seconds: proxy → wall-clock seconds, copying the model included.
        inputs: shapes of the forward's arguments, with the batch.
        seed: of inputs, targets and re-initialised weights.
    """

    schema: ClassVar = "sed_torch.proxies/1"
    kind: ClassVar = "values of proxies"

    name: str
    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    seconds: Mapping[str, float]
    inputs: tuple[tuple[int, ...], ...]
    seed: int

    def __getitem__(self, proxy: str) -> float | None:
        return self.values[proxy]

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {
            "schema": self.schema,
            "name": self.name,
            "values": {n: finite(v) for n, v in self.values.items()},
            "reasons": dict(self.reasons),
            "seconds": dict(self.seconds),
            "inputs": [list(s) for s in self.inputs],
            "seed": self.seed,
        }

    def view(self) -> tables.View:
        """One row a proxy."""
        rows = tuple(
            {"proxy": n, "value": v, "seconds": self.seconds[n], "reason": self.reasons.get(n)}
            for n, v in self.values.items()
        )
        return tables.View(self.name, grids=(tables.Grid(_COLUMNS, rows, spared=("seconds",)),))


_COLUMNS = ("proxy", "value", "seconds", "reason")


def compute(
    model: nn.Module,
    names: Iterable[str] | None = None,
    *,
    input_size: Any = None,
    batch_size: int = 64,
    num_classes: int | None = None,
    seed: int = 0,
) -> ProxyResult:
    """Run zero-cost proxies on a model with random inputs, on its own device and with its own weights.

    Each proxy gets a fresh deep copy, so the model stays as it is: weights, buffers, gradients, modes, hooks,
    attributes; so do the global random generators. A proxy that fails on this model gives None and a reason.
    The copy runs the hooks of the model: what one of them writes outside the model is not undone.

    Inputs are white noise. The published scores of naswot, jacov, grasp, fisher and grad_norm are of real images, and
    depend on them: expect another order of networks, for naswot and jacov also at another batch size.

    Args:
        model: any ``nn.Module`` that can be deep-copied.
        names: keys of :data:`PROXIES`; all of them by default.
        input_size: size with batch dimension, such as ``(1, 3, 32, 32)``, or as for :func:`sed_torch.score`;
            the first axis is replaced by the batch. Inferred if left out.
        batch_size: samples a batch, 2 or more; values of naswot and jacov compare at one batch size only.
        num_classes: classes that targets are drawn from; the output's width by default.
        seed: of inputs, targets and the weights that zen draws.

    Raises:
        ModelError: if ``model`` is no ``nn.Module``, has lazy parameters, or cannot be copied.
        InputError: if a name is unknown, or the input cannot be made.
    """
    chosen = [_proxy(n) for n in (PROXIES if names is None else _listed(names))]
    trial = new_trial(model, input_size, batch_size, num_classes, seed)
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for proxy in chosen:
        start = time.perf_counter()
        value, reason = _run(proxy, trial)
        seconds[proxy.name] = time.perf_counter() - start
        values[proxy.name] = value
        if reason is not None:
            reasons[proxy.name] = reason
    specs = (*trial.inputs.args, *trial.inputs.kwargs.values())
    shapes = tuple((batch_size, *s.shape[1:]) for s in specs if isinstance(s, torch.Tensor))
    freeze = FrozenMapping
    name = type(trial.model).__name__
    return ProxyResult(name, freeze(values), freeze(reasons), freeze(seconds), shapes, seed)


def _run(proxy: Proxy, trial: Trial) -> tuple[float | None, str | None]:
    try:
        with guarded(trial):
            value = proxy.function(trial)
    except UndefinedError as reason:
        return None, str(reason)
    except (InputError, ModelError):
        raise
    except Exception as error:  # the model's own code may raise anything; a missing value has to say why
        return None, f"{type(error).__name__}: {error}".strip()
    if not math.isfinite(value):
        return None, f"the value is not finite ({value})"
    return value, None


def _listed(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _proxy(name: str) -> Proxy:
    if name not in PROXIES:
        raise InputError(f"unknown proxy {name!r}: choose from {', '.join(PROXIES)}")
    return PROXIES[name]
