"""The numbers of a calibration from plain data, each checked; nothing is executed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch._frozen import FrozenMapping
from sed_torch.calibration.process import Component, Mixture, Points, Setting
from sed_torch.calibration.scales import Scale
from sed_torch.calibration.seen import Domain, Wiring
from sed_torch.scoring.wiring import BUCKETS

__all__ = ["SIZES", "TEXTS", "fields_of"]

Array = NDArray[np.float64]

TEXTS = ("title", "unit", "note", "source", "date", "definition")
SIZES = ("networks", "candidates")


def fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a calibration from plain data, those of its held-out figures as plain data too.

    Raises:
        KeyError: something is missing.
        TypeError, ValueError, AttributeError, OverflowError: something is not what it should be.
    """
    features = tuple(_text(n, "features") for n in data["features"])
    d = len(features)
    inputs = _array([_numbers(row, "inputs", d) for row in data["inputs"]], "inputs").reshape(-1, d)
    n = len(inputs)
    if n < 1 or n != data["networks"]:
        raise ValueError(f"expected features of {data['networks']} networks, found {n}")
    domain = _domain(data["domain"], d)
    wiring = np.zeros((n, 0))
    if domain.wiring is not None:
        w = len(domain.wiring.centre)
        wiring = _array([_numbers(row, "wiring", w) for row in data["wiring"]], "wiring").reshape(-1, w)
        if len(wiring) != n:
            raise ValueError(f"expected the wiring of {n} networks, found {len(wiring)}")
    noise = _numbers(data["noise"], "noise", n) if data["noise"] else np.zeros(n)
    components = tuple(_component(part, n) for part in data["components"])
    if not components or not math.isclose(sum(c.probability for c in components), 1.0, abs_tol=1e-6):
        raise ValueError("the components' probabilities do not add up to 1")
    if (noise < 0).any():
        raise ValueError("a variance of the noise is negative")
    texts = {name: _text(data[name], name) for name in TEXTS}
    counts = {name: int(_number(data[name], name, 0)) for name in SIZES}
    return {
        **texts,
        **counts,
        "features": features,
        "domain": domain,
        "score_scale": _scale(data["score_scale"], "score_scale"),
        "target_scale": _scale(data["target_scale"], "target_scale"),
        "mixture": Mixture(Points(inputs, wiring), noise, components),
        "widening": _number(data["widening"], "widening", 0.0),
        "held_out": tuple(_held_out(h) for h in data["held_out"]),
        "versions": FrozenMapping(
            {_text(k, "versions"): _text(v, "versions") for k, v in data["versions"].items()}
        ),
    }


def _component(part: Mapping[str, Any], n: int) -> Component:
    weight, linear, radial, rest = (_number(part[k], k, 0.0) for k in ("weight", "linear", "radial", "rest"))
    length = _number(part["length"], "length", 1e-9)
    probability = _number(part["probability"], "probability", 0.0)
    coefficients = _numbers(part["coefficients"], "coefficients", n)
    wiring = _number(part.get("wiring", 0.0), "wiring", 0.0)
    if wiring > 1.0:
        raise ValueError(f"wiring: expected 0 to 1, found {wiring:g}")
    return Component(Setting(weight, linear, radial, length, rest, wiring), probability, coefficients)


def _domain(data: Mapping[str, Any], d: int) -> Domain:
    columns = {n: _numbers(data[n], f"domain.{n}", d) for n in ("centre", "scale", "low", "high")}
    curves = None
    if "curves" in data:
        curves = tuple(_scale(c, "domain.curves") for c in data["curves"])
        if len(curves) != d:
            raise ValueError(f"domain.curves: expected {d}, found {len(curves)}")
    wiring = None
    if "wiring" in data:
        centre = _numbers(data["wiring"]["centre"], "domain.wiring.centre", BUCKETS)
        wiring = Wiring(centre, _number(data["wiring"]["scale"], "domain.wiring.scale", 1e-9))
    reach = _number(data["reach"], "domain.reach", 0.0)
    return Domain(**columns, reach=reach, curves=curves, wiring=wiring)


def _held_out(data: Mapping[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {n: _number(data[n], n) for n in ("error", "median_error", "covered", "width")}
    for n in ("spearman", "score_spearman"):
        numbers[n] = None if data[n] is None else _number(data[n], n)
    left_out, parts = _text(data["left_out"], "left_out"), int(_number(data["parts"], "parts", 0))
    return {"left_out": left_out, "parts": parts, **numbers}


def _scale(data: Mapping[str, Any], name: str) -> Scale:
    knots, normal = (_numbers(data[k], f"{name}.{k}") for k in ("knots", "normal"))
    if (
        len(knots) < 2
        or len(knots) != len(normal)
        or (np.diff(knots) <= 0).any()
        or (np.diff(normal) <= 0).any()
    ):
        raise ValueError(f"{name}: expected two or more ascending knots and as many ascending values")
    ceiling, clip = (
        None if data[k] is None else _number(data[k], f"{name}.{k}") for k in ("ceiling", "clip")
    )
    return Scale(tuple(knots.tolist()), tuple(normal.tolist()), ceiling, clip)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > 4096:
        raise ValueError(f"{name}: expected text, found {value!r:.60}")
    return value


def _number(value: Any, name: str, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a number, found {value!r:.60}")
    if value < least:
        raise ValueError(f"{name}: expected {least:g} or more, found {value:g}")
    return float(value)


def _numbers(values: Any, name: str, size: int | None = None) -> Array:
    if not isinstance(values, list):
        raise ValueError(f"{name}: expected a list of numbers, found {type(values).__name__}")
    if size is not None and len(values) != size:
        raise ValueError(f"{name}: expected {size} numbers, found {len(values)}")
    return _array([_number(v, name) for v in values], name)


def _array(values: Sequence[Any], name: str) -> Array:
    return np.array(values, dtype=np.float64)
