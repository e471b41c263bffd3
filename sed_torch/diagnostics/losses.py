"""SED303, SED314 and SED315: ends of the network that do not fit the loss, output by output."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from sed_torch.attributes import Linear
from sed_torch.diagnostics.own_losses import first_use, losses_of_steps
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.errors import InputError
from sed_torch.graph import Node
from sed_torch.ops import OPS, canonical

_LOGITS, _PROBABILITIES, _LOG_PROBABILITIES, _BINARY_LOGITS = (
    "logits",
    "probabilities",
    "log",
    "binary logits",
)

_READS: Mapping[str, str] = {
    "CrossEntropyLoss": _LOGITS,
    "cross_entropy": _LOGITS,
    "BCEWithLogitsLoss": _BINARY_LOGITS,
    "binary_cross_entropy_with_logits": _BINARY_LOGITS,
    "MultiLabelSoftMarginLoss": _BINARY_LOGITS,
    "multilabel_soft_margin_loss": _BINARY_LOGITS,
    "NLLLoss": _LOG_PROBABILITIES,
    "nll_loss": _LOG_PROBABILITIES,
    "KLDivLoss": _LOG_PROBABILITIES,
    "kl_div": _LOG_PROBABILITIES,
    "SoftMarginLoss": _BINARY_LOGITS,
    "soft_margin_loss": _BINARY_LOGITS,
    "CTCLoss": _LOG_PROBABILITIES,
    "ctc_loss": _LOG_PROBABILITIES,
    "BCELoss": _PROBABILITIES,
    "binary_cross_entropy": _PROBABILITIES,
}
"""What a loss expects of the output it reads; of others nothing is known."""

_RECTIFIED = frozenset(["relu", "relu6", "square", "abs", "softplus", "exp"])
_BOUNDED = frozenset(["tanh", "hardtanh", "clamp", "softsign", "hardsigmoid"])
_PLAIN = frozenset(["linear", "conv", "conv_transpose", "batch_norm", "layer_norm"])

_NAMES_OF_LOGITS = ("logits", "logit", "out", "output", "pred", "prediction", "predictions", "y")


def _kind(loss: Any) -> tuple[str, str] | None:
    """(what the loss expects, its name), looked for in partials, base classes and a wrapper's only inner loss."""
    if isinstance(loss, str):
        name = loss.rpartition(".")[2]
        return (_READS[name], name) if name in _READS else None
    if isinstance(loss, functools.partial):
        return _kind(loss.func)
    if not isinstance(loss, nn.Module):
        kinds: Sequence[type] = loss.__mro__ if isinstance(loss, type) else ()
        names = [getattr(loss, "__name__", ""), *(k.__name__ for k in kinds)]
        found = next(((_READS[n], n) for n in names if n in _READS), None)
        return found if found is not None else _called_in(loss)
    for kind in type(loss).__mro__:
        if kind.__name__ in _READS:
            return _READS[kind.__name__], kind.__name__
    inner = [k for m in loss.children() if (k := _kind(m)) is not None]
    return inner[0] if len(inner) == 1 else _by_use(loss)


_USES: Mapping[str, str] = {
    **_READS,
    "softmax": _LOGITS,
    "log_softmax": _LOGITS,
    "Softmax": _LOGITS,
    "LogSoftmax": _LOGITS,
    "sigmoid": _BINARY_LOGITS,
    "Sigmoid": _BINARY_LOGITS,
    "logsigmoid": _BINARY_LOGITS,
    "log": _PROBABILITIES,
}
"""What a loss of one's own says about its first argument by giving it to a call of this name."""


def _by_use(loss: Any) -> tuple[str, str] | None:
    """By what a loss of one's own does with its first argument."""
    used = first_use(loss, _USES.get, lambda m: _use_of(m) if isinstance(m, nn.Module) else None)
    name = getattr(loss, "__name__", type(loss).__name__)
    return (used, "the loss" if name == "<lambda>" else name) if used is not None else None


def _use_of(module: nn.Module) -> str | None:
    known = _USES.get(type(module).__name__)
    found = _kind(module) if known is None else None
    return known if found is None else found[0]


