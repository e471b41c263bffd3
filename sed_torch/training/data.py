"""Training and test images by name: embedded, from a folder, a torchvision class or the user's own function."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from sed_torch.errors import DataError, MissingDependencyError
from sed_torch.training.idx import read_idx
from sed_torch.training.references import call_function

__all__ = ["Data", "load_data"]

_SPLIT_SEED = 20
_LARGEST = 4 << 30  # bytes of float images held in memory

_FASHION_HOW_TO = (
    "On Debian and Ubuntu: apt install dataset-fashion-mnist, then --data /usr/share/datasets/fashion-mnist. Anywhere: "
    "python -c \"from torchvision.datasets import FashionMNIST as F; F('data', download=True)\", then --data data"
)


@dataclass(frozen=True)
class Data:
    """Training and test images with their labels.

    A :class:`~torch.utils.data.TensorDataset` of floating-point images (n, C, H, W) and integer labels (n,) is
    trained on in memory, on the device; any other map-style dataset goes through a ``DataLoader``.

    Attributes:
        name: as the rows of a run name it.
        train, test: map-style datasets of (image, label).
        num_classes: labels are below it.
        input_size: of an image, with a batch dimension of 1.
        source: where it came from.
    """

    name: str
    train: Dataset[Any]
    test: Dataset[Any]
    num_classes: int
    input_size: tuple[int, ...]
    source: str


def load_data(name: str, folder: str | os.PathLike[str] | None = None) -> Data:
    """Data by name. Nothing is downloaded.

    Args:
        name: ``"digits"``: 1,797 images of 8 × 8 that come with scikit-learn, 898 to train and 899 to test;
            ``"fashion-mnist"``: its four files, or torchvision's folder; a dataset class of torchvision, such as
            ``"CIFAR10"``; or ``"module:function"`` or ``"file.py:function"`` that returns (train, test), each a
            map-style dataset or a pair of images (n, C, H, W) and labels (n,), and as a third value, where it cannot
            be seen from them, the number of classes.
        folder: of Fashion-MNIST or torchvision's ``root``; by default ``SED_TORCH_DATA``, and ``data`` for torchvision.

    Images of the first three kinds are standardised by the mean and deviation of the training images, channel by
    channel; gray ones are repeated to three channels, which the networks of every space and zoo take.

    Raises:
        DataError: the name is unknown, or files are missing (the message says how to get them) or damaged.
        MissingDependencyError: scikit-learn or torchvision is needed and not installed.
        ModelReferenceError: a reference to a function names nothing.
    """
    root = folder or os.environ.get("SED_TORCH_DATA")
    plain = name.lower().replace("_", "-")
    if plain == "digits":
        return _digits()
    if plain in ("fashion-mnist", "fashionmnist"):
        return _fashion_mnist(None if root is None else Path(root))
    bare = name.removeprefix("torchvision:")
    return _own(name) if ":" in bare else _torchvision(bare, Path(root or "data"))


# -- embedded and folders --------------------------------------------------------------------------------


def _digits() -> Data:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingDependencyError("scikit-learn", "train", "the dataset 'digits'") from None
    images, labels = load_digits(return_X_y=True)
    images = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.as_tensor(labels, dtype=torch.int64)
    train, test = _halves(labels)
    return _standardised(
        "digits", (images[train], labels[train]), (images[test], labels[test]), "scikit-learn"
    )


def _halves(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Every other image of each class, shuffled with a seed of its own, so that the split is always the same."""
    order = torch.as_tensor(np.random.default_rng(_SPLIT_SEED).permutation(len(labels)))
    order = order[torch.argsort(labels[order], stable=True)]
    return order[1::2].sort().values, order[::2].sort().values


def _fashion_mnist(root: Path | None) -> Data:
    if root is None:
        raise DataError(f"Fashion-MNIST: no folder is given, nor SED_TORCH_DATA. {_FASHION_HOW_TO}")
    places = [root, root / "FashionMNIST" / "raw", root / "fashion-mnist"]
    found = next((p for p in places if _idx_file(p, "train-images-idx3-ubyte")), None)
    if found is None:
        looked = ", ".join(map(os.fspath, places))
        raise DataError(f"Fashion-MNIST is not here (looked in {looked}). {_FASHION_HOW_TO}")
    return _standardised("fashion-mnist", _idx_pair(found, "train"), _idx_pair(found, "t10k"), found.name)


def _idx_file(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / f"{stem}.gz", folder / stem) if p.is_file()), None)


def _idx_pair(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    arrays = []
    for what, ndim in (("images", 3), ("labels", 1)):
        stem = f"{part}-{what}-idx{ndim}-ubyte"
        file = _idx_file(folder, stem)
        if file is None:
            raise DataError(f"{folder}: {stem}.gz is missing; get the folder again. {_FASHION_HOW_TO}")
        arrays.append(read_idx(file, ndim))
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images):,} {part} images, but {len(labels):,} labels; get it again")
    return torch.tensor(images, dtype=torch.float32).unsqueeze(1), torch.tensor(labels, dtype=torch.int64)


