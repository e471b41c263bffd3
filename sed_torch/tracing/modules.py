"""The modules of a tree, listed at once: a deep tree's generators within generators take several times as long."""

from __future__ import annotations

from torch import nn

__all__ = ["named_modules", "tree_of"]


def tree_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Dotted path and module, as ``named_modules`` of a module that has no such method of its own."""
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        found.append((path, module))
        if module._modules:
            inside = [(f"{path}.{n}" if path else n, m) for n, m in module._modules.items() if m is not None]
            inside.reverse()
            waiting += inside
    return found


def named_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """What ``named_modules`` of a model gives, in a way of its own perhaps."""
    for module in {type(module): module for _, module in tree_of(model)}.values():
        if type(module).named_modules is not nn.Module.named_modules:
            return [*model.named_modules()]
    return tree_of(model)
