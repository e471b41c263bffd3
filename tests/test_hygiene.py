"""``score`` leaves the model and the process as it found them: in success, in failure, interrupted, in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.failures import Fails, in_threads
from support.fingerprint import changed, fingerprint
from support.models import AWKWARD, SIZE, Busy, Hooked, Shared, Tokens
from support.versions import OLD, skip_export_of_old_torch
from torch import Tensor, nn

import sed_torch
from sed_torch import lowering
from sed_torch.errors import SedTorchError, TraceError
from sed_torch.tracing import convert
from sed_torch.tracing.recorder import Recorder
from sed_torch.tracing.tape import Tape

pytestmark = pytest.mark.filterwarnings(
    # said by the constructor of torch.nn.utils.weight_norm, not by us
    "ignore:.*weight_norm.* is deprecated:FutureWarning"
)


def made(name: str, *, train: bool = True) -> nn.Module:
    torch.manual_seed(0)
    model = AWKWARD[name]().train(train)
    if train:  # gradients and running statistics are state as well
        out = model(torch.randn(SIZE))
        out.square().mean().backward()
    return model


# -- the fingerprint itself ------------------------------------------------------------------------------------


def _one_bit(model: Busy) -> None:
    model.conv.weight.data.view(torch.int32)[0, 0, 0, 0] ^= 1


CHANGES: dict[str, tuple[Callable[[Busy], Any], str]] = {
    "a bit of a weight": (_one_bit, "conv.weight:state"),
    "a flag": (lambda m: m.norm.eval(), "norm:training"),
    "requires_grad": (lambda m: m.conv.bias.requires_grad_(False), "conv.bias:state"),
    "a hook": (lambda m: m.head.register_forward_hook(print), "head:_forward_hooks"),
    "a buffer": (lambda m: m.seen.add_(1), "seen:state"),
    "a counter": (lambda m: setattr(m, "calls", 9), ":calls"),
    "a list's content": (lambda m: m.log.append("x"), ":log"),
    "a new attribute": (lambda m: setattr(m.conv, "extra", None), "conv:extra"),
    "an instance's forward": (lambda m: setattr(m.conv, "forward", len), "conv:forward"),
    "a gradient": (lambda m: setattr(m.conv.weight, "grad", None), "conv.weight:state"),
    "a dtype": (lambda m: m.double(), "conv.weight:state"),
    "the RNG": (lambda m: torch.rand(1), "rng.torch"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_sees(change: str) -> None:
    model = made("Busy")
    before = fingerprint(model)
    assert changed(before, fingerprint(model)) == []
    act, name = CHANGES[change]
    act(model)  # type: ignore[arg-type]
    assert any(name in c for c in changed(before, fingerprint(model)))


def test_the_fingerprint_sees_patched_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", lambda *_: None)
        patch.setattr(torch, "conv2d", lambda *_: None)
        patch.setattr(nn.Module, "__call__", lambda *_: None)
        found = changed(before, fingerprint())
    assert [c.split(":")[0] for c in found] == ["F.linear", "nn.Module.__call__", "torch.conv2d"]


# -- success ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frontend", ["fx", "export", "auto"])
@pytest.mark.parametrize("name", AWKWARD)
def test_a_score_changes_nothing(name: str, frontend: sed_torch.tracing.Frontend) -> None:
    if name in ("Busy", "Hooked"):
        skip_export_of_old_torch(frontend)
    model = made(name)
    before = fingerprint(model)
    if (name, frontend) == ("Careless", "export"):
        with pytest.raises(TraceError, match=r"torch.export gave up on Careless"):
            sed_torch.score(model, input_size=SIZE, frontend=frontend)
        assert changed(before, fingerprint(model)) == []
        return
    s = sed_torch.score(model, input_size=SIZE, frontend=frontend)
    assert changed(before, fingerprint(model)) == []
    assert s.total is not None
    again = sed_torch.score(model, input_size=SIZE, frontend=frontend)
    assert (again.total, again.fingerprint) == (s.total, s.fingerprint)


def test_the_mode_does_not_matter() -> None:
    for name in AWKWARD:
        one, other = (sed_torch.score(made(name, train=t), input_size=SIZE) for t in (True, False))
        assert one.total == other.total


def test_a_score_of_a_model_that_is_called_meanwhile_is_unchanged_afterwards() -> None:
    """The model still runs, and gives what it gave."""
    model = made("Tokens", train=False)
    x = torch.randn(SIZE)
    with torch.no_grad():
        expected = model(x)
        sed_torch.score(model, input_size=SIZE)
        assert torch.equal(model(x), expected)


# -- failure at every operator ---------------------------------------------------------------------------------


STAGES: dict[str, tuple[Any, str]] = {
    # where a score may break: following an operator, writing it down, reading its arguments, lowering it
    "follow": (Recorder, "_record"),
    "write": (Tape, "call"),
    "convert": (convert, "read_attrs"),
    "lower": (lowering, "_lower_node"),
}


def _injected(patch: pytest.MonkeyPatch, stage: str, at: int, error: BaseException | None) -> Fails:
    owner, name = STAGES[stage]
    failing = Fails(getattr(owner, name), at, error)
    # a plain function, so that it binds as a method where it stands for one
    patch.setattr(owner, name, lambda *args, **kwargs: failing(*args, **kwargs))
    return failing


@pytest.mark.parametrize("error", [RuntimeError("injected"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["Busy", "Careless"])
def test_a_failure_at_any_operator_changes_nothing(
    name: str, stage: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(name)
    before = fingerprint(model)
    with monkeypatch.context() as patch:
        calls = _injected(patch, stage, 0, None)
        expected = sed_torch.score(model, input_size=SIZE, frontend="fx").total
    assert calls.calls >= 5
    for n in range(1, calls.calls + 1):
        with monkeypatch.context() as patch:
            _injected(patch, stage, n, error)
            with pytest.raises(
                (type(error), SedTorchError), match=r"injected|raised MemoryError|^$|lost"
            ) as got:
                sed_torch.score(model, input_size=SIZE, frontend="fx")
        if isinstance(error, KeyboardInterrupt):
            assert type(got.value) is KeyboardInterrupt
        assert changed(before, fingerprint(model)) == []
    assert sed_torch.score(model, input_size=SIZE, frontend="fx").total == expected


def test_a_failure_in_every_front_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` goes from fx to export to opaque leaves, and each leaves nothing behind."""

    class Fails(Busy):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            raise ValueError(f"no luck with {tuple(y.shape)}")

    model = Fails().train()
    before = fingerprint(model)
    with pytest.raises(TraceError, match=r"raised ValueError.*no luck with \(2, 5\)") as caught:
        sed_torch.score(model, input_size=SIZE)
    assert [name for name, _ in caught.value.frontends] == ["fx", "export"]
    assert changed(before, fingerprint(model)) == []


