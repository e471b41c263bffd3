"""How much longer another call takes than a score of the same network: what `check_speed.py` and `cost_speed.py` share.

Each call is made once to warm up; then both are made in turns. A ratio is taken within a turn, and the median over
the turns counts, so that a machine which others slow down slows both sides. Seconds are CPU seconds, of one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

Other = Callable[[Any, tuple[int, ...]], Any]
"""What is held against a score: it takes a model and the size of its input."""


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(ref: str, size: tuple[int, ...], other: Other, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a score and of the other call, and the median ratio."""
    import sed_torch
    from sed_torch.zoo import load

    model = load(ref).model

    def score() -> Any:
        return sed_torch.score(model, input_size=size)

    def beside() -> Any:
        return other(model, size)

    score(), beside()
    turns = [(seconds(score), seconds(beside)) for _ in range(rounds)]
    scores, others = zip(*turns, strict=True)
    return statistics.median(scores), statistics.median(others), statistics.median(o / s for s, o in turns)


def run(
    description: str | None,
    name: str,
    models: Sequence[str],
    in_doubt: Collection[str],
    aim: float,
    setting: str,
    settings: Mapping[str, tuple[tuple[int, ...], Other]],
) -> None:
    """Print a line a network and setting; exit with 1 where one that is not in doubt misses the aim."""
    import torch

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    missed = []
    print(
        f"| network | {setting} | score, CPU s | {name}, CPU s | ratio | aim |\n|---|---:|---:|---:|---:|---|"
    )
    for ref in (*models, *in_doubt):
        for label, (size, other) in settings.items():
            score, beside, ratio = measure(ref, size, other, rounds)
            asked = "in doubt" if ref in in_doubt else f"≤ {aim}"
            print(f"| {ref} | {label} | {score:.3f} | {beside:.3f} | {ratio:.2f} | {asked} |", flush=True)
            if ref not in in_doubt and ratio > aim:
                missed.append(f"{ref} ({setting} {label}): {ratio:.2f}")
    if missed:
        sys.exit(f"over {aim}: {'; '.join(missed)}")
