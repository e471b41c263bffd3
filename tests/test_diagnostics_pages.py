"""Every code has a page; the page's trigger triggers it at the stated path, and its near miss does not."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
import torch
from torch import nn

from sed_torch.diagnostics import RULES, check, explain
from sed_torch.diagnostics.registry import rule, selected
from sed_torch.errors import InputError, RuleError

_BLOCK = re.compile(r"^(Triggers|Near miss)[^\n]*::\n\n((?:    .*\n|\n)+)", re.MULTILINE)
CODES = sorted(RULES)


def example(code: str, which: str) -> dict[str, Any]:
    """Names that the code block of a page defines."""
    blocks = {m[1]: textwrap.dedent(m[2]) for m in _BLOCK.finditer(RULES[code].page + "\n")}
    names: dict[str, Any] = {"torch": torch, "nn": nn}
    torch.manual_seed(0)
    exec(blocks[which], names)
    return names


@pytest.mark.parametrize("code", CODES)
def test_the_trigger_triggers(code: str) -> None:
    names = example(code, "Triggers")
    report = check(names["model"], input_size=names["size"], **names.get("options", {}))
    found = [f for f in report.findings if f.code == code]
    assert found, report
    assert found[0].severity == RULES[code].severity
    assert found[0].path == names.get("path", found[0].path)
    assert found[0].message
    assert found[0].advice
    assert report.failed == (RULES[code].severity == "error" or bool(report.errors))


@pytest.mark.parametrize("code", CODES)
def test_the_near_miss_does_not(code: str) -> None:
    names = example(code, "Near miss")
    report = check(names["model"], input_size=names["size"], **names.get("options", {}))
    assert code not in report.codes(), report


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_what_why_and_what_to_do(code: str) -> None:
    page = explain(code)
    assert page.startswith(f"{code} {RULES[code].name} ({RULES[code].severity})")
    for heading in ("Why it matters:", "What to do:", "Reference:", "Triggers", "Near miss"):
        assert heading in page
    assert explain(RULES[code].name) == page


def test_codes_are_stable() -> None:
    """A code never changes its meaning; a new one is added here."""
    assert {code: r.name for code, r in sorted(RULES.items())} == {
        "SED001": "unused-parameters",
        "SED002": "dropped-result",
        "SED003": "multiplied-by-zero",
        "SED004": "no-path",
        "SED005": "no-gradient",
        "SED006": "layer-never-called",
        "SED007": "unregistered-weights",
        "SED008": "unused-buffers",
        "SED009": "mostly-unread",
        "SED101": "degraded-map",
        "SED102": "pool-covers-map",
        "SED103": "pool-after-pool",
        "SED104": "unread-positions",
        "SED105": "taps-on-padding",
        "SED106": "extent-exhausted",
        "SED107": "receptive-field-small",
        "SED108": "receptive-field-large",
        "SED109": "bottleneck",
        "SED201": "bias-before-norm",
        "SED202": "linear-after-linear",
        "SED203": "no-effect",
        "SED204": "groups-never-mixed",
        "SED205": "skip-of-nothing",
        "SED206": "shared-weights",
        "SED207": "reshape-that-permutes",
        "SED208": "half-read-direction",
        "SED209": "uneven-overlap",
        "SED301": "norm-over-one-value",
        "SED302": "dropout-before-batch-norm",
        "SED303": "activation-and-loss",
        "SED304": "overwritten-before-backward",
        "SED305": "overwritten-skip",
        "SED306": "frozen-in-the-middle",
        "SED307": "float16-parameters",
        "SED308": "uninitialised-lazy",
        "SED309": "signal-out-of-range",
        "SED310": "dropout-always-on",
        "SED311": "frozen-norm-updates",
        "SED312": "shared-batch-norm",
        "SED313": "norm-constants",
        "SED314": "log-of-softmax",
        "SED315": "rectified-before-sigmoid",
        "SED316": "batch-axis-mixed",
        "SED317": "batch-size-fixed",
        "SED318": "softmax-over-one",
        "SED319": "zero-times-zero",
        "SED320": "masked-row",
        "SED321": "root-at-zero",
        "SED322": "step-exceeds-memory",
        "SED323": "map-takes-most-memory",
        "SED401": "score-below-baseline",
    }


def test_all_codes_are_listed() -> None:
    lines = explain().splitlines()
    assert [line.split()[0] for line in lines] == CODES


def test_selection_by_code_beginning_and_name() -> None:
    assert [r.code for r in selected(["SED201", "skip-of-nothing"], [])] == ["SED201", "SED205"]
    assert {r.code[:4] for r in selected(["sed1"], [])} == {"SED1"}
    assert "SED108" not in {r.code for r in selected([], ["SED108"])}
    with pytest.raises(InputError, match="no check is called 'SED999'"):
        selected(["SED999"], [])
    with pytest.raises(InputError, match="did you mean unused-parameters"):
        explain("unused-parameter")


def test_a_code_is_given_once() -> None:
    with pytest.raises(RuleError, match=r"SED104 \(again\) is registered already"):
        rule("SED104", "again", "info")(lambda subject: [])
    with pytest.raises(RuleError, match="expected SED and three digits"):
        rule("X1", "odd", "info")(lambda subject: [])
