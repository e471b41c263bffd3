"""Candidate forms of the score, on rows they may be tuned on and on rows they may not.

python examples/score_search.py --topologies FOLDER [--final examples/results/score-search.md]

Needs the public accuracies (``SED_TORCH_DATA``), timm and torchvision. FOLDER keeps the topologies of published
models from one run to the next. Without ``--final`` only the tuning rows are read: half of NAS-Bench-201 on
CIFAR-10, NAS-Bench-101, and the timm models whose name's SHA-256 is even. With it every candidate below is shown on
all rows. Search spaces are drawn from with a seed, see ``SIZES``.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import hashlib
import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi
from scipy.stats import rankdata
from score_fields import CALCULI
from score_residuals import FEATURES, residuals

from sed_torch import entropy, tables
from sed_torch.evidence import torchvision_accuracies
from sed_torch.evidence.benchmarks import BENCHMARKS, load, space_of
from sed_torch.scoring.model import topology, versions
from sed_torch.topology import Topology
from sed_torch.zoo import load as load_model

Array = NDArray[np.float64]
Form = Callable[["Nets"], Array]

SIZES = {
    "nasbench201": 300,
    "nasbench101": 300,
    "nasbench301": 250,
    "transnas_micro": 250,
    "transnas_macro": 250,
}
BASELINE = "A·C_out·√f"
PRIMARY = "√(A·C_out·f)"
DEPTH = "ln(1+n_eff)"
CHOSEN = {
    PRIMARY: "first",
    f"{PRIMARY} · b, q=1/(1+1/C_out)": "first",
    f"{BASELINE}, times Σ {DEPTH}": "second",
    f"{BASELINE}, times Σ {DEPTH}, sources shared": "second",
    f"A·C_out·f, times Σ {DEPTH}": "second",
}
"""Forms chosen on the tuning rows, by the round of the search: each before the untuned rows were read for it."""

RESAMPLES = 500


# --- networks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Networks and their accuracies: ``sets`` maps a dataset to (numbers of networks, accuracies)."""

    benchmark: str
    topologies: Sequence[Topology]
    sets: Mapping[str, tuple[NDArray[np.int64], Array]]
    families: NDArray[np.str_] | None = None


def even(name: str) -> bool:
    """Whether a published model belongs to the rows to tune on."""
    return hashlib.sha256(name.encode()).digest()[-1] % 2 == 0


def sample(n: int, size: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(n)[:size])


def of_space(benchmark: str, dataset: str, rows: NDArray[np.int64]) -> tuple[list[Topology], Array]:
    table, space = load(benchmark, dataset), space_of(benchmark)
    return [space.topology(table.archs[i]) for i in rows], table.accuracy[rows]


def with_top(accuracy: Array, share: float) -> dict[str, tuple[NDArray[np.int64], Array]]:
    """All rows, and the best ``share`` of them."""
    top = np.argsort(-accuracy)[: int(len(accuracy) * share)]
    return {"all": (np.arange(len(accuracy)), accuracy), f"top {share:.0%}": (top, accuracy[top])}


