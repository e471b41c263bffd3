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
    idle: list[str] = []
    for path, members in subject.modules.items():
        if isinstance(members, (nn.ModuleList, nn.ModuleDict)):
            inside = {f"{path}.{name}.".lstrip("."): m for name, m in members.named_children()}
            busy = {
                type(m) for at, m in inside.items() if any(at + p in read for p, _ in m.named_parameters())
            }
            idle += [at for at, m in inside.items() if type(m) in busy]
    return [n for n in never if not n.startswith(tuple(idle))]
