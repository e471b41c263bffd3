"""The page on public code: how a network is got at, how a finding is verified, and what the page says of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sed_torch.diagnostics import Finding

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

TRAINING_SCRIPT = """
import a_logger_that_is_not_installed as logger
import torch
from torch import nn
from helpers import width

log = logger.Writer("runs").open(1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(width, 3)
        self.idle = nn.Linear(width, 3)

    def forward(self, x):
        return torch.softmax(self.used(x.cuda()), 1)

open("trained", "w").close()
"""


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> Any:
    before = list(sys.path)
    yield loaded("public_code")
    sys.path[:] = before


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "clones" / "somebody" / "nets"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(TRAINING_SCRIPT)
    (folder / "helpers.py").write_text("width = 4\n")
    (tmp_path / "public_code.csv").write_text(
        "repository,commit,file,build,input,loss\n"
        f'somebody/nets,{"0" * 40},train.py,Net(),"torch.randn(2, 4)",nn.CrossEntropyLoss()\n'
        f'somebody/nets,{"0" * 40},train.py,Absent(),"torch.randn(2, 4)",\n'
    )
    (tmp_path / "public_code_verdicts.csv").write_text("repository,build,code,path,verdict,verify,why\n")
    return tmp_path


def test_a_training_script_is_checked_and_not_run(script: Any, repository: Path) -> None:
    networks = script.read_rows(repository / "public_code.csv", script.Network)
    results = list(script.in_a_child("somebody/nets", repository / "clones", repository, networks, 120.0))
    assert [r.reason[:20] for r in results] == ["", "could not be built: "]
    assert "Absent" in results[1].reason
    found = {f.code: f for f in results[0].grave}
    assert set(found) == {"SED001", "SED303"}
    assert found["SED001"].measured.startswith("2 of the 2 parameter tensors meant have no gradient")
    assert "cannot get below 0.55" in found["SED303"].measured  # ln(1 + 2/e)
    assert found["SED001"].source == "train.py:13"
    assert not list(repository.rglob("trained"))
    page = script.to_markdown(results, [], "a test")
    assert "2 networks of public repositories were tried; 1 could not be built" in page
    assert "1 networks in 1 repositories were checked" in page
    assert "2 are true, 0 arguable and 0 false" in page
    by_hand = script.Verdict("somebody/*", "Net()", "SED001", "idle", "false", "", "made up")
    assert "1 are true, 0 arguable and 1 false" in script.to_markdown(results, [by_hand], "a test")


def test_the_commands_name_each_repository_once(script: Any, repository: Path) -> None:
    (line,) = script.commands(script.read_rows(repository / "public_code.csv", script.Network))
    assert line.startswith("git clone https://github.com/somebody/nets FOLDER/somebody/nets && ")
    assert line.endswith("0" * 40)


def test_rows_and_verdicts_are_well_formed(script: Any) -> None:
    networks = script.read_rows(EXAMPLES / "public_code.csv", script.Network)
    assert len({(n.repository, n.file, n.build) for n in networks}) == len(networks)
    for network in networks:
        assert len(network.commit) == 40
        for expression in (network.build, network.input, network.loss or "None"):
            compile(expression, "a row", "eval")
    for verdict in script.read_rows(EXAMPLES / "public_code_verdicts.csv", script.Verdict):
        assert verdict.verdict in ("true", "arguable", "false"), verdict
        assert verdict.verify in ("", *script.PASSES), verdict
        assert verdict.why, verdict
    assert set(script.USUAL.values()) <= {"", *script.PASSES}


class Twice(nn.Module):
    """Calls one layer twice: on its input both times, or on what it returned."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty, self.layer = faulty, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return self.layer(x if self.faulty else y) + y


class Heads(nn.Module):
    """Splits into two heads; does nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 3, 2, 2).transpose(1, 2)


class Attention(nn.Module):
    """Joins the heads again: by their axes, or by a view that mixes heads and positions."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty, self.heads, self.out = faulty, Heads(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.heads(x[:, None].expand(-1, 3, -1))
        return self.out((y if self.faulty else y.transpose(1, 2)).reshape(-1, 3, 4))


class Cases(nn.Module):
    """A network that has the fault that a pass looks for, or has it not."""

    def __init__(self, fault: str, faulty: bool) -> None:
        super().__init__()
        self.fault, self.faulty = fault, faulty
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4, eps=0.8 if faulty else 1e-5)
        self.conv = nn.Conv1d(1, 1, 3, padding=1)
        self.lstm = nn.LSTM(1, 3, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.5 if faulty else 0.0)
        self.attention = Attention(faulty)
        self.block, self.act, self.gate = Twice(faulty), nn.ReLU(inplace=True), nn.Sigmoid()
        self.up = nn.ConvTranspose1d(1, 1, 3 if faulty else 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.fault)(x)

    def no_gradient(self, x: Tensor) -> Tensor:
        return self.a(x) + (self.b(x).detach() if self.faulty else self.b(x))

    def backward_raises(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(self.a(x))
        return y.mul_(2) if self.faulty else y * 2

    def batch_size(self, x: Tensor) -> Tensor:
        return self.a(x).view(8 if self.faulty else -1, 4)

    def batch_leak(self, x: Tensor) -> Tensor:
        return self.a(x).softmax(0 if self.faulty else 1)

    def constant_output(self, x: Tensor) -> Tensor:
        return self.a(x * 0 if self.faulty else x)

    def constant_layer(self, x: Tensor) -> Tensor:
        return self.b(x * 0 if self.faulty else x)

    def always_random(self, x: Tensor) -> Tensor:
        return functional.dropout(self.a(x), training=self.training or self.faulty)

    def affine(self, x: Tensor) -> Tensor:
        return self.b(self.a(x) if self.faulty else torch.relu(self.a(x)))

    def bounded_output(self, x: Tensor) -> Tensor:
        return self.a(x).softmax(1) if self.faulty else self.a(x)

    def padding_taps(self, x: Tensor) -> Tensor:
        return self.conv(x[:, None, :1] if self.faulty else x[:, None])

    def uneven(self, x: Tensor) -> Tensor:
        return self.up(x[:, None])

    def second_moment(self, x: Tensor) -> Tensor:
        return self.b(x * 1e-3 if self.faulty else x)

    def eps_share(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def calls_differ(self, x: Tensor) -> Tensor:
        return self.b(self.b(x)) if self.faulty else self.b(x)

    def unread_positions(self, x: Tensor) -> Tensor:
        return self.conv(x[..., :: 2 if self.faulty else 1])

    def same_result(self, x: Tensor) -> Tensor:
        return self.block(x)

    def half_read(self, x: Tensor) -> Tensor:
        return self.lstm(x[:, :, None])[0][:, -1]

    def variance_shift(self, x: Tensor) -> Tensor:
        return self.norm(self.drop(self.a(x) + 1))

    def overwritten(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.act(y) + (y if self.faulty else 0)

    def mixed_positions(self, x: Tensor) -> Tensor:
        return self.attention(x)

    def at_least_half(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.gate(torch.relu(y) if self.faulty else y)

    def alike_neighbours(self, x: Tensor) -> Tensor:
        return self.b(torch.full_like(x, 1.0) * x.mean(1, keepdim=True) if self.faulty else x)

    def dead_bias(self, x: Tensor) -> Tensor:
        return functional.batch_norm(self.b(x), None, None, training=True) if self.faulty else self.b(x).exp()


PATHS = {
    "mixed_positions": "attention",
    "overwritten": "act",
    "at_least_half": "gate",
    "same_result": "block",
    "half_read": "lstm",
    "padding_taps": "conv",
    "uneven": "up",
    "eps_share": "norm",
    "unread_positions": "",
}
EVIDENCE: dict[str, dict[str, Any]] = {
    "second_moment": {"second_moment": 0.1, "between_inputs": 4e-7},
    "variance_shift": {"norm_path": "norm"},
    "eps_share": {"layers": ["norm"]},
}


@pytest.mark.parametrize("faulty", [True, False])
@pytest.mark.parametrize("name", [n for n in vars(Cases) if not n.startswith("_") and n != "forward"])
def test_a_pass_holds_with_the_fault_and_not_without(script: Any, name: str, faulty: bool) -> None:
    message = "no nonlinearity between a and this layer"
    finding = Finding("SED000", "error", PATHS.get(name, "b"), message, "", EVIDENCE.get(name, {}))
    if name == "half_read" and not faulty:
        pytest.skip("it measures the layer, which is the same where the other end is read as well")
    torch.manual_seed(0)
    size = (8, 1, 4) if name == "unread_positions" else (8, 4)
    trial = script.Trial(Cases(name, faulty), (torch.randn(size),), nn.CrossEntropyLoss(), finding)
    if name in ("padding_taps", "uneven", "unread_positions", "eps_share"):
        trial = script.Trial(trial.model, trial.inputs, None, finding)
    outcome = script.PASSES[name.replace("_", "-")](trial)
    assert outcome.holds is faulty, outcome.measured


def test_every_pass_has_a_case(script: Any) -> None:
    assert {n.replace("_", "-") for n in vars(Cases)} >= set(script.PASSES)
