"""SED0xx: parts of the network that its output does not depend on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from torch import nn

from sed_torch.attributes import MadeOf
from sed_torch.diagnostics.experts import not_idle_by_chance
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject, common_path
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS, lookup

_DDP = "DistributedDataParallel stops at the second step with 'Expected to have finished reduction'"


def _times_zero(node: Node) -> bool:
    return node.op == "zero" and lookup(node.target) is OPS["mul"]


def _used(graph: Graph) -> set[str]:
    """Names of the parameters on which an output depends, if only by a product with zero (see SED003)."""
    needed = set(graph.needed)
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.of(MadeOf).of if _times_zero(node) else node.inputs)
    return {n.target for n in graph.nodes if n.op == "parameter" and n.name in needed}


def _replaced(graph: Graph) -> set[str]:
    """Names of the parameters whose content the forward replaces (``weight.data = …``)."""
    return {n.target for n in graph.nodes if n.op == "parameter" and n.facts.get("replaced")}


def _read(graph: Graph) -> set[str]:
    """Names of the parameters that the forward reads."""
    return {n.target for n in graph.nodes if n.op == "parameter"}


def _without_effect(subject: Subject) -> tuple[list[str], bool]:
    """Parameters that no output depends on, in training mode as well; whether that mode could be looked at."""
    used = _used(subject.graph) | _replaced(subject.graph)
    unused = [p.name for p in subject.graph.parameters if p.name not in used]
    if not unused or subject.training_graph is None:
        return unused, not unused
    used = _used(subject.training_graph) | _replaced(subject.training_graph)
    return [name for name in unused if name not in used], True


def by_module(
    subject: Subject, names: Iterable[str], called: frozenset[str] = frozenset()
) -> Iterator[tuple[str, list[str]]]:
    """The names by the topmost module, not in ``called``, all of whose parameters are among them.

    Where there is none, by their own module.
    """
    names = list(names)
    gone = set(names)
    total: dict[str, int] = {}
    lost: dict[str, int] = {}
    for p in subject.graph.parameters:
        parts = p.name.split(".")[:-1]
        for i in range(len(parts) + 1):
            path = ".".join(parts[:i])
            total[path] = total.get(path, 0) + 1
            lost[path] = lost.get(path, 0) + (p.name in gone)
    groups: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")[:-1]
        whole = (".".join(parts[:i]) for i in range(1, len(parts) + 1))
        top = next((m for m in whole if total[m] == lost[m] and m not in called), ".".join(parts))
        groups.setdefault(top, []).append(name)
    yield from groups.items()


def _listed(names: list[str], path: str) -> str:
    """The first names, below a path."""
    short = [n.removeprefix(f"{path}.") for n in names]
    return ", ".join(short[:3]) + (", …" if len(short) > 3 else "")


def _unused_hit(subject: Subject, path: str, names: list[str], what: str, advice: str, sure: bool) -> Hit:
    parameters = [subject.parameters[n] for n in names]
    count = sum(p.numel for p in parameters)
    trainable = any(p.trainable for p in parameters)
    return Hit(
        path,
        f"{len(names)} parameter{'s' if len(names) > 1 else ''} ({count:,} entries: {_listed(names, path)}) {what}",
        advice
        if sure
        else f"{advice} (the model could not be followed in training mode, where it may differ)",
        {"parameters": tuple(names), "entries": count, "share": count / max(subject.score.params, 1)},
        subject.assigned(path if path and path in subject.modules else names[0]),
        None if trainable and sure else "info" if not trainable else "warning",
    )


def _misnamed(subject: Subject, hit: Hit, names: list[str]) -> Hit:
    """A finding about parameters that someone set on a layer of torch.nn which runs and does not read them.

    Such a layer reads all that it registers, so the name is one that its class does not know: frozen or not, what
    was put there, pre-trained vectors for example, has no effect.
    """
    layer = subject.modules[hit.path]
    own = [n.rpartition(".")[2] for n in names if n.rpartition(".")[0] == hit.path]
    if (
        hit.severity != "info"
        or not own
        or not type(layer).__module__.startswith("torch.nn.")
        or [*layer.children()]
    ):
        return hit
    known = [n for n in layer._parameters if n not in own]
    meant = difflib.get_close_matches(own[0], known, 1, 0.0)
    return replace(
        hit,
        severity="warning",
        message=f"{hit.message}: {type(layer).__name__} does not read {own[0]!r}",
        advice=f"was {meant[0]!r} meant?" if meant else hit.advice,
    )


@rule("SED001", "unused-parameters", "error")
def unused_parameters(subject: Subject) -> Iterator[Hit]:
    """Parameters that the forward never reads, in training mode neither.

    Why it matters: they take memory and optimizer state, weight decay pulls them to zero, and DDP fails at the
    second step because their gradient never arrives. Most often a module was registered in ``__init__`` and
    its call was forgotten, or the forward returns before it. Frozen ones (``requires_grad=False``) are info, but a
    warning where they were set on a layer of torch.nn under a name that it does not read, such as ``weights``.

    What to do: call the module, or do not register it. ``find_unused_parameters=True`` only hides it.

    Reference: PyTorch documentation of DistributedDataParallel, "find_unused_parameters".

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.extra = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                return self.conv(x)
        model = Net()
        size = (1, 3, 32, 32)
        path = "extra"

    Near miss (an auxiliary head that training alone calls)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.aux = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                x = self.conv(x)
                return (x, self.aux(x)) if self.training else x
        model = Net()
        size = (1, 3, 32, 32)
    """
    names, sure = _without_effect(subject)
    read = _read(subject.graph)
    never = not_idle_by_chance(subject, [n for n in names if n not in read], read)
    called = frozenset(m.path for m in subject.graph.modules if m.calls)
    for path, group in by_module(subject, never, called):
        hit = _unused_hit(
            subject, path, group, "are never read by the forward", f"call it or remove it: {_DDP}", sure
        )
        yield _misnamed(subject, hit, group) if path in called else hit


@rule("SED002", "dropped-result", "error")
def dropped_result(subject: Subject) -> Iterator[Hit]:
    """A part of the network is computed, and the output does not depend on what it computed.

    Why it matters: time and memory go into a branch whose parameters get no gradient; DDP fails at the second
    step. Typical causes: a result that is overwritten or not returned, a branch left out of a concatenation.

    What to do: use the result or delete the branch.

    Reference: PyTorch documentation of DistributedDataParallel, "find_unused_parameters".

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.branch = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                x = self.conv(x)
                y = self.branch(x)
                return x
        model = Net()
        size = (1, 3, 32, 32)
        path = "branch"

    Near miss (the result is returned)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.branch = nn.Conv2d(8, 8, 3)
            def forward(self, x):
                x = self.conv(x)
                return x, self.branch(x)
        model = Net()
        size = (1, 3, 32, 32)
    """
    names, sure = _without_effect(subject)
    read = _read(subject.graph)
    dropped = [n for n in names if n in read]
    for path, group in by_module(subject, dropped):
        yield _unused_hit(
            subject,
            path,
            group,
            "are read, but no output depends on the result",
            f"use the result or delete the branch: {_DDP}",
            sure,
        )


@rule("SED003", "multiplied-by-zero", "warning")
def multiplied_by_zero(subject: Subject) -> Iterator[Hit]:
    """A branch is multiplied by the constant zero.

    Why it matters: everything computed before it costs time and reaches nothing; its gradient is exactly zero.

    What to do: delete the branch, or make the factor a parameter if it is meant to grow from zero.

    Reference: a product with a constant 0 has derivative 0 in its other factor.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 8, 3)
                self.b = nn.Conv2d(3, 8, 3)
            def forward(self, x):
                return self.a(x) + 0.0 * self.b(x)
        model = Net()
        size = (1, 3, 32, 32)

    Near miss (a learnt factor that starts at zero)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 8, 3)
                self.b = nn.Conv2d(3, 8, 3)
                self.gain = nn.Parameter(torch.zeros(()))
            def forward(self, x):
                return self.a(x) + self.gain * self.b(x)
        model = Net()
        size = (1, 3, 32, 32)
    """
    for node in subject.graph.nodes:
        if not _times_zero(node) or node.name not in subject.graph.needed:
            continue
        if any(n in subject.reached for n in node.of(MadeOf).of):
            yield Hit(
                node.path,
                "a branch is multiplied by the constant 0: nothing before it has an effect",
                "delete the branch, or let the factor be a parameter",
                {"operator": node.target},
                node.source,
            )


@rule("SED004", "no-path", "error")
def no_path(subject: Subject) -> Iterator[Hit]:
    """No output depends on the input.

    Why it matters: the network returns the same for every sample, whatever its weights.

    What to do: return what the layers computed.

    Reference: SED is -inf for such a network by definition.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
            def forward(self, x):
                return torch.zeros_like(self.conv(x))
        model = Net()
        size = (1, 3, 32, 32)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
            def forward(self, x):
                x = self.conv(x)
                return x + torch.zeros_like(x)
        model = Net()
        size = (1, 3, 32, 32)
    """
    outputs = subject.graph.outputs
    if any(o in subject.reached for o in outputs):
        return
    last = subject.graph[outputs[0]] if outputs else None
    yield Hit(
        last.path if last is not None else "",
        "no output depends on the input: the network is a constant",
        "return what the layers computed",
        {"outputs": len(outputs)},
        last.source if last is not None else None,
    )


_NEVER_ALONE = (
    nn.Identity,
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.ParameterList,
    nn.ParameterDict,
    nn.Dropout,
    nn.modules.loss._Loss,
)


@rule("SED006", "layer-never-called", "info")
def layer_never_called(subject: Subject) -> Iterator[Hit]:
    """A layer without parameters (activation, pool, …) is registered and never called.

    Why it matters: an activation that was written in ``__init__`` and forgotten in ``forward`` leaves two
    linear maps in a row; the printed model shows it as if it were there.

    What to do: call it or remove it.

    Reference: none; harmless in itself, hence info.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.act = nn.ReLU()
            def forward(self, x):
                return self.conv(x)
        model = Net()
        size = (1, 3, 32, 32)
        path = "act"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Identity())
        size = (1, 3, 32, 32)
    """
    if subject.graph.frontend != "fx":
        return  # other front-ends do not tell in which module an operator ran
    called = {m.path for m in subject.graph.modules if m.calls}
    idle = [
        path
        for path, m in subject.modules.items()
        if path not in called
        and type(m).__module__.startswith("torch.nn.modules.")
        and not isinstance(m, _NEVER_ALONE)
        and not any(True for _ in m.children())
        and not any(True for _ in m.parameters())
    ]
    if idle and subject.training_graph is not None:
        called = {m.path for m in subject.training_graph.modules if m.calls}
        idle = [path for path in idle if path not in called]
    for path in idle:
        yield Hit(
            path,
            f"{type(subject.modules[path]).__name__} is registered and never called",
            "call it or remove it",
            {"type": type(subject.modules[path]).__name__},
            subject.assigned(path),
        )


READ = 0.8
"""Share of the parameters below which a check that finds nothing says too little."""


@rule("SED009", "mostly-unread", "warning")
def mostly_unread(subject: Subject) -> Iterator[Hit]:
    """The check could not look into a good part of the network.

    Less than four fifths of the parameters stand under an operator that is known: a submodule asks for the values
    of its data, comes as an opaque part, or calls operators without a rule.

    Why it matters: nothing found in what was not read means nothing.

    What to do: see ``unknown`` and the coverage in ``sed_torch.score``; give real ``input_data``, or register a rule
    with ``sed_torch.register_rule``; check the parts by themselves.

    Reference: none; it is about this check.

    Triggers::

        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(8, 8)
            def forward(self, x):
                return self.a(x) * (int(x.abs().sum().item()) % 3)
        model = nn.Sequential(Part(), nn.Linear(8, 2))
        size = (4, 8)

    Near miss::

        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(8, 8)
            def forward(self, x):
                return self.a(x) * (x.shape[0] % 3)
        model = nn.Sequential(Part(), nn.Linear(8, 2))
        size = (4, 8)
    """
    read = subject.score.coverage
    if read < READ:
        opaque = [n.path for n in subject.graph.nodes if n.op in ("opaque", "unknown")]
        yield Hit(
            common_path(opaque),
            f"{read:.1%} of the parameters could be read: nothing can be said of the rest",
            "give input_data, register a rule, or check the parts by themselves",
            {"coverage": read, "least": READ, "unread": tuple(dict.fromkeys(opaque))},
            next((n.source for n in subject.graph.nodes if n.op in ("opaque", "unknown")), None),
        )