def _called_in(function: Any) -> tuple[str, str] | None:
    """As :func:`_by_use`; else the only loss that a function of one's own calls, where it applies nothing before."""
    used = _by_use(function)
    if used is not None:
        return used
    code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    if code is None:
        return None
    losses = {n for n in code.co_names if n in _READS}
    if losses == {"nll_loss"} and {n for n in code.co_names if "softmax" in n} == {"log_softmax"}:
        return _LOGITS, "nll_loss of log_softmax"
    squashes = any("softmax" in n or "sigmoid" in n for n in code.co_names)
    return next(((_READS[n], n) for n in losses), None) if len(losses) == 1 and not squashes else None


def _held(subject: Subject) -> list[tuple[str, tuple[str, str]]]:
    """(output node, (expectation, name of the loss)) for each output that a loss is known to read.

    Raises:
        InputError: several losses were given and it cannot be told which reads which output.
    """
    graph, loss = subject.graph, subject.loss
    names = {name: o for o in graph.outputs for name in _names(graph[o])}
    if isinstance(loss, Mapping):
        unknown = [k for k in loss if str(k) not in names]
        if unknown:
            raise InputError(
                f"loss names the outputs {unknown}, and the model returns {sorted(names)}: "
                "give a mapping by output name, or a sequence with one loss an output"
            )
        pairs = [(names[str(k)], v) for k, v in loss.items()]
    elif isinstance(loss, (tuple, list)):
        outputs = _in_order(names, graph.outputs)
        if len(loss) != len(outputs):
            raise InputError(
                f"{len(loss)} losses were given for {len(outputs)} outputs: give one an output, None for none"
            )
        pairs = list(zip(outputs, loss, strict=True))
    else:
        pairs = [(o, loss) for o in _read_by_one(names, graph.outputs)]
    return [(o, kind) for o, one in pairs if one is not None and (kind := _kind(one)) is not None]


def _of_steps(subject: Subject) -> list[tuple[str, tuple[str, str]]]:
    """As :func:`_held`, of the losses that the module's own steps apply to its only output."""
    losses = losses_of_steps(subject.model, _READS.__contains__) if len(subject.graph.outputs) == 1 else []
    kinds = {k for loss in losses if (k := _kind(loss)) is not None}
    return [(subject.graph.outputs[0], k) for k in sorted(kinds)]


def _names(output: Node) -> tuple[str, ...]:
    """All names under which a value is returned."""
    return (str(output.facts.get("output", "")), *output.facts.get("output_again", ()))


