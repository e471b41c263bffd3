"""Log what is known of a network before its first step to your experiment tracker.

python examples/track.py                      TensorBoard, into runs/
python examples/track.py --tracker wandb      Weights & Biases (offline unless you are logged in)
python examples/track.py --tracker mlflow
"""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

import sed_torch
from sed_torch.integrations.tracking import log_to


def net() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def run_of(tracker: str, folder: str) -> Any:
    """A run, as each tracker makes one."""
    if tracker == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(folder)
    if tracker == "wandb":
        import wandb

        return wandb.init(project="sed-torch", dir=folder, mode="offline")
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.start_run()
    return mlflow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracker", choices=["tensorboard", "wandb", "mlflow"], default="tensorboard")
    parser.add_argument("--folder", default="runs")
    args = parser.parse_args()

    model = net()
    report = sed_torch.check(model, input_size=(32, 3, 32, 32), loss=nn.CrossEntropyLoss())
    cost = sed_torch.cost(model, input_size=(32, 3, 32, 32))
    run = run_of(args.tracker, args.folder)
    for name, value in log_to(run, report, cost).items():
        print(f"{name} = {value:g}")
    for end in ("close", "finish", "end_run"):
        if hasattr(run, end):
            getattr(run, end)()
            break


if __name__ == "__main__":
    main()
