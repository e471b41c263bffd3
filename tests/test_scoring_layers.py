"""A score's table of modules: by hand, and against the tools that people have used for it."""

from __future__ import annotations

import importlib.util
import json
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch import Score
from sed_torch.errors import DataError, InputError
from sed_torch.scoring.layers import COLUMNS, LayerRow, LayerTable


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.pool = nn.MaxPool2d(2)
        self.unused = nn.Linear(7, 11)
        self.head = nn.Linear(8, 5)
        self.head.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.grouped(self.stem(x))).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def net() -> Score:
    return sed_torch.score(Net().eval(), input_size=(2, 3, 16, 16))


def test_shapes_kernels_and_sizes_by_hand(net: Score) -> None:
    table = net.table()
    conv, grouped, pool, head = (table[p] for p in ("stem.0", "grouped", "pool", "head"))
    assert [r.module for r in table] == [p for p, _ in Net().named_modules()]
    assert (conv.input, conv.output) == (((2, 3, 16, 16),), ((2, 8, 8, 8),))
    assert (conv.kernel, conv.stride) == (((5, 5),), ((2, 2),))
    assert (grouped.dilation, grouped.groups, grouped.taps) == (((2, 2),), (4,), 9.0)
    assert (pool.kernel, pool.output, pool.params, pool.taps) == (((2, 2),), ((2, 8, 4, 4),), 0, None)
    assert conv.params == 3 * 8 * 25
    assert conv.bytes == 4 * conv.params
    assert conv.macs == 8 * 8 * conv.params
    assert conv.activations == 8 * 8 * 8
    assert (head.input, head.output, head.params, head.trainable) == (((2, 8),), ((2, 5),), 45, 5)
    assert head.param_shapes == (("weight", (5, 8)), ("bias", (5,)))
    assert {r.mode for r in table} == {"eval"}


def test_a_module_holds_what_is_inside_it(net: Score) -> None:
    table = net.table()
    stem, root = table["stem"], table[""]
    assert (stem.input, stem.output) == (((2, 3, 16, 16),), ((2, 8, 8, 8),))
    assert stem.params == 600 + 16
    assert root.params == net.params
    assert root.macs == net.macs
    assert root.share == pytest.approx(1.0)
    assert root.sed == pytest.approx(net.total)
    assert sum(r.share for r in table if r.depth == 1) == pytest.approx(1.0)
    assert (root.input, root.output) == (((2, 3, 16, 16),), ((2, 5),))


def test_what_never_runs_is_told(net: Score) -> None:
    table = net.table()
    assert [r.module for r in table if not r.called] == ["unused"]
    assert table["unused"].output == ()
    assert "never run by the forward: unused" in table.to_text()


def test_weights_read_without_a_call_are_no_idle_module() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x, x, x)[0]  # type: ignore[no-any-return]

    table = sed_torch.score(Attend(), input_size=(1, 4, 8)).table()
    assert all(r.called for r in table)
    assert "never" not in table.to_text()


def test_shared_modules_and_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.b = self.a

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(y)

    table = sed_torch.score(Two(), input_size=[(1, 4), (3, 4)]).table()
    assert [r.module for r in table] == ["", "a"]
    assert table["a"].params == 20
    assert table[""].input == ((1, 4), (3, 4))
    assert table[""].output == ((1, 4), (3, 4))


def test_columns_by_any_of_their_names(net: Score) -> None:
    assert net.table("all").columns == tuple(COLUMNS)
    assert net.table("output, MACS").columns == ("module", "output", "MACs")
    torchinfo = ["input_size", "output_size", "num_params", "params_percent", "kernel_size", "mult_adds"]
    assert net.table([*torchinfo, "groups", "trainable"]).columns == (
        *("module", "input", "output", "params", "params %", "kernel", "MACs", "groups", "trainable"),
    )
    with pytest.raises(InputError, match=r"found 'parms'\. Did you mean 'params'"):
        net.table(["parms"])
    with pytest.raises(InputError, match="depth must be 0 or more"):
        net.table(depth=-1)


def test_every_field_is_a_column(net: Score) -> None:
    """What is known of a module can be shown."""
    rows, names = net.table().records()
    assert set(names) == set(LayerRow.__dataclass_fields__)
    assert len(rows) == len(net.table())
    shown = net.table("all").view().grids[0]
    assert set(shown.columns) == set(COLUMNS)
    assert all(set(COLUMNS) <= set(r) for r in shown.rows)


def test_the_tree(net: Score) -> None:
    lines = [x.split()[:3] for x in net.table("params", tree=True).to_text().splitlines()[4:]]
    assert lines[0][0] == "Net"
    assert lines[1][:2] == ["├─", "stem"]
    assert lines[2][:3] == ["│", "├─", "0"]
    assert lines[4][:3] == ["│", "└─", "2"]
    assert lines[8][:2] == ["└─", "head"]
    assert len(net.table(depth=1, tree=True)) == 6


