"""Optuna as a sampler: a space's architecture from a trial, and a study as a strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sed_torch.errors import MissingDependencyError, SearchError, SpaceError
from sed_torch.searching.limits import OBJECTIVES, check_objectives, limits_of, violation
from sed_torch.searching.sources import Source, source_of

__all__ = ["StudyStrategy", "is_study", "optuna_objective"]

Suggest = Callable[[Any], Any]
"""An Optuna trial → an architecture; a SpaceError says that the trial's choices make none."""


def optuna_objective(
    space: Any,
    *,
    objectives: Sequence[str] = ("sed", "params"),
    constraints: Mapping[str, float | str] | None = None,
    suggest: Suggest | None = None,
) -> Callable[[Any], float | tuple[float, ...]]:
    """An objective for ``study.optimize``.

    The study's directions are "maximize" for ``"sed"`` and "minimize" for counts. A trial keeps its architecture
    as user attribute ``"arch"``, and how far it is above the limits (0 within) as ``"violation"``, for a sampler's
    ``constraints_func=lambda trial: (trial.user_attrs["violation"],)``. Choices that make no architecture, and
    networks without a live path, are pruned.

    Args:
        space: as for :func:`sed_torch.search`.
        objectives: as for :func:`sed_torch.search`.
        constraints: maxima by name.
        suggest: a trial → an architecture, for a space that is not of this package.

    Raises:
        MissingDependencyError: Optuna is not installed.
        SearchError: unknown names, or a space of yours without ``suggest``.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("optuna", "search", "optuna_objective") from error
    source, names, limits = source_of(space), check_objectives(objectives), limits_of(constraints)
    chosen = suggest or _suggestion(source)
    needed = ("sed", *sorted({*names, *limits} - {"sed"}))

    def objective(trial: Any) -> float | tuple[float, ...]:
        try:
            arch = chosen(trial)
        except SpaceError as error:
            raise optuna.TrialPruned(str(error)) from error
        columns = source.measure([arch], needed)
        trial.set_user_attr("arch", source.format(arch))
        trial.set_user_attr("violation", float(violation(columns, limits)[0]))
        if not np.isfinite(columns["sed"][0]):
            raise optuna.TrialPruned("no live path from input to output")
        values = tuple(float(columns[n][0]) for n in names)
        return values if len(values) > 1 else values[0]

    return objective


def is_study(value: Any) -> bool:
    """Whether it is an Optuna study; imports nothing."""
    return not isinstance(value, str) and all(hasattr(value, a) for a in ("ask", "tell", "directions"))


class StudyStrategy:
    """Proposes what a study asks for, one architecture at a time, each once.

    Raises:
        SearchError: the study's directions are not those of the objectives, or the space gives no suggestions.
    """

    name = "optuna"

    def __init__(self, study: Any, source: Source, objectives: tuple[str, ...]) -> None:
        wanted = tuple({"max": "MAXIMIZE", "min": "MINIMIZE"}[OBJECTIVES[o]] for o in objectives)
        found = tuple(d.name for d in study.directions)
        if found != wanted:
            raise SearchError(
                f"the study's directions are {', '.join(found)}, those of {', '.join(objectives)} are "
                f"{', '.join(wanted)}"
            )
        self._study, self._source, self._objectives = study, source, objectives
        self._suggest = _suggestion(source)
        self._counts = tuple(o for o in objectives if o != "sed")
        self._trial: Any = None
        self._seen: dict[Any, tuple[float, ...]] = {}

    def ask(self, n: int) -> list[Any]:
        for _ in range(_TRIES):
            self._trial = self._study.ask()
            try:
                arch = self._suggest(self._trial)
            except SpaceError:
                self._prune()
                continue
            known = self._seen.get(self._source.key(arch))
            if known is None:
                return [arch]
            self._study.tell(self._trial, known)
        return []

    def tell(self, archs: Sequence[Any], sed: Sequence[float], violation: Sequence[float]) -> None:
        columns = self._source.measure(archs, self._counts) | {"sed": np.asarray(sed, dtype=np.float64)}
        self._trial.set_user_attr("arch", self._source.format(archs[0]))
        self._trial.set_user_attr("violation", float(violation[0]))
        if not np.isfinite(sed[0]):
            self._prune()
            return
        values = tuple(float(columns[o][0]) for o in self._objectives)
        self._seen[self._source.key(archs[0])] = values
        self._study.tell(self._trial, values)

    def _prune(self) -> None:
        from optuna.trial import TrialState

        self._study.tell(self._trial, state=TrialState.PRUNED)


_TRIES = 200
"""Trials in a row that make no new architecture, after which a study has no more to propose."""


def _suggestion(source: Source) -> Suggest:
    suggest = getattr(source.space, "suggest", None)
    if not callable(suggest):
        raise SearchError(
            f"{source.name} does not say how an Optuna trial makes an architecture: pass suggest=, or give the "
            "space a method suggest(trial)"
        )
    return suggest  # type: ignore[no-any-return]