def test_an_interrupt_within_the_forward_gets_through() -> None:
    class Interrupted(Busy):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise KeyboardInterrupt

    model = Interrupted().train()
    before = fingerprint(model)
    for frontend in ("fx", "auto") if OLD else ("fx", "export", "auto"):
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            sed_torch.score(model, input_size=SIZE, frontend=frontend)  # type: ignore[arg-type]
        assert changed(before, fingerprint(model)) == []


# -- threads ---------------------------------------------------------------------------------------------------


def _training(steps: int = 60) -> tuple[nn.Module, Callable[[], list[float]]]:
    """A network without random layers and a loop that trains it on fixed data."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
    x, y = torch.randn(8, 3, 8, 8), torch.randint(4, (8,))
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)

    def train() -> list[float]:
        losses = []
        for _ in range(steps):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    return model, train


def test_eight_threads_score_while_another_trains() -> None:
    alone, train_alone = _training()
    losses = train_alone()
    models = [Busy().train(), Hooked(), Shared(), Tokens().train()]
    expected = [sed_torch.score(m, input_size=SIZE).total for m in models]
    trained, train = _training()
    of_trained = sed_torch.score(trained, input_size=(1, 3, 8, 8)).total
    before = fingerprint(*models)

    def score_all() -> list[float | None]:
        found: list[float | None] = []
        for _ in range(4):
            found += [sed_torch.score(m, input_size=SIZE).total for m in models]
            found.append(sed_torch.score(trained, input_size=(1, 3, 8, 8)).total)
        return found

    results = in_threads([train, *[score_all] * 8])
    assert results[1:] == [[*expected, of_trained] * 4] * 8
    assert changed(before, fingerprint(*models)) == []
    # and the training went as it goes alone, to the last bit
    assert results[0] == losses
    for a, b in zip(alone.state_dict().values(), trained.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_threads_through_every_front_end_at_once() -> None:
    """torch.export keeps state in globals; fx does not. Neither disturbs the other, nor a failure either."""
    model, other = Shared(), Tokens()
    before = fingerprint(model, other)
    expected = [sed_torch.score(m, input_size=SIZE).total for m in (model, other)]

    def fails() -> None:
        with pytest.raises(TraceError, match="shapes do not fit"):
            sed_torch.score(model, input_size=(1, 7, 8, 8))

    jobs: list[Callable[[], Any]] = [
        lambda: sed_torch.score(model, input_size=SIZE, frontend="export").total,
        lambda: sed_torch.score(other, input_size=SIZE, frontend="export").total,
        lambda: sed_torch.score(model, input_size=SIZE, frontend="fx").total,
        lambda: sed_torch.score(other, input_size=SIZE, frontend="fx").total,
        fails,
    ]
    found = in_threads(jobs * 2)
    for i in (0, 1, 2, 3, 5, 6, 7, 8):
        assert found[i] == pytest.approx(expected[i % 5 % 2], abs=1e-9)
    assert changed(before, fingerprint(model, other)) == []


# -- what the caller has set -----------------------------------------------------------------------------------


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "inference": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "device meta": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("which", SURROUNDINGS)
def test_the_callers_contexts_neither_matter_nor_change(which: str) -> None:
    model = made("Tokens")
    expected = sed_torch.score(model, input_size=SIZE).total
    outside = fingerprint(model)
    with SURROUNDINGS[which]():
        before = fingerprint(model)
        assert sed_torch.score(model, input_size=SIZE).total == expected
        assert changed(before, fingerprint(model)) == []
    assert changed(outside, fingerprint(model)) == []
