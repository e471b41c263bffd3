"""Modules that data choose among: which of them a trace did not come by says nothing of them."""

from __future__ import annotations

from collections.abc import Container

from torch import nn

from sed_torch.diagnostics.subject import Subject
from sed_torch.tracing.choosing import chose

__all__ = ["not_idle_by_chance"]


def not_idle_by_chance(subject: Subject, never: list[str], read: Container[str]) -> list[str]:
    """Names of parameters that were never read, without those of idle modules whose like in the same list was read.

    All are given back where no choice of data was followed.
    """
    if not never or not chose(subject.graph.assumed):
        return never
    kept = subject.model.named_modules(remove_duplicate=False)
    lists = {path: m for path, m in kept if isinstance(m, (nn.ModuleList, nn.ModuleDict))}
    idle = []
    for path, members in lists.items():
        prefix = f"{path}." if path else ""
        busy = {
            type(m)
            for name, m in members.named_children()
            if any(f"{prefix}{name}.{p}" in read for p, _ in m.named_parameters())
        }
        idle += [f"{prefix}{name}." for name, m in members.named_children() if type(m) in busy]
    return [n for n in never if not n.startswith(tuple(idle))]
