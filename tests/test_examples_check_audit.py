"""The audit of the check: its second opinion, its verdicts, and what it found last."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from sed_torch.diagnostics import check

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_audit", EXAMPLES / "check_audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_audit"] = module
    spec.loader.exec_module(module)
    return module


class Net(nn.Module):
    """One parameter that is not read, one whose gradient is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x).detach()


def test_a_backward_pass_names_what_got_no_gradient(script: ModuleType) -> None:
    idle = script.without_gradient(Net(), (torch.zeros(2, 4),))
    assert idle == ("b.weight", "c.weight")
    report = check(Net(), input_size=(1, 4))
    agreed = script.Row("net", report.findings, idle={"training": idle})
    assert script.disagreements([agreed]) == []
    (missed,) = script.disagreements([script.Row("net", (), idle={"training": idle})])
    assert missed["what"] == "no gradient, not found"
    (wrong,) = script.disagreements([script.Row("net", report.findings, idle={"training": ("b.weight",)})])
    assert (wrong["what"], wrong["parameters"]) == ("found, has a gradient", "c.weight")


def test_a_grave_finding_needs_a_verdict(script: ModuleType) -> None:
    rows = [script.Row("timm:net", check(Net(), input_size=(1, 4)).findings, idle={"training": ()})]
    verdict = script.Verdict("timm:*", "SED001", "c", "true", "it is never called")
    text = script.to_markdown(script.Audit(rows, [verdict], "a test"))
    lines = [line for line in text.splitlines() if line.startswith("| timm:net | SED00")]
    assert ["| true |" in line for line in lines] == [True, False]
    assert "| MISSING |" in lines[1]


def test_the_last_audit_found_nothing_false() -> None:
    text = (EXAMPLES / "results" / "check-audit.md").read_text(encoding="utf-8")
    (head,) = [line for line in text.splitlines() if " models: " in line and "were checked" in line]
    assert int(head.split(" models: ")[0]) >= MODELS
    assert "| MISSING |" not in text
    assert "| false |" not in text
    (means,) = [line for line in text.splitlines() if line.startswith("A model on average")]
    assert float(means.split(" warnings a model")[0].rpartition(" ")[2]) <= WARNINGS


MODELS, WARNINGS = 400, 0.1
