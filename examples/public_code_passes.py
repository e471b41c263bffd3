"""Passes that verify a finding: each runs the network on real numbers and says in one sentence what came out.

``public_code.py`` looks a pass up in :data:`PASSES` by the name that stands in ``public_code_verdicts.csv``. A pass
gets a :class:`Trial` and returns an :class:`Outcome`: whether the finding holds, and what was measured. None of them
asks ``sed_torch`` for anything but the finding's own words, so they are a second opinion. The file is long because the
passes stand side by side: each is short, and they share what runs a network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.diagnostics import Finding


@dataclass(frozen=True)
class Trial:
    """A network on its input, with the finding that is looked at.

    Attributes:
        model: as the repository builds it.
        inputs: positional arguments of its forward.
        loss: what the repository trains with: a module, one for each output, or None.
        finding: what the check says.
        kept: what earlier trials of the same network left to look up.
    """

    model: nn.Module
    inputs: tuple[Any, ...]
    loss: Any
    finding: Finding
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Whether the finding holds, and what was measured."""

    holds: bool
    measured: str


# -- running -------------------------------------------------------------------------------------------------


def tensors(value: Any) -> Iterator[Tensor]:
    """All floating-point tensors in a nest of sequences, mappings and objects with fields."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from tensors(item)


def _one_loss(loss: nn.Module, output: Tensor) -> Tensor:
    """The loss of an output against a made-up target of the right form."""
    name = type(loss).__name__
    if name in ("CrossEntropyLoss", "NLLLoss"):
        classes = output.shape[1]
        return loss(output, torch.randint(classes, (output.shape[0], *output.shape[2:])))
    if name in ("BCELoss", "BCEWithLogitsLoss"):
        return loss(output, torch.randint(2, output.shape).to(output.dtype))
    return loss(output, torch.randn_like(output))


def total_loss(output: Any, loss: Any) -> Tensor:
    """A scalar to call ``backward`` on: the losses given, or all that the network returns, weighed at random."""
    found = [t for t in tensors(output) if t.requires_grad]
    if isinstance(loss, nn.Module) and len(found) == 1:
        return _one_loss(loss, found[0])
    if isinstance(loss, list | tuple) and len(loss) == len(found):
        return torch.stack([_one_loss(one, t) for one, t in zip(loss, found, strict=True)]).sum()
    return torch.stack([(t * torch.randn_like(t)).sum() + t.square().sum() for t in found]).sum()


def run(model: nn.Module, inputs: tuple[Any, ...], *, train: bool, seed: int = 0) -> Any:
    """The output in a mode, random numbers drawn from a seed; the inputs are copied, for some forwards overwrite."""
    torch.manual_seed(seed)
    model.train(train)
    return model(*(i.clone() if isinstance(i, Tensor) else i for i in inputs))


def other(inputs: tuple[Any, ...], seed: int = 1) -> tuple[Any, ...]:
    """Inputs of the same shapes with other values: floating-point tensors drawn anew, indices in another order."""
    torch.manual_seed(seed)
    return tuple(
        torch.randn_like(i)
        if isinstance(i, Tensor) and i.is_floating_point()
        else i.flip(-1)
        if isinstance(i, Tensor)
        else i
        for i in inputs
    )


def backward(trial: Trial) -> dict[str, Tensor | None]:
    """Gradients by name after one backward pass; run once a network.

    In training mode; in evaluation mode where that fails, as where the training path needs a GPU.
    """
    if "gradients" not in trial.kept:
        trial.model.zero_grad(set_to_none=True)
        try:
            total_loss(run(trial.model, trial.inputs, train=True), trial.loss).backward()
        except (RuntimeError, AttributeError, AssertionError, TypeError):
            trial.model.zero_grad(set_to_none=True)
            total_loss(run(trial.model, trial.inputs, train=False), trial.loss).backward()
            trial.kept["mode"] = " in evaluation mode"
        trial.kept["gradients"] = {n: p.grad for n, p in trial.model.named_parameters() if p.requires_grad}
        trial.model.zero_grad(set_to_none=True)
    return trial.kept["gradients"]


def layer(trial: Trial, path: str | None = None) -> nn.Module:
    """The module that the finding is about."""
    return trial.model.get_submodule(trial.finding.path if path is None else path)


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """What the calls of modules read and return while the block runs, in order."""
    calls: list[tuple[Tensor, Tensor]] = []

    def hook(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        calls.append((next(tensors(args)).detach().clone(), next(tensors([result])).detach().clone()))

    handles = [m.register_forward_hook(hook) for m in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _number(value: float) -> str:
    return f"{value:.2g}"


# -- the passes ----------------------------------------------------------------------------------------------


def no_gradient(trial: Trial) -> Outcome:
    """The parameters that the finding names get no gradient, or one that is zero throughout."""
    named = trial.finding.evidence.get("parameters", ())
    parameters = dict(trial.model.named_parameters())
    frozen = [p for n, p in parameters.items() if n in named and not p.requires_grad]
    if frozen:
        return _no_effect(trial, frozen)
    grads = backward(trial)
    under = [n for n in grads if n in named or f"{trial.finding.path}.{n}" in named]
    if not under:
        prefix = f"{trial.finding.path}." if trial.finding.path else ""
        under = [n for n in grads if n.startswith(prefix)]
    idle = {n for n, g in grads.items() if g is None or not g.any()}
    dead = [n for n in under if n in idle]
    mode = trial.kept.get("mode", "")
    return Outcome(
        bool(under) and len(dead) == len(under),
        f"{len(dead)} of the {len(under)} parameter tensors meant have no gradient after backward(){mode}; "
        f"{len(idle)} of {len(grads)} in the network",
    )


def _no_effect(trial: Trial, values: Sequence[nn.Parameter]) -> Outcome:
    before = next(tensors([run(trial.model, trial.inputs, train=False)]))
    with torch.no_grad():
        for value in values:
            value.copy_(torch.randn_like(value))
    after = next(tensors([run(trial.model, trial.inputs, train=False)]))
    same = torch.equal(before, after)
    return Outcome(
        same,
        f"other numbers in the {len(values)} frozen tensors meant {'do not change' if same else 'change'} the output",
    )


def backward_raises(trial: Trial) -> Outcome:
    """A backward pass in training mode raises."""
    output = run(trial.model, trial.inputs, train=True)
    try:
        total_loss(output, trial.loss).backward()
    except (RuntimeError, ValueError) as error:
        first = str(error).split(". ")[0].split("\n")[0].split(":")[0]
        return Outcome(True, f"backward() raises {type(error).__name__}: {first}")
    return Outcome(False, "backward() runs")


def _batch_of(size: int, trial: Trial) -> Outcome:
    inputs = tuple(
        i[:size]
        if isinstance(i, Tensor) and size <= len(i)
        else torch.cat([i, i[:1]])
        if isinstance(i, Tensor)
        else i
        for i in trial.inputs
    )
    several = [t.shape for t in tensors([run(trial.model, trial.inputs, train=False)])]
    try:
        these = [t.shape for t in tensors([run(trial.model, inputs, train=False)])]
    except Exception as error:  # whatever strangers' code raises
        what = (str(error).splitlines() or [""])[0][:120]
        return Outcome(True, f"a batch of {size} raises {type(error).__name__}: {what}")
    batch = len(trial.inputs[0])
    for many, few in zip(several, these, strict=False):
        if few != tuple(size if many[0] == n == batch and i == 0 else n for i, n in enumerate(many)):
            return Outcome(True, f"a batch of {batch} gives {tuple(many)}, a batch of {size} {tuple(few)}")
    return Outcome(False, f"a batch of {size} works")


def batch_size(trial: Trial) -> Outcome:
    """A batch of one, or one of one sample more, fails or gives an output of another shape than it should."""
    one = _batch_of(1, trial)
    return one if one.holds else _batch_of(len(trial.inputs[0]) + 1, trial)


def batch_leak(trial: Trial) -> Outcome:
    """In evaluation mode the first sample's output changes as another sample does."""
    first = next(tensors([run(trial.model, trial.inputs, train=False)]))
    changed = tuple(
        torch.cat([a[:1], b[1:]]) if isinstance(a, Tensor) else a
        for a, b in zip(trial.inputs, other(trial.inputs), strict=True)
    )
    second = next(tensors([run(trial.model, changed, train=False)]))
    change = float((first[0] - second[0]).abs().max().detach() / (first[0].abs().max().detach() + 1e-12))
    return Outcome(
        change > 1e-4, f"the first sample's output changes by {change:.0%} of its size as the others change"
    )


