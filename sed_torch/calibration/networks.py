"""What a calibration is made from: candidates with their features, and the accuracies of those that were trained."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import DataError, InputError
from sed_torch.evidence.accuracies import Accuracies
from sed_torch.evidence.reading import read_table
from sed_torch.ranking import Ranking
from sed_torch.scoring import DEFAULT_DEFINITION
from sed_torch.scoring.features import FEATURES, scores_and_features, unpack_features
from sed_torch.scoring.result import Score
from sed_torch.scoring.wiring import BUCKETS
from sed_torch.spaces import ALIASES, SPACES, Space, get_space
from sed_torch.training import Counterparts, is_runs_file, read_runs

__all__ = [
    "Candidates",
    "Measured",
    "candidates_in",
    "candidates_of",
    "measured_in",
    "measured_of",
    "numbers_of",
]

Array = NDArray[np.float64]

POOL = 400
"""Architectures of a space that are looked at beside the trained ones, so that scales are the space's own."""

_NAMES = ("model", "name", "arch", "network", "architecture")
_NOTHING = (math.nan,) * (len(FEATURES) + BUCKETS)
_VALUES = ("top1", "acc@1", "test_accuracy", "accuracy", "acc", "val_accuracy")


@dataclass(frozen=True)
class Candidates:
    """Networks with a score and features, trained or not.

    Attributes:
        names: one a network.
        sed: scores, shape (n,).
        features: as :func:`~sed_torch.scoring.features.feature_matrix` gives them; rows of versions before 0.4 lack
            the wiring, which is NaN then.
        definition: form of the score.
        families: of each, or None.
    """

    names: tuple[str, ...]
    sed: Array
    features: Array
    definition: str
    families: tuple[Hashable, ...] | None = None

    def known(self) -> NDArray[np.bool_]:
        """Which of them have a finite score and features."""
        features = self.features[:, : len(FEATURES)]
        return np.asarray(np.isfinite(self.sed) & np.isfinite(features).all(axis=1))


@dataclass(frozen=True)
class Measured:
    """Accuracies by name.

    Attributes:
        values: mean over seeds of the last epoch.
        noise: variance of a single measurement, from networks with several seeds; None where there are none.
        seeds: how many measurements each mean is of.
        source: where they come from.
    """

    values: Mapping[str, float]
    noise: float | None
    seeds: Mapping[str, int]
    source: str


def candidates_of(models: Any, archs: Iterable[str] = ()) -> Candidates:
    """Candidates from a ranking, scores, or a search space.

    Args:
        models: a :class:`~sed_torch.ranking.Ranking`; scores, in a sequence or by name; or a space or its name.
        archs: of a space: the trained ones, to which a random sample of the others is added.

    Raises:
        InputError: something else, or rows without features.
        SpaceError: an architecture is not of the space.
    """
    if isinstance(models, Candidates):
        return models
    if isinstance(models, str) and models in (*SPACES, *ALIASES):
        models = get_space(models)
    if isinstance(models, Space):
        return _of_space(models, list(archs))
    if isinstance(models, Mapping):
        rows = [(str(n), s) for n, s in models.items()]
    elif isinstance(models, (Ranking, Sequence)) and not isinstance(models, str):
        rows = [(getattr(r, "name", ""), r) for r in models]
    else:
        rows = []
    if not rows or not all(isinstance(r, Score) or hasattr(r, "family") for _, r in rows):
        raise InputError(
            f"cannot calibrate a {type(models).__name__}: expected a ranking, scores, a search space or its name, or "
            "the file of a ranking or of trained counterparts"
        )
    return _of_rows(rows)


def _of_rows(rows: Sequence[tuple[str, Any]]) -> Candidates:
    names, sed, features, definitions, families = [], [], [], set(), []
    for name, row in rows:
        is_score = isinstance(row, Score)
        value = row.total if is_score else row.sed
        numbers = numbers_of(row)
        if value is not None and numbers is None:
            raise InputError(
                f"{name}: its row has no features; it was made by an earlier version, rank it anew"
            )
        if value is not None:
            definitions.add(row.definition)
        names.append(name)
        sed.append(math.nan if value is None else value)
        features.append(numbers if numbers is not None else _NOTHING)
        families.append(None if is_score else row.family)
    if len(definitions) > 1:
        raise InputError(
            f"the scores are of several definitions ({', '.join(sorted(definitions))}): score all by one"
        )
    return Candidates(
        tuple(names),
        np.array(sed, dtype=np.float64),
        np.array(features, dtype=np.float64).reshape(len(names), len(_NOTHING)),
        definitions.pop() if definitions else DEFAULT_DEFINITION,
        tuple(families) if any(f is not None for f in families) else None,
    )


def candidates_in(runs: Counterparts) -> Candidates:
    """The networks of :func:`sed_torch.counterparts`.

    Raises:
        DataError: the file was made by version 0.1, which kept no features.
    """
    rows = {r.network: r for r in runs.rows}
    if not any(r.features for r in rows.values()):
        raise DataError(
            f"{runs.path or 'these runs'}: no features of the networks; files of sed_torch 0.1 have none. Rank the "
            "networks, and give the runs as accuracies: calibrate(ranking, runs)"
        )
    definitions = runs.definitions
    if len(definitions) > 1:
        raise DataError(
            f"{runs.path or 'these runs'}: scores of several definitions: {', '.join(definitions)}"
        )
    return Candidates(
        tuple(rows),
        np.array([math.nan if r.sed is None else r.sed for r in rows.values()], dtype=np.float64),
        np.array(
            [unpack_features(r.features) if r.features else _NOTHING for r in rows.values()], dtype=np.float64
        ),
        definitions[0] if definitions else DEFAULT_DEFINITION,
    )


