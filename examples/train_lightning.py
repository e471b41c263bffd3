"""Check a network at the start of a Lightning fit; score and findings go to the run's logger.

python examples/train_lightning.py [--forget] [--logs FOLDER]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from train_plain import Net, batch

from sed_torch.integrations.lightning import SedCheck


class Classifier(LightningModule):
    """The network of ``train_plain`` with its loss and optimizer."""

    def __init__(self, *, forget: bool) -> None:
        super().__init__()
        self.net = Net(forget=forget)
        self.loss = nn.CrossEntropyLoss()

    def training_step(self, data: Any, index: int) -> torch.Tensor:
        x, y = data
        value: torch.Tensor = self.loss(self.net(x), y)
        self.log("loss", value)
        return value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--logs", default="logs")
    args = parser.parse_args()
    torch.manual_seed(0)
    check = SedCheck(model="net", input_size=(8, 3, 16, 16), loss=nn.CrossEntropyLoss(), raise_on="error")
    trainer = Trainer(
        accelerator="cpu",
        max_steps=4,
        logger=CSVLogger(args.logs),
        log_every_n_steps=1,
        callbacks=[check],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(forget=args.forget), DataLoader(TensorDataset(*batch(32)), batch_size=8))
    print(check.report)


if __name__ == "__main__":
    main()
