"""10,000 training and 5,000 test images of Fashion-MNIST at half their size: what two busy CPU cores can train on.

sed-torch train-counterparts --space nasbench201 --dataset examples/fashion_small.py:load ...
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sed_torch.training import load_data

TRAIN, TEST = 10_000, 5_000


def load() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], int]:
    """(images, labels) to train and to test, and the number of classes.

    Images are standardised as ``fashion-mnist`` is, padded from 28 to 32 pixels a side and halved to 16 by 2×2 means;
    which ones is drawn once, so that every call has the same.
    """
    data = load_data("fashion-mnist")
    generator = torch.Generator().manual_seed(0)
    parts = []
    for dataset, n in ((data.train, TRAIN), (data.test, TEST)):
        images, labels = dataset[:]
        chosen = torch.randperm(len(labels), generator=generator)[:n]
        border = float(images.min())  # black
        parts.append((F.avg_pool2d(F.pad(images[chosen], (2,) * 4, value=border), 2), labels[chosen]))
    return parts[0], parts[1], data.num_classes
