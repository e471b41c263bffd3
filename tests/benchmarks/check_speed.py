"""What a check costs beside a score: the ratio of the two on real networks, in one run, in turns, on one thread.

    python tests/benchmarks/check_speed.py [--rounds 7]

Measured as `beside_score.py` says. The command exits with 1 where a network that leaves no doubt (about its batch axis,
and what training changes) misses the aim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beside_score import run

if TYPE_CHECKING:
    from torch import nn

MODELS = (
    "torchvision:resnet50",
    "torchvision:efficientnet_b0",
    "torchvision:densenet121",
    "torchvision:mobilenet_v3_large",
    "torchvision:swin_t",
    "timm:vit_base_patch16_224",
    "timm:convnext_tiny",
    "timm:swin_tiny_patch4_window7_224",
    "timm:regnety_008",
    "timm:mixer_b16_224",
    "timm:maxvit_tiny_tf_224",
)
IN_DOUBT = ("torchvision:googlenet", "timm:levit_128s")
"""Networks whose training differs from evaluation by their own code: a second trace is due, and no aim holds."""
AIM = 1.5
BATCHES = (1, 8)


def check(model: nn.Module, size: tuple[int, ...]) -> Any:
    import sed_torch

    return sed_torch.check(model, input_size=size)


if __name__ == "__main__":
    settings = {str(batch): ((batch, 3, 224, 224), check) for batch in BATCHES}
    run(__doc__, "check", MODELS, IN_DOUBT, AIM, "batch", settings)
