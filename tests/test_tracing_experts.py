"""Experts that data choose: as many rows as the choices make, spread evenly, whatever way the code asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.counting import flops_counted
from torch import Tensor, nn

import sed_torch

EXPERTS, CHANNELS, HIDDEN, CHOSEN, TOKENS = 4, 8, 16, 2, 8


class Layer(nn.Module):
    def __init__(self, route: Callable[..., Tensor]) -> None:
        super().__init__()
        self.route = route
        self.gate = nn.Linear(CHANNELS, EXPERTS, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(CHANNELS, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, CHANNELS))
            for _ in range(EXPERTS)
        )
        self.head = nn.Linear(CHANNELS, 2)

    def chosen(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        weights, places = self.gate(rows).softmax(-1).topk(CHOSEN, -1)
        return weights, places

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, CHANNELS)
        return self.head(self.route(self, rows).view_as(x))


def by_mask(m: Any, x: Tensor) -> Tensor:
    weights, places = m.chosen(x)
    mask, out = F.one_hot(places, EXPERTS).permute(2, 1, 0), torch.zeros_like(x)
    for e in range(EXPERTS):
        k, row = torch.where(mask[e])
        out.index_add_(0, row, m.experts[e](x[row]) * weights[row, k, None])
    return out


def by_experts_hit(m: Any, x: Tensor) -> Tensor:
    weights, places = m.chosen(x)
    mask, out = F.one_hot(places, EXPERTS + 1).permute(2, 1, 0), torch.zeros_like(x)
    for e in torch.greater(mask.sum((-1, -2)), 0).nonzero():
        if e[0] == EXPERTS:
            continue
        k, row = torch.where(mask[e].squeeze(0))
        out.index_add_(0, row, m.experts[int(e)](x[row]) * weights[row, k, None])
    return out


def by_name(m: Any, x: Tensor) -> Tensor:
    weights, places = m.chosen(x)
    named, out = {f"expert_{i}": e for i, e in enumerate(m.experts)}, torch.zeros_like(x)
    for e in torch.unique(places):
        row, k = torch.where(places == e)
        out[row] += named[f"expert_{e}"](x[row]) * weights[row, k, None]
    return out


def by_counts(m: Any, x: Tensor) -> Tensor:
    weights, places = m.chosen(x)
    out = torch.zeros_like(x)
    for e, count in enumerate(torch.bincount(places.flatten(), minlength=EXPERTS).tolist()):
        if count:
            row, k = (places == e).nonzero(as_tuple=True)
            out = out.index_add(0, row, m.experts[e](x.index_select(0, row)) * weights[row, k].unsqueeze(-1))
    return out


def sorted_by_expert(m: Any, x: Tensor) -> Tensor:
    weights, places = m.chosen(x)
    flat = places.flatten()
    order = flat.argsort()
    counts = torch.zeros(EXPERTS, dtype=torch.long).scatter_add_(0, flat, torch.ones_like(flat)).cpu().numpy()
    parts = x[order // CHOSEN].split([int(n) for n in counts])
    done = torch.cat([e(part) for e, part in zip(m.experts, parts, strict=True)])
    back = torch.empty_like(done)
    back[order] = done
    return (back.view(*places.shape, -1) * weights[..., None]).sum(1)


def by_gates(m: Any, x: Tensor) -> Tensor:
    weights, places = m.chosen(x)
    gates, out = torch.zeros(len(x), EXPERTS).scatter_(1, places, weights), torch.zeros_like(x)
    for e in range(EXPERTS):
        mine = gates[:, e] > 0
        out[mine] += m.experts[e](x[mine]) * gates[mine, e].unsqueeze(1)
    return out


def dispatched(m: Any, x: Tensor) -> Tensor:
    scores = m.gate(x)
    best, places = scores.topk(CHOSEN + 1, 1)
    weights = best[:, :CHOSEN].softmax(1)
    gates = torch.zeros_like(scores).scatter(1, places[:, :CHOSEN], weights)
    _, order = torch.nonzero(gates).sort(0)
    row = torch.nonzero(gates)[order[:, 1], 0]
    parts = torch.split(x[row], (gates > 0).sum(0).tolist())
    done = torch.cat([e(part) for e, part in zip(m.experts, parts, strict=True)])
    return torch.zeros(len(x), CHANNELS).index_add(0, row, done)


def twice_the_best(m: Any, x: Tensor) -> Tensor:
    p = m.gate(x).softmax(-1)
    first = F.one_hot(p.argmax(-1), EXPERTS)
    second = F.one_hot(p.masked_fill(first.bool(), -1e9).argmax(-1), EXPERTS)
    out = torch.zeros_like(x)
    for e in range(EXPERTS):
        row = (first[:, e] + second[:, e]).bool().nonzero().squeeze(-1)
        out[row] = out[row] + m.experts[e](x[row]) * p[row, e].unsqueeze(-1)
    return out


ROUTES = [
    by_mask,
    by_experts_hit,
    by_name,
    by_counts,
    sorted_by_expert,
    by_gates,
    dispatched,
    twice_the_best,
]


@pytest.mark.parametrize("route", ROUTES)
def test_each_token_counts_the_experts_it_is_sent_to(route: Callable[..., Tensor]) -> None:
    experts = CHOSEN * 2 * CHANNELS * HIDDEN
    a_sample = TOKENS * (CHANNELS * EXPERTS + experts + CHANNELS * 2)
    totals = set()
    for batch in (1, 2, 5):
        score = sed_torch.score(Layer(route), input_size=(batch, TOKENS, CHANNELS), frontend="fx")
        assert (score.macs, score.coverage, score.unused_params) == (a_sample, 1, 0)
        assert any("spread evenly over its 4" in words for words in score.assumed)
        totals.add(round(score.total or 0, 9))
    assert len(totals) == 1


def test_loads_that_are_not_even_add_up_to_all_choices() -> None:
    for tokens in (1, 3, 5, 7):
        score = sed_torch.score(Layer(by_mask), input_size=(1, tokens, CHANNELS), frontend="fx")
        assert score.macs == tokens * (CHANNELS * EXPERTS + CHOSEN * 2 * CHANNELS * HIDDEN + CHANNELS * 2)


def test_what_data_decide_otherwise_is_not_answered_by_it() -> None:
    """One word picked out of a vocabulary ends a forward or does not: that is no load."""

    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(CHANNELS, CHANNELS)

        def forward(self, x: Tensor) -> Tensor:
            while True:
                x = self.layer(x)
                if x.argmax(-1) == 0:
                    break
            return x

    with pytest.raises(sed_torch.errors.DataDependentError):
        sed_torch.score(Greedy(), input_size=(1, CHANNELS), frontend="fx")


@pytest.mark.parametrize("kind", ["Mixtral", "Phimoe"])
def test_experts_of_transformers_equal_what_a_run_counts(kind: str) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 4}
    config = getattr(transformers, f"{kind}Config")(**sizes, **heads, num_experts_per_tok=2)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.set_experts_implementation("eager")
    ids = torch.randint(0, 60, (2, 8))
    score = sed_torch.score(model, input_data={"input_ids": ids})
    assert (score.frontend, score.coverage) == ("fx", 1)
    assert score.macs == pytest.approx(flops_counted(model, input_ids=ids) / 2 / len(ids), rel=0.002)
    assert not any("parameter" in words for words in score.assumed)  # no weight was read


def test_experts_that_no_token_came_to_are_not_called_unused() -> None:
    found = sed_torch.check(Layer(by_experts_hit), input_size=(1, 1, CHANNELS)).findings
    assert "SED001" not in {f.code for f in found}

    class Forgets(Layer):
        def __init__(self) -> None:
            super().__init__(by_experts_hit)
            self.forgotten = nn.Linear(CHANNELS, CHANNELS)

    found = sed_torch.check(Forgets(), input_size=(1, 1, CHANNELS)).findings
    assert [f.path for f in found if f.code == "SED001"] == ["forgotten"]
