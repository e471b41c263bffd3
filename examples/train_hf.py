"""Check a network when a Hugging Face Trainer starts; score and findings go through ``trainer.log``.

python examples/train_hf.py [--forget] [--logs FOLDER]
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.utils.data import Dataset
from train_plain import Net, batch
from transformers import Trainer, TrainingArguments

from sed_torch.integrations.hf import add_sed_check


class Classifier(nn.Module):
    """The network of ``train_plain`` as the Trainer wants it: a dict with the loss."""

    def __init__(self, *, forget: bool) -> None:
        super().__init__()
        self.net = Net(forget=forget)

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        logits = self.net(pixel_values)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Noise(Dataset[dict[str, torch.Tensor]]):
    """32 samples of ``train_plain``."""

    def __init__(self) -> None:
        self.x, self.y = batch(32)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.x[i], "labels": self.y[i]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--logs", default="logs")
    args = parser.parse_args()
    torch.manual_seed(0)
    trainer = Trainer(
        model=Classifier(forget=args.forget),
        args=TrainingArguments(
            args.logs,
            max_steps=4,
            per_device_train_batch_size=8,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
        ),
        train_dataset=Noise(),
    )
    check = add_sed_check(trainer, input_size={"pixel_values": (8, 3, 16, 16)}, raise_on="error")
    trainer.train()
    print(check.report)
    print([row for row in trainer.state.log_history if "sed/score" in row])


if __name__ == "__main__":
    main()