def constant_output(trial: Trial) -> Outcome:
    """The network's output does not change when the input does."""
    first, second = (
        next(tensors([run(trial.model, i, train=False)])) for i in (trial.inputs, other(trial.inputs))
    )
    change = float((first - second).abs().max().detach())
    return Outcome(change < 1e-6, f"another input changes the output by {_number(change)}")


def constant_layer(trial: Trial) -> Outcome:
    """What the module returns does not change when the network's input does."""
    with torch.no_grad(), recorded([layer(trial)]) as calls:
        run(trial.model, trial.inputs, train=True)
        run(trial.model, other(trial.inputs), train=True)
    half = len(calls) // 2
    change = max(float((a[1] - b[1]).abs().max()) for a, b in zip(calls[:half], calls[half:], strict=True))
    grads = backward(trial)
    idle = sum(g is None or not g.any() for g in grads.values())
    return Outcome(
        change < 1e-5,
        f"another input changes what the layer returns by {_number(change)}; after backward() {idle} of the network's "
        f"{len(grads)} parameter tensors have no gradient",
    )


def always_random(trial: Trial) -> Outcome:
    """Two passes over one input in evaluation mode differ."""
    first, second = (next(tensors([run(trial.model, trial.inputs, train=False, seed=s)])) for s in (0, 1))
    change = float((first - second).abs().mean().detach() / (first.abs().mean().detach() + 1e-12))
    return Outcome(
        change > 1e-6, f"two passes over one input in evaluation mode differ by {change:.0%} on average"
    )


