"""One HTML file of results: no network, no external script; everything a user named is text."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from sed_torch._files import write_text
from sed_torch.comparing import compare
from sed_torch.diagnostics import CheckReport
from sed_torch.errors import InputError, MissingDependencyError
from sed_torch.evidence import ValidationReport
from sed_torch.ranking import Ranking
from sed_torch.report.models import compared, scored
from sed_torch.report.parts import Section
from sed_torch.report.sections import about, section
from sed_torch.scoring import DEFAULT_DEFINITION
from sed_torch.scoring.model import versions as score_versions
from sed_torch.scoring.result import Score
from sed_torch.tables import Tabular

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Reportable", "save_html", "to_html"]

Reportable = CheckReport | ValidationReport | Tabular

_MOST = 200  # rows of a table that are shown until all are asked for; a browser takes long over thousands
_DRAWN = 6  # models of a comparison that get their own figures; more would make the file too large


def save_html(
    path: str | os.PathLike[str], *results: Reportable, title: str | None = None, depth: int | None = None
) -> None:
    """Write :func:`to_html` to a file, whole or not at all."""
    write_text(path, to_html(*results, title=title, depth=depth))


def to_html(*results: Reportable, title: str | None = None, depth: int | None = None) -> str:
    """One page of results, complete in itself.

    A :class:`~sed_torch.CheckReport` shows its score with its findings; several scores are compared.

    Args:
        results: scores, check reports, rankings, validations, searches, comparisons, sensitivities and whatever
            else has tables, in any mixture.
        title: of the page; made from the results when None.
        depth: names of the module path that make a block; each score's own when None.

    Raises:
        InputError: nothing to report on, or what is no result.
        MissingDependencyError: matplotlib or jinja2 is not installed.
    """
    if not results:
        raise InputError("nothing to report on: expected at least one result")
    models, others = _sorted_out(results)
    sections = [*_model_sections(models, depth), *(section(r, f"r{k}") for k, r in enumerate(others))]
    sections.append(about(*_provenance(results)))
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _template().render(
        title=title or _title(sections),
        sections=sections,
        style=_asset("report.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        version=score_versions()["sed_torch"],
        most=_MOST,
    )
    return page.strip() + "\n"


def _sorted_out(results: Iterable[Any]) -> tuple[list[tuple[Score, CheckReport | None]], list[Any]]:
    """Models, each with its check where there is one, and everything else."""
    models: list[tuple[Score, CheckReport | None]] = []
    others: list[Any] = []
    for result in results:
        if isinstance(result, CheckReport) and result.score is not None:
            models.append((result.score, result))
        elif isinstance(result, Score):
            models.append((result, None))
        else:
            others.append(result)
    return models, others


def _model_sections(models: list[tuple[Score, CheckReport | None]], depth: int | None) -> Iterable[Section]:
    if len(models) > 1:
        yield compared(models)
    scores = [score for score, _ in models]
    if len(scores) == 2 and len({(s.inputs, s.definition) for s in scores}) == 1:
        yield section(compare(*scores, depth=depth), "diff")  # what changed, block by block
    if len(models) <= _DRAWN:
        for k, (score, check) in enumerate(models):
            yield scored(score, check, f"m{k}", depth=depth, folded=len(models) > 1)


def _provenance(results: Iterable[Any]) -> tuple[set[str], dict[str, str]]:
    """Definitions of the scores, and versions of what computed them."""
    definitions: set[str] = set()
    versions: dict[str, str] = {}
    for result in results:
        score = result.score if isinstance(result, CheckReport) else result
        versions |= getattr(score, "versions", {})
        if isinstance(result, Ranking):
            definitions |= {r.definition for r in result if r.definition}
        else:
            definitions.add(getattr(score, "definition", DEFAULT_DEFINITION))
    return definitions, versions or score_versions()


def _title(sections: list[Section]) -> str:
    first = sections[0]
    return f"{first.title}: {first.subtitle}" if first.subtitle else first.title


@cache
def _asset(name: str) -> str:
    return (resources.files("sed_torch.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    try:
        import jinja2
    except ModuleNotFoundError:
        raise MissingDependencyError("jinja2", "plot", "an HTML report") from None
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
