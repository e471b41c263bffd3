"""``sed_torch.score`` and its kin: the road from a module to a result, walked once."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sed_torch._collecting import collected_rarely
from sed_torch.errors import RuleError, UnsupportedOpError
from sed_torch.graph import Graph, Node
from sed_torch.lowering import lower
from sed_torch.ops import OPS, Op, RuleName, Trait
from sed_torch.scoring.definitions import DEFAULT_DEFINITION
from sed_torch.scoring.formula import Evaluation, evaluate
from sed_torch.scoring.result import Scope, Score, Unknown
from sed_torch.scoring.structure import Structure
from sed_torch.topology import Topology, cut_path
from sed_torch.tracing import Frontend, trace

__all__ = ["register_rule", "score", "topology", "unregister_rule"]


def topology(
    model: nn.Module, *, input_size: Any = None, input_data: Any = None, frontend: Frontend = "auto"
) -> Topology:
    """The topology of a module: what the score reads. Arguments and errors as in :func:`trace`."""
    return lower(trace(model, input_size=input_size, input_data=input_data, frontend=frontend))


def score(
    model: nn.Module,
    input_size: Any = None,
    *,
    input_data: Any = None,
    depth: int | None = None,
    frontend: Frontend = "auto",
    strict: bool = False,
    ignore_modules: Sequence[str] = (),
    definition: str = DEFAULT_DEFINITION,
    name: str | None = None,
) -> Score:
    """The SED score of a module, from its graph alone: no data, no weights, no GPU.

    The model may live on any device, in any mode and dtype. It is not run on data, and left exactly as found.

    Args:
        model: the module.
        input_size: with batch dimension, such as ``(1, 3, 224, 224)``; a sequence of sizes for several inputs,
            or a mapping by argument name. Inferred when not given; the result says so in ``assumed``.
        input_data: a tensor, tuple or dict instead; only shapes and dtypes are used.
        depth: default depth of blocks, in names of the module path; chosen to give a few rows when None.
        frontend: ``"auto"``, ``"fx"`` or ``"export"``.
        strict: raise when an operator has no rule, or a submodule could not be entered.
        ignore_modules: dotted paths of submodules to leave unopened.
        definition: name of the score's form.
        name: for display; the class name when None.

    Returns:
        A :class:`Score`, in nats, higher is better.

    Raises:
        ModelError: the module cannot be read as it is (lazy, scripted, sharded).
        InputError: the input is missing or malformed.
        TraceError: the forward could not be followed.
        UnsupportedOpError: with ``strict``.

    Example:
        >>> import torch
        >>> s = score(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()), input_size=(1, 3, 32, 32))
        >>> round(float(s), 4)
        4.3882
    """
    start = time.perf_counter()
    with collected_rarely():
        graph = trace(
            model,
            input_size=input_size,
            input_data=input_data,
            frontend=frontend,
            ignore_modules=ignore_modules,
        )
        return score_graph(graph, depth=depth, strict=strict, definition=definition, name=name, start=start)


def score_graph(
    graph: Graph,
    *,
    depth: int | None = None,
    strict: bool = False,
    definition: str = DEFAULT_DEFINITION,
    name: str | None = None,
    start: float | None = None,
) -> Score:
    """The score of a graph that was traced already. Arguments and errors as in :func:`score`."""
    start = time.perf_counter() if start is None else start
    unknown = _unknown(graph)
    if strict and unknown:
        raise UnsupportedOpError(_strict_message(unknown))
    evaluation = evaluate(lower(graph), definition=definition)
    params_known, nodes_known, unused = _coverage(graph)
    return Score(
        name=name or graph.name,
        total=evaluation.total,
        reason=evaluation.reason,
        coverage=params_known,
        node_coverage=nodes_known,
        unknown=unknown,
        params=sum(p.numel for p in graph.parameters),
        unused_params=unused,
        frontend=graph.frontend,
        assumed=graph.assumed,
        inputs=tuple(n.shape or () for n in graph.nodes if n.op == "input"),
        definition=definition,
        scope=_scope(evaluation),
        versions=versions(),
        elapsed=time.perf_counter() - start,
        depth=_default_depth(evaluation.topology) if depth is None else depth,
        fingerprint=graph.fingerprint,
        evaluation=evaluation,
        structure=Structure(graph),
    )


def versions() -> dict[str, str]:
    """Versions of what computes a score."""
    from sed_torch._version import __version__

    return {
        "sed_torch": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _is_unknown(node: Node) -> bool:
    return node.op in ("unknown", "opaque")


def _unknown(graph: Graph) -> tuple[Unknown, ...]:
    """Operators without a rule on a path from the input, by spelling."""
    sizes = {n.name: n.numel for n in graph.nodes if n.op == "parameter"}
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if _is_unknown(node) and node.name in graph.live:
            found.setdefault(node.target, []).append(node)
    return tuple(
        Unknown(
            target=target,
            count=len(nodes),
            params=sum(sizes.get(i, 0) for n in nodes for i in n.inputs),
            path=nodes[0].path,
            source=nodes[0].source,
        )
        for target, nodes in found.items()
    )


def _strict_message(unknown: Sequence[Unknown]) -> str:
    listed = "; ".join(
        f"{u.target} ×{u.count} in {u.path or 'the root'} ({u.source or 'no source'})" for u in unknown
    )
    return (
        f"no rule for {len(unknown)} operator(s): {listed}. "
        "Register one with sed_torch.register_rule(...), or call with strict=False for a partial answer."
    )


def _coverage(graph: Graph) -> tuple[float, float, int]:
    """(share of read parameters under a known rule, share of live operators, parameters never read)."""
    read = sum(n.numel for n in graph.nodes if n.op == "parameter")
    unused = sum(p.numel for p in graph.parameters) - read
    unknown = [n for n in graph.nodes if _is_unknown(n)]
    if not unknown:
        return 1.0, 1.0, unused
    read_there = {name for node in unknown for name in node.inputs}
    lost = sum(n.numel for n in graph.nodes if n.op == "parameter" and n.name in read_there)
    live = [n for n in graph.nodes if n.name in graph.live and n.op not in ("input", "parameter", "constant")]
    nodes = 1.0 - sum(map(_is_unknown, live)) / len(live) if live else 1.0
    return (1.0 - lost / read if read else 1.0), nodes, unused


def _scope(evaluation: Evaluation) -> Scope:
    """Convolutional: some convolution slides (its window is wider than its stride), and nothing attends or recurs."""
    slides = False
    for i, step in enumerate(evaluation.topology.steps):
        if i not in evaluation.topology.live:
            continue
        if step.kind == "attend" or step.op in OPS.having("recurrent"):
            return "extrapolated"
        if step.kind == "mix" and any(k > s for k, s in zip(step.window, step.stride, strict=True)):
            slides = True
    return "convolutional" if slides else "extrapolated"


def _default_depth(topology: Topology) -> int:
    """The smallest depth with at least four blocks that mix; more than three levels help nobody."""
    paths = [s.path for s in topology.steps if s.kind == "mix"]
    return next((d for d in (1, 2, 3) if len({cut_path(p, d) for p in paths}) >= 4), 3 if paths else 1)


def register_rule(
    target: type[nn.Module] | Callable[..., Any] | str,
    rule: RuleName,
    *,
    attrs: Callable[..., Mapping[str, Any]] | None = None,
    traits: Collection[Trait] = (),
) -> None:
    """Teach the calculus an operator or a module of your own.

    Args:
        target: an ``nn.Module`` class, recorded as one node from now on; or a torch function, or the name under
            which it is called.
        rule: what it does to the field: ``"keep"``, ``"norm"``, ``"linear"``, ``"conv"``, … (``sed-torch ops``
            lists them).
        attrs: for rules that need numbers, a function of the module that returns them by name, as
            :mod:`sed_torch.attributes` lists them: a ``"conv"`` needs ``window, stride, dilation, c_in, c_out, groups``
            (``c_in`` a group), a ``"linear"`` ``c_in, c_out``. Others are refused when the model is traced.
        traits: what else the diagnostics may know of it, such as ``"activation"`` or ``"saves_input"``; see
            :data:`sed_torch.ops.Trait`.

    Raises:
        RuleError: if the target has a rule already, or the rule or a trait does not exist.
    """
    name = target if isinstance(target, str) else target.__name__
    if isinstance(target, type):
        if not issubclass(target, nn.Module):
            raise RuleError(
                f"register_rule takes an nn.Module class, a function or a name, found class {name!r}"
            )
        row = f"{target.__module__}.{target.__qualname__}"
        OPS.register(Op(row, rule, (), frozenset(traits), module=target, attrs=attrs))
        return
    if attrs is not None:
        raise RuleError(f"attrs goes with an nn.Module class; {name!r} is a function")
    OPS.register(Op(name, rule, (name,), frozenset(traits)))


def unregister_rule(target: type[nn.Module] | Callable[..., Any] | str) -> None:
    """Take back a rule given by :func:`register_rule`."""
    if isinstance(target, type):
        op = OPS.by_module(target)
        if op is not None:
            OPS.unregister(op.name)
    else:
        OPS.unregister(target if isinstance(target, str) else target.__name__)
