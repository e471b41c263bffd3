"""SED322 and SED323: whether a training step fits, against ``cost`` and by hand."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import sed_torch
from sed_torch import Finding
from sed_torch.costing import dropping, kept_for_backward
from sed_torch.diagnostics import check
from sed_torch.errors import InputError
from sed_torch.tables import bytes_of
from sed_torch.tracing import trace

SIZE = (16, 3, 64, 64)


def net() -> nn.Module:
    """Blocks in a list, with dropout: what training keeps is more than what evaluation shows."""
    blocks = [nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Dropout(0.5)) for _ in range(3)]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Sequential(*blocks), nn.Flatten(), nn.LazyLinear(5)
    )


@pytest.fixture(scope="module")
def model() -> nn.Module:
    made = net()
    made(torch.zeros(1, *SIZE[1:]))
    return made


def of_memory(model: nn.Module, memory: str | float, **options: object) -> list[Finding]:
    report = check(model, select=["SED322"], memory=memory, **{"input_size": SIZE, **options})  # type: ignore[arg-type]
    return list(report.findings)


class TestStepExceedsMemory:
    def test_the_border_is_that_of_the_cost(self, model: nn.Module) -> None:
        cost = sed_torch.cost(model, input_size=SIZE)
        assert of_memory(model, cost.peak) == []
        (finding,) = of_memory(model, cost.peak - 1)
        assert (finding.severity, finding.evidence["bytes"]) == ("warning", cost.peak)
        assert finding.evidence["largest_batch"] == cost.largest_batch(cost.peak - 1) == 15
        assert "the largest batch that fits is 15" in finding.message

    def test_an_error_where_one_sample_does_not_fit(self, model: nn.Module) -> None:
        one = sed_torch.cost(model, input_size=SIZE, batch_size=1).peak
        assert [f.severity for f in of_memory(model, one)] == ["warning"]
        (finding,) = of_memory(model, one - 1)
        assert (finding.severity, finding.evidence["largest_batch"]) == ("error", 0)
        assert "not even one sample fits" in finding.message
        assert "with the batch of 16" in finding.message

    def test_it_says_what_would_help_and_by_how_much(self, model: nn.Module) -> None:
        cost = sed_torch.cost(model, input_size=SIZE)
        (finding,) = of_memory(model, cost.peak - 1)
        helps = finding.evidence["with"]
        blocks = sed_torch.cost(model, input_size=SIZE, checkpointing=["1.*"]).peak
        halves = sed_torch.cost(model, input_size=SIZE, amp="bf16").peak
        assert helps["with 1.* checkpointed"] == blocks < cost.peak
        assert helps["under autocast to bf16"] == halves < cost.peak
        assert "take a batch of 15" in finding.advice
        assert "under autocast to bf16 it takes" in finding.advice
        said = check(model, select=["SED322"], memory=cost.peak - 1, input_size=SIZE).to_text()
        assert f"with [under autocast to bf16: {halves}, with 1.* checkpointed: {blocks}" in said

    def test_the_optimizer_counts(self, model: nn.Module) -> None:
        peak = sed_torch.cost(model, input_size=SIZE, optimizer="sgd").peak
        assert of_memory(model, peak, optimizer="sgd") == []
        assert len(of_memory(model, peak, optimizer="adamw")) == 1

    def test_no_batch_is_blamed_that_nobody_gave(self) -> None:
        small = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        assert not [f for f in of_memory(small, "100GB", input_size=None) if f.code == "SED322"]
        inferred = of_memory(small, 1, input_size=None)
        assert [f.severity for f in inferred] == ["error"]

    def test_what_is_not_counted_is_said(self) -> None:
        lstm = nn.LSTM(8, 8)
        report = check(lstm, input_size=(5, 2, 8), memory="1GB")
        assert any(a.startswith("memory: what cuDNN keeps") for a in report.assumed)
        assert not any("memory" in a for a in check(lstm, input_size=(5, 2, 8)).assumed)

    def test_a_training_mode_that_cannot_be_followed(self) -> None:
        class Needy(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.drop = nn.Linear(64, 64), nn.Dropout(0.5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                if self.training:
                    raise RuntimeError("targets are needed in training")
                return self.drop(self.layer(x))

        cost = sed_torch.cost(Needy(), input_size=(4, 64))
        report = check(Needy(), input_size=(4, 64), memory=cost.peak)
        assert "SED322" not in report.codes()
        assert any("training mode could not be followed" in a for a in report.assumed)
        assert "SED322" in check(Needy(), input_size=(4, 64), memory=cost.peak - 1).codes()


class TestOneMapTakesMost:
    def test_attention_weights_that_are_asked_for(self) -> None:
        with torch.device("meta"):
            asked = nn.MultiheadAttention(64, 8, batch_first=True)
        for positions, codes in ((2048, ("SED323",)), (256, ())):
            x = torch.empty(2, positions, 64, device="meta")
            report = check(asked, input_data=(x, x, x), select=["SED323"])
            assert report.codes() == codes

    def test_the_figures(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        (finding,) = check(model, input_size=(2, 3, 512, 512), select=["SED323"]).findings
        sample, total = 4 * 128 * 512**2, 4 * (128 + 3) * 512**2  # the result of ReLU; and the input
        assert finding.severity == "info"
        assert finding.evidence["bytes_a_sample"] == sample
        assert finding.evidence["share"] == pytest.approx(sample / total)

    @pytest.mark.parametrize("size", [(1, 3, 64, 64), (4, 3, 256, 256)])
    def test_a_small_model_is_not_accused_at_any_batch(self, size: tuple[int, ...]) -> None:
        model = nn.Sequential(nn.Conv2d(3, 128, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        assert check(model, input_size=size, select=["SED323"]).findings == ()

    def test_two_maps_of_one_size_share_the_blame(self) -> None:
        layers = [nn.Conv2d(3, 128, 3), nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        assert check(nn.Sequential(*layers), input_size=(1, 3, 512, 512), select=["SED323"]).findings == ()

    def test_the_input_is_no_map_of_the_model(self) -> None:
        model = nn.Conv2d(64, 8, 3, stride=2)
        assert check(model, input_size=(1, 64, 1024, 1024), select=["SED323"]).findings == ()


def test_what_is_kept_of_a_graph_in_evaluation_is_that_of_training(model: nn.Module) -> None:
    graph = trace(model, input_size=SIZE)
    kept = kept_for_backward(graph)
    assert sum(s.bytes for s in kept) == sed_torch.cost(model, input_size=SIZE).activations
    assert dropping(dropping(graph)) == dropping(graph)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GB", 24 * 2**30),
        ("1.5 GiB", 3 * 2**29),
        ("800m", 800 * 2**20),
        ("1k", 1024),
        (5, 5),
        (2.5e9, 2500000000),
    ],
)
def test_amounts_of_memory(text: str | float, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "wrong", ["24 gigs", "", "GB", "-1GB", "0", 0, -5, True, float("nan"), float("inf"), [1]]
)
def test_what_is_no_amount_of_memory(wrong: object) -> None:
    with pytest.raises(
        InputError, match=f"^{re.escape(repr(wrong))} is no amount of memory; expected bytes, or"
    ):
        check(nn.Linear(2, 2), input_size=(1, 2), memory=wrong)  # type: ignore[arg-type]


def test_an_optimizer_that_is_not_known() -> None:
    with pytest.raises(InputError, match="unknown optimizer 'adamv': expected one of"):
        check(nn.Linear(2, 2), input_size=(1, 2), memory="1GB", optimizer="adamv")
