"""Small modules for the check, and what it says of them aloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from sed_torch.diagnostics import check


def made(forward: Callable[..., Any], **parts: Any) -> nn.Module:
    """A module with these parts and this forward."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, *args: Any) -> Any:
            return forward(self, *args)

    return Net()


def loud(model: nn.Module, **options: Any) -> list[str]:
    """Codes of warnings and errors."""
    return [f.code for f in check(model, **options).findings if f.severity != "info"]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)