def _standardised(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], source: str) -> Data:
    deviation, mean = torch.std_mean(train[0], dim=(0, 2, 3), keepdim=True)
    pairs = [((x - mean) / deviation.clamp_min(1e-6), y) for x, y in (train, test)]
    # A view: three channels in the memory of one.
    sets = [TensorDataset(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x, y) for x, y in pairs]
    return _described(name, sets[0], sets[1], None, source)


# -- torchvision -----------------------------------------------------------------------------------------


def _torchvision(name: str, root: Path) -> Data:
    try:
        from torchvision import datasets
    except ModuleNotFoundError:
        raise MissingDependencyError("torchvision", "train", f"the dataset {name!r}") from None
    if name not in datasets.__all__:
        raise DataError(
            f"unknown dataset {name!r}: expected digits, fashion-mnist, a dataset class of torchvision such as "
            "CIFAR10 (spelled as there), or module:function"
        )
    cls = getattr(datasets, name)
    pairs = [_held(name, _instance(cls, root, train)) for train in (True, False)]
    return _standardised(name, pairs[0], pairs[1], f"torchvision.datasets.{name}")


def _instance(cls: Any, root: Path, train: bool) -> Any:
    """The training or test part; torchvision names it ``train=`` or ``split=``."""
    names = inspect.signature(cls).parameters
    kwargs: dict[str, Any] = {"train": train} if "train" in names else {}
    if "split" in names and not kwargs:
        kwargs = {"split": "train" if train else "test"}
    if "root" not in names or not kwargs:
        raise DataError(
            f"torchvision's {cls.__name__} has no training and test part; write a function that returns two datasets "
            "and name it module:function"
        )
    try:
        return cls(root, **kwargs)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"torchvision's {cls.__name__} is not in {os.fspath(root)!r} ({_one_line(error)}). To get it: python -c "
            f"\"from torchvision.datasets import {cls.__name__} as D; D('data', download=True)\", then --data data"
        ) from error


def _held(name: str, dataset: Any) -> tuple[Tensor, Tensor]:
    """All images as one floating-point tensor."""
    from torchvision.transforms.functional import pil_to_tensor

    images: list[Tensor] = []
    labels: list[int] = []
    held = 0
    for image, label in dataset:
        x = pil_to_tensor(image)
        held += 4 * x.numel()
        if (images and x.shape != images[0].shape) or held > _LARGEST or not isinstance(label, int):
            raise DataError(
                f"{name}: its images differ in size, are too many to hold, or have labels that are no classes; write "
                "a function that returns two datasets with transforms, and name it module:function"
            )
        images.append(x)
        labels.append(label)
    return torch.stack(images).float(), torch.tensor(labels)


# -- the user's own --------------------------------------------------------------------------------------


def _own(ref: str) -> Data:
    made = call_function(ref)
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        raise DataError(
            f"{ref} returned a {type(made).__name__}, expected (train, test) or (train, test, classes)"
        )
    classes = made[2] if len(made) == 3 else None
    if classes is not None and (not isinstance(classes, int) or classes < 2):
        raise DataError(f"{ref} returned {classes!r} classes, expected a whole number of 2 or more")
    train, test = (_dataset(part, ref) for part in made[:2])
    return _described(ref, train, test, classes, "own function")


def _dataset(part: Any, ref: str) -> Dataset[Any]:
    if isinstance(part, (tuple, list)) and len(part) == 2:
        images, labels = torch.as_tensor(part[0]), torch.as_tensor(part[1])
        if images.ndim != 4 or labels.shape != images.shape[:1] or labels.is_floating_point():
            raise DataError(
                f"{ref}: expected images (n, C, H, W) and whole-numbered labels (n,), found shapes "
                f"{tuple(images.shape)} and {tuple(labels.shape)} of {labels.dtype}"
            )
        return TensorDataset(images.float(), labels.long())
    if not hasattr(part, "__getitem__") or not hasattr(part, "__len__"):
        raise DataError(f"{ref}: a {type(part).__name__} is no map-style dataset, nor images and labels")
    return part  # type: ignore[no-any-return]


def _described(name: str, train: Dataset[Any], test: Dataset[Any], classes: int | None, source: str) -> Data:
    for part, dataset in (("training", train), ("test", test)):
        if not len(dataset):  # type: ignore[arg-type]
            raise DataError(f"{name}: there are no {part} images")
    image = train[0][0]
    if not isinstance(image, Tensor):
        raise DataError(
            f"{name}: an image is a {type(image).__name__}, expected a tensor; give it a transform"
        )
    return Data(name, train, test, classes or _count(name, train), (1, *image.shape), source)


def _count(name: str, dataset: Any) -> int:
    labels: Any = dataset.tensors[1] if isinstance(dataset, TensorDataset) else None
    if labels is None and isinstance(getattr(dataset, "classes", None), Sequence):
        return len(dataset.classes)
    labels = getattr(dataset, "targets", None) if labels is None else labels
    if labels is None:
        raise DataError(f"{name}: how many classes it has cannot be seen; return (train, test, classes)")
    return int(torch.as_tensor(labels).max()) + 1


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
