"""Every public call leaves the model and the process as it found them: done, failed, or interrupted."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.failures import Fails, in_threads
from support.fingerprint import changed, fingerprint
from support.models import SIZE
from support.training import FAST, broken, linear, tiny
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import SedTorchError
from sed_torch.evidence import validate
from sed_torch.proxies import PROXIES, compute
from sed_torch.tracing.recorder import Recorder


class Steady(nn.Module):
    """Takes part in every call: drops, normalises with running statistics, has gradients and a skip."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(2)))
        self.norm, self.drop, self.head = nn.BatchNorm2d(width), nn.Dropout(0.2), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.stem(x)))
        y = y + torch.relu(self.blocks(y))
        return self.head(self.drop(nn.functional.max_pool2d(y, 2).mean((2, 3))))  # type: ignore[no-any-return]


def made(width: int = 4) -> Steady:
    """In training, with gradients and statistics that are not those of the start."""
    torch.manual_seed(width)
    model = Steady(width).train()
    model(torch.randn(SIZE)).square().mean().backward()
    return model


FOLLOWS: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    "score": lambda m, _: sed_torch.score(m, input_size=SIZE),
    "score by export": lambda m, _: sed_torch.score(m, input_size=SIZE, frontend="export"),
    "strict score": lambda m, _: sed_torch.score(m, input_size=SIZE, strict=True),
    "trace": lambda m, _: sed_torch.trace(m, input_size=SIZE),
    "trace in training": lambda m, _: sed_torch.trace(m, input_size=SIZE, training=True),
    "topology": lambda m, _: sed_torch.topology(m, input_size=SIZE),
    "check": lambda m, _: sed_torch.check(m, input_size=SIZE),
    "compare": lambda m, other: sed_torch.compare(m, other, input_size=SIZE),
    "sensitivity": lambda m, _: sed_torch.sensitivity(m, input_size=SIZE),
    "rank": lambda m, other: sed_torch.rank({"a": m, "b": other}, input_size=SIZE, progress=False),
    "draw": lambda m, _: sed_torch.draw(m, input_size=SIZE),
}
"""Calls that read a model's graph."""
RUNS: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    f"proxy {name}": lambda m, _, name=name: compute(m, [name], input_size=SIZE) for name in PROXIES
}
"""Calls that run the network, on a copy."""
APART: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    "search": lambda *_: sed_torch.search("nasbench201", budget_s=None, strategy="random", max_looks=40),
    "exhaustive search": lambda *_: sed_torch.search("nasbench201", budget_s=None),
    "evolution": lambda *_: sed_torch.search("darts", budget_s=None, max_looks=40, strategy="evolution"),
    "validate": lambda *_: validate(
        [1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 4.0], n_bootstrap=9,
        rivals={"params": [1, 2, 3, 4]}, params=[1, 2, 3, 4], seeds={"a": [1, 2, 3, 4], "b": [1, 2, 4, 3]},
    ),
}  # fmt: skip
"""Calls that are handed no model."""
CALLS = FOLLOWS | RUNS | APART


@pytest.mark.parametrize("call", CALLS)
def test_it_changes_nothing(call: str) -> None:
    model, other = made(), made(6)
    CALLS[call](made(), made(6))  # what a first call imports and sets up once is not of this model
    before = fingerprint(model, other)
    CALLS[call](model, other)
    assert changed(before, fingerprint(model, other)) == []


@pytest.mark.parametrize("call", CALLS)
def test_its_result_can_be_copied_and_pickled(call: str) -> None:
    result = CALLS[call](made(), made(6))
    for again in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert type(again) is type(result)
        assert repr(again) == repr(result)