def test_files_hold_the_modules(net: Score) -> None:
    table = net.table(depth=1)
    assert Score.from_json(net.to_json()).table(depth=1) == table
    assert LayerTable.from_json(table.to_json()) == table
    assert pickle.loads(pickle.dumps(net)).table(depth=1) == table
    old = json.loads(net.to_json())
    del old["layers"]
    with pytest.raises(InputError, match="score the model again"):
        Score.from_dict(old).table()
    with pytest.raises(DataError, match="expected the schema"):
        LayerTable.from_dict({})


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_number_is_cut(net: Score, width: int) -> None:
    text = net.table("all", tree=True).to_text(width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text or width <= 60


# -- against the tools that people have used -------------------------------------------------------------------


def models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    torchvision = pytest.importorskip("torchvision")
    return {
        "resnet18": (torchvision.models.resnet18(), (2, 3, 64, 64)),
        "googlenet": (torchvision.models.googlenet(init_weights=False, aux_logits=False), (1, 3, 64, 64)),
    }


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_torchinfo_agrees(name: str) -> None:
    torchinfo = pytest.importorskip("torchinfo")
    model, size = models()[name]
    theirs = torchinfo.summary(model.eval(), size, verbose=0, depth=9)
    table = sed_torch.score(model, input_size=size).table()
    ours = {r.module: r for r in table}
    paths = {id(m): p for p, m in model.named_modules()}
    seen = 0
    for layer in theirs.summary_list:
        row = ours[paths[layer.layer_id]]
        assert row.params == layer.num_params
        assert row.type == layer.class_name
        if row.output:
            seen += 1
            assert list(row.output[-1]) == layer.output_size, row
            assert list(row.input[0]) == layer.input_size, row
        if layer.class_name == "Conv2d":
            assert list(row.kernel[0]) == layer.kernel_size
            assert row.macs * size[0] == layer.macs
    assert seen > len(theirs.summary_list) * 0.8
    assert table[""].params == theirs.total_params
    assert table[""].trainable == theirs.trainable_params
    assert table[""].bytes == theirs.total_param_bytes


def test_fvcore_agrees() -> None:
    fvcore = pytest.importorskip("fvcore.nn")
    model, size = models()["resnet18"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.zeros(1, *size[1:])
        flops = fvcore.FlopCountAnalysis(model.eval(), x).unsupported_ops_warnings(False)
        by_module = flops.by_module()
        by_operator = flops.by_module_and_operator()
        activations = fvcore.ActivationCountAnalysis(model, x).unsupported_ops_warnings(False).by_module()
    parameters = fvcore.parameter_count(model)
    for row in sed_torch.score(model, input_size=size).table():
        products = sum(by_operator[row.module].get(o, 0) for o in ("conv", "linear"))
        assert row.macs == products, row.module  # fvcore adds norms and pools, which the rest of by_module is
        assert by_module[row.module] >= row.macs
        assert row.activations == activations[row.module]
        assert row.params == parameters[row.module]


def test_lightning_agrees() -> None:
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    from lightning.pytorch import LightningModule
    from lightning.pytorch.utilities.model_summary import ModelSummary

    class Wrapped(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net().eval()
            self.example_input_array = torch.zeros(2, 3, 16, 16)

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

    theirs = ModelSummary(Wrapped(), max_depth=-1)
    ours = sed_torch.score(Net().eval(), input_size=(2, 3, 16, 16)).table()
    assert ours[""].params == theirs.total_parameters
    assert ours[""].trainable == theirs.trainable_parameters
    assert ours[""].bytes / 1e6 == pytest.approx(theirs.model_size)
    rows = zip(theirs.layer_names, theirs.layer_types, theirs.param_nums, theirs.out_sizes, strict=True)
    for name, kind, params, out in rows:
        row = ours[name.removeprefix("net").removeprefix(".")]
        assert (row.type, row.params) == (kind, params)
        if row.output:
            assert list(row.output[0]) == out


# -- on the command line ---------------------------------------------------------------------------------------


def test_the_command_lists_modules(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from sed_torch.cli import run

    ref = f"{__file__}:Net()"
    size = ["--input-size", "2,3,16,16"]
    assert run(["score", ref, *size, "--columns", "output,params", "--depth", "1"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[2].split() == ["module", "output", "params"]
    assert "stem.0" not in text
    assert run(["score", ref, *size, "--tree", "--legend"]) == 0
    text = capsys.readouterr().out
    assert "└─ head" in text
    assert "param shapes names and shapes" in text
    assert run(["score", ref, *size, "--columns", "all", "-o", str(tmp_path / "x.csv")]) == 0
    assert (tmp_path / "x.csv").read_text().startswith("module,type,depth,input")
    assert run(["score", ref, *size, "--columns", "all", "-o", str(tmp_path / "x.html")]) == 0
    capsys.readouterr()
    assert run(["score", ref, *size, "--columns", "nothing"]) == 2
    assert "expected columns of" in capsys.readouterr().err