def _in_order(names: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
    """The outputs in the order in which they are returned; one that is returned twice stands there twice."""
    if len(names) > len(outputs) and all(n.isdigit() for n in names):
        return [names[n] for n in sorted(names, key=int)]
    return list(outputs)


def _read_by_one(names: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
    """The output that a single loss reads: the one called logits or the like, else the first of a tuple."""
    if len(outputs) == 1:
        return list(outputs)
    for wanted in _NAMES_OF_LOGITS:
        for name, output in names.items():
            if name.rpartition(".")[2].lower() == wanted:
                return [output]
    numbered = [n for n in names if n.isdigit()]
    return [names[min(numbered, key=int)]] if numbered else []


def _end(subject: Subject, name: str) -> Node:
    """The operator that makes an output, behind changes of shape and what changes nothing in evaluation."""
    node = subject.graph[name]
    passed = OPS.ruled("reshape", "permute", "slice", "item") | OPS.having("identity")
    while node.op in passed and len(subject.data_inputs(node)) == 1:
        node = subject.data_inputs(node)[0]
    return node


_ADVICE = {
    _LOGITS: "return the logits",
    _BINARY_LOGITS: "return the logits",
    _LOG_PROBABILITIES: "end in log_softmax, or use the loss that takes what you return",
    _PROBABILITIES: "end in sigmoid, or use the loss that takes logits",
}


def _misfit(subject: Subject, expects: str, end: Node, output: Node) -> tuple[str, str | None] | None:
    """(what is wrong, severity if other than error) of an end for a loss; None where it fits or is not known."""
    op = end.op
    if expects in (_LOGITS, _BINARY_LOGITS):
        own = "log_softmax" if expects == _LOGITS else "sigmoid"
        if op == "log_softmax" or (op == "log" and _reads(subject, end, "softmax")):
            return f"and the loss applies {own} itself", "info" if expects == _LOGITS else None
        if op in OPS.having("squashes"):
            return f"and the loss applies {own} itself", None
        if op in _RECTIFIED or (op in ("leaky_relu", "elu", "silu", "gelu") and expects == _BINARY_LOGITS):
            return "which leaves no (or hardly any) negative logits", "warning"
        if op in _BOUNDED:
            return "which keeps logits in a narrow range: no class can become certain", "warning"
        if expects == _LOGITS and _one_class(end, output):
            return "and has one class: cross-entropy over one class is 0 whatever it is", None
        return None
    if expects == _LOG_PROBABILITIES:
        if op in _PLAIN or op in _RECTIFIED or op in _BOUNDED or op in ("softmax", "sigmoid", "add"):
            return "and the loss expects log-probabilities, as log_softmax leaves them", None
        return None
    if op in _PLAIN or op in _RECTIFIED or op in ("tanh", "log_softmax", "add", "log", "leaky_relu"):
        return "and the loss expects probabilities between 0 and 1, as sigmoid leaves them", None
    return None


def _one_class(end: Node, output: Node) -> bool:
    """Whether a layer of one channel makes the output; of other operators the one may be that of the batch."""
    made = end.of(Linear).c_out if end.op in ("linear", "conv") else 0
    return made == 1 and output.shape is not None and len(output.shape) == 2 and output.shape[1] == 1


def _reads(subject: Subject, node: Node, op: str) -> bool:
    inputs = subject.data_inputs(node)
    return len(inputs) == 1 and inputs[0].op == op


@rule("SED303", "activation-and-loss", "error")
def activation_and_loss(subject: Subject) -> Iterator[Hit]:
    """The network ends in an activation that the loss applies again, or lacks one that it expects.

    Looked at where the forward applies a loss itself, where the module holds a loss or applies one to its output in
    another method (``training_step``), and when ``check(..., loss=...)`` gives it: an instance, a class, a function, a
    partial, or a name; for several outputs a sequence with one loss an output or a mapping by name. Of a loss of your
    own it is read what it does with its first argument. One loss for several outputs is held against the one called
    ``logits``, else against the first. The network is read as it is trained.
    ``CrossEntropyLoss`` applies log-softmax, ``BCEWithLogitsLoss`` a sigmoid; ``NLLLoss``, ``KLDivLoss`` and
    ``CTCLoss`` expect log-probabilities, ``BCELoss`` probabilities. A rectified or bounded end (ReLU, tanh,
    clamp) before a loss that takes logits is a warning, and so is ``log_softmax`` of what a softmax, a sigmoid or a
    rectifier leaves.

    Why it matters: softmax of softmax has nearly uniform probabilities and a tiny gradient; training looks
    as if it worked, slowly. (log-softmax before ``CrossEntropyLoss`` changes nothing: info.)

    What to do: return logits, or use the loss that takes what you return.

    Reference: documentation of torch.nn.CrossEntropyLoss: "the input is expected to contain the unnormalized
    logits".

    Triggers::

        model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
        size = (2, 4)
        options = dict(loss=nn.CrossEntropyLoss())

    Near miss::

        model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(-1))
        size = (2, 4)
        options = dict(loss=nn.NLLLoss())
    """
    trained = subject.trained_as
    inside = [
        (n.inputs[0], k) for n in trained.live if n.inputs and (k := _kind(canonical(n.target))) is not None
    ]
    given = _held(trained) if subject.loss is not None else _of_steps(trained)
    for output, (expects, loss) in (*given, *inside):
        end = _end(trained, output)
        found = _misfit(trained, expects, end, trained.graph[output])
        if found is None:
            continue
        what, severity = found
        name = trained.graph[output].facts.get("output")
        which = f"the output {name!r}" if name and len(trained.graph.outputs) > 1 else "the network"
        yield Hit(
            end.path,
            f"{which} ends in {end.op} before {loss}, {what}",
            _ADVICE[expects],
            {"ends_in": end.op, "loss": loss, "expects": expects, "output": name},
            end.source,
            severity,  # type: ignore[arg-type]
        )
    yield from _squashed_twice(trained)


def _squashed_twice(subject: Subject) -> Iterator[Hit]:
    """A log-softmax of what a softmax, a sigmoid or a rectifier leaves."""
    for node in subject.live:
        if node.op != "log_softmax":
            continue
        end = _end(subject, node.inputs[0])
        twice = end.op in OPS.having("squashes") and end.op != "log_softmax"
        if twice or end.op in _RECTIFIED:
            yield Hit(
                node.path,
                f"log_softmax of what {end.op} leaves: "
                + ("probabilities are normalised again" if twice else "hardly any logit is negative"),
                "give it the logits",
                {"ends_in": end.op, "loss": "log_softmax", "expects": _LOGITS},
                node.source,
                "warning",
            )


@rule("SED314", "log-of-softmax", "warning")
def log_of_softmax(subject: Subject) -> Iterator[Hit]:
    """The logarithm of a softmax or sigmoid, taken in two steps.

    Why it matters: a probability below 10⁻³⁸ is 0 in float32 (below 6·10⁻⁸ in float16): its logarithm is -inf and
    its gradient NaN. A small number added first, or a clamp, prevents that, and takes the gradient of small
    probabilities away.

    What to do: ``log_softmax`` and ``logsigmoid`` compute the same without the loss of range.

    Reference: PyTorch documentation of nn.functional.log_softmax: "mathematically equivalent to log(softmax(x)),
    doing these two operations separately is slower and numerically unstable".

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(4, 3)
            def forward(self, x):
                return torch.log(torch.softmax(self.a(x), -1))
        model = Net()
        size = (2, 4)

    Near miss::

        model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(-1))
        size = (2, 4)
    """
    passed = OPS.ruled("reshape", "permute", "slice", "item") | OPS.having("identity")
    for node in subject.trained_as.live:
        if node.op != "log":
            continue
        guarded = False
        before = subject.trained_as.back_through(node, passed)
        while _is_guard(before):
            guarded, before = True, subject.trained_as.back_through(before, passed)
        if before.op in ("softmax", "sigmoid"):
            better = "log_softmax" if before.op == "softmax" else "logsigmoid"
            yield Hit(
                node.path,
                f"log of {before.op} and a guard: a small probability gets little or no gradient"
                if guarded
                else f"log of {before.op}: a small probability becomes 0, its logarithm -inf and its gradient NaN",
                f"use {better}",
                {"operator": before.op, "guarded": guarded},
                node.source,
            )


def _is_guard(node: Node) -> bool:
    """Whether a small number is added, or what is smaller is clamped."""
    small = (
        node.facts.get("scalar")
        if node.op == "add"
        else node.facts.get("low")
        if node.op == "clamp"
        else None
    )
    return len(node.inputs) == 1 and isinstance(small, float) and 0.0 < small <= GUARD


GUARD = 1e-2
"""Up to here a number that is added to a probability is taken for a guard against log(0)."""


_PROBABLE = ("sigmoid", "hardsigmoid", "softmax")


def _is_cut_at_zero(node: Node) -> bool:
    return node.op in ("clamp", "hardtanh") and node.facts.get("low") in (0, 0.0)


@rule("SED315", "rectified-before-sigmoid", "warning")
def rectified_before_sigmoid(subject: Subject) -> Iterator[Hit]:
    """A sigmoid reads a rectified value: it never leaves anything below one half.

    Why it matters: as a probability it can only say yes or perhaps, as a gate only open or half open; where the
    rectifier is shut, no gradient passes.

    What to do: take the rectifier away.

    Reference: sigmoid(max(0, x)) ≥ 1/2.

    Triggers::

        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sigmoid())
        size = (2, 4)
        path = "2"

    Near miss::

        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid())
        size = (2, 4)
    """
    passed = OPS.ruled("reshape", "permute") | OPS.having("identity")
    for node in subject.live:
        if node.op != "sigmoid":
            continue
        before = subject.back_through(node, passed)
        if before.op in ("relu", "relu6", "softplus", *_PROBABLE) or _is_cut_at_zero(before):
            yield Hit(
                node.path,
                f"sigmoid of {before.op} is never below 0.5",
                "take the rectifier away",
                {"operator": before.op, "rectifier_path": before.path},
                node.source,
            )
