"""Training counterparts: the recipe, data, the loop, a file that survives a kill, and the validation of runs."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import os
import random
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from support.training import FAST, broken, linear, tiny
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import sed_torch
from sed_torch import training
from sed_torch.cli import run as _run
from sed_torch.errors import (
    DataError,
    InputError,
    MissingDependencyError,
    ModelError,
    ModelReferenceError,
    SedTorchError,
    SpaceError,
)
from sed_torch.ranking import Ranking, RankRow
from sed_torch.spaces import get_space
from sed_torch.training import Counterparts, Data, Recipe, RunRow, counterparts, load_data, read_runs
from sed_torch.training.batches import Batches
from sed_torch.training.candidates import candidates
from sed_torch.training.devices import _deterministic, repeatable, resolve_device
from sed_torch.training.files import RunFile, is_runs_file
from sed_torch.training.idx import read_idx
from sed_torch.training.loop import Epoch, train
from sed_torch.training.networks import space_network
from sed_torch.training.rows import columns

pytestmark = pytest.mark.usefixtures("no_child_outlives_its_test")

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


def go(tmp_path: Path, networks: Any = None, **kwargs: Any) -> Counterparts:
    given = {"dataset": tiny(), "recipe": FAST, "seeds": 1, "device": "cpu", "proxies": ()} | kwargs
    return counterparts({"a": linear} if networks is None else networks, tmp_path / "runs.csv", **given)


def epochs(model: nn.Module, recipe: Recipe = FAST, data: Data | None = None, **kwargs: Any) -> list[Epoch]:
    data = data or tiny()
    torch.manual_seed(0)
    batches = Batches(data.train, data.test, recipe, 0, CPU)
    return list(train(model, batches, recipe, num_classes=data.num_classes, device=CPU, **kwargs))


# -- the recipe ----------------------------------------------------------------------------------------------


def test_the_cosine_begins_at_lr_and_ends_at_zero() -> None:
    recipe = Recipe(lr=0.2)
    assert recipe.lr_at(0, 8) == 0.2
    assert recipe.lr_at(4, 8) == pytest.approx(0.1)
    assert recipe.lr_at(2, 8) == pytest.approx(0.1 * (1 + math.sqrt(0.5)))
    assert recipe.lr_at(8, 8) == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("lr", 0.0),
        ("lr", math.inf),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("label_smoothing", 1.0),
        ("crop", -1),
        ("patience", 0),
    ],
)
def test_a_recipe_names_what_is_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected .*, found "):
        Recipe(**{name: value})


def test_a_recipe_spells_all_that_decides_the_result() -> None:
    text = str(Recipe(patience=3, flip=True))
    assert all(f" {f.name}=" in text for f in fields(Recipe))
    assert " patience=3 " in text
    assert " flip=yes " in text
    assert " patience=none " in str(Recipe())


# -- IDX -----------------------------------------------------------------------------------------------------


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), packed=st.booleans())
def test_idx_files_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], packed: bool
) -> None:
    array = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    file = tmp_path_factory.mktemp("idx") / "values"
    file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(read_idx(file, len(shape)), array)


def test_damaged_idx_files_are_told(tmp_path: Path) -> None:
    file, sound = tmp_path / "x.gz", idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
    damages = [
        (sound, 3, "with 3 axes .* found 00 00 08 02"),
        (sound[:-1], 2, "promises 2 × 3 values, but 5 follow"),
        (sound + b"\0", 2, "promises 2 × 3 values, but 7 follow"),
        (sound[:7], 2, "expected an IDX file"),
        (b"", 2, "found an empty file"),
        (b"\0\0\x0d\2" + sound[4:], 2, "unsigned bytes"),
    ]
    for data, ndim, message in damages:
        file.write_bytes(gzip.compress(data))
        with pytest.raises(DataError, match=message):
            read_idx(file, ndim)
    file.write_bytes(gzip.compress(sound)[:-9])
    with pytest.raises(DataError, match="truncated"):
        read_idx(file, 2)


def test_a_header_that_promises_the_moon_takes_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(bytes((0, 0, 8, 3)) + b"\xff" * 12)
    with pytest.raises(DataError, match="but 0 follow"):
        read_idx(file, 3)


# -- data ----------------------------------------------------------------------------------------------------


def images_of(data: Data, part: str) -> Tensor:
    tensor: Tensor = getattr(data, part).tensors[0]
    return tensor


def test_digits_are_split_in_balanced_halves() -> None:
    pytest.importorskip("sklearn")
    data = load_data("digits")
    train, test = data.train, data.test
    assert isinstance(train, TensorDataset)
    assert isinstance(test, TensorDataset)
    assert (len(train), len(test)) == (898, 899)
    counts = [torch.bincount(d.tensors[1], minlength=10) for d in (train, test)]
    assert int((counts[0] - counts[1]).abs().max()) <= 1
    assert data.num_classes == 10
    assert data.input_size == (1, 3, 8, 8)
    images = images_of(data, "train")
    assert torch.equal(images[:, 0], images[:, 2])
    assert float(images.mean()) == pytest.approx(0, abs=1e-4)
    assert float(images.std()) == pytest.approx(1, abs=1e-3)
    assert len({t.numpy().tobytes() for t in (*images, *images_of(data, "test"))}) == 1797  # no image in both
    assert torch.equal(images, images_of(load_data("digits"), "train"))


def test_digits_need_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-learn.*sed-torch\[train\]"):
        load_data("digits")


def write_mnist(folder: Path, n: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", (np.arange(n) % 10).astype(np.uint8))):
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return folder


@pytest.mark.parametrize("where", [".", "FashionMNIST/raw", "fashion-mnist"])
def test_fashion_mnist_is_found(tmp_path: Path, where: str) -> None:
    write_mnist(tmp_path / where)
    data = load_data("Fashion-MNIST", tmp_path)
    assert data.input_size == (1, 3, 28, 28)
    assert data.num_classes == 10
    assert float(images_of(data, "train").mean()) == pytest.approx(0, abs=1e-4)


def test_fashion_mnist_of_the_variable_or_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SED_TORCH_DATA", str(write_mnist(tmp_path / "deb")))
    assert load_data("fashion-mnist").source == "deb"
    with pytest.raises(
        DataError, match=r"looked in .*elsewhere.*apt install dataset-fashion-mnist.*download=True"
    ):
        load_data("fashion-mnist", tmp_path / "elsewhere")
    monkeypatch.delenv("SED_TORCH_DATA")
    with pytest.raises(DataError, match=r"no folder is given, nor SED_TORCH_DATA.*apt install"):
        load_data("fashion-mnist")


def test_fashion_mnist_that_does_not_fit_together(tmp_path: Path) -> None:
    file = write_mnist(tmp_path) / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(idx(np.zeros(3, np.uint8))))
    with pytest.raises(DataError, match="12 t10k images, but 3 labels"):
        load_data("fashion-mnist", tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        load_data("fashion-mnist", tmp_path)


def test_a_class_of_torchvision(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    raw = write_mnist(tmp_path / "MNIST" / "raw")
    for file in list(raw.iterdir()):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    data = load_data("torchvision:MNIST", tmp_path)
    assert len(data.train) == len(data.test) == 12  # type: ignore[arg-type]
    assert data.input_size == (1, 3, 28, 28)
    with pytest.raises(
        DataError, match=r"CIFAR10 is not in .*import CIFAR10 as D; D\('data', download=True\)"
    ):
        load_data("CIFAR10", tmp_path)
    with pytest.raises(DataError, match="FakeData has no training and test part"):
        load_data("FakeData", tmp_path)
    with pytest.raises(DataError, match="unknown dataset 'cifar'"):
        load_data("cifar", tmp_path)


OWN = """
import torch
from torch.utils.data import Dataset

