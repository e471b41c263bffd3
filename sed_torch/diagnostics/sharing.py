"""SED205 and SED206: values merged with themselves, and layers whose weights stand at several places."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS


def _origin(subject: Subject, name: str) -> str:
    node = subject.graph[name]
    while node.op in OPS.having("identity") and len(subject.data_inputs(node)) == 1:
        node = subject.data_inputs(node)[0]
    return node.name


@rule("SED205", "skip-of-nothing", "warning")
def skip_of_nothing(subject: Subject) -> Iterator[Hit]:
    """A sum or concatenation of a value with itself: the block that the skip goes around computes nothing.

    Why it matters: x + x is 2x, and a concatenation with itself doubles the width of the next layer for no new
    content. Usually the block's result was overwritten, or its modules were replaced by identities.

    What to do: merge with what the block computes, or remove the merge.

    Reference: He et al. (2015), arXiv 1512.03385: a residual block needs a residual function.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 8, 3)
                self.block = nn.Sequential(nn.Identity())
            def forward(self, x):
                x = self.stem(x)
                return x + self.block(x)
        model = Net()
        size = (1, 3, 32, 32)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 8, 3)
                self.block = nn.Sequential(nn.ReLU())
            def forward(self, x):
                x = self.stem(x)
                return x + self.block(x)
        model = Net()
        size = (1, 3, 32, 32)
    """
    for node in subject.live:
        if node.op not in ("add", "cat", "sub"):
            continue
        inputs = [i for i in node.inputs if i in subject.reached]
        origins = {_origin(subject, i) for i in inputs}
        if len(inputs) > 1 and len(origins) == 1:
            yield Hit(
                node.path,
                f"{node.op} of a value with itself: the block that the skip goes around computes nothing",
                "merge with what the block computes, or remove the merge",
                {"inputs": len(inputs), "value": next(iter(origins))},
                node.source,
                "info" if node.op == "cat" and _is_split(subject, node) else None,
            )


def _is_split(subject: Subject, node: Node) -> bool:
    """Whether a concatenation is taken apart again: the two streams that a reversible network starts with."""
    todo, seen = [node], {node.name}
    while todo:
        for reader in subject.needed_readers(todo.pop()):
            if reader.op in ("chunk", "split", "getitem", "narrow"):
                return True
            if reader.op in OPS.having("elementwise") and reader.name not in seen:
                seen.add(reader.name)
                todo.append(reader)
    return False


@rule("SED206", "shared-weights", "info")
def shared_weights(subject: Subject) -> Iterator[Hit]:
    """A layer is called several times with the same weights.

    It is a warning where one instance stands several times in one list or dict, one after the other:
    ``[layer] * n``, or ``copy.copy(layer)``, which copies the module and not its weights.

    Why it matters: meant in recurrent, siamese and weight-tied networks; otherwise one instance was created
    where several were wanted, and the layers cannot learn different things. Its operators count once each in
    the score, its parameters once in all.

    What to do: nothing if it is meant; else create one instance a place.

    Reference: none; harmless in itself, hence info.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 8, 3)
                self.conv = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                x = torch.relu(self.stem(x))
                return self.conv(torch.relu(self.conv(x)))
        model = Net()
        size = (1, 3, 32, 32)
        path = "conv"

    Near miss::

        model = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 8, 8, 3) for i in range(3)])
        size = (1, 3, 32, 32)
    """
    for node in subject.graph.nodes:
        if node.op != "parameter" or node.numel <= 1:
            continue
        calls = [
            r
            for r in subject.needed_readers(node)
            if r.op in ("conv", "linear", "conv_transpose") and r.inputs[1:2] == (node.name,)
        ]
        if len(calls) > 1:
            path = node.target.rpartition(".")[0]
            places = _listed(subject, path) if _in_a_chain(subject, calls) else ()
            yield Hit(
                path,
                f"called {len(calls)} times with the same weights"
                + (f": it stands {len(places)} times in one list, as [layer] * n makes it" if places else ""),
                "nothing if it is meant, else create one instance a place",
                {"calls": len(calls), "weight": node.target, **({"places": places} if places else {})},
                (subject.assigned(path) if places else None) or calls[0].source,
                "warning" if places else None,
            )


def _listed(subject: Subject, path: str) -> tuple[str, ...]:
    """The places of one list or sequence at which the module that holds a layer stands, if several."""
    for holder, container in subject.modules.items():
        if not isinstance(container, (nn.ModuleList, nn.Sequential, nn.ModuleDict)):
            continue
        for name, child in container._modules.items():
            inner = f"{holder}.{name}" if holder else name
            if child is not None and (path == inner or path.startswith(f"{inner}.")):
                same = tuple(n for n, c in container._modules.items() if _alike(c, child))
                if len(same) > 1:
                    return tuple(f"{holder}.{n}" if holder else n for n in same)
    return ()


def _alike(a: nn.Module | None, b: nn.Module) -> bool:
    """Whether two entries are one module, or shallow copies that hold the same parameters."""
    if a is b or a is None or type(a) is not type(b):
        return a is b
    mine, its = ([*map(id, m.parameters())] for m in (a, b))
    return bool(mine) and mine == its


def _in_a_chain(subject: Subject, calls: list[Node]) -> bool:
    """Whether a call reads what an earlier one computed."""
    after: set[str] = {calls[0].name}
    for node in subject.graph.nodes[subject.graph.index[calls[0].name] + 1 :]:
        if any(i in after for i in node.inputs):
            if node.name == calls[1].name:
                return True
            after.add(node.name)
    return False
