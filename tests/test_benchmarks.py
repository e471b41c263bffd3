"""Benchmark tables: the two file formats, their traps, and the real files where they are at hand."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sed_torch.benchmarks import BENCHMARKS, BenchmarkTable, datasets, find_data, load
from sed_torch.errors import DataError

DATA = Path(os.environ.get("SED_TORCH_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent; set SED_TORCH_DATA")

CELL = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"


def put(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


# --- finding ---------------------------------------------------------------------------------------------


def test_the_argument_wins_over_the_variable_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, named, default = tmp_path / "work", tmp_path / "named", tmp_path / "shared" / "data"
    for folder in (here, named, default):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("SED_TORCH_DATA", raising=False)
    assert find_data().resolve() == default
    monkeypatch.setenv("SED_TORCH_DATA", str(named))
    assert find_data() == named
    assert find_data(here) == here


def test_absent_data_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SED_TORCH_DATA", "nowhere")
    with pytest.raises(DataError, match=r"nowhere \(\$SED_TORCH_DATA\).*pass data=.*nb201.csv.gz"):
        find_data()
    with pytest.raises(DataError, match=r"no nb201\.csv\.gz; pass data="):
        load("nasbench201", data=tmp_path)


def test_unknown_names() -> None:
    with pytest.raises(DataError, match="unknown benchmark 'nasbench999'; expected one of nasbench101"):
        load("nasbench999")
    with pytest.raises(DataError, match="nasbench201 has no dataset 'svhn'; expected one of cifar10"):
        load("nasbench201", "svhn")
    assert datasets("darts") == ("cifar10",)
    assert datasets("nasbench101")[0] == "val_108ep_one_run"


# --- CSV ---------------------------------------------------------------------------------------------------

NB201 = """arch,cifar10_test,cifar10_zen,cifar10_nwot,params_M,cifar10_flops_M,cifar10_test_seed0,cifar10_test_seed1
a,90,1.5,7,0.5,10,89,91
b,80,-1e+08,-inf,0.25,20,80,
c,,3,8,1,30,,
"""


def test_nasbench201(tmp_path: Path) -> None:
    table = load("nasbench201", data=put(tmp_path / "nb201.csv.gz", NB201).parent)
    assert (table.archs, table.accuracy.tolist(), table.left_out) == (("a", "b"), [90, 80], 1)
    # NASLib's -1e8 and an infinite proxy are failures, not scores.
    assert table.rivals["zen"][0] == 1.5
    assert np.isnan([table.rivals["zen"][1], table.rivals["nwot"][1]]).all()
    assert "zen 1" in " ".join(table.notes)
    assert table.params is not None
    assert table.macs is not None
    assert (table.params.tolist(), table.macs.tolist()) == ([5e5, 2.5e5], [1e7, 2e7])
    assert table.seeds["seed0"].tolist() == [89, 80]
    assert np.isnan(table.seeds["seed1"][1])


def test_nasbench101_reads_bits_and_operations_as_text(tmp_path: Path) -> None:
    text = "adj_upper,ops,val_108ep_one_run,params,naslib_flops\n011,3,0.9,10,1\n1,,0.8,20,\n101,p,,30,2\n"
    table = load("nasbench101", data=put(tmp_path / "nb101.csv", text))
    assert table.archs == ("011:3", "1:")
    assert table.accuracy.tolist() == [0.9, 0.8]
    # A spreadsheet's 011 → 11 is no cell of three vertices.
    bad = put(tmp_path / "bad.csv", text.replace("011,3", "11,3"))
    with pytest.raises(
        DataError, match=r"bad.csv, line 2: adj_upper '11' and ops '3' are no cell.*converted to a number"
    ):
        load("nasbench101", data=bad)


def test_nasbench301_says_surrogate(tmp_path: Path) -> None:
    path = put(
        tmp_path / "nb301.csv", 'arch,val_accuracy,synflow,params\n"((0, 5),)",93,4,0.5\n"((1, 5),)",,4,1\n'
    )
    table = load("darts", data=path)
    assert table.benchmark == "nasbench301"
    assert (table.archs, table.left_out) == (("((0, 5),)",), 1)
    assert "surrogate" in table.metric
    assert "surrogate" in str(table)


def test_transnas_spaces_and_tasks_do_not_mix(tmp_path: Path) -> None:
    text = (
        "arch,space,jigsaw_val_final,jigsaw_synflow,jigsaw_valid_top1,normal_val_final,normal_snip\n"
        "64-1234-basic,macro,90,5,95,0.5,1\n64-41414-1_02_333,micro,80,6,85,0.4,2\n"
    )
    path = put(tmp_path / "tnb101.csv.gz", text)
    micro = load("transnas_micro", "jigsaw", data=path)
    assert (micro.archs, micro.accuracy.tolist(), list(micro.rivals)) == (
        ("64-41414-1_02_333",),
        [80],
        ["synflow"],
    )
    macro = load("transnas_macro", "normal", data=path)
    assert (macro.archs, macro.accuracy.tolist(), list(macro.rivals)) == (("64-1234-basic",), [0.5], ["snip"])
    assert "SSIM" in macro.metric


def test_pycls_leaves_out_what_timm_does_not_name(tmp_path: Path) -> None:
    path = put(tmp_path / "pycls.csv", "model,top1,top5,timm_arch\nX,77,1,resnet50\nResNeXt-152,79,1,\n")
    table = load("pycls", data=path)
    assert (table.archs, table.groups, table.left_out) == (("resnet50",), ("resnet",), 1)
    assert "ResNeXt-152" in table.notes[-1]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (NB201.replace("90,1.5", "ninety,1.5"), r"line 2: column 'cifar10_test' holds 'ninety'"),
        (NB201.replace("90,1.5", "nan,1.5"), r"line 2: column 'cifar10_test' holds 'nan'; expected a finite"),
        (NB201.replace(",7,", ",seven,"), r"line 2: column 'cifar10_nwot' holds 'seven'"),
        (NB201.replace("b,80", "a,80"), r"line 3: 'a' is on line 2 already"),
        (NB201[:-10], r"line 4: \d cells; expected 8"),
        ("name,score\na,1\n", r"line 1: no column 'arch', 'cifar10_test'; found 'name', 'score'"),
        ("arch,cifar10_test\na,\n", r"no row has a value in 'cifar10_test'"),
        ("<html>quota exceeded</html>\n", r"no column 'arch'"),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=f"nb201.csv.gz.*{match}"):
        load("nasbench201", data=put(tmp_path / "nb201.csv.gz", text))


def test_limits_and_pickles(tmp_path: Path) -> None:
    bomb = tmp_path / "nb201.csv.gz"
    bomb.write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(DataError, match="more than 1,000,000 bytes when uncompressed"):
        load("nasbench201", data=bomb, max_bytes=1_000_000)
    nats = tmp_path / "NATS-tss-v1_0-3ffb9.pickle"
    nats.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match=r"3ffb9\.pickle is a pickle.*runs code.*zc_"):
        load("nasbench201", data=nats)


# --- JSON of NAS-Bench-Suite-Zero -------------------------------------------------------------------------------


def suite_zero(path: Path, content: Any) -> Path:
    return put(path, content if isinstance(content, str) else json.dumps(content))


def test_suite_zero(tmp_path: Path) -> None:
    scores = {
        "(1, 3, 4, 3, 2, 2)": {
            "synflow": {"score": 30.5, "time": 0.1},
            "zen": {"score": -1e8, "time": 1},
            "params": {"score": 0.5, "time": 0},
            "val_accuracy": 87.88,
            "id": 7,
        },
        "(4, 3, 0, 3, 1, 4)": {
            "synflow": {"score": 20, "time": 0.1},
            "zen": {"score": 60},
            "val_accuracy": 87.2,
        },
    }
    path = suite_zero(tmp_path / "zc_nasbench201.json", {"ImageNet16-120": scores})
    table = load("nasbench201", "imagenet16", data=path)
    assert table.archs[0] == CELL.format(
        "none", "nor_conv_1x1", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_3x3", "nor_conv_3x3"
    )
    assert table.accuracy.tolist() == [87.88, 87.2]
    assert table.rivals["synflow"].tolist() == [30.5, 20]
    assert np.isnan(table.rivals["zen"]).tolist() == [True, False]
    assert table.params is not None
    assert table.params[0] == 5e5
    assert np.isnan(table.params[1])
    assert load("nasbench201", "ImageNet16-120", data=path).archs == table.archs


@needs_data
def test_suite_zero_numbering_agrees_with_the_published_accuracies(tmp_path: Path) -> None:
    # Architectures and accuracies that NASLib publishes in its competition's training set.
    known = {
        "(1, 3, 4, 3, 2, 2)": 87.88,
        "(4, 3, 0, 3, 1, 4)": 87.2,
        "(2, 4, 3, 2, 1, 2)": 89.41,
        "(3, 2, 4, 3, 1, 1)": 70.88,
    }
    path = suite_zero(tmp_path / "zc.json", {"cifar10": {k: {"val_accuracy": v} for k, v in known.items()}})
    table = load("nasbench201", data=path)
    from sed_torch.accuracies import read_table

    full = read_table(DATA / "nb201.csv.gz")
    by_arch = dict(zip(full.text("arch"), full.numbers("cifar10_naslib_val"), strict=True))
    assert [by_arch[a] for a in table.archs] == pytest.approx(list(table.accuracy), abs=0.011)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"cifar10": {"(0,0,0,0,0,0)": {"val_acc', r"line 1: not JSON"),
        ("[1, 2]", r"expected .*found list"),
        ("[" * 200_000, r"nested too deeply|not JSON"),
        ({"svhn": {}}, r"no dataset 'cifar10'; found 'svhn'"),
        ({"cifar10": []}, r"should map architectures"),
        ({"cifar10": {"(0,0,0,0,0,0)": {}}}, r"expected a mapping with 'val_accuracy'"),
        (
            {"cifar10": {"(0,0,0,0,0,0)": {"val_accuracy": "90"}}},
            r"'val_accuracy': expected a number, found str '90'",
        ),
        ('{"cifar10": {"(0,0,0,0,0,0)": {"val_accuracy": NaN}}}', r"expected a finite number, found nan"),
        ({"cifar10": {"(0,0,0,0,0,9)": {"val_accuracy": 1}}}, r"no NAS-Bench-201 architecture"),
        ({"cifar10": {"__import__('os')": {"val_accuracy": 1}}}, r"no NAS-Bench-201 architecture"),
        ({"cifar10": {"(0,0)": {"val_accuracy": 1}}}, r"no NAS-Bench-201 architecture"),
        (
            {"cifar10": {"(0,0,0,0,0,0)": {"val_accuracy": 1, "zen": {"score": []}}}},
            r"'zen': expected a number",
        ),
    ],
)
def test_broken_suite_zero(tmp_path: Path, content: Any, match: str) -> None:
    with pytest.raises(DataError, match=f"zc.json.*{match}"):
        load("nasbench201", data=suite_zero(tmp_path / "zc.json", content))


# --- the table ---------------------------------------------------------------------------------------------------


def test_rows_and_samples() -> None:
    table = BenchmarkTable(
        "b", "d", ("x", "y", "z"), np.array([1.0, 2, 3]), "m", "s", rivals={"r": np.array([np.nan, 5, 6])}
    )
    assert table.rows()[0] == {"arch": "x", "accuracy": 1.0, "r": None}
    assert table.take([2, 0]).archs == ("z", "x")
    assert table.sample(2, seed=1).archs == table.sample(2, seed=1).archs
    assert table.sample(9) is table
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["rows"][2]["r"] == 6
    assert table.to_dataframe()["accuracy"].tolist() == [1, 2, 3]
    assert "<td>" in table._repr_html_()


# --- the real files ----------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("benchmark", "dataset", "rows", "best"),
    [
        ("nasbench201", "cifar10", 15625, 94.3733),
        ("nasbench201", "cifar100", 15625, 73.5133),
        ("nasbench201", "imagenet16", 15625, 47.3111),
        ("nasbench101", "val_108ep_one_run", 30001, 0.949119),
        ("nasbench101", "test_108ep", 846, 0.940605),
        ("nasbench101", "naslib_val_accuracy", 292, 94.7115),
        ("nasbench301", None, 1218, 94.48888),
        ("transnas_micro", "class_scene", 4096, 54.9363),
        ("transnas_macro", "room_layout", 3256, None),
        ("pycls", None, 35, 80.934),
        ("timm", None, 729, 87.414),
    ],
)
def test_real_files(benchmark: str, dataset: str | None, rows: int, best: float | None) -> None:
    table = load(benchmark, dataset, data=DATA)
    assert len(table) == len(set(table.archs)) == rows
    assert np.isfinite(table.accuracy).all()
    if best is not None:
        assert table.accuracy.max() == pytest.approx(best, rel=1e-5)


@needs_data
def test_real_rivals() -> None:
    table = load("nasbench201", "cifar100", data=DATA)
    assert np.count_nonzero(~np.isnan(table.rivals["synflow"])) == 1104
    assert np.count_nonzero(~np.isnan(table.rivals["zen"])) == 15625 - 341
    assert min(np.nanmin(v) for v in table.rivals.values()) > -1e7
    assert set(load("nasbench201", "cifar10", data=DATA).seeds) == {"seed0", "seed1", "seed2"}
    assert all(datasets(name) for name in BENCHMARKS)