@pytest.mark.parametrize(
    "error", [RuntimeError("injected"), KeyboardInterrupt()], ids=["fails", "interrupted"]
)
@pytest.mark.parametrize("call", [c for c in FOLLOWS if c != "score by export"])
def test_it_changes_nothing_when_any_operator_breaks(
    call: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each operator that is followed raises in turn; an interrupt always gets through."""
    model, other = made(), made(6)
    with monkeypatch.context() as patch:
        counter = _inject(patch, 0, None)
        CALLS[call](model, other)
    assert counter.calls >= 8
    before = fingerprint(model, other)
    for n in range(1, min(counter.calls, 14) + 1):
        with monkeypatch.context() as patch:
            _inject(patch, n, error)
            got = _outcome(lambda: CALLS[call](model, other))
        assert changed(before, fingerprint(model, other)) == []
        if isinstance(error, KeyboardInterrupt):
            assert type(got) is KeyboardInterrupt
        else:  # a ranking has a row for what failed, auto may go round by export: anything but a foreign error
            assert not isinstance(got, BaseException) or isinstance(got, (SedTorchError, RuntimeError))


def _inject(patch: pytest.MonkeyPatch, at: int, error: BaseException | None) -> Fails:
    failing = Fails(Recorder._record, at, error)
    patch.setattr(Recorder, "_record", lambda *args, **kwargs: failing(*args, **kwargs))
    return failing


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:
        return error


class Breaks(Steady):
    """Raises in the n-th call of a submodule, wherever it runs."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.at, self.error = at, error

    def forward(self, x: Tensor) -> Tensor:
        steps: list[Callable[[Tensor], Tensor]] = [self.stem, self.norm, self.blocks, self.drop]
        for i, step in enumerate(steps):
            if i == self.at:
                raise self.error
            x = step(x)
        if self.at == len(steps):
            raise self.error
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "error", [RuntimeError("no luck"), KeyboardInterrupt()], ids=["fails", "interrupted"]
)
@pytest.mark.parametrize("call", RUNS)
def test_a_proxy_changes_nothing_when_the_forward_breaks_anywhere(call: str, error: BaseException) -> None:
    for at in range(5):
        model = Breaks(at, error).train()
        before = fingerprint(model)
        got = _outcome(lambda: RUNS[call](model, model))  # noqa: B023
        assert changed(before, fingerprint(model)) == []
        if isinstance(error, KeyboardInterrupt) and isinstance(got, BaseException):
            assert type(got) is KeyboardInterrupt


def test_eight_threads_make_every_call_on_the_same_and_on_different_models() -> None:
    shared = made()
    own = [made(4 + i) for i in range(8)]
    names_ = [c for c in FOLLOWS if c not in ("score by export", "rank")]
    expected = [[_told(FOLLOWS[c](m, shared)) for c in names_] for m in own]
    before = fingerprint(shared, *own)

    def job(i: int) -> list[str]:
        return [_told(FOLLOWS[c](own[i], shared)) for c in names_]

    assert in_threads([lambda i=i: job(i) for i in range(8)]) == expected  # type: ignore[misc]
    assert changed(before, fingerprint(shared, *own)) == []


def _told(result: Any) -> str:
    """A result without the seconds that it took."""
    if isinstance(result, sed_torch.Score):
        return repr((result.total, result.pool, result.skip, result.fingerprint))
    return type(result).__name__ if not isinstance(result, sed_torch.Graph) else result.fingerprint


def test_training_counterparts_leaves_the_process_alone(tmp_path: Path) -> None:
    """It trains networks of its own; random numbers, threads and modes of the caller go on as before."""
    bystander = made()

    def train(name: str, builder: Any = None) -> Any:
        return sed_torch.counterparts(
            {"a": builder or linear},
            tmp_path / f"{name}.csv",
            dataset=tiny(),
            recipe=FAST,
            seeds=1,
            device="cpu",
            proxies=(),
        )

    train("first")  # what a first call imports
    before = fingerprint(bystander)
    train("second")
    assert changed(before, fingerprint(bystander)) == []
    train("broken", broken)  # a row with its reason
    assert changed(before, fingerprint(bystander)) == []
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train("interrupted", _interrupts)
    assert changed(before, fingerprint(bystander)) == []


def _interrupts(num_classes: int) -> nn.Module:
    raise KeyboardInterrupt
