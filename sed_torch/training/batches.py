"""Datasets → batches on the device, in an order that the seed alone decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sed_torch.training.recipe import Recipe

__all__ = ["Batches"]

_Batch = tuple[Tensor, Tensor]
_TEST_BATCH = 512


class Batches:
    """Batches of one run's data.

    Args:
        train: to learn from, shuffled anew every epoch.
        test: to be measured on, in its own order.
        recipe: batch size, crop and flip.
        seed: of the order, crops and flips; drawn on the CPU, so that they are the same on every device.
        device: where batches go; images in memory are moved there once.
    """

    def __init__(
        self, train: Dataset[Any], test: Dataset[Any], recipe: Recipe, seed: int, device: torch.device
    ) -> None:
        self._train, self._test = _on(train, device), _on(test, device)
        self._recipe, self._device = recipe, device
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def size(self) -> int:
        """Images a training step."""
        return min(self._recipe.batch_size, len(self._train))  # type: ignore[arg-type]

    @property
    def steps(self) -> int:
        """Training steps an epoch."""
        return len(self._train) // self.size  # type: ignore[arg-type]

    def training(self) -> Iterator[_Batch]:
        """One epoch of images and labels, without the smaller batch at its end."""
        if isinstance(self._train, TensorDataset):
            yield from self._shuffled(*self._train.tensors)
            return
        loader = DataLoader(
            self._train,
            self.size,
            shuffle=True,
            drop_last=True,
            generator=self._generator,
            pin_memory=self._pins,
        )
        yield from self._moved(loader)

    def testing(self) -> Iterator[_Batch]:
        """All test images and labels."""
        if isinstance(self._test, TensorDataset):
            images, labels = self._test.tensors
            yield from zip(torch.split(images, _TEST_BATCH), torch.split(labels, _TEST_BATCH), strict=True)
            return
        yield from self._moved(DataLoader(self._test, _TEST_BATCH, pin_memory=self._pins))

    @property
    def _pins(self) -> bool:
        return self._device.type == "cuda"

    def _moved(self, loader: Any) -> Iterator[_Batch]:
        for images, labels in loader:
            yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)

    def _shuffled(self, images: Tensor, labels: Tensor) -> Iterator[_Batch]:
        order = torch.randperm(len(labels), generator=self._generator)
        for chosen in torch.split(order, self.size)[: self.steps]:
            at = chosen.to(self._device)
            yield self._augmented(images[at]), labels[at]

    def _augmented(self, images: Tensor) -> Tensor:
        n, (height, width), pad = len(images), images.shape[-2:], self._recipe.crop
        if pad:
            y, x = torch.randint(2 * pad + 1, (2, n, 1), generator=self._generator).to(self._device)
            rows = (y + torch.arange(height, device=self._device)).unsqueeze(-1)
            columns = (x + torch.arange(width, device=self._device)).unsqueeze(1)
            which = torch.arange(n, device=self._device).reshape(n, 1, 1)
            images = F.pad(images, (pad,) * 4)[which, :, rows, columns].permute(0, 3, 1, 2)
        if self._recipe.flip:
            mirrored = torch.rand(n, generator=self._generator).to(self._device) < 0.5
            images = torch.where(mirrored.reshape(n, 1, 1, 1), images.flip(-1), images)
        return images.contiguous()


def _on(dataset: Dataset[Any], device: torch.device) -> Dataset[Any]:
    if isinstance(dataset, TensorDataset) and device.type != "cpu":
        return TensorDataset(*(t.to(device) for t in dataset.tensors))
    return dataset
