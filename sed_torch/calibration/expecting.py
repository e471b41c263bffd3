"""A ranking with the accuracies that a calibration foretells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sed_torch.calibration.result import LEVEL, Calibration
from sed_torch.calibration.shipped import calibrations, foretell
from sed_torch.ranking import Ranking, RankRow

__all__ = ["expect"]


def expect(
    ranking: Ranking,
    calibration: Calibration | Sequence[Calibration] | None = None,
    *,
    sort: str | None = None,
) -> Ranking:
    """The ranking with the expected accuracy of each model, and the interval, where the calibration knows such models.

    Args:
        ranking: with features, as :func:`sed_torch.rank` makes it.
        calibration: one, or several of which each model takes the one that knows it best; the shipped one, or those
            of ``SED_TORCH_CALIBRATIONS``, when None.
        sort: sort anew, such as by ``"expected"``; models that are not known come last.

    Raises:
        InputError: ``sort`` is no column.
    """
    if calibration is None:
        among: tuple[Calibration, ...] = calibrations()
    else:
        among = (calibration,) if isinstance(calibration, Calibration) else tuple(calibration)
    found = replace(ranking, rows=tuple(_expected(r, among) for r in ranking.rows), expects=_sentence(among))
    return found if sort is None else found.in_order(sort)


def _expected(row: RankRow, among: Sequence[Calibration]) -> RankRow:
    if row.sed is None:
        return row
    _, e = foretell(row, among)
    return replace(row, expected=e.accuracy, expected_low=e.low, expected_high=e.high, unexpected=e.reason)


def _sentence(among: Sequence[Calibration]) -> str:
    def one(c: Calibration) -> str:
        return f"{c.title}{f', {c.unit}' if c.unit else ''}{f', {c.note}' if c.note else ''}"

    what = "; or ".join(dict.fromkeys(map(one, among)))
    return f"{what}; with the {LEVEL:.0%} interval"