def nasbench201(*, tuning: bool) -> Iterator[Rows]:
    """One half of the cells. The datasets share the CIFAR-10 network: size and head scale all cells' sums alike."""
    half = np.array_split(np.random.default_rng(0).permutation(15_625), 2)[0 if tuning else 1]
    some = half[sample(len(half), SIZES["nasbench201"], 1)]
    space, archs = space_of("nasbench201"), load("nasbench201").archs
    for dataset in ("cifar10",) if tuning else BENCHMARKS["nasbench201"]:
        accuracy = load("nasbench201", dataset).accuracy
        best = half[np.argsort(-accuracy[half])[: len(half) // 10]]
        top = best[sample(len(best), SIZES["nasbench201"] // 2, 2)]
        nets = [space.topology(archs[i]) for i in (*some, *top)]
        n = len(some)
        sets = {"all": (np.arange(n), accuracy[some]), "top 10%": (np.arange(n, len(nets)), accuracy[top])}
        yield Rows(f"NAS-Bench-201 {dataset}", nets, sets)


def nasbench101() -> Iterator[Rows]:
    for dataset in BENCHMARKS["nasbench101"]:
        rows = sample(len(load("nasbench101", dataset)), SIZES["nasbench101"], 3)
        nets, accuracy = of_space("nasbench101", dataset, rows)
        yield Rows(f"NAS-Bench-101 {dataset}", nets, with_top(accuracy, 0.2))


def transnas(benchmark: str) -> Rows:
    """One network for all tasks: only the head differs, which takes no part in the order."""
    tasks = {task: load(benchmark, task) for task in BENCHMARKS[benchmark]}
    archs = sorted(set.intersection(*(set(t.archs) for t in tasks.values())))
    chosen = [archs[i] for i in sample(len(archs), SIZES[benchmark], 4)]
    sets = {}
    for task, table in tasks.items():
        where = {a: i for i, a in enumerate(table.archs)}
        sets[task] = (np.arange(len(chosen)), table.accuracy[[where[a] for a in chosen]])
    space = space_of(benchmark)
    return Rows(benchmark, [space.topology(a) for a in chosen], sets)


def published(title: str, zoo: str, names: Sequence[str], accuracy: Sequence[float], folder: Path) -> Rows:
    found, kept, families = [], [], []
    for name, value in zip(names, accuracy, strict=True):
        got = traced(f"{zoo}:{name}", folder)
        if got is not None:
            found.append(got[1])
            families.append(got[0])
            kept.append(value)
    values = np.asarray(kept)
    return Rows(title, found, {"all": (np.arange(len(values)), values)}, np.asarray(families))


def traced(ref: str, folder: Path) -> tuple[str, Topology] | None:
    """(family, topology) of a published model, from the folder where it is there; None if it cannot be read."""
    file = folder / (ref.replace(":", "__") + ".json.gz")
    if not file.exists():
        try:
            model = load_model(ref)
            data = {"ref": ref, "family": model.family, "topology": topology(model.model).to_dict()}
        except Exception as error:  # a model's own code may raise anything
            print(f"{ref}: left out: {type(error).__name__}: {error}")
            return None
        file.write_bytes(gzip.compress(json.dumps(data).encode(), 3))
    data = json.loads(gzip.decompress(file.read_bytes()))
    return data["family"], Topology.from_dict(data["topology"])


def tuning_rows(folder: Path) -> Iterator[Rows]:
    yield from nasbench201(tuning=True)
    yield from nasbench101()
    timm = load("timm")
    mine = [i for i, name in enumerate(timm.archs) if even(name)]
    yield published("timm, even", "timm", [timm.archs[i] for i in mine], timm.accuracy[mine].tolist(), folder)


def untuned_rows(folder: Path) -> Iterator[Rows]:
    yield from nasbench201(tuning=False)
    yield transnas("transnas_micro")
    yield transnas("transnas_macro")
    darts = load("nasbench301")
    nets, accuracy = of_space("nasbench301", "cifar10", sample(len(darts), SIZES["nasbench301"], 5))
    yield Rows("NAS-Bench-301 (surrogate)", nets, {"all": (np.arange(len(accuracy)), accuracy)})
    timm = load("timm")
    rest = [i for i, name in enumerate(timm.archs) if not even(name)]
    yield published("timm, odd", "timm", [timm.archs[i] for i in rest], timm.accuracy[rest].tolist(), folder)
    vision = torchvision_accuracies("best")
    yield published("torchvision", "torchvision", vision.names, vision.values.tolist(), folder)
    pycls = load("pycls")
    yield published("pycls", "timm", pycls.archs, pycls.accuracy.tolist(), folder)


# --- what the candidates are made of -------------------------------------------------------------------------


Line = tuple[tuple[int, ...], tuple[float, ...], int]
"""(inputs, their shares of the variance, number of the operator or -1) of a live step."""


def compiled(net: Topology, calculus: str) -> tuple[list[tuple[float, ...]], list[Line], list[int]]:
    """(A, C_in/g, C_out, g, n, n_eff) of each operator; the live steps; the outputs among them."""
    fields, place = CALCULI[calculus](net), {}
    operators, lines = [], []
    for i, step in enumerate(net.steps):
        if fields[i] is None:
            continue
        inputs = [(p, j, f) for p, j in enumerate(step.inputs) if (f := fields[j]) is not None]
        parts = [f.variance * (step.weights[p] if step.kind == "cat" else 1.0) for p, _, f in inputs]
        if step.kind not in ("add", "cat") or sum(parts) <= 0.0:
            parts = [1.0] * len(inputs)
        number = -1
        if step.kind == "mix":
            number = len(operators)
            patches = step.patches or ((1.0, step.window),)
            taps = sum(share * entropy.effective_taps(inputs[0][2], p, step.dilation) for share, p in patches)
            operators.append((step.positions, step.c_in, step.c_out, step.groups, step.taps, taps))
        place[i] = len(lines)
        lines.append((tuple(place[j] for _, j, _ in inputs), tuple(v / sum(parts) for v in parts), number))
    return operators, lines, [place[o] for o in net.outputs if o in place]


class Nets:
    """Operators of many networks, flat: A, cin = C_in/g, cout, g, n, neff, f = C_in/g·n_eff; ``sum`` is by network."""

    def __init__(self, topologies: Sequence[Topology], calculus: str = "") -> None:
        self.topologies = topologies
        self.programs = [compiled(t, calculus) for t in topologies]
        self.counts = [len(operators) for operators, _, _ in self.programs]
        self.owner = np.repeat(np.arange(len(self.counts)), self.counts)
        flat = np.array([row for operators, _, _ in self.programs for row in operators], dtype=np.float64)
        self.A, self.cin, self.cout, self.g, self.n, self.neff = flat.T
        self.f = self.cin * self.neff
        self._passed: dict[str, tuple[Array, Array, Array, Array]] = {}
        self._under: dict[str, Nets] = {}

    def sum(self, values: Array) -> Array:
        return np.bincount(self.owner, values, minlength=len(self.counts))

    def by_stage(self, values: Array) -> Array:
        """ln of the sums by stage: operators whose A is the same power of two; nan for a stage without any."""
        stage = np.round(np.log2(np.maximum(self.A, 1))).astype(np.int64)
        shape = (len(self.counts), int(stage.max()) + 1)
        sums = np.bincount(self.owner * shape[1] + stage, values, minlength=math.prod(shape)).reshape(shape)
        return np.asarray(np.log(np.where(sums > 0, sums, np.nan)))

    @cached_property
    def finite(self) -> Array:
        """Entropy power that a random C_in/g × n matrix keeps: exp of the mean ln(χ²_{M-i}/M), i < m ≤ M its sides."""
        sides = np.stack([self.cin, self.n])
        pairs, where = np.unique(np.sort(sides, axis=0).T, axis=0, return_inverse=True)
        kept = [math.exp(np.mean(psi((M - np.arange(m)) / 2)) - math.log(M / 2)) for m, M in pairs]
        return np.asarray(kept)[where.reshape(-1)]

    @cached_property
    def a_in(self) -> Array:
        """Positions of the map that the first operator reads."""
        mixes = (
            (s for i, s in enumerate(t.steps) if i in t.live and s.kind == "mix") for t in self.topologies
        )
        firsts = [next(of_one, None) for of_one in mixes]
        return np.array([1.0 if s is None else s.positions * math.prod(s.stride) for s in firsts])

    def under(self, calculus: str) -> Nets:
        """The same networks under another calculus of Γ."""
        if calculus not in self._under:
            self._under[calculus] = Nets(self.topologies, calculus) if calculus else self
        return self._under[calculus]

    def passed(self, rule: str) -> tuple[Array, Array, Array, Array]:
        """What survives when every operator passes a share q on (``QS[rule]``), along variance-weighted paths.

        (s from the inputs to the operator, b from the operator to the outputs, e at the outputs, w the
        operator's share of the variance of the outputs); e is repeated for every operator.
        """
        if rule not in self._passed:
            q = np.split(np.broadcast_to(QS[rule](self), self.owner.shape), np.cumsum(self.counts)[:-1])
            found = [
                pass_on(lines, outs, x.tolist()) for (_, lines, outs), x in zip(self.programs, q, strict=True)
            ]
            self._passed[rule] = tuple(np.concatenate(c) for c in zip(*found, strict=True))  # type: ignore[assignment]
        return self._passed[rule]


def pass_on(lines: Sequence[Line], outputs: Sequence[int], q: Sequence[float]) -> tuple[list[float], ...]:
    size = len(lines)
    left, share, weighted = [0.0] * size, [0.0] * size, [0.0] * size
    s, b, w = [0.0] * len(q), [0.0] * len(q), [0.0] * len(q)
    for i, (inputs, parts, operator) in enumerate(lines):
        left[i] = sum(p * left[j] for j, p in zip(inputs, parts, strict=True)) if inputs else 1.0
        if operator >= 0:
            s[operator] = left[i]
            left[i] *= q[operator]
    for i in outputs:
        share[i] += 1 / len(outputs)
        weighted[i] += 1 / len(outputs)
    for i in range(size - 1, -1, -1):
        inputs, parts, operator = lines[i]
        if share[i] > 0.0:
            if operator >= 0:
                b[operator], w[operator] = weighted[i] / share[i], share[i]
            keep = q[operator] if operator >= 0 else 1.0
            for j, p in zip(inputs, parts, strict=True):
                share[j] += share[i] * p
                weighted[j] += weighted[i] * p * keep
    end = sum(left[i] for i in outputs) / len(outputs) if outputs else 0.0
    return s, b, [end] * len(q), w


QS: dict[str, Callable[[Nets], Array]] = {
    "π/2(π−1)": lambda x: np.full_like(x.f, math.pi / (2 * (math.pi - 1))),  # linear share behind a rectifier
    **{f"{q}": lambda x, q=q: np.full_like(x.f, q) for q in (0.98, 0.95, 0.9, 0.82)},
    "1/(1+1/f)": lambda x: x.f / (1 + x.f),
    "1/(1+5/f)": lambda x: x.f / (5 + x.f),
    "1/(1+1/√f)": lambda x: np.sqrt(x.f) / (1 + np.sqrt(x.f)),
    "1/(1+1/C_out)": lambda x: x.cout / (1 + x.cout),
    "1/(1+5/C_out)": lambda x: x.cout / (5 + x.cout),
    "1/(1+1/(C_out+f))": lambda x: 1 / (1 + 1 / (x.cout + x.f)),
    "1/(1+1/(C_out·n))": lambda x: 1 / (1 + 1 / (x.cout * x.n)),
    "1/(1+1/max(C_out, f))": lambda x: 1 / (1 + 1 / np.maximum(x.cout, x.f)),
}
CONSTANTS = tuple(QS)[:5]
WIDTHS = tuple(QS)[5:]

TERMS: dict[str, Form] = {
    BASELINE: lambda x: x.A * x.cout * np.sqrt(x.f),
    PRIMARY: lambda x: np.sqrt(x.A * x.cout * x.f),
    "C_out·√(A·f)": lambda x: x.cout * np.sqrt(x.A * x.f),
    "A·C_out·f": lambda x: x.A * x.cout * x.f,
    "C_out·f": lambda x: x.cout * x.f,
    "A·f": lambda x: x.A * x.f,
    "n_eff": lambda x: x.neff,
    "1": lambda x: np.ones_like(x.f),
    "C_out": lambda x: x.cout,
    "A·C_out": lambda x: x.A * x.cout,
    "C_out·√f": lambda x: x.cout * np.sqrt(x.f),
    "√A·C_out·√n_eff": lambda x: x.cout * np.sqrt(x.A * x.neff),
    "A·C_out·ln(1+f)": lambda x: x.A * x.cout * np.log1p(x.f),
    "C_out·ln(1+f)": lambda x: x.cout * np.log1p(x.f),
    "ln(1+f)": lambda x: np.log1p(x.f),
    "ln(1+n_eff)": lambda x: np.log1p(x.neff),
    "n_eff·√(A·C_in·C_out)": lambda x: x.neff * np.sqrt(x.A * x.cin * x.cout),
    "(A·C_out·f)^(1/3)": lambda x: np.cbrt(x.A * x.cout * x.f),
    "(A·C_out·f)^(2/3)": lambda x: np.cbrt(x.A * x.cout * x.f) ** 2,
    "√(A·C_out)·ln(1+f)": lambda x: np.sqrt(x.A * x.cout) * np.log1p(x.f),
    "√(A·C_out·ln(1+f))": lambda x: np.sqrt(x.A * x.cout * np.log1p(x.f)),
    "√(A·C_in)·n_eff": lambda x: np.sqrt(x.A * x.neff * x.f),
}
WEIGHTS: dict[str, Callable[[tuple[Array, Array, Array, Array]], Array]] = {
    "s": lambda p: p[0],
    "b": lambda p: p[1],
    "s·b": lambda p: p[0] * p[1],
    "√s": lambda p: np.sqrt(p[0]),
    "√b": lambda p: np.sqrt(p[1]),
    "√(s·b)": lambda p: np.sqrt(p[0] * p[1]),
    "e": lambda p: p[2],
    "√e": lambda p: np.sqrt(p[2]),
    "w": lambda p: p[3],
    "√w": lambda p: np.sqrt(p[3]),
}


DEPTHS: dict[str, Form] = {
    "ln(1+n_eff/2)": lambda x: np.log1p(x.neff / 2),
    "ln(1+3·n_eff)": lambda x: np.log1p(3 * x.neff),
    "√n_eff": lambda x: np.sqrt(x.neff),
    "ln(1+n_eff)²": lambda x: np.log1p(x.neff) ** 2,
    "n·ln(1+n_eff/n)": lambda x: x.n * np.log1p(x.neff / x.n),
    "ln(1+√n_eff)": lambda x: np.log1p(np.sqrt(x.neff)),
    "n_eff/n": lambda x: x.neff / x.n,
    "√(n_eff·b), q=0.98": lambda x: np.sqrt(x.neff * x.passed("0.98")[1]),
    "√n_eff·s, q=0.98": lambda x: np.sqrt(x.neff) * x.passed("0.98")[0],
    "√n_eff·s, q=1/(1+1/C_out)": lambda x: np.sqrt(x.neff) * x.passed("1/(1+1/C_out)")[0],
    "√n_eff·b, q=1/(1+1/C_out)": lambda x: np.sqrt(x.neff) * x.passed("1/(1+1/C_out)")[1],
    **{f"√n_eff·b, q={q}": lambda x, q=q: np.sqrt(x.neff) * x.passed(q)[1] for q in ("0.98", "0.95", "0.9")},
    **{f"ln(1+n_eff)·b, q={q}": lambda x, q=q: np.log1p(x.neff) * x.passed(q)[1] for q in ("0.95", "0.9")},
    **{f"n_eff·b, q={q}": lambda x, q=q: x.neff * x.passed(q)[1] for q in ("0.95", "0.9", "0.82")},
    "n_eff·√w": lambda x: x.neff * np.sqrt(x.passed("0.98")[3]),
    "n_eff·w": lambda x: x.neff * x.passed("0.98")[3],
    "ln(1+n_eff)·w": lambda x: np.log1p(x.neff) * x.passed("0.98")[3],
}
"""Second sums: how deep a network is, in operators, taps or nats."""

NARROW: dict[str, Form] = {
    "A·C_out·√f, finite width": lambda x: x.A * x.cout * np.sqrt(x.f * x.finite),
    "√(A·C_out·f), finite width": lambda x: np.sqrt(x.A * x.cout * x.f * x.finite),
    "A·√C_out·n_eff": lambda x: x.A * np.sqrt(x.cout) * x.neff,
    "A·ln(1+C_out·f)": lambda x: x.A * np.log1p(x.cout * x.f),
    "A·min(C_out, f)": lambda x: x.A * np.minimum(x.cout, x.f),
    "A·√min(C_out, f)": lambda x: x.A * np.sqrt(np.minimum(x.cout, x.f)),
    "A·√(C_out·f/(C_out+f))": lambda x: x.A * np.sqrt(x.cout * x.f / (x.cout + x.f)),
    "A·C_out·f/√(C_out+f)": lambda x: x.A * x.cout * x.f / np.sqrt(x.cout + x.f),
    "A·√(C_out+f)": lambda x: x.A * np.sqrt(x.cout + x.f),
    "A·C_out·f/(C_out+f)": lambda x: x.A * x.cout * x.f / (x.cout + x.f),
}


def total(term: Form) -> Form:
    return lambda x: np.log(x.sum(term(x)))


def weighted(term: str, weight: str, rule: str) -> Form:
    return total(lambda x: TERMS[term](x) * WEIGHTS[weight](x.passed(rule)))


def powers(a: float, b: float, c: float, d: float, whole: bool) -> Form:
    return total(lambda x: x.A**a * (x.cin * (x.g if whole else 1)) ** b * x.cout**c * x.neff**d)


def candidates() -> dict[str, Form]:
    """Every form that was tried, by what stands behind ln Σ_v; n_eff from Γ as the definition has it."""
    found: dict[str, Form] = {name: total(term) for name, term in TERMS.items()}
    for one, two in (("C_out·f", "A·C_out·f"), ("n_eff", "C_out·f"), ("n_eff", "A·C_out·f")):
        found[f"{one}, times Σ {two}"] = product(TERMS[one], TERMS[two], 1.0)
    for term, weight, rule in itertools.product(TERMS, ("w", "√w"), ("0.98",)):
        found[f"{term} · {weight}"] = weighted(term, weight, rule)
    for name in TERMS:
        found[f"{name}, Γ rectified"] = under("Γ rectified", found[name])
    small = (BASELINE, PRIMARY, "C_out·√(A·f)", "n_eff", "A·C_out·f", "C_out·f", "n_eff·√(A·C_in·C_out)")
    for term, weight, rule in itertools.product(small, ("s", "b", "s·b", "e"), CONSTANTS):
        found[f"{term} · {weight}, q={rule}"] = weighted(term, weight, rule)
    for term, weight in itertools.product(small, ("√s", "√b", "√(s·b)", "√e")):
        found[f"{term} · {weight}, q={CONSTANTS[0]}"] = weighted(term, weight, CONSTANTS[0])
    for term, weight, rule in itertools.product(
        (*small[:3], small[-1]), ("s", "b", "s·b", "√(s·b)", "√b"), WIDTHS
    ):
        found[f"{term} · {weight}, q={rule}"] = weighted(term, weight, rule)
    steps = (0.0, 0.25, 0.5, 1.0)
    for a, b, c, d in itertools.product(steps, steps, steps, (0.5, 1.0)):
        found[f"A^{a:g}·(C_in/g)^{b:g}·C_out^{c:g}·n_eff^{d:g}"] = powers(a, b, c, d, False)
    for a, b, c, d in itertools.product(steps, steps, steps[:3], (0.5, 1.0)):
        found[f"A^{a:g}·C_in^{b:g}·C_out^{c:g}·n_eff^{d:g}"] = powers(a, b, c, d, True)
    return found | products() | other_shapes() | other_calculi() | by_input_size()


def products() -> dict[str, Form]:
    """Size times depth: ln of one sum plus ln of another, or of its root."""
    found: dict[str, Form] = {}
    for one, (two, second) in itertools.product((BASELINE, "A·C_out·f"), DEPTHS.items()):
        for e, sign in ((1.0, "Σ"), (0.5, "√Σ")):
            found[f"{one}, times {sign} {two}"] = product(TERMS[one], second, e)
    for one, two in itertools.product(
        (PRIMARY, "n_eff·√(A·C_in·C_out)", "C_out·f", BASELINE, "A·C_out·f"),
        ("n_eff", "ln(1+f)", "1", "C_out·f", "A·C_out·f", "A·f", "ln(1+n_eff)"),
    ):
        for e, sign in ((1.0, "Σ"), (0.5, "√Σ")):
            found[f"{one}, times {sign} {two}"] = product(TERMS[one], TERMS[two], e)
    return found


def product(one: Form, two: Form, exponent: float) -> Form:
    return lambda x: np.log(x.sum(one(x))) + exponent * np.log(x.sum(two(x)))


def other_shapes() -> dict[str, Form]:
    """Powers of the terms, stages of one resolution each, suppression as a factor, finite width."""
    found: dict[str, Form] = {}
    for name in (BASELINE, PRIMARY, "n_eff·√(A·C_in·C_out)", "A·C_out·f", "C_out·f"):
        term = TERMS[name]
        for p in (0.25, 0.5, 0.75, 1.5, 2.0):
            found[f"({name})^{p:g}"] = total(lambda x, t=term, p=p: t(x) ** p)
        found[f"{name}, product over stages"] = lambda x, t=term: np.nansum(x.by_stage(t(x)), 1)
        found[f"{name}, geometric mean of stages"] = lambda x, t=term: np.nanmean(x.by_stage(t(x)), 1)
        found[f"{name}, sum of stages' logs"] = lambda x, t=term: np.nansum(
            np.maximum(x.by_stage(t(x)), 0), 1
        )
        found[f"{name}, sum of stages' roots"] = lambda x, t=term: np.nansum(np.exp(x.by_stage(t(x)) / 2), 1)
        for e, sign in ((1.0, ""), (0.5, "√")):
            found[f"{name}, times {sign}suppression"] = lambda x, t=term, e=e: (
                np.log(x.sum(t(x))) + e * np.log(x.sum(x.neff) / x.sum(x.n))
            )
    return found | {name: total(term) for name, term in NARROW.items()}


def other_calculi() -> dict[str, Form]:
    found: dict[str, Form] = {}
    names = (BASELINE, PRIMARY, "n_eff", "A·C_out·f", "C_out·f", "n_eff·√(A·C_in·C_out)", "A·f")
    forms = {name: total(TERMS[name]) for name in names} | products()
    for calculus in CALCULI:
        if calculus:
            some = forms if calculus in ("Γ smoothed, β=0.3", "sources shared") else names
            found |= {f"{name}, {calculus}": under(calculus, forms[name]) for name in some}
    return found


SCALE_TERMS: dict[str, Form] = {
    "√(C_out·f)": lambda x: np.sqrt(x.cout * x.f),
    "√(C_out·f)·g^¼": lambda x: np.sqrt(x.cout * x.f) * x.g**0.25,
    "√(C_out·f)·g^½": lambda x: np.sqrt(x.cout * x.f * x.g),
    "√(C_out·f), finite width": lambda x: np.sqrt(x.cout * x.f * x.finite),
    "√(C_out·f)·g^¼, finite width": lambda x: np.sqrt(x.cout * x.f * x.finite) * x.g**0.25,
    "C_out·√f": lambda x: x.cout * np.sqrt(x.f),
    "C_out·f": lambda x: x.cout * x.f,
    "C_out·ln(1+f)": lambda x: x.cout * np.log1p(x.f),
}
"""What an operator adds at every scale that its map resolves."""


def by_scale() -> dict[str, Form]:
    """Means over ln r of ln Σ r^e · term over the maps of at least r positions; r runs ``end`` times below 1."""
    found: dict[str, Form] = {}
    for (name, term), end, e in itertools.product(SCALE_TERMS.items(), (1, 2, 4), (0.5, 0.7, 1.0)):
        found[f"{name}, mean over scales, end {end}, r^{e:g}"] = over_scales(term, math.log(end), e)
    return found


def over_scales(
    term: Form, end: float, exponent: float, positions: Form | None = None, power: float = 1.0
) -> Form:
    """The mean over scales; ``positions`` stand for A, and ``power`` p makes each sum (Σ term^p)^(1/p)."""

    def form(x: Nets) -> Array:
        sizes = x.A if positions is None else positions(x)
        order = np.lexsort((-sizes, x.owner))
        owner, logs = x.owner[order], np.log(sizes[order])
        last = np.append(owner[1:] != owner[:-1], True)
        widths = np.maximum(logs - np.where(last, -end, np.append(logs[1:], 0.0)), 0.0)
        running = np.cumsum(term(x)[order] ** power)
        before = np.append(0.0, running)[
            np.searchsorted(owner, owner)
        ]  # what the networks before it add up to
        whole = np.bincount(owner, widths, minlength=len(x.counts))
        found = np.bincount(owner, widths * np.log(running - before), minlength=len(x.counts))
        mean = np.divide(found, whole, out=np.full(len(whole), np.nan), where=whole > 0.0)
        return np.asarray(mean / power + 0.5 * exponent * whole)

    return form


def by_input_size() -> dict[str, Form]:
    """A power of the positions of the input as a factor: resolution within a network apart from the input's."""
    found: dict[str, Form] = {}
    bases = (BASELINE, PRIMARY, "A·C_out·f", "C_out·√(A·f)")
    depths = ((None, 0.0), *itertools.product((DEPTH, "1"), (0.5, 1.0)))
    for base, (depth, half), e in itertools.product(bases, depths, (0.5, -0.25, -0.5, -0.75, -1.0)):
        second = "" if depth is None else f", times {'Σ' if half == 1.0 else '√Σ'} {depth}"
        form = product(TERMS[base], TERMS[depth or "1"], half)
        found[f"{base}{second}, times A_in^{e:g}"] = lambda x, f=form, e=e: f(x) + e * np.log(x.a_in)
    return found


def under(calculus: str, form: Form) -> Form:
    return lambda x: form(x.under(calculus))


# --- figures -------------------------------------------------------------------------------------------------


def rho(scores: Array, accuracy: Array) -> float:
    if np.ptp(scores) == 0.0:
        return 0.0
    return float(np.corrcoef(rankdata(scores), rankdata(accuracy))[0, 1])


def within(scores: Array, accuracy: Array, families: NDArray[np.str_]) -> float:
    """Mean ρ over families of at least 8."""
    names, counts = np.unique(families, return_counts=True)
    each = [rho(scores[families == f], accuracy[families == f]) for f in names[counts >= 8]]
    return float(np.mean(each)) if each else math.nan


def scores_of(form: Form, nets: Nets) -> Array:
    """The form's values; networks for which it has none come last."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(form(nets), nan=-1e9, neginf=-1e9)


def figures(form: Form, rows: Rows, nets: Nets) -> dict[str, float]:
    """ρ by column; tasks of one benchmark are averaged, its best rows and families stand beside."""
    scores = scores_of(form, nets)
    each = {name: rho(scores[i], accuracy) for name, (i, accuracy) in rows.sets.items()}
    tops = {f"{rows.benchmark}, {k}": v for k, v in each.items() if k.startswith("top")}
    found = {rows.benchmark: float(np.mean([v for k, v in each.items() if not k.startswith("top")]))} | tops
    if rows.families is not None and rows.benchmark.startswith("timm"):
        found[f"{rows.benchmark}, in families"] = within(scores, rows.sets["all"][1], rows.families)
    return found


def mean_by_benchmark(found: Mapping[str, float]) -> float:
    """Each benchmark once: datasets of one are averaged, best rows and families left out."""
    groups: dict[str, list[float]] = {}
    for column, value in found.items():
        if ", top" not in column and "families" not in column:
            groups.setdefault(column.split(" ")[0], []).append(value)
    return float(np.mean([np.mean(v) for v in groups.values()]))


def differences(
    form: Form, old: Form, parts: Sequence[tuple[Rows, Nets]]
) -> dict[str, tuple[float, float, float]]:
    """(ρ new − ρ old, 95 % interval of it) by column and of their mean, over paired resamples of the networks."""
    rng = np.random.default_rng(0)
    draws: dict[str, Array] = {}
    for rows, nets in parts:
        new, base = scores_of(form, nets), scores_of(old, nets)
        plain = [(i, acc) for k, (i, acc) in rows.sets.items() if not k.startswith("top")]
        n = len(plain[0][0])
        picks = [np.arange(n), *(rng.integers(0, n, n) for _ in range(RESAMPLES))]
        draws[rows.benchmark] = np.array(
            [np.mean([rho(new[i[p]], a[p]) - rho(base[i[p]], a[p]) for i, a in plain]) for p in picks]
        )
    draws["mean"] = np.array(
        [mean_by_benchmark({k: v[r] for k, v in draws.items()}) for r in range(RESAMPLES + 1)]
    )
    return {k: (float(v[0]), *map(float, np.percentile(v[1:], [2.5, 97.5]))) for k, v in draws.items()}


def table(forms: Mapping[str, Form], parts: Sequence[tuple[Rows, Nets]]) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for name, form in forms.items():
        found: dict[str, float] = {}
        for rows, nets in parts:
            found |= figures(form, rows, nets)
        lines.append({"ln Σ of": name, "mean": mean_by_benchmark(found), **found})
    return sorted(lines, key=lambda line: -float(line["mean"]))  # type: ignore[arg-type]


def markdown(lines: Sequence[Mapping[str, object]]) -> str:
    def cell(value: object) -> str:
        if value is None:
            return "–"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    return tables.to_markdown([{k: cell(v) for k, v in line.items()} for line in lines], tuple(lines[0]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--topologies", type=Path, required=True, help="folder that keeps published models' topologies"
    )
    parser.add_argument("--final", type=Path, help="show all candidates on all rows, written to this file")
    args = parser.parse_args()
    args.topologies.mkdir(parents=True, exist_ok=True)
    forms = candidates()
    tune = list(prepared(tuning_rows(args.topologies)))
    tuned = table(forms, tune)
    if args.final is None:
        print(markdown(tuned[:40]))
        return
    rest = list(prepared(untuned_rows(args.topologies)))
    args.final.write_text(report(forms, tune, tuned, rest), encoding="utf-8")
    print(f"wrote {args.final}")


SIGNS: tuple[tuple[str, Callable[[object], bool]], ...] = (
    ("sets above 0.1", lambda value: isinstance(value, float) and value > 0.1),
    ("sets below −0.1", lambda value: isinstance(value, float) and value < -0.1),
)


def residual_lines(parts: Sequence[tuple[Rows, Nets]]) -> list[dict[str, object]]:
    """What goes with accuracy among networks of equal sed/1, and how many sets of rows agree on its sign."""
    lines: list[dict[str, object]] = []
    for rows, nets in parts:
        score = scores_of(total(TERMS[BASELINE]), nets)
        for key, found in residuals(nets, score, rows.sets).items():
            name = rows.benchmark if key == "all" else f"{rows.benchmark}, {key}"
            lines.append({"rows": name, "networks": str(len(rows.sets[key][0])), **found})
    signs = [
        (word, {f: sum(1 for line in lines if beyond(line[f])) for f in FEATURES}) for word, beyond in SIGNS
    ]
    lines += [{"rows": word, "networks": "", **{f: str(n) for f, n in c.items()}} for word, c in signs]
    return lines


def prepared(found: Iterator[Rows]) -> Iterator[tuple[Rows, Nets]]:
    for rows in found:
        print(f"{rows.benchmark}: {len(rows.topologies)} networks", flush=True)
        yield rows, Nets(rows.topologies)


def change_lines(
    forms: Mapping[str, Form], names: Iterable[str], base: str, rows: Sequence[tuple[Rows, Nets]]
) -> list[dict[str, object]]:
    """What some forms gain over another one, a line a form and column."""
    return [
        {"form": name, "column": column, "Δρ": value, "low": low, "high": high}
        for name in names
        for column, (value, low, high) in differences(forms[name], forms[base], rows).items()
    ]


def report(
    forms: Mapping[str, Form],
    tune: Sequence[tuple[Rows, Nets]],
    tuned: Sequence[Mapping[str, object]],
    rest: Sequence[tuple[Rows, Nets]],
) -> str:
    found = {str(line["ln Σ of"]): line for line in table(forms, rest)}
    order = [found[str(line["ln Σ of"])] for line in tuned]
    changes = change_lines(forms, CHOSEN, BASELINE, rest)
    counts = [{"rows": r.benchmark, "networks": str(len(r.topologies))} for r, _ in (*tune, *rest)]
    stamp = ", ".join(f"{k} {v}" for k, v in versions().items())
    return "\n".join(
        [
            "# Forms of the score that were tried",
            "",
            f"{datetime.date.today()}; {stamp}; `python examples/score_search.py --topologies FOLDER --final FILE`.",
            "",
            f"All {len(forms)} forms, none left out, best on the tuning rows first. `{BASELINE}` is sed/1.",
            "Spearman's ρ; f = (C_in/g)·n_eff; mean: each benchmark once. s, b: what survives from the input to the",
            "operator and from there to the output when each operator passes a share q on; e at the output; w: the",
            "operator's share of the output's variance. 'Times Σ' adds the logarithm of a second sum.",
            "Calculi of Γ other than the definition's are described in `examples/score_fields.py`.",
            "",
            "Chosen on the tuning rows, before the other rows were read for that form. The second round came after the",
            "other rows had been seen for the first, which is why its forms keep A·C_out, the number of output units:",
            "",
            *(f"- {round_}: `{name}`" for name, round_ in CHOSEN.items()),
            "",
            markdown(counts),
            "",
            "## The chosen forms against sed/1 on the rows not tuned on",
            "",
            f"95 % intervals of {RESAMPLES} paired resamples of the networks.",
            "",
            markdown(changes),
            "",
            "## What sed/1 leaves unexplained",
            "",
            "Spearman's partial correlation of a property with accuracy, the score being equal. Short paths: what",
            "reaches the output when each operator passes 95 % on. Read of 2026-11-25: in the cell spaces, networks",
            "of equal score are better with more effective taps an operator and with short paths; published models",
            "are better with fewer taps (pointwise and grouped operators, attention), more depth and fewer positions.",
            "One sum with one exponent each cannot follow both. Suppression has one sign almost everywhere, and as",
            "a factor it still loses on the rows tuned on.",
            "",
            markdown(residual_lines((*tune, *rest))),
            "",
            "## Rows tuned on",
            "",
            markdown(tuned),
            "",
            "## Rows not tuned on, in the same order",
            "",
            markdown(order),
            "",
        ]
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