class Ones(Dataset):
    def __init__(self, **kwargs): vars(self).update(kwargs)
    def __len__(self): return 10
    def __getitem__(self, i): return torch.full((3, 4, 4), float(i)), i % 3

def tensors(n=8): return (torch.zeros(n, 3, 4, 4), torch.arange(n) % 5), (torch.zeros(2, 3, 4, 4), torch.arange(2))
def counted(): return Ones(), Ones(), 3
def named(): return Ones(classes=["a", "b", "c"]), Ones()
def uncounted(): return Ones(), Ones()
def single(): return Ones()
def flat(): return (torch.zeros(8, 4), torch.zeros(8).long()), Ones()
def empty(): return tensors(0)
def classes(): return Ones(), Ones(), 1
number = 3
"""


def test_own_functions(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    assert load_data(f"{file}:tensors").num_classes == 5
    assert len(load_data(f"{file}:tensors(n=6)").train) == 6  # type: ignore[arg-type]
    assert load_data(f"{file}:counted").num_classes == 3
    assert load_data(f"{file}:named").input_size == (1, 3, 4, 4)
    for name, message in (
        ("uncounted", r"return \(train, test, classes\)"),
        ("single", r"returned a Ones, expected \(train, test\)"),
        ("flat", r"expected images \(n, C, H, W\)"),
        ("empty", "there are no training images"),
        ("classes", "returned 1 classes"),
    ):
        with pytest.raises(DataError, match=message):
            load_data(f"{file}:{name}")
    with pytest.raises(ModelReferenceError, match="is a int, expected a function"):
        load_data(f"{file}:number")


# -- batches -------------------------------------------------------------------------------------------------


def numbered(n: int) -> TensorDataset:
    return TensorDataset(torch.arange(n * 9.0).reshape(n, 1, 3, 3), torch.arange(n))


class Wrapped(Dataset[Any]):
    """A dataset that no one may look into."""

    def __init__(self, inner: TensorDataset) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, i: int) -> Any:
        return self.inner[i]


@pytest.mark.parametrize("wrap", [False, True])
def test_an_epoch_has_every_image_once_in_an_order_of_the_seed(wrap: bool) -> None:
    data: Any = Wrapped(numbered(13)) if wrap else numbered(13)

    def labels(seed: int) -> list[list[int]]:
        batches = Batches(data, data, Recipe(batch_size=4), seed, CPU)
        assert batches.steps == 3
        return [[i for x, y in batches.training() for i in _checked(x, y)] for _ in range(2)]

    def _checked(x: Tensor, y: Tensor) -> list[int]:
        assert len(x) == 4
        assert torch.equal(x, numbered(13).tensors[0][y])
        return y.tolist()

    first, second = labels(0)
    assert len(set(first)) == len(first) == 12
    assert first != second
    assert labels(0) == [first, second]
    assert labels(1)[0] != first
    tested = [y for _, y in Batches(data, data, Recipe(), 0, CPU).testing()]
    assert torch.cat(tested).tolist() == list(range(13))


def test_crops_are_shifts_by_at_most_the_padding() -> None:
    data = numbered(1)
    many = TensorDataset(data.tensors[0].repeat(200, 1, 1, 1), data.tensors[1].repeat(200))
    batches = Batches(many, data, Recipe(batch_size=200, crop=1), 0, CPU)
    image = torch.nn.functional.pad(data.tensors[0][0, 0], (1,) * 4)
    shifts = {image[y : y + 3, x : x + 3].numpy().tobytes() for y in range(3) for x in range(3)}
    ((images, _),) = batches.training()
    assert {i.numpy().tobytes() for i in images[:, 0]} == shifts


def test_flips_mirror_about_half() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    data = TensorDataset(image.repeat(400, 1, 1, 1), torch.zeros(400, dtype=torch.long))
    ((images, _),) = Batches(data, data, Recipe(batch_size=400, flip=True), 0, CPU).training()
    mirrored = (images == image.flip(-1)).all(dim=(1, 2, 3))
    assert bool((mirrored | (images == image).all(dim=(1, 2, 3))).all())
    assert 150 < int(mirrored.sum()) < 250


# -- the loop ------------------------------------------------------------------------------------------------


def test_one_step_by_hand() -> None:
    """A linear layer from zero: the first loss is ln 2, and one step moves it by lr · gradient · (1 + momentum)."""
    layer = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(layer.weight)
    model = nn.Sequential(nn.Flatten(), layer)
    data = TensorDataset(torch.ones(2, 1, 1, 1), torch.zeros(2, dtype=torch.long))
    recipe = Recipe(epochs=1, batch_size=2, lr=0.1, momentum=0.9, weight_decay=0, label_smoothing=0.2)
    (row,) = epochs(model, recipe, Data("x", data, data, 2, (1, 1, 1, 1), ""))
    # smoothed targets (0.9, 0.1) against (0.5, 0.5): gradient (-0.4, 0.4); Nesterov's first step is 1.9 of it
    step = 0.1 * 1.9 * 0.4
    assert layer.weight.flatten().tolist() == pytest.approx([step, -step])
    assert row.train_loss == pytest.approx(math.log(2))
    assert row.test_loss == pytest.approx(math.log(1 + math.exp(-2 * step)))
    assert (row.status, row.test_accuracy, row.lr) == ("ok", 100.0, 0.1)


def test_it_learns_and_says_so_every_epoch() -> None:
    rows = epochs(linear(4), Recipe(epochs=6, batch_size=16, lr=0.05))
    assert [r.epoch for r in rows] == [1, 2, 3, 4, 5, 6]
    assert [r.status for r in rows] == [*["running"] * 5, "ok"]
    assert rows[-1].test_accuracy == 100.0
    assert [r.lr for r in rows] == pytest.approx([0.025 * (1 + math.cos(math.pi * i / 6)) for i in range(6)])
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(rows))


def test_a_diverged_run_is_a_row_with_its_reason() -> None:
    rows = epochs(linear(4), Recipe(epochs=5, batch_size=16, lr=1e20))
    assert rows[-1].status == "diverged"
    assert rows[-1].reason in ("the training loss became nan", "the training loss became inf")
    assert rows[-1].test_accuracy is None
    assert len(rows) < 5


class Slow(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.inner = linear(num_classes)

    def forward(self, x: Tensor) -> Any:
        time.sleep(0.02)
        return self.inner(x)


def test_the_time_limit_ends_a_run() -> None:
    rows = epochs(Slow(4), Recipe(epochs=1000, batch_size=16), time_limit=0.5)
    assert rows[-1].status == "timeout"
    assert rows[-1].reason == f"stopped in epoch {len(rows)} after 0.5 s, the time limit"
    assert rows[-1].seconds < 2


class Constant(nn.Module):
    """A network that cannot learn."""

    def __init__(self, value: Any = None, width: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.value, self.width = value, width

    def forward(self, x: Tensor) -> Any:
        return x.new_zeros(len(x), self.width) + 0 * self.weight if self.value is None else self.value


def test_patience_ends_a_run_that_stands_still() -> None:
    rows = epochs(Constant(), Recipe(epochs=9, batch_size=16, patience=3))
    assert len(rows) == 4
    assert (rows[-1].status, rows[-1].reason) == (
        "stopped",
        "the training loss has not improved for 3 epochs",
    )
    assert rows[-1].train_loss == pytest.approx(math.log(4))
    assert rows[-1].test_accuracy == 25.0
    assert len(epochs(linear(4), Recipe(epochs=5, batch_size=16, lr=0.05, patience=3))) == 5


def test_outputs_that_are_no_logits_are_refused() -> None:
    with pytest.raises(ModelError, match=r"output is \(16, 3\), expected \(16, 4\)"):
        epochs(Constant(width=3))
    with pytest.raises(ModelError, match="cannot be trained to classify"):
        epochs(Constant("words"))


def test_logits_of_a_mapping_are_found() -> None:
    class Wrapper(Slow):
        def forward(self, x: Tensor) -> Any:
            return {"aux": None, "logits": self.inner(x)}

    assert epochs(Wrapper(4))[-1].status == "ok"


# -- devices -------------------------------------------------------------------------------------------------


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    for name, message in (
        ("cuda", "sees 0 CUDA devices"),
        ("mps", "no MPS"),
        ("gpu", "unknown"),
        ("cuda:x", "unknown"),
    ):
        with pytest.raises(SedTorchError, match=message):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device("auto", slot).index for slot in range(4)] == [0, 1, 0, 1]
    assert resolve_device("cuda:1", 0).index == 1
    with pytest.raises(SedTorchError, match=r"'cuda:2'.*sees 2"):
        resolve_device("cuda:2")


def test_global_state_is_put_back() -> None:
    def state() -> tuple[Any, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
            torch.get_num_threads(),
            (cudnn.deterministic, cudnn.benchmark, torch.are_deterministic_algorithms_enabled()),
        )

    before = state()
    drawn: list[float] = []

    def spoil() -> None:
        with repeatable(CPU, 3, 1), _deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.backends.cudnn.deterministic
            drawn.append(float(torch.rand(())))
            random.random()
            np.random.random()
            raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        spoil()
    assert state() == before
    with repeatable(CPU, 3, 1):
        assert float(torch.rand(())) == drawn[0]


# -- networks ------------------------------------------------------------------------------------------------


def test_a_reduced_network_at_full_size_is_the_published_one() -> None:
    whole = get_space("nasbench201").build(CELL)
    same = space_network("nasbench201", CELL, 10, width=16, cells=5)
    assert [(k, v.shape) for k, v in same.state_dict().items()] == [
        (k, v.shape) for k, v in whole.state_dict().items()
    ]
    small = space_network("nasbench201", CELL, 7, width=4, cells=1)
    widths = {m.out_channels for m in small.modules() if isinstance(m, nn.Conv2d)}
    assert widths == {4, 8, 16}
    assert small(torch.zeros(2, 3, 8, 8)).shape == (2, 7)


def test_spaces_are_drawn_from_without_repeats() -> None:
    found = [c.name for c in candidates("nasbench201", 40)]
    assert len(set(found)) == 40
    assert [c.name for c in candidates(get_space("nats_tss"), 10)] == found[:10]
    assert [c.name for c in candidates("nasbench201", 10, sample_seed=1)] != found[:10]
    assert [c.name for c in candidates("nasbench201", archs=[CELL, CELL])] == [CELL]
    assert len(candidates("nasbench201")) == 24


def test_candidates_that_cannot_be_trained() -> None:
    with pytest.raises(SpaceError, match="width and cells reduce nasbench201 only"):
        candidates("darts", 1, width=4)
    with pytest.raises(SpaceError, match="has 15,625 architectures, asked for 15,626"):
        candidates("nasbench201", 15_626)
    with pytest.raises(SpaceError, match="not a cell"):
        candidates("nasbench201", archs=["x"])
    with pytest.raises(ValueError, match="n must be 1 or more"):
        candidates("nasbench201", 0)
    with pytest.raises(ValueError, match="width goes with a space only"):
        candidates({"a": linear}, width=4)
    with pytest.raises(ModelError, match="whose weights are made already"):
        candidates([linear(3)])
    with pytest.raises(ModelError, match="cannot train a int"):
        candidates([3])
    with pytest.raises(ModelError, match="no row with a score"):
        candidates(Ranking.of([RankRow("x", status="failed")]))


def test_candidates_have_names_of_their_own() -> None:
    def make() -> Callable[[], nn.Module]:
        def net() -> nn.Module:
            return linear(4)

        return net

    one, two = make(), make()
    assert [c.name for c in candidates([one, two, one, linear])] == ["net", "net#2", "linear"]
    assert [c.name for c in candidates([linear, linear])] == ["linear"]
    assert [c.name for c in candidates({"x": linear, "y": linear}, 1)] == ["x"]
    assert [c.name for c in candidates(Ranking.of([RankRow("timm:resnet18", sed=1.0), RankRow("b")]))] == [
        "timm:resnet18"
    ]


def test_references_are_built_with_weights_and_classes(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self, num_classes=9): "
        "super().__init__(2, num_classes)\nnet = Net()\ndef word(): return 'x'\n"
    )
    made = [c.make(6) for c in candidates(["timm:resnet10t", f"{tmp_path}/nets.py:Net"])]
    assert made[0].get_submodule("fc").out_features == made[1].out_features == 6
    assert not any(p.is_meta for m in made for p in m.parameters())
    assert candidates(f"{tmp_path}/nets.py:Net(3)")[0].make(6).out_features == 3
    for name, message in (("net", "weights are made already"), ("word", "made a str")):
        with pytest.raises(ModelReferenceError, match=message):
            candidates(f"{tmp_path}/nets.py:{name}")[0].make(6)


# -- the whole -----------------------------------------------------------------------------------------------


def figures(runs: Counterparts) -> list[tuple[Any, ...]]:
    """All that must not depend on when and how often a run was begun."""
    rows = [replace(r, seconds=None, proxies=tuple(r.proxies.items())) for r in runs.rows]  # type: ignore[arg-type]
    return sorted(tuple(getattr(r, f.name) for f in fields(RunRow)) for r in rows)  # type: ignore[type-var]


def test_rows_hold_predictors_and_epochs(tmp_path: Path) -> None:
    runs = go(tmp_path, {"a": linear, "b": Slow}, seeds=2, proxies=("synflow", "naswot", "params"))
    assert runs.networks == ("a", "b")
    assert len(runs.rows) == 2 * 2 * FAST.epochs
    assert [(r.network, r.seed) for r in runs.finals] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    row = runs.rows[0]
    model = linear(4)
    assert row.sed == pytest.approx(sed_torch.score(model, input_size=(1, 3, 4, 4)).total)
    assert row.params == sum(p.numel() for p in model.parameters())
    assert row.macs == 4 * 27 * 16 + 64 * 4
    assert list(row.proxies) == ["synflow", "naswot"]
    assert row.proxies["synflow"] != runs.finals[2].proxies["synflow"]  # other weights
    assert row.missing is None
    assert (row.dataset, row.recipe, row.device, row.space) == ("stripes", str(FAST), "cpu, 1 thread", None)
    assert str(sed_torch.__version__) in str(row.software)
    again = read_runs(tmp_path / "runs.csv")
    assert again.rows == runs.rows
    assert again.definitions == ("sed/2",)
    old = replace(again.rows[0], network="c", software="sed_torch 0.1.0 (sed/1), torch 2.4.0")
    with pytest.raises(DataError, match=r"scores of sed/1 and sed/2, which do not compare"):
        replace(again, rows=(*again.rows, old)).validate()
    assert again.proxies == ("synflow", "naswot")
    assert str(runs).startswith("2 networks × 2 seeds on stripes: 4 runs trained, 0 not")
    assert "<table>" in runs._repr_html_()
    assert len(runs.to_dict()["rows"]) == len(runs.to_dataframe()) == 8
    summed = runs.summary()
    assert [r["accuracy"] for r in summed] == sorted((runs.accuracy(n) for n in "ab"), reverse=True)  # type: ignore[type-var]


def test_a_seed_gives_the_same_run_and_another_one_another(tmp_path: Path) -> None:
    torch.manual_seed(5)
    first = go(tmp_path, seeds=2)
    before = torch.get_rng_state()
    torch.manual_seed(6)
    second = go(tmp_path, seeds=[0, 1], resume=False)
    assert figures(first) == figures(second)
    losses = {r.train_loss for r in first.finals}
    assert len(losses) == 2
    torch.manual_seed(5)
    assert torch.equal(before, torch.get_rng_state())


def test_failures_are_rows_and_others_go_on(tmp_path: Path) -> None:
    class Late(Slow):
        def forward(self, x: Tensor) -> Any:
            if self.training and x.shape[0] == 16 and torch.is_grad_enabled():
                self.seen = getattr(self, "seen", 0) + 1
                if self.seen == 6:  # the second epoch
                    raise RuntimeError("late\ntrouble")
            return self.inner(x)

    runs = go(tmp_path, {"bad": broken, "late": Late, "text": lambda: "x", "good": linear})
    why = {r.network: r.reason for r in runs.failures}
    assert why == {
        "bad": "unexpected RuntimeError: no such luck",
        "late": "unexpected RuntimeError: late",
        "text": "ModelError: text made a str, expected an nn.Module",
    }
    assert [(r.epoch, r.status) for r in runs.rows if r.network == "late"] == [(1, "running"), (2, "failed")]
    assert runs.accuracy("bad") is None
    assert runs.accuracy("good") is not None
    assert "no such luck" in str(runs)
    tried = go(tmp_path, {"bad": linear, "late": linear, "text": linear, "good": broken})
    assert tried.resumed == 1  # failed ones are tried again, finished ones are not
    assert not tried.failures


def test_a_run_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    whole = go(tmp_path, {"a": linear, "b": Slow}, seeds=2)
    file = tmp_path / "runs.csv"
    lines = file.read_text().splitlines(keepends=True)
    for cut in (len("".join(lines[:4])), len("".join(lines[:6])) - 1, len(lines[0]) - 3, 0):
        file.write_text("".join(lines)[:cut])
        resumed = go(tmp_path, {"a": linear, "b": Slow}, seeds=2)
        assert figures(resumed) == figures(whole)
        assert resumed.resumed == max(0, (cut > len("".join(lines[:3]))) + (cut > len("".join(lines[:5]))))
    assert sorted(file.read_text().splitlines()[0]) == sorted(lines[0].rstrip("\n"))


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    go(tmp_path)
    before = (tmp_path / "runs.csv").read_text()
    for change, what in (
        ({"recipe": Recipe(epochs=3)}, "recipe"),
        ({"dataset": tiny(name="other")}, "dataset"),
        ({"networks": "nasbench201", "n": 1}, "space"),
        ({"proxies": ("synflow",)}, "proxies"),
    ):
        with pytest.raises(DataError, match=f"holds runs with another {what} .*--fresh"):
            go(tmp_path, **change)  # type: ignore[arg-type]
    assert (tmp_path / "runs.csv").read_text() == before
    (tmp_path / "runs.csv").write_text("name,sed\nx,1\n")
    with pytest.raises(DataError, match="not a file of 'sed-torch train-counterparts'"):
        go(tmp_path)
    assert (tmp_path / "runs.csv").read_text() == "name,sed\nx,1\n"


def test_what_is_wrong_is_told_before_a_file_is_made(tmp_path: Path) -> None:
    for change, error, message in (
        ({"dataset": "nonsense"}, DataError, "unknown dataset"),
        ({"device": "tpu"}, SedTorchError, "unknown device"),
        ({"proxies": ("magic",)}, InputError, "unknown proxies"),
        ({"proxies": "synflow"}, InputError, "expected a sequence"),
        ({"jobs": 0}, ValueError, "jobs must be"),
        ({"threads": 0}, ValueError, "threads must be"),
        ({"time_limit": 0}, ValueError, "time_limit must be"),
        ({"backend": "mpi"}, ValueError, "backend must be"),
        ({"seeds": 0}, ValueError, "seeds must be"),
        ({"seeds": [-1]}, ValueError, "seeds must be"),
    ):
        with pytest.raises(error, match=message):  # type: ignore[call-overload]
            go(tmp_path, **change)
    assert not (tmp_path / "runs.csv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_two_processes_do_not_write_to_one_file(tmp_path: Path) -> None:
    same = go(tmp_path).rows[0]
    file = RunFile(tmp_path / "runs.csv", ())
    with (
        file.held(resume=True, same=same),
        pytest.raises(DataError, match="another process is writing to it"),
    ):
        go(tmp_path)


def test_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    go(tmp_path)
    file = tmp_path / "runs.csv"
    header, first, second = file.read_text().splitlines()
    for line, message in (
        (first, "line 3: a seed 0 epoch 1 is on line 2 already"),
        (second.replace("a,0,2,ok", "a,0,2,fine"), "line 3: unknown status 'fine'"),
        (second.replace("a,0,2", "a,x,2"), "line 3, column 'seed': expected a whole number, found 'x'"),
        (second.replace("a,0,2", ",0,2"), "line 3: no network"),
        (second + ",1", f"line 3: expected {len(columns(()))} cells"),
    ):
        file.write_text(f"{header}\n{first}\n{line}\n")
        with pytest.raises(DataError, match=message):
            read_runs(file)
    file.write_text(f"{header}\n{first}\n{second[:-5]}")
    assert len(read_runs(file).rows) == 1
    assert is_runs_file(file)
    assert not is_runs_file(tmp_path / "none.csv")


NETS = """
import torch, time
from torch import nn

