"""SED321: roots, logarithms and quotients of what is exactly zero for many inputs."""

from __future__ import annotations

from collections.abc import Iterator

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS

_PLACES = frozenset(
    ["getitem", "unsqueeze", "expand", "repeat", "reshape", "permute", "transpose", "contiguous"]
)


def _difference_with_itself(subject: Subject, node: Node) -> bool:
    """Whether a value is the square of x[:, None] - x[None], summed perhaps: exactly 0 where an entry meets itself."""
    squared = False
    while True:
        inputs = subject.data_inputs(node)
        if node.op == "sub" and len(inputs) == 2:
            break
        squares = node.op == "square" or (node.op == "pow" and node.facts.get("scalar") == 2)
        squares = squares or (node.op == "mul" and len(set(node.inputs)) == 1)
        if len({i.name for i in inputs}) != 1 or not (squares or node.op in ("sum", "mean", "abs", *_PLACES)):
            return False
        squared, node = squared or squares, inputs[0]
    a, b = (subject.graph[i] for i in node.inputs)
    spread = max(a.numel, b.numel) < node.numel
    return squared and spread and _placed(subject, a) == _placed(subject, b)


def _placed(subject: Subject, node: Node) -> str:
    """The value behind changes of place."""
    while node.op in _PLACES and len(subject.data_inputs(node)) == 1:
        node = subject.data_inputs(node)[0]
    return node.name


@rule("SED321", "root-at-zero", "warning")
def root_at_zero(subject: Subject) -> Iterator[Hit]:
    """A square root of a value that is exactly zero for many inputs.

    Looked for: ``sqrt`` (or a power between 0 and 1) of what a rectifier or a clamp at zero leaves, and of a
    squared difference of a value with itself, with nothing added in between. Likewise ``log`` of what a rectifier
    leaves, and a division by what it leaves, or by its sum or norm over at most 32 entries.

    Why it matters: the derivative of √x at 0 is infinite; times the rectifier's 0 it is NaN, which spreads to all
    weights. The logarithm of 0 is -inf, and 0/0 is NaN; of eight rectified entries all are 0 for one input in 256.

    What to do: ``torch.sqrt(x + 1e-8)``.

    Reference: d√x/dx = 1/(2√x).

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(4, 4)
            def forward(self, x):
                return torch.sqrt(torch.relu(self.a(x)))
        model = Net()
        size = (2, 4)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(4, 4)
            def forward(self, x):
                return torch.sqrt(torch.relu(self.a(x)) + 1e-6)
        model = Net()
        size = (2, 4)
    """
    passed = OPS.ruled("reshape", "permute", "slice", "item") | OPS.having("identity")
    for node in subject.trained_as.live:
        scalar = node.facts.get("scalar")
        root = node.op in ("sqrt", "rsqrt") or (
            node.op == "pow" and isinstance(scalar, float) and 0.0 < scalar < 1.0 and len(node.inputs) == 1
        )
        if node.op in ("log", "div") and node.name in subject.trained_as.trained:
            yield from _of_nothing(subject.trained_as, node, passed)
        if not root or node.name not in subject.trained_as.trained:
            continue
        before = subject.trained_as.back_through(node, passed)
        same = _difference_with_itself(subject.trained_as, before)
        if before.op in ("relu", "relu6") or _is_clamped(before) or same:
            yield Hit(
                node.path,
                f"{node.target} of each entry's distance from each other: its own is 0, where the gradient is infinite"
                if same
                else f"{node.target} of what {before.target} leaves: at 0 its gradient is infinite",
                "add a small number first",
                {"operator": node.target, "of": before.target},
                node.source,
            )


_FEW = 32
"""So many rectified entries are all zero often enough to be met."""


def _of_nothing(subject: Subject, node: Node, passed: frozenset[str]) -> Iterator[Hit]:
    """The logarithm of, or a division by, what a rectifier leaves."""
    if node.op == "div" and (len(node.inputs) != 2 or node.inputs[1] not in subject.reached):
        return
    if node.op == "log" and node.target.rstrip("_") not in ("log", "log2", "log10"):
        return
    value = first = subject.graph[node.inputs[-1]]
    summed = OPS.ruled("reduce") if node.op == "div" else frozenset()
    while value.op in passed | summed and len(subject.data_inputs(value)) == 1:
        if value.op in summed and value.target not in ("sum", "mean", "norm", "amax", "max"):
            return
        value = subject.data_inputs(value)[0]
    entries = value.numel / max(first.numel, 1)
    if not (value.op in ("relu", "relu6") or _is_clamped(value)) or entries > _FEW:
        return
    what = f"the {first.target} of {entries:g} entries" if entries > 1 else "what"
    yield Hit(
        node.path,
        f"{node.target} of what {value.target} leaves: at 0 it is -inf"
        if node.op == "log"
        else f"division by {what} that {value.target} leaves: where that is 0 the result is NaN",
        "add a small number first",
        {"operator": node.target, "of": value.target},
        node.source,
    )


def _is_clamped(node: Node) -> bool:
    return node.op == "clamp" and node.facts.get("low") in (0, 0.0)
