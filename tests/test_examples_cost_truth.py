"""The comparison of cost with real steps: its road on a GPU, on a stand-in for one, and what its page says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sed_torch.costing import cost

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    for name in ("cost_models", "cost_truth"):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


class Gpu:
    """Memory that a step of so many samples fills, and too little for more than ``most`` of them."""

    def __init__(self, memory: int, most: int) -> None:
        self.memory, self.most = memory, most
        self.tried: list[int] = []

    def step(self, model: nn.Module, optimizer: Any, given: Any, device: str, amp: bool) -> None:
        assert device == "cuda"
        assert model.training
        assert all(p.grad is None for p in model.parameters())  # nothing is left of a step that was stopped
        self.tried.append(given[0][0].shape[0])
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        if self.tried[-1] > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        optimizer.zero_grad(set_to_none=True)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))


@pytest.fixture
def gpu(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found = Gpu(memory=400_000, most=0)
    monkeypatch.setattr(script, "one_step", found.step)
    monkeypatch.setattr(nn.Module, "to", lambda self, *args: self)
    monkeypatch.setattr(Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(script.gc, "collect", int)  # takes its time, and here there is nothing to free
    for name, result in {
        "mem_get_info": (300_000, 500_000), "memory_reserved": 100_000, "max_memory_allocated": 123_456,
        "empty_cache": None, "synchronize": None, "reset_peak_memory_stats": None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda result=result: result)
    return found


def rows_of(script: ModuleType, batch: int) -> dict[str, Any]:
    case = script.Case("torch:net", net, lambda model, n: ((torch.randn(n, 64),), {}))
    (row,) = script.rows_on_gpu(case, [(False, batch)])
    return dict(row)


@pytest.mark.parametrize("times", [0.4, 0.9, 1.0, 1.3, 3.7])
def test_the_largest_batch_on_a_gpu_is_found_wherever_it_is(
    script: ModuleType, gpu: Gpu, times: float
) -> None:
    """Also above twice the one foretold."""
    foretold = cost(net(), input_size=(8, 64)).largest_batch(
        gpu.memory
    )  # free, and held by torch's own cache
    gpu.most = round(times * foretold)
    row = rows_of(script, 8)
    assert row["largest"] == foretold > 100
    assert row["largest_true"] == pytest.approx(gpu.most, rel=0.02)
    assert row["largest_true"] <= gpu.most
    assert max(n for n in gpu.tried if n <= gpu.most) == row["largest_true"]


def test_the_peak_of_a_step_on_a_gpu_is_that_of_the_second(script: ModuleType, gpu: Gpu) -> None:
    gpu.most = 10
    row = rows_of(script, 1)
    assert gpu.tried == [1, 1]
    assert (row["step"], row["step_true"]) == (cost(net(), input_size=(1, 64)).peak, 123_456)
    assert "largest" not in row
    assert "reason" not in row
    gpu.most = 0
    assert rows_of(script, 1)["reason"].startswith("OutOfMemoryError")


def test_the_page_of_a_gpu_shows_the_largest_batches(
    script: ModuleType, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.most = 150
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    page = script.to_markdown([rows_of(script, 8)], "cuda", ["torch:net", "torch:other"])
    assert "largest batch foretold" in page
    assert "cuBLAS" in page
    assert "a card" in page
    assert "no GPU was at hand" not in page


def test_the_page_says_what_was_not_reached_and_why(script: ModuleType) -> None:
    def row(model: str, **more: Any) -> dict[str, Any]:
        return {"model": model, "amp": "False", "batch": "1", "reason": "", **more}

    sizes = dict.fromkeys(("saved", "saved_true", "inference", "inference_true", "step", "step_true"), "100")
    rows = [
        row("a", **sizes), row("a", **sizes, batch="8"), row("b", reason="left out: more than 12 GMACs a sample"),
        row("c", reason="ValueError: no"),
    ]  # fmt: skip
    page = script.to_markdown(rows, "cpu", ["a", "b", "c", "d", "e"])
    assert "Of 5 models listed, 1 were really run" in page
    assert "1 left out by rule" in page
    assert "1 that could not be built or run" in page
    assert "2 not reached: the time given to the run was over before their turn in the list (d, e)" in page
    assert "For float32 at batch 8 the time did not reach 2 of the 3 tried." in page
    assert page.index("not reached") < page.index("| setting |")
