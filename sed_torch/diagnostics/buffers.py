"""SED008: buffers, and modules that hold nothing else, which the forward never reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject, is_in_place
from sed_torch.graph import Graph
from sed_torch.ops import OPS


def _read(graph: Graph) -> set[str]:
    return {n.target for n in graph.nodes if n.op == "constant"}


def _used(graph: Graph) -> set[str]:
    """Constants on which an output depends, or into which something is written."""
    written = {i for n in graph.nodes if is_in_place(n) for i in n.inputs[:1]}
    return {
        n.target for n in graph.nodes if n.op == "constant" and (n.name in graph.needed or n.name in written)
    }


def _dropped(subject: Subject, path: str, own: Mapping[str, torch.Tensor], seen: bool) -> Hit:
    kind = type(subject.modules[path]).__name__
    return Hit(
        path,
        f"{kind} is called, and no output depends on what it makes of its {len(own)} buffer{'s' * (len(own) > 1)}",
        "use its result or remove it",
        {"buffers": tuple(own), "entries": sum(b.numel() for b in own.values())},
        subject.assigned(path),
        None if seen else "info",
    )


@rule("SED008", "unused-buffers", "warning")
def unused_buffers(subject: Subject) -> Iterator[Hit]:
    """A module with buffers and no parameters that is never called, or in vain, such as a table of positions.

    Why it matters: an encoding of positions that was registered and forgotten leaves attention blind to order;
    nothing else tells, for there is no parameter without a gradient. A floating-point buffer that a called module
    never reads is info.

    What to do: call it, or remove it.

    Reference: Vaswani et al. (2017), arXiv 1706.03762, section 3.5, on why attention needs positions.

    Triggers::

        class Positions(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("table", torch.randn(1, 10, 8))
            def forward(self, x):
                return x + self.table
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.positions = Positions()
                self.head = nn.Linear(8, 2)
            def forward(self, x):
                return self.head(x)
        model = Net()
        size = (2, 10, 8)
        path = "positions"

    Near miss::

        class Positions(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("table", torch.randn(1, 10, 8))
            def forward(self, x):
                return x + self.table
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.positions = Positions()
                self.head = nn.Linear(8, 2)
            def forward(self, x):
                return self.head(self.positions(x))
        model = Net()
        size = (2, 10, 8)
    """
    if subject.graph.frontend != "fx":
        return
    graphs = [subject.graph, *([subject.training_graph] if subject.training_graph is not None else [])]
    read = set().union(*map(_read, graphs))
    called = {m.path for g in graphs for m in g.modules if m.calls}
    dropped = read - set().union(*map(_used, graphs))
    seen = subject.training_graph is not None
    for path, module in subject.modules.items():
        own = {f"{path}.{n}" if path else n: b for n, b in module.named_buffers(recurse=False)}
        if own and dropped >= set(own) and not any(True for _ in module.parameters()):
            yield _dropped(subject, path, own, seen)
        idle = {n: b for n, b in own.items() if n not in read and _is_content(module, b)}
        if not idle:
            continue
        if any(True for _ in module.parameters()):
            yield from _forgotten_positions(subject, path, idle, seen)
            continue
        whole = bool(path) and path not in called and len(idle) == len(own)
        whole = (
            whole and not any(p.startswith(f"{path}.") for p in called) and not any(n in read for n in own)
        )
        yield Hit(
            path,
            f"{type(module).__name__} holds {len(idle)} buffer{'s' if len(idle) > 1 else ''} and is never called"
            if whole
            else f"{len(idle)} buffer{'s' if len(idle) > 1 else ''} never read: {', '.join(idle)}",
            "call it or remove it",
            {"buffers": tuple(idle), "entries": sum(b.numel() for b in idle.values())},
            subject.assigned(path if whole else next(iter(idle))),
            None if whole and seen else "info",
        )


def _forgotten_positions(
    subject: Subject, path: str, idle: Mapping[str, torch.Tensor], seen: bool
) -> Iterator[Hit]:
    """Tables of the sizes of what attention reads, which a module with layers of its own holds and never reads."""
    read = {
        (subject.graph[n.inputs[0]].shape or ())[-2:]
        for n in subject.live
        if n.op in OPS.having("normalises") and n.inputs and len(subject.graph[n.inputs[0]].shape or ()) == 3
    }
    attends = any(n.op in OPS.having("attends") or n.op == "softmax" for n in subject.live)
    for name, buffer in idle.items():
        sizes = [n for n in buffer.shape if n != 1]
        if (
            len(sizes) == 2
            and not _is_copy(subject, path, buffer)
            and attends
            and any(sizes[0] >= length and sizes[1] == width for length, width in read)
        ):
            yield Hit(
                path,
                f"the buffer {name} has the sizes of what attention reads, and is never read: positions are not told",
                "add it to the tokens, or remove it",
                {"buffers": (name,), "entries": buffer.numel()},
                subject.assigned(name),
                None if seen else "info",
            )


def _is_copy(subject: Subject, path: str, buffer: torch.Tensor) -> bool:
    """Whether a buffer has the sizes of a weight beside it, as its quantised copy has."""
    return any(p.shape == buffer.shape for p in subject.modules[path].parameters(recurse=False))


def _is_content(module: nn.Module, buffer: torch.Tensor) -> bool:
    """Whether a buffer is a table the forward could want; single numbers, such as counters and scales, are not."""
    return (
        buffer.numel() > 1
        and buffer.is_floating_point()
        and not type(module).__module__.startswith("torch.ao")
    )