def bounded_output(trial: Trial) -> Outcome:
    """An output that the loss reads as logits is bounded; says how small that loss can get."""
    outputs = list(tensors([run(trial.model, trial.inputs, train=False)]))
    losses = trial.loss if isinstance(trial.loss, list | tuple) else [trial.loss] * len(outputs)
    for loss, t in zip(losses, outputs, strict=False):
        low, high = float(t.min().detach()), float(t.max().detach())
        if type(loss).__name__ == "CrossEntropyLoss" and low >= 0 and high <= 1 + 1e-6:
            total = t.detach().sum(1)
            least = math.log1p((t.shape[1] - 1) * math.exp(-1.0))
            if torch.allclose(total, torch.ones_like(total), atol=1e-4):
                return Outcome(
                    True,
                    f"its outputs sum to one over {t.shape[1]} classes: cross-entropy cannot get below {least:.2f}, "
                    "even where every answer is right and certain",
                )
            return Outcome(
                True,
                f"its outputs lie in [0, 1]: cross-entropy cannot get below {least:.2f} for {t.shape[1]} classes",
            )
        if type(loss).__name__ == "CrossEntropyLoss" and low >= 0 and bool((t == 0).any()):
            share = float((t == 0).float().mean())
            return Outcome(
                True, f"no logit is negative; {share:.0%} are exactly zero, where no gradient passes"
            )
        if type(loss).__name__ == "BCEWithLogitsLoss" and low >= 0 and high <= 1 + 1e-6:
            return Outcome(
                True,
                "its outputs lie in [0, 1]: the loss of a negative cannot get below ln 2 = 0.69, of a positive 0.31",
            )
        if type(loss).__name__ == "NLLLoss" and high > -1e-6:
            return Outcome(True, f"what is read as log-probabilities goes up to {_number(high)}")
        if type(loss).__name__ == "BCELoss" and (low < 0 or high > 1):
            return Outcome(True, f"what is read as a probability lies in [{_number(low)}, {_number(high)}]")
    return Outcome(False, "no output is bounded")


def affine(trial: Trial) -> Outcome:
    """From what the first layer reads to what the last returns, sums go to sums: f(a + b) = f(a) + f(b) - f(0)."""
    words = trial.finding.message.split("no nonlinearity between ")
    first_path = words[-1].split(" and ")[0].strip()
    parent = trial.finding.path.rpartition(".")[0]
    candidates = [first_path, f"{parent}.{first_path}" if parent else first_path]
    names = {n for n, _ in trial.model.named_modules()}
    first = next((c for c in candidates if c in names), None)
    if first is None:
        return Outcome(False, f"no module {first_path!r}")
    with torch.no_grad(), recorded([layer(trial, first)]) as calls:
        run(trial.model, trial.inputs, train=False)
    read = calls[0][0]
    torch.manual_seed(0)
    a, b = torch.randn_like(read), torch.randn_like(read)

    def through(value: Tensor) -> Tensor:
        handle = layer(trial, first).register_forward_pre_hook(lambda m, args: (value.clone(), *args[1:]))
        try:
            with torch.no_grad(), recorded([layer(trial)]) as seen:
                run(trial.model, trial.inputs, train=False)
        finally:
            handle.remove()
        return seen[0][1]

    zero, fa, fb, fab = (through(v) for v in (torch.zeros_like(read), a, b, a + b))
    scale = float((fa - zero).abs().mean()) + 1e-12
    off = float((fab - fa - fb + zero).abs().mean()) / scale
    return Outcome(off < 1e-4, f"the two layers together are affine to {_number(off)} of their size")


