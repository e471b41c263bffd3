"""Keep hopeless trials of Ray Tune from being trained at all: what the graph says comes before the first step.

A trial whose network is too large, or has an error that the check finds, ends at once; the others report their score,
and train where `train` would be called.

python examples/tune_ray.py --trials 8
"""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

import sed_torch

MAX_PARAMS = 200_000


def build(config: dict[str, Any]) -> nn.Module:
    width, kernel = config["width"], config["kernel"]
    return nn.Sequential(
        *(
            nn.Conv2d(3, width, kernel, padding=kernel // 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        *(nn.Conv2d(width, 2 * width, kernel, padding=kernel // 2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10)),
    )


def facts(config: dict[str, Any]) -> dict[str, float]:
    """What is known before training; ``feasible`` is 0 where training would be a waste."""
    model = build(config)
    report = sed_torch.check(model, input_size=(32, 3, 32, 32), loss=nn.CrossEntropyLoss())
    params = sum(p.numel() for p in model.parameters())
    score = float(report.score) if report.score is not None else float("-inf")
    return {
        "sed": score,
        "params": float(params),
        "feasible": float(params <= MAX_PARAMS and not report.errors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    args = parser.parse_args()

    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> dict[str, float]:
        found = facts(config)
        if not found["feasible"]:
            return {**found, "sed": float("-inf")}
        return found  # train here, and report the accuracy beside it

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    space = {"width": tune.choice([8, 16, 32, 64, 128]), "kernel": tune.choice([3, 5, 7])}
    settings = tune.TuneConfig(metric="sed", mode="max", num_samples=args.trials)
    best = tune.Tuner(trial, param_space=space, tune_config=settings).fit().get_best_result()
    print(f"best of {args.trials}: {best.config}, SED {best.metrics['sed']:.4f} nats")


if __name__ == "__main__":
    main()
