"""What a cost costs beside a score: the ratio of the two on real networks, in one run, in turns, on one thread.

    python tests/benchmarks/cost_speed.py [--rounds 7]

Measured as `beside_score.py` says. The command exits with 1 where a network misses the aim whose
training differs from evaluation by noise and statistics alone, so that one forward tells both.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from beside_score import run

if TYPE_CHECKING:
    from torch import nn

MODELS = (
    "torchvision:resnet50",
    "torchvision:efficientnet_b0",
    "torchvision:densenet121",
    "torchvision:swin_t",
    "timm:vit_base_patch16_224",
    "timm:convnext_tiny",
    "timm:regnety_008",
    "timm:mixer_b16_224",
)
IN_DOUBT = ("torchvision:googlenet", "timm:levit_128s")
"""Networks whose own code asks for the mode for more than that: a second forward is due, and no aim holds."""
AIM = 1.3
SIZE = (8, 3, 224, 224)


def cost(model: nn.Module, size: tuple[int, ...], amp: Literal["bf16"] | None) -> Any:
    import sed_torch

    return sed_torch.cost(model, input_size=size, amp=amp)


if __name__ == "__main__":
    settings = {amp or "–": (SIZE, partial(cost, amp=amp)) for amp in (None, "bf16")}
    run(__doc__, "cost", MODELS, IN_DOUBT, AIM, "autocast", settings)