def measured_in(runs: Counterparts) -> Measured:
    """Their accuracies after the last epoch, one a seed.

    Raises:
        DataError: no run was finished.
    """
    found: dict[str, list[float]] = {}
    for row in runs.finals:
        if row.trained and row.test_accuracy is not None:
            found.setdefault(row.network, []).append(row.test_accuracy)
    if not found:
        raise DataError(f"{runs.path or 'these runs'}: no run was finished, there is nothing to learn from")
    return _of_lists(found, f"training under {runs.rows[0].recipe}")


def numbers_of(row: Any) -> tuple[float, ...] | None:
    """The features of a score or a row; None where a row of an earlier version has none."""
    if isinstance(row, Score):
        return (*row.features.values(), *map(math.log1p, row.wiring))
    return None if row.features is None else unpack_features(row.features)


def _of_space(space: Space[Any], archs: list[str]) -> Candidates:
    rng = np.random.default_rng(0)
    drawn = [space.format(space.sample(rng)) for _ in range(min(POOL, space.size))]
    names = list(dict.fromkeys([*archs, *drawn]))
    return Candidates(
        tuple(names), *scores_and_features(space.topology(a) for a in names), DEFAULT_DEFINITION
    )


def measured_of(accuracies: Any, names: Sequence[str] = ()) -> Measured:
    """Accuracies from a mapping, a sequence beside the candidates, :class:`Accuracies`, or a CSV file.

    Args:
        accuracies: name → accuracy, or → several, one a seed; or a sequence as long as ``names``, with None or NaN
            for what was not trained; or a CSV with a column of names and one of accuracies, and where there are
            several rows a network, ``seed`` and ``epoch`` (the last epoch counts).
        names: of the candidates, for a sequence.

    Raises:
        InputError: something else, or of another length.
        DataError: the file is not what it should be.
    """
    if isinstance(accuracies, Measured):
        return accuracies
    if isinstance(accuracies, Accuracies):
        return _of_lists({r.name: [r.accuracy] for r in accuracies.rows}, accuracies.source)
    if isinstance(accuracies, Counterparts):
        return measured_in(accuracies)
    if isinstance(accuracies, (str, os.PathLike)) and is_runs_file(accuracies):
        return measured_in(read_runs(accuracies))
    if isinstance(accuracies, (str, os.PathLike)):
        return _of_lists(_of_file(os.fspath(accuracies)), os.path.basename(os.fspath(accuracies)))
    if isinstance(accuracies, Mapping):
        lists = {str(n): _list(v, str(n)) for n, v in accuracies.items()}
        return _of_lists(lists, "given by hand")
    try:
        values = [math.nan if v is None else float(v) for v in accuracies]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"accuracies: expected numbers, a mapping from names, or a CSV file, found {type(accuracies).__name__}"
        ) from error
    if len(values) != len(names):
        raise InputError(f"accuracies: expected one a candidate ({len(names)}), found {len(values)}")
    return _of_lists(
        {n: [v] for n, v in zip(names, values, strict=True) if not math.isnan(v)}, "given by hand"
    )


def _list(value: Any, name: str) -> list[float]:
    try:
        values = [float(v) for v in value] if isinstance(value, (Sequence, np.ndarray)) else [float(value)]
    except (TypeError, ValueError) as error:
        raise InputError(f"accuracy of {name}: expected a number or several, found {value!r:.60}") from error
    if not values or not all(map(math.isfinite, values)):
        raise InputError(f"accuracy of {name}: expected finite numbers, found {value!r:.60}")
    return values


def _of_lists(lists: Mapping[str, Sequence[float]], source: str) -> Measured:
    several = [v for v in lists.values() if len(v) > 1]
    noise = None
    if several:
        degrees = sum(len(v) - 1 for v in several)
        noise = sum(statistics.variance(v) * (len(v) - 1) for v in several) / degrees
    return Measured(
        {n: statistics.fmean(v) for n, v in lists.items()},
        noise,
        {n: len(v) for n, v in lists.items()},
        source,
    )


def _of_file(path: str) -> dict[str, list[float]]:
    table = read_table(path)
    name = next((c for c in _NAMES if c in table.columns), None)
    value = next((c for c in _VALUES if c in table.columns), None)
    if name is None or value is None:
        raise DataError(
            f"{path}: expected a column of names ({', '.join(_NAMES)}) and one of accuracies ({', '.join(_VALUES)})"
        )
    values = table.numbers(value)
    seeds = table.text("seed") if "seed" in table.columns else ("",) * len(values)
    epochs = table.numbers("epoch") if "epoch" in table.columns else np.zeros(len(values))
    last: dict[tuple[str, str], tuple[float, float]] = {}
    for n, seed, epoch, number in zip(table.text(name), seeds, epochs.tolist(), values.tolist(), strict=True):
        if math.isnan(number):
            continue
        if "seed" not in table.columns and "epoch" not in table.columns and (n, seed) in last:
            raise DataError(f"{path}: {n!r} stands there twice, with no column 'seed' or 'epoch' to tell why")
        if (n, seed) not in last or epoch >= last[n, seed][0]:
            last[n, seed] = (epoch, number)
    found: dict[str, list[float]] = {}
    for (n, _), (_, number) in last.items():
        found.setdefault(n, []).append(number)
    return found
