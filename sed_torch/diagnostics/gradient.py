"""SED005 and SED007: gradients that do not arrive, and weights that no optimizer is told of."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.attributes import MadeOf
from sed_torch.diagnostics.code import called_at, reads_again
from sed_torch.diagnostics.dead import by_module
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import NOT_DATA, Subject, is_in_place
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS, canonical

_COPIES = frozenset(["tensor", "as_tensor", "data", "detach"])


def _without_gradient(node: Node) -> bool:
    """Whether the call ran where no gradient is recorded; an in-place one there leaves that of its operand."""
    return node.facts.get("grad") is False and not is_in_place(node)


def _cuts_gradient(node: Node) -> bool:
    if node.op in ("input", *NOT_DATA) or node.facts.get("grad") == "function":
        return False  # an autograd.Function has a backward of its own
    floating = node.shape is None or node.dtype.startswith(("float", "bfloat", "complex"))
    known = OPS.get(node.op)
    return (
        not floating
        or canonical(node.target) in _COPIES
        or _without_gradient(node)
        or (known is not None and known.has("no_gradient") and known.name != "detach")
    )


def _leaves_torch(node: Node) -> bool:
    """Whether a graph ends where tensors become plain numbers, which have no gradient whatever is made of them."""
    return node.op == "opaque" and node.target == "what follows tolist"


def _passes_on(node: Node) -> tuple[str, ...]:
    """The inputs of a node that the gradient of its result reaches."""
    if node.facts.get("grad") is False:
        return _written(node)
    return node.inputs


def _written(node: Node) -> tuple[str, ...]:
    """What a call in place writes into: its first operand, which a fill does not read."""
    return (node.inputs or (node.of(MadeOf).of if node.op in OPS.ruled("zero") else ()))[:1]


def _fills_a_leaf(graph: Graph, node: Node) -> bool:
    """Whether a call in place only gives a weight its first values: the weight gets a gradient all the same."""
    filled = [graph[i] for i in _written(node)] if is_in_place(node) else []
    return any(_is_leaf(graph, f) for f in filled)


def _is_leaf(graph: Graph, node: Node) -> bool:
    if node.op == "constant":
        return bool(node.facts.get("requires_grad"))
    return is_in_place(node) and _fills_a_leaf(graph, node)


def differentiable(graph: Graph) -> tuple[set[str], list[Node]]:
    """Values that the gradient of the outputs reaches, and the operators that stop it."""
    reached = set(graph.outputs)
    cuts: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in reached:
            if _fills_a_leaf(graph, node):
                reached.update(_written(node))
            elif _leaves_torch(node):
                cuts.append(node)
                reached.update(i for i in node.inputs if graph[i].op == "parameter")
            elif _cuts_gradient(node):
                cuts.append(node)
            else:
                reached.update(_passes_on(node))
    return reached, cuts


def _followed(subject: Subject) -> tuple[set[str], list[Node]]:
    return differentiable(subject.graph)


@rule("SED005", "no-gradient", "warning")
def no_gradient(subject: Subject) -> Iterator[Hit]:
    """Trainable parameters reach the output only through operators without a derivative.

    Why it matters: ``detach``, ``.data``, ``torch.tensor(x)``, ``no_grad``, rounding, ``argmax`` and comparisons
    stop the gradient; what lies before them is never trained by a loss on the output, and DDP takes it for
    unused. Where no parameter gets a gradient it is an error, for ``backward()`` raises. The network is read as
    it is trained; where it cannot be followed so, the finding is info.

    What to do: remove the cut, use a straight-through estimator (``x + (q - x).detach()``), or freeze the
    parameters to say that it is meant.

    Reference: Bengio, Léonard, Courville (2013), arXiv 1308.3432, on straight-through estimators.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 8, 3)
                self.b = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                return self.b(self.a(x).detach())
        model = Net()
        size = (1, 3, 32, 32)
        path = "a"

    Near miss (straight through)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 8, 3)
                self.b = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                x = self.a(x)
                return self.b(x + (x.round() - x).detach())
        model = Net()
        size = (1, 3, 32, 32)
    """
    trained = subject.trained_as
    graph = trained.graph
    seen = subject.training_graph is not None and not _may_pass_a_cut(subject)
    reached, cuts = trained.once("differentiable", _followed)
    learning = {n.target for n in graph.nodes if n.op == "parameter" and n.name in reached}
    needed = {n.target for n in graph.nodes if n.op == "parameter" and n.name in graph.needed}
    learning |= {n.target for n in graph.nodes if n.op == "parameter" and n.facts.get("replaced")}
    lost = [p.name for p in graph.parameters if p.trainable and p.name in needed and p.name not in learning]
    if not lost or not cuts:
        return
    nothing = not any(p.trainable and p.name in learning for p in graph.parameters)
    for path, names in by_module(subject, lost):
        cut = _nearest(graph, cuts, set(names))
        how = "a call under no_grad" if _without_gradient(cut) else cut.target
        tail = "; no parameter gets a gradient at all: backward() raises" if nothing else ""
        unseen = "" if seen else " (it could not be followed in training mode, where it may differ)"
        yield Hit(
            path,
            f"{len(names)} trainable parameters reach the output only through {how}, which has no gradient"
            f"{tail}{unseen}",
            "remove the cut, or set requires_grad=False if it is meant",
            {"parameters": tuple(names), "cut": cut.target, "cut_path": cut.path},
            cut.source,
            "info"
            if not seen
            else "error"
            if nothing
            else None
            if _is_read(trained, cut, reached)
            else "info",
        )
        if nothing:
            return  # one cut stands before them all


def _may_pass_a_cut(subject: Subject) -> bool:
    """Whether what follows the end of a graph that was cut, at ``.numpy()`` for example, may read what came before.

    It cannot where the model's own forward holds nothing else after that line.
    """
    end = next((n for n in subject.graph.nodes if n.op == "opaque"), None)
    if subject.graph.frontend != "fx+cut" or end is None:
        return False
    line, call = (end.source or "").rpartition(":")[2], end.target.rpartition(" ")[2]
    path = end.path
    while True:
        module: Any = subject.modules.get(path)
        if not isinstance(module, nn.Sequential):
            forward = inspect.unwrap(type(module).forward)
            if not line.isdigit() or not isinstance(forward, types.FunctionType):
                return True
            if reads_again(forward, int(line), call):
                return True
        if not path:
            return False
        path, _, call = path.rpartition(".")
        holder: Any = subject.modules.get(path)
        line = str(called_at(inspect.unwrap(type(holder).forward), call) or "")


def _is_read(subject: Subject, cut: Node, reached: set[str]) -> bool:
    """Whether something that is trained reads what a cut leaves; a target that is only returned is meant so."""
    if _leaves_torch(cut):
        return any(subject.graph[i].op == "parameter" for i in cut.inputs)
    return any(r.name in reached for r in subject.readers.get(cut.name, ()))


def _nearest(graph: Graph, cuts: list[Node], names: set[str]) -> Node:
    """The first cut behind the parameters of these names."""
    after = {n.name for n in graph.nodes if n.op == "parameter" and n.target in names}
    found = {c.name for c in cuts}
    for node in graph.nodes:
        if any(i in after for i in node.inputs):
            if node.name in found:
                return node
            after.add(node.name)
    return min(cuts, key=lambda n: graph.index[n.name])


@rule("SED007", "unregistered-weights", "error")
def unregistered_weights(subject: Subject) -> Iterator[Hit]:
    """The forward reads trainable weights that are neither parameters nor buffers of the model.

    Layers in a Python list or dict, ``nn.Parameter(...)`` that went through ``.to()`` or a product before it was
    assigned, layers that the forward makes anew at every call. Tensors without ``requires_grad`` that a layer
    reads as its weight are info, and a warning where their entries look drawn at random, as a weight's are. What is
    frozen, or read under ``no_grad``, may be hidden on purpose.

    Why it matters: ``parameters()`` does not list them, so that no optimizer trains them, ``state_dict()`` does
    not save them, and ``to(device)`` leaves them behind.

    What to do: use ``nn.ModuleList``, ``nn.ModuleDict`` or ``nn.ParameterList``, make layers in ``__init__``,
    assign the ``nn.Parameter`` itself, and ``register_buffer`` what is not trained.

    Reference: PyTorch documentation of nn.ModuleList and nn.parameter.Parameter.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
                self.head = nn.Linear(4, 2)
            def forward(self, x):
                for layer in self.layers:
                    x = torch.relu(layer(x))
                return self.head(x)
        model = Net()
        size = (2, 4)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
                self.head = nn.Linear(4, 2)
            def forward(self, x):
                for layer in self.layers:
                    x = torch.relu(layer(x))
                return self.head(x)
        model = Net()
        size = (2, 4)
    """
    trained = subject.trained_as
    reached, _ = trained.once("differentiable", _followed)
    found: dict[str, list[Node]] = {}
    for node in trained.graph.nodes:
        if node.op == "constant" and node.facts.get("requires_grad") and node.name in reached:
            found.setdefault(str(node.facts["held"] or "").partition("[")[0], []).append(node)
    for held, nodes in found.items():
        readers = [r for n in nodes for r in trained.readers.get(n.name, ())]
        entries = sum(n.numel for n in nodes)
        path, _, name = held.rpartition(".")
        what = f"self.{name}" if name else "what the forward makes or finds elsewhere"
        yield Hit(
            path or (readers[0].path if readers and not held else ""),
            f"{len(nodes)} trainable weight{'s' if len(nodes) > 1 else ''} ({entries:,} entries) of {what} "
            f"{'are' if len(nodes) > 1 else 'is'} not registered: no optimizer will train them",
            "keep layers in nn.ModuleList or nn.ModuleDict, and assign nn.Parameter itself"
            if held
            else "make it in __init__ and assign it to self",
            {"tensors": tuple(str(n.facts["held"]) for n in nodes), "entries": entries},
            (subject.assigned(held) if held else None) or (readers[0].source if readers else None),
        )
    yield from _plain_weights(subject)


def _plain_weights(subject: Subject) -> Iterator[Hit]:
    """Weights of layers that are plain tensors: they stay behind when the model moves."""
    seen: set[str] = set()
    for node in subject.live:
        read = node.inputs[1:2] if node.op in OPS.having("weighted") else ()
        for name in node.inputs[:2] if node.op in OPS.ruled("matmul") else read:
            weight = subject.graph[name]
            held = weight.facts.get("held")
            if weight.op != "constant" or not held or weight.facts["requires_grad"] or held in seen:
                continue
            random = _looks_random(_held_tensor(subject, str(held)))
            if not random and node.op not in OPS.having("weighted"):
                continue
            seen.add(held)
            path, _, name = str(held).rpartition(".")
            yield Hit(
                path,
                f"the weight self.{name} is a plain tensor{' of random numbers' if random else ''}: "
                "to(device) and state_dict() leave it out" + (", no optimizer trains it" if random else ""),
                "make it an nn.Parameter, or register it with register_buffer",
                {"tensor": held, "entries": weight.numel},
                subject.assigned(held) or node.source,
                "warning" if random else "info",
            )


def _held_tensor(subject: Subject, held: str) -> Tensor | None:
    """The tensor behind a dotted name, an attribute of one of the modules."""
    path, _, name = held.rpartition(".")
    value = vars(subject.modules[path]).get(name) if path in subject.modules else None
    return value if isinstance(value, Tensor) else None


_FEW_ENTRIES = 32
"""Of so few nobody can tell whether they were drawn."""


def _looks_random(tensor: Tensor | None) -> bool:
    """Whether the entries of a matrix or kernel look drawn one by one: all different, neighbours without relation.

    What is designed (filters, Fourier and wavelet tables) repeats numbers, or runs smoothly along an axis.
    """
    if tensor is None or tensor.device.type == "meta" or not tensor.is_floating_point():
        return False
    if tensor.dim() < 2 or tensor.numel() < _FEW_ENTRIES:
        return False
    values = tensor.detach().double().reshape(tensor.shape[0], -1)[:256, :256]
    if torch.unique(values).numel() < 0.99 * values.numel():
        return False
    centred = values - values.mean()
    own = float(centred.square().mean())
    shifts = [s for s in (centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1]) if s.numel()]
    return own > 0 and all(abs(float(s.mean())) / own < 4 / s.numel() ** 0.5 for s in shifts)