class Net(nn.Sequential):
    def __init__(self, wait=0.0, num_classes=4):
        super().__init__(nn.Flatten(), nn.Linear(48, num_classes))
        self.wait = wait
    def forward(self, x):
        time.sleep(self.wait if x.is_leaf and self.training else 0.0)
        return super().forward(x)

def data():
    x, y = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4
    return (x, y), (x, y)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_command_leaves_whole_lines_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    command = [
        *("train-counterparts", "nets.py:Net", "nets.py:Net(wait=0.03)", "--dataset", "nets.py:data"),
        *("--epochs", "8", "--batch-size", "16", "--lr", "0.02", "--seeds", "1", "--proxy", "synflow"),
        *("--device", "cpu", "-o", "runs.csv"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "sed_torch", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    file = tmp_path / "runs.csv"
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_text().count("\n") >= 10) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = file.read_text()
    assert left.endswith("\n")
    assert 10 <= left.count("\n") < 17
    with file.open("a") as f:
        f.write("nets.py:Net(wait=0.03),0,7,runn")  # what a disk may hold after a power cut
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert _run(command) == 0
        killed = read_runs(file)
        assert _run([*command, "--fresh"]) == 0
    assert figures(killed) == figures(read_runs(file))
    assert len(killed.rows) == 16


@pytest.mark.slow
def test_worker_processes_give_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    told: list[tuple[int, int, str]] = []

    def run(jobs: int, **kwargs: Any) -> Counterparts:
        return counterparts(
            "nasbench201",
            tmp_path / f"{jobs}.csv",
            n=2,
            width=2,
            cells=1,
            recipe=Recipe(epochs=1),
            seeds=2,
            jobs=jobs,
            device="cpu",
            progress=lambda done, total, row: told.append((done, total, row.status)),
            **kwargs,
        )

    assert figures(run(1)) == figures(run(2))
    assert told == [(i, 4, "ok") for i in (1, 2, 3, 4)] * 2
    assert run(2).resumed == 4
    assert run(2).rows[0].space == "nasbench201 width=2 cells=1"


@pytest.mark.slow
def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    (tmp_path / "nets.py").write_text(NETS + "\ndef die():\n    import os\n    os._exit(1)\n")
    with pytest.raises(SedTorchError, match=r"a worker process died .* goes on with the others"):
        go(tmp_path, f"{tmp_path}/nets.py:die", jobs=2)
    assert go(tmp_path, {f"{tmp_path}/nets.py:die": linear}).failures == ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_run_twice(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = [go(tmp_path, "nasbench201", archs=[CELL], device="cuda", resume=False) for _ in range(2)]
    assert figures(runs[0]) == figures(runs[1])
    assert str(runs[0].rows[0].device).startswith("cuda:0 ")


# -- validation ----------------------------------------------------------------------------------------------


def made(accuracies: dict[str, list[float | None]], **kwargs: Any) -> Counterparts:
    """Runs in which the i-th network has SED and params i, and synflow -i."""
    rows = []
    for i, (name, by_seed) in enumerate(accuracies.items()):
        for seed, accuracy in enumerate(by_seed):
            ended = {"status": "ok"} if accuracy is not None else {"status": "diverged", "reason": "nan"}
            known = {"sed": float(i), "params": i, "macs": float(i % 2), "proxies": {"synflow": -float(i)}}
            row = RunRow(name, seed, 3, test_accuracy=accuracy, dataset="d", recipe="r", **ended, **known)  # type: ignore[arg-type]
            rows += [replace(row, epoch=2, status="running", reason=None, test_accuracy=99.0), row]
    return Counterparts(tuple(rows), ("synflow",), **kwargs)


def test_the_score_is_held_against_the_mean_over_seeds() -> None:
    low = {"a": [10, 20], "b": [30, 10], "c": [20, 60], "d": [50, 50], "e": [60, 90]}
    runs = made({**low, **{f"{k}{k}": [v + 100 for v in seeds] for k, seeds in low.items()}})
    report = runs.validate(n_bootstrap=50)
    assert report.n == 10
    assert report.overall.spearman == pytest.approx(1.0)  # means 15, 20, 40, 50, 75, and these plus 100
    assert report.overall.intervals["spearman"].low > 0.5
    # ranks 1 3 2 4 5 against 2 1 4 3 5, twice: 1 - 6·2·(1 + 4 + 4 + 1)/(10·99)
    assert report.ceiling["seed 0/seed 1"].spearman == pytest.approx(1 - 120 / 990)
    rivals = {c.rival: c.rival_correlation.spearman for c in report.rivals}
    assert rivals["synflow"] == pytest.approx(-1.0)
    assert rivals["params"] == pytest.approx(1.0)
    assert set(rivals) == {"synflow", "params", "macs"}
    assert report.left_out == ()
    assert any("0: 0.976" in n and "1: 0.952" in n for n in report.notes)
    assert report.unit == "%"
    assert report.source == "training under r, "
    other = runs.validate("synflow", n_bootstrap=0)
    assert other.overall.spearman == pytest.approx(-1.0)
    assert {c.rival for c in other.rivals} == {"SED", "params", "macs"}
    with pytest.raises(DataError, match="no predictor 'magic'"):
        runs.validate("magic")


def test_runs_that_were_not_finished_are_left_out_with_their_reason() -> None:
    runs = made({"a": [None, None], "b": [1, None], "c": [2, 2], "d": [3, 3], "e": [4, 4]})
    report = runs.validate(n_bootstrap=0)
    assert report.n == 4
    assert report.left_out == (("a", "diverged: nan"),)
    assert runs.accuracy("b") == 1
    assert any("1 networks have a mean over fewer seeds" in n for n in report.notes)
    assert len(runs.failures) == 3
    alone = made({"a": [1.0], "b": [2.0], "c": [3.0]}).validate(n_bootstrap=0)
    assert alone.ceiling == {}
    assert any("no noise ceiling" in n for n in alone.notes)
    with pytest.raises(DataError, match="no run was finished"):
        made({"a": [None]}).validate()


def test_networks_without_a_path_are_counted() -> None:
    runs = made({"a": [1.0], "b": [2.0], "c": [3.0]})
    rows = tuple(replace(r, sed=-math.inf) if r.network == "a" else r for r in runs.rows)
    report = Counterparts(rows, ("synflow",)).validate(n_bootstrap=0)
    assert report.n == 3
    assert any("1 networks score -inf" in n for n in report.notes)
    assert Counterparts(rows).rows[0].to_dict()["sed"] == "-inf"


@pytest.fixture(scope="module")
def runs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    networks = {
        "a": linear,
        "b": broken,
        "c": Slow,
        "d": lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 4)),
    }
    go(folder, networks, seeds=2, recipe=replace(FAST, epochs=1))
    return folder / "runs.csv"


