"""What a check costs beside a score: the ratio of the two on real networks, in one run, in turns, on one thread.

    python tests/benchmarks/check_speed.py [--rounds 7]

Each call is made once to warm up; then both are made in turns. A ratio is taken within a turn, and the median over
the turns counts, so that a machine which others slow down slows both sides. Seconds are CPU seconds. The command
exits with 1 where a network that leaves no doubt (about its batch axis, and what training changes) misses the aim.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

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


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(ref: str, batch: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a score and of a check, and the median ratio."""
    import sed_torch
    from sed_torch.zoo import load

    model = load(ref).model
    size = (batch, 3, 224, 224)

    def score() -> Any:
        return sed_torch.score(model, input_size=size)

    def check() -> Any:
        return sed_torch.check(model, input_size=size)

    score(), check()
    turns = [(seconds(score), seconds(check)) for _ in range(rounds)]
    scores, checks = zip(*turns, strict=True)
    ratio = statistics.median(c / s for s, c in turns)
    return statistics.median(scores), statistics.median(checks), ratio


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    missed = []
    print("| network | batch | score, CPU s | check, CPU s | ratio | aim |\n|---|---:|---:|---:|---:|---|")
    for ref in (*MODELS, *IN_DOUBT):
        for batch in BATCHES:
            score, check, ratio = measure(ref, batch, args.rounds)
            aim = f"≤ {AIM}" if ref in MODELS else "in doubt"
            print(f"| {ref} | {batch} | {score:.3f} | {check:.3f} | {ratio:.2f} | {aim} |", flush=True)
            missed += [f"{ref} at batch {batch}: {ratio:.2f}"] if ref in MODELS and ratio > AIM else []
    if missed:
        sys.exit(f"over {AIM}: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
