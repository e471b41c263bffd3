"""SED304 and SED305: calls that overwrite a value which something else still needs."""

from __future__ import annotations

from collections.abc import Iterator

from sed_torch.attributes import Attributes
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject, is_in_place
from sed_torch.graph import Node
from sed_torch.ops import OPS


def _saves(subject: Subject, reader: Node, value: str) -> bool:
    """Whether ``reader``'s backward pass needs ``value`` unchanged."""
    op = OPS.get(reader.op)
    if op is None:
        return False
    if op.has("saves_input") and reader.inputs[:1] == (value,):
        return not is_in_place(reader)
    if op.has("saves_other") and value in reader.inputs[1:]:
        return True
    if op.has("saves_factors") and op.has("weighted"):
        weight = subject.weight(reader)
        return reader.inputs[:1] == (value,) and weight is not None and weight.trainable
    if op.has("saves_factors"):
        others = [i for i in reader.inputs if i != value]
        squared = reader.inputs.count(value) > 1
        return squared or any(subject.graph[i].op != "constant" for i in others)
    return False


def _saves_result(node: Node) -> bool:
    return node.op in OPS.having("saves_result")


def _family(subject: Subject, node: Node) -> set[str]:
    """Names of the values that share memory with ``node``."""
    root = node
    while root.op in OPS.having("view") and root.inputs:
        root = subject.graph[root.inputs[0]]
    found, todo = {root.name}, [root]
    while todo:
        for reader in subject.readers.get(todo.pop().name, ()):
            if reader.op in OPS.having("view") and reader.name not in found and reader.inputs[0] in found:
                found.add(reader.name)
                todo.append(reader)
    return found


def _writes(subject: Subject, node: Node) -> bool:
    """Whether a call changes its first argument in training; dropout of rate 0 does not."""
    if not is_in_place(node) or not node.inputs:
        return False
    return node.op != "dropout" or subject.dropout_rate(node) > 0.0


def _victims(subject: Subject, node: Node) -> list[Node]:
    """Earlier nodes that keep for their backward pass what ``node`` overwrites."""
    place = subject.graph.index[node.name]
    family = _family(subject, subject.graph[node.inputs[0]])
    victims = []
    for name in family:
        owner = subject.graph[name]
        if _saves_result(owner) and owner.name in subject.reached:
            victims.append(owner)
        victims += [
            r
            for r in subject.readers.get(name, ())
            if r is not node and subject.graph.index[r.name] < place and _saves(subject, r, name)
        ]
    return [v for v in victims if v.name in subject.graph.needed and v.name in subject.trained]


@rule("SED304", "overwritten-before-backward", "error")
def overwritten_before_backward(subject: Subject) -> Iterator[Hit]:
    """An in-place call overwrites a value that an earlier operator keeps for its backward pass.

    Why it matters: ``backward()`` raises "one of the variables needed for gradient computation has been
    modified by an inplace operation".

    What to do: write ``x = x + y`` instead of ``x += y``, or ``inplace=False``.

    Reference: PyTorch documentation, "In-place correctness checks" (notes on autograd mechanics).

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 8, 3)
                self.b = nn.Conv2d(8, 8, 3, padding=1)
            def forward(self, x):
                x = torch.sigmoid(self.a(x))
                x += 1
                return self.b(x)
        model = Net()
        size = (1, 3, 32, 32)

    Near miss (a convolution keeps what it read, not what it wrote)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 8, 3)
                self.b = nn.Conv2d(8, 8, 3, padding=1)
            def forward(self, x):
                x = self.a(x)
                x += 1
                return self.b(torch.relu_(x))
        model = Net()
        size = (1, 3, 32, 32)
    """
    subject = subject.trained_as
    for node in subject.live:
        if not _writes(subject, node) or node.facts.get("grad") == "function":
            continue
        victims = [v for v in _victims(subject, node) if "grad" not in v.facts]
        if victims:
            victim = victims[0]
            yield Hit(
                node.path,
                f"{node.target} overwrites what {victim.op} in {victim.path or 'the root'} keeps for the backward pass",
                "use the out-of-place form (x = x + y, inplace=False)",
                {
                    "operator": node.target,
                    "keeps": victim.op,
                    "keeps_path": victim.path,
                    "keeps_at": victim.source,
                },
                node.source,
            )


@rule("SED305", "overwritten-skip", "warning")
def overwritten_skip(subject: Subject) -> Iterator[Hit]:
    """A value is read by its old name after an in-place layer has overwritten it.

    With ``y = relu(x)`` and ``inplace=True``, ``x`` is the rectified value too from then on: a skip that adds
    ``x`` adds the wrong thing, silently.

    Why it matters: the network computed is not the one written down; replacing the layer by one that is not
    in-place changes the result.

    What to do: ``inplace=False`` in that layer, or read the new name to say that it is meant.

    Reference: PyTorch documentation of nn.ReLU, ``inplace``.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 8, 3)
                self.act = nn.ReLU(inplace=True)
                self.conv = nn.Conv2d(8, 8, 3, padding=1)
            def forward(self, x):
                x = self.stem(x)
                y = self.conv(self.act(x))
                return x + y
        model = Net()
        size = (1, 3, 32, 32)
        path = "act"

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 8, 3)
                self.act = nn.ReLU(inplace=True)
                self.conv = nn.Conv2d(8, 8, 3, padding=1)
            def forward(self, x):
                x = self.act(self.stem(x))
                return x + self.conv(x)
        model = Net()
        size = (1, 3, 32, 32)
    """
    for node in subject.live:
        stale = [n for n in node.of(Attributes).stale if n in subject.graph.needed]
        readers = subject.needed_readers(node)
        fresh = [r for r in readers if r.name not in stale or r.inputs.count(node.name) > 1]
        if stale and fresh:
            reader = subject.graph[stale[0]]
            yield Hit(
                node.path,
                f"{node.target} overwrites what {reader.op} in {reader.path or 'the root'} reads later by its old name",
                "set inplace=False, or read the new name if it is meant",
                {
                    "operator": node.target,
                    "reader": reader.op,
                    "reader_path": reader.path,
                    "reader_at": reader.source,
                },
                node.source,
            )