def test_the_command_line_validates_runs(runs_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(["validate", str(runs_file), "--bootstrap", "20", "--format", "md"])
    text = capsys.readouterr().out
    assert "SED on 4 trained networks, stripes" in text
    assert "seed 0/seed 1" in text
    assert "1 × failed: unexpected RuntimeError: no such luck" in text
    assert _run(["validate", str(runs_file), "--against", "timm"]) == 2
    assert "goes with a RANKING only" in capsys.readouterr().err


def test_the_command_line_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    command = ["train-counterparts", "nets.py:Net", "--dataset", "nets.py:data", "--seeds", "1"]
    assert _run([*command, "--epochs", "1", "--device", "cpu", "-o", "runs.csv"]) == 0
    printed = capsys.readouterr()
    assert "1 networks × 1 seeds" in printed.out
    assert "1/1  nets.py:Net  seed 0  ok: " in printed.err
    with open("runs.csv", newline="") as f:
        (row,) = csv.DictReader(f)
    assert row["missing"] == "naswot: the model has no ReLU" or row["missing"].startswith("naswot: ")
    for extra, message in (
        (["--space", "nasbench201"], "expected one of PATTERNS"),
        (["--width", "3"], "--width goes with --space only"),
        (["--jobs", "0"], "0 workers do nothing"),
        (["--backend", "dask"], "--backend dask needs --scheduler ADDRESS"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ):
        assert _run([*command, *extra, "-o", "x.csv"]) == 2
        assert message in capsys.readouterr().err
    assert not Path("x.csv").exists()


def test_it_is_public() -> None:
    assert sed_torch.counterparts is training.counterparts
    assert "counterparts" in dir(sed_torch)
    with pytest.raises(AttributeError, match="no attribute 'counterpart'"):
        _ = sed_torch.counterpart  # type: ignore[attr-defined]