def padding_taps(trial: Trial) -> Outcome:
    """Taps of the kernel whose gradient is exactly zero for every pair of channels."""
    grad = backward(trial).get(f"{trial.finding.path}.weight")
    if grad is None:
        return Outcome(False, "the kernel has no gradient at all")
    dead = int((~grad.flatten(0, 1).ne(0).any(0)).sum())
    taps = grad[0, 0].numel()
    return Outcome(dead > 0, f"{dead} of the kernel's {taps} taps have a gradient of exactly zero")


def uneven(trial: Trial) -> Outcome:
    """Ones with equal weights do not give equal values inside the map."""
    paths = trial.finding.evidence.get("layers", (trial.finding.path,))
    module = copy.deepcopy(layer(trial, paths[0]))
    if not isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return Outcome(False, "not a transposed convolution")
    nn.init.ones_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    spatial = [8] * (module.weight.dim() - 2)
    with torch.no_grad():
        out = module(torch.ones(1, module.in_channels, *spatial))
    inner = out[0, 0][tuple(slice(s // 4, 3 * s // 4) for s in out.shape[2:])]
    ratio = float(inner.max() / inner.min().clamp(min=1e-12))
    return Outcome(
        ratio > 1.01,
        "with equal weights a constant map becomes one whose values differ "
        + (f"{ratio:.3g}-fold" if ratio < 1e6 else "from zero to not zero"),
    )


def second_moment(trial: Trial) -> Outcome:
    """E[x²] behind the layer for white noise at the input, and the part of it that differs between inputs."""
    noise = tuple(
        torch.randn(i.shape) if isinstance(i, Tensor) and i.is_floating_point() else i for i in trial.inputs
    )
    with torch.no_grad(), recorded([layer(trial)]) as calls:
        run(trial.model, noise, train=False)
        run(trial.model, other(noise), train=False)
    a, b = calls[0][1], calls[len(calls) // 2][1]
    moment = float(torch.cat([a.flatten(), b.flatten()]).square().mean())
    between = float((a - b).square().mean()) / 2
    said = trial.finding.evidence
    low, high = said.get("limits", (1e-3, 1e3))
    hidden = low <= said["second_moment"] <= high  # behind biases, that is
    expected, measured = (said["between_inputs"], between) if hidden else (said["second_moment"], moment)
    holds = 0.2 < (expected + 1e-12) / (measured + 1e-12) < 5 or (hidden and measured < expected)
    return Outcome(
        holds, f"white noise gives E[x²] = {_number(moment)} there, {_number(between)} of it between inputs"
    )


def eps_share(trial: Trial) -> Outcome:
    """How far from one the norm's output is, because its eps is as large as the variance it reads."""
    paths = [p for p in trial.finding.evidence.get("layers", ()) if isinstance(layer(trial, p), nn.Module)]
    modules = [layer(trial, p) for p in paths] or [layer(trial)]
    with torch.no_grad(), recorded(modules) as calls:
        run(trial.model, trial.inputs, train=True)
    stds = []
    for (read, _), module in zip(calls, modules, strict=False):
        variance = read.transpose(0, 1).flatten(1).var(1, unbiased=False)
        stds.append(float((variance / (variance + module.eps)).sqrt().mean()))
    eps = modules[0].eps
    return Outcome(
        min(stds) < 0.95,
        f"eps is {eps:g}: for the first batch the {len(stds)} layers return a standard deviation of "
        f"{min(stds):.2f} to {max(stds):.2f} instead of 1",
    )


def calls_differ(trial: Trial) -> Outcome:
    """The module is called several times in a pass, on values with other statistics."""
    with torch.no_grad(), recorded([layer(trial)]) as calls:
        run(trial.model, trial.inputs, train=True)
    deviations = [float(read.std()) for read, _ in calls]
    return Outcome(
        len(calls) > 1,
        f"it is called {len(calls)} times a pass, on values with standard deviations of "
        + ", ".join(_number(d) for d in deviations[:4]),
    )


def unread_positions(trial: Trial) -> Outcome:
    """Positions of the map, or of the input, that no gradient reaches."""
    image = trial.inputs[0].clone().requires_grad_()
    kept: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        read = next(t for t in tensors(args) if t.requires_grad)
        read.retain_grad()
        kept.append(read)

    handle = layer(trial).register_forward_pre_hook(hook) if trial.finding.path else None
    try:
        torch.manual_seed(0)
        trial.model.eval()
        total_loss(trial.model(image, *trial.inputs[1:]), None).backward()
    finally:
        if handle is not None:
            handle.remove()
    grad = (kept[0] if kept else image).grad
    assert grad is not None
    lost = float((~grad.ne(0).flatten(0, 1).any(0)).float().mean())
    return Outcome(lost > 0.2, f"no gradient reaches {lost:.0%} of the positions of the map that it reads")


def dead_bias(trial: Trial) -> Outcome:
    """The bias's gradient is nothing but rounding, next to the weight's."""
    grads = backward(trial)
    bias, weight = (grads.get(f"{trial.finding.path}.{n}") for n in ("bias", "weight"))
    if bias is None or weight is None:
        return Outcome(False, "no bias")
    ratio = float(bias.abs().mean() / (weight.abs().mean() + 1e-30))
    return Outcome(ratio < 1e-3, f"the bias's gradient is {_number(ratio)} of the weight's")


def same_result(trial: Trial) -> Outcome:
    """The module with its calls counted: all calls of one layer inside read the same value and return the same."""
    repeated = 0
    for path, inner in layer(trial).named_modules():
        if path and not list(inner.children()):
            with torch.no_grad(), recorded([inner]) as calls:
                run(trial.model, trial.inputs, train=False)
            same = sum(bool(a[0].shape == b[0].shape and torch.equal(a[0], b[0])) for a, b in pairwise(calls))
            repeated = max(repeated, same)
    return Outcome(
        repeated > 0,
        f"{repeated + 1} calls of its layers in a row read the same values and return the same"
        if repeated
        else "no layer in it reads the same values twice",
    )


def half_read(trial: Trial) -> Outcome:
    """The backward direction's last output depends on one step of the input; says on how many the forward one does."""
    rnn = layer(trial)
    if not isinstance(rnn, nn.RNNBase):
        return Outcome(False, "not a recurrent layer")
    with torch.no_grad(), recorded([rnn]) as calls:
        run(trial.model, trial.inputs, train=False)
    read = calls[0][0].requires_grad_()
    out = rnn(read)[0]
    time = 1 if rnn.batch_first else 0
    halves = out.select(time, -1).chunk(2, -1)
    steps = []
    for half in halves:
        (grad,) = torch.autograd.grad(half.square().sum(), read, retain_graph=True)
        steps.append(int(grad.transpose(0, time).flatten(1).ne(0).any(1).sum()))
    return Outcome(
        steps[1] == 1 and read.shape[time] > 1,
        f"at the last of {read.shape[time]} steps the forward direction depends on {steps[0]} steps of its input, the "
        f"backward one on {steps[1]}",
    )


def variance_shift(trial: Trial) -> Outcome:
    """The variance that the norm behind a dropout reads, with the dropout on and off."""
    norm = trial.model.get_submodule(trial.finding.evidence["norm_path"])
    read = []
    for on in (True, False):
        rates = [(m, m.p) for m in trial.model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
        if not on:
            for module, _ in rates:
                module.p = 0.0
        with torch.no_grad(), recorded([norm]) as calls:
            run(trial.model, trial.inputs, train=True)
        read.append(float(calls[0][0].transpose(0, 1).flatten(1).var(1).mean()))
        for module, rate in rates:
            module.p = rate
    ratio = read[0] / (read[1] + 1e-30)
    return Outcome(
        ratio > 1.02,
        f"the norm reads {ratio:.2f} times the variance in training that it reads without the dropout",
    )


def overwritten(trial: Trial) -> Outcome:
    """Making the in-place module return a value of its own changes the output: somebody reads what it overwrote."""
    module = layer(trial)
    if not getattr(module, "inplace", False):
        return Outcome(False, "not a module that works in place")
    before = next(tensors([run(trial.model, trial.inputs, train=True)]))
    module.inplace = False
    after = next(tensors([run(trial.model, trial.inputs, train=True)]))
    module.inplace = True
    change = float(((before - after).abs().mean() / (after.abs().mean() + 1e-12)).detach())
    return Outcome(
        change > 1e-4, f"with inplace=False at this one place the output changes by {change:.0%} on average"
    )


def mixed_positions(trial: Trial) -> Outcome:
    """How many positions one position of the next layer's input holds, where the attention returns position numbers.

    The result of the module's child that returns four axes is replaced by the numbers of the positions; then the
    first row that the next child reads shows where its values come from.
    """
    rows: list[Tensor] = []

    def numbered(module: nn.Module, args: tuple[Any, ...], result: Any) -> Any:
        first = result[0] if isinstance(result, tuple) else result
        if not isinstance(first, Tensor) or first.dim() != 4 or rows:
            return None
        axis = max((1, 2), key=lambda i: first.shape[i])
        shape = [-1 if i == axis else 1 for i in range(4)]
        numbers = torch.arange(first.shape[axis], dtype=first.dtype).view(shape).expand_as(first).contiguous()
        return (numbers, *result[1:]) if isinstance(result, tuple) else numbers

    def seen(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and args[0].dim() == 3 and not args[0][0].frac().any():
            rows.append(args[0][0, 0])

    children = list(layer(trial).children())
    handles = [m.register_forward_hook(numbered) for m in children]
    handles += [m.register_forward_pre_hook(seen) for m in children]
    try:
        with torch.no_grad():
            run(trial.model, trial.inputs, train=False)
    finally:
        for handle in handles:
            handle.remove()
    if not rows:
        return Outcome(False, "no child returns four axes to one that reads three")
    found = sorted(set(rows[0].tolist()))
    return Outcome(
        len(found) > 1,
        f"the first position that the next layer reads holds values of {len(found)} positions, "
        f"{found[0]:.0f} to {found[-1]:.0f}",
    )


def at_least_half(trial: Trial) -> Outcome:
    """The least that the sigmoid returns."""
    with torch.no_grad(), recorded([layer(trial)]) as calls:
        run(trial.model, trial.inputs, train=False)
        run(trial.model, other(trial.inputs), train=False)
    least = min(float(out.min()) for _, out in calls)
    return Outcome(least >= 0.5, f"the least that it returns for two inputs is {least:.2f}")


def _neighbours(values: Tensor) -> float:
    """The mean correlation of neighbouring positions along the last axis, over samples and the other positions."""
    left, right = values[..., :-1].transpose(0, 1).flatten(1), values[..., 1:].transpose(0, 1).flatten(1)
    left, right = (v - v.mean(1, keepdim=True) for v in (left, right))
    return float(((left * right).mean(1) / (left.std(1) * right.std(1) + 1e-12)).mean())


def alike_neighbours(trial: Trial) -> Outcome:
    """How alike neighbouring positions are where the finding is, for white noise at the input."""
    noise = tuple(
        torch.randn(i.shape) if isinstance(i, Tensor) and i.is_floating_point() else i for i in trial.inputs
    )
    with torch.no_grad(), recorded([layer(trial)]) as calls:
        run(trial.model, noise, train=True)
    read, returned = (_neighbours(v) for v in calls[0])
    return Outcome(
        max(read, returned) > 0.5,
        f"for white noise neighbouring positions correlate {read:.2f} in what it reads and {returned:.2f} in what it "
        "returns",
    )


PASSES: Mapping[str, Callable[[Trial], Outcome]] = {
    f.__name__.replace("_", "-"): f
    for f in (
        no_gradient,
        backward_raises,
        batch_size,
        batch_leak,
        constant_output,
        constant_layer,
        always_random,
        bounded_output,
        affine,
        padding_taps,
        uneven,
        second_moment,
        eps_share,
        calls_differ,
        unread_positions,
        dead_bias,
        same_result,
        half_read,
        variance_shift,
        overwritten,
        mixed_positions,
        at_least_half,
        alike_neighbours,
    )
}
"""All passes by name."""
