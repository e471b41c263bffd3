"""Search widths, depths and kernels with Optuna: the score as objective, parameters and step memory as limits.

Nothing is trained: a trial takes some hundredths of a second, and one that is too large is pruned before it is scored.

python examples/tune_optuna.py --trials 40 --max-params 200000
"""

from __future__ import annotations

import argparse

import optuna
from torch import nn

import sed_torch


def build(width: int, depth: int, kernel: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    for _ in range(depth):
        layers += [
            nn.Conv2d(width, 2 * width, kernel, stride=2, padding=kernel // 2),
            *(nn.BatchNorm2d(2 * width), nn.ReLU()),
        ]
        width *= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def objective(trial: optuna.Trial, max_params: int, max_bytes: float) -> float:
    width = trial.suggest_int("width", 4, 32, step=4)
    depth = trial.suggest_int("depth", 1, 4)
    kernel = trial.suggest_categorical("kernel", [3, 5, 7])
    model = build(width, depth, kernel)
    if sum(p.numel() for p in model.parameters()) > max_params:
        raise optuna.TrialPruned
    if sed_torch.cost(model, input_size=(64, 3, 32, 32)).peak > max_bytes:
        raise optuna.TrialPruned
    return float(sed_torch.score(model, input_size=(1, 3, 32, 32)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--max-params", type=int, default=200_000)
    parser.add_argument("--max-mib", type=float, default=256.0, help="memory of a training step of 64 images")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda t: objective(t, args.max_params, args.max_mib * 2**20), n_trials=args.trials)
    best = build(**study.best_params)
    print(f"best of {args.trials}: {study.best_params}, SED {study.best_value:.4f} nats")
    print(sed_torch.check(best, input_size=(64, 3, 32, 32), loss=nn.CrossEntropyLoss()).headline())


if __name__ == "__main__":
    main()
