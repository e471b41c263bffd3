"""Benchmark files: where they are found, what is read, and what is refused with which words."""

from __future__ import annotations

import gzip
import json
import math
import os
import pickle
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sed_torch.errors import DataError
from sed_torch.evidence import benchmarks as b
from sed_torch.scoring import sed

DATA = Path(os.environ.get("SED_TORCH_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
needs_data = pytest.mark.skipif(
    not (DATA / "nb201.csv.gz").exists(), reason="no benchmark data in SED_TORCH_DATA or ../shared/data"
)
DARTS_KEY = str((((0, 3), (1, 3)) * 4, ((0, 0), (1, 0)) * 4))
ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- finding ---


def test_the_argument_then_the_variable_then_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (named := tmp_path / "named").mkdir()
    monkeypatch.setenv("SED_TORCH_DATA", str(named))
    assert b.find_data() == named
    assert b.find_data(tmp_path) == tmp_path
    monkeypatch.setenv("SED_TORCH_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"SED_TORCH_DATA='.*absent' does not exist.*NASLib publishes"):
        b.find_data()
    with pytest.raises(DataError, match=r"data='nowhere' does not exist.*data=\.\.\."):
        b.find_data("nowhere")
    monkeypatch.delenv("SED_TORCH_DATA")
    with pytest.raises(
        DataError, match=r"neither data= nor SED_TORCH_DATA says where it is.*NASLib publishes"
    ):
        b.find_data()


def test_unknown_names_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no benchmark 'nb999': expected one of nasbench201"):
        b.load("nb999", data=tmp_path)
    with pytest.raises(
        DataError, match="nasbench201 has no dataset 'mnist': expected one of cifar10, cifar100"
    ):
        b.load("nb201", "mnist", data=tmp_path)
    with pytest.raises(DataError, match=r"no file of nasbench301; looked for nb301_naslib\.csv\.gz"):
        b.load("darts", data=tmp_path)
    write(tmp_path / "NATS-tss.pickle.pbz2", b"BZh")
    with pytest.raises(
        DataError,
        match=r"It has NATS-tss\.pickle\.pbz2, which is a pickle and is never loaded; examples/nats_to_csv",
    ):
        b.load("nb201", data=tmp_path)
    with pytest.raises(DataError, match="a pickle runs code"):
        b.load("nb201", data=tmp_path / "NATS-tss.pickle.pbz2")
    with pytest.raises(DataError, match="a pickle runs code"):
        b.load("nb201", data=write(tmp_path / "nb201.csv", pickle.dumps([1])))
    assert b.datasets("transnas_macro")[0] == "class_scene"


# --- CSV ---

NB201 = f"""arch,cifar10_test,cifar10_nwot,cifar10_zen,params_M,cifar10_flops_M,cifar10_test_seed0,cifar10_test_seed1
{ARCH},93.5,-inf,1,0.8,116,93,
x,90,,-100000000.0,0.1,18,90,91
y,,3,3,0.1,18,,
"""


def test_nasbench201_csv(tmp_path: Path) -> None:
    found = b.load("nb201", data=write(tmp_path / "any.csv.gz", gzip.compress(NB201.encode())))
    assert found.archs == (ARCH, "x")
    assert found.accuracy.tolist() == [93.5, 90]
    # NASLib's marks of failure are no scores.
    assert np.isnan(found.rivals["nwot"]).all()
    assert found.rivals["zen"].tolist()[0] == 1
    assert math.isnan(found.rivals["zen"][1])
    assert any(n.endswith("taken as missing: nwot 1, zen 1") for n in found.notes)
    assert found.params is not None
    assert found.params.tolist() == [800_000, 100_000]
    assert found.macs is not None
    assert found.macs.tolist() == [116e6, 18e6]
    assert list(found.seeds) == ["seed0", "seed1"]
    assert "2 of the benchmark's 15,625 architectures" in found.notes
    with pytest.raises(ValueError, match="read-only"):
        found.accuracy[0] = 0
    one = found.take(found.accuracy > 92)
    assert (one.archs, one.rivals["zen"].tolist(), one.seeds["seed0"].tolist()) == ((ARCH,), [1], [93])
    assert found.take([1]).archs == ("x",)
    data = found.to_dict()
    assert data["rivals"]["zen"] == [1, None]
    json.dumps(data, allow_nan=False)
    assert found.to_dataframe()["rival_zen"].tolist()[:1] == [1]
    assert "nasbench201 cifar10: 2 architectures" in str(found)
    assert "2 architectures" in repr(found)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            NB201.replace("93.5", "nan"),
            "line 2, column 'cifar10_test': expected a finite number, found 'nan'",
        ),
        (
            NB201.replace(",18,90", ",what,90"),
            "line 3, column 'cifar10_flops_M': expected a number, found 'what'",
        ),
        (NB201 + "x,91,,,,,,\n", r"line 5: 'x' is on line 3 already"),
        (NB201 + ",91,,,,,,\n", "line 5, column 'arch': expected an architecture"),
        (NB201[:-6], "line 4: expected 8 cells as in the header, found"),
        ("a,b\n1,2\n", "expected the columns arch, cifar10_test; found a, b"),
        ("arch,cifar10_test\nx,\n", "no row of nasbench201 has a cifar10_test"),
    ],
)
def test_csv_that_is_wrong(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        b.load("nb201", data=write(tmp_path / "nb201.csv", text))


def test_limits_and_truncation(tmp_path: Path) -> None:
    whole = gzip.compress(NB201.encode())
    with pytest.raises(DataError, match="ends too early"):
        b.load("nb201", data=write(tmp_path / "a.csv.gz", whole[:-10]))
    with pytest.raises(DataError, match="more than 100 bytes once decompressed"):
        b.load("nb201", data=write(tmp_path / "b.csv.gz", whole), max_bytes=100)


class NATS:
    """What of NATS-Bench's interface is used: two architectures, the second with one seed."""

    seeds = ((777, 888), (777,))

    def __init__(self, archs: tuple[str, str]) -> None:
        self._archs = archs

    def __len__(self) -> int:
        return 2

    def arch(self, index: int) -> str:
        return self._archs[index]

    def query_meta_info_by_index(self, index: int, hp: str) -> SimpleNamespace:
        assert hp in ("200", "90")
        return SimpleNamespace(get_dataset_seeds=lambda dataset: list(self.seeds[index]))

    def get_more_info(self, index: int, dataset: str, *, hp: str, is_random: bool | int) -> dict[str, float]:
        value = {"cifar10": 90.0, "cifar100": 70.0, "ImageNet16-120": 40.0}[dataset] + index
        return {"test-accuracy": value + (0.0 if is_random is False else is_random / 1000)}

    def get_cost_info(self, index: int, dataset: str, *, hp: str) -> dict[str, float]:
        return {"params": 0.5, "flops": 20.0 + index}


@pytest.mark.parametrize(
    ("benchmark", "epochs", "archs", "file"),
    [
        ("nasbench201", "200", (ARCH, ARCH.replace("none", "skip_connect")), "nb201.csv"),
        ("nats_size", "90", ("8:8:16:8:8", "64:64:64:64:64"), "nats_size.csv"),
    ],
)
def test_nats_bench_becomes_a_csv(
    tmp_path: Path, benchmark: str, epochs: str, archs: tuple[str, str], file: str
) -> None:
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "nats_to_csv.py"))
    assert example["write"](NATS(archs), epochs, tmp_path / file) == 2
    assert epochs in example["EPOCHS"].values()
    for dataset, best in (("cifar10", 91), ("cifar100", 71), ("imagenet16", 41)):
        found = b.load(benchmark, dataset, tmp_path)
        assert (found.archs, found.accuracy.tolist()) == (archs, [best - 1, best])
        assert np.isfinite(b.scorer(benchmark, dataset)(found.archs)).all()
    found = b.load(benchmark, data=tmp_path)
    assert found.seeds["seed0"].tolist() == [90.777, 91.777]
    assert found.seeds["seed1"][0] == 90.888
    assert np.isnan(found.seeds["seed1"][1])
    assert "seed2" not in found.seeds
    assert found.params is not None
    assert found.macs is not None
    assert (found.params.tolist(), found.macs.tolist()) == ([5e5, 5e5], [20e6, 21e6])
    assert f"test accuracy after {epochs} epochs, mean of the available seeds" in found.notes


def test_nasbench101_bits_and_ops_are_text(tmp_path: Path) -> None:
    head = "n_vertices,adj_upper,ops,params,mlfe_params,val_108ep_one_run,test_108ep\n"
    path = write(tmp_path / "nb101.csv", head + "2,1,,8000,,0.5,\n4,000111,13,9000,7,0.25,0.75\n")
    found = b.load("nb101", data=tmp_path)
    assert found.archs == ("1:", "000111:13")
    assert found.accuracy.tolist() == [50, 25]
    test = b.load("nb101", "test_108ep", data=path)
    assert test.accuracy.tolist() == [75]
    assert test.params is not None
    assert test.params.tolist() == [7]
    for row in (
        "4,0111,13,1,1,1,1",
        "4,000111,1,1,1,1,1",
        "4,000111,1x,1,1,1,1",
        "x,1,,1,1,1,1",
        "3,012,1,1,1,1,1",
    ):
        with pytest.raises(DataError, match=r"line 2: expected n_vertices n, n·\(n−1\)/2 bits"):
            b.load("nb101", data=write(tmp_path / "bad.csv", head + row + "\n"))


def test_html_is_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "<i>.csv", "model,top1,timm_arch\nm,1,x\n")
    table = b.BenchmarkTable("<i>", "d", ("x",), np.ones(1), "%", str(path))
    assert "&lt;i&gt; d" in table._repr_html_()
    assert "<i>" not in table._repr_html_()
    with pytest.raises(DataError, match=r"values for 1 architectures"):
        b.BenchmarkTable("b", "d", ("x",), np.ones(2), "%", "here")


# --- NASLib JSON ---


def naslib(**extra: object) -> dict[str, object]:
    return {"nwot": {"score": 1.5, "time": 0.1}, "id": 3, "val_accuracy": 91.5, **extra}


def test_naslib_json(tmp_path: Path) -> None:
    content = {
        "cifar10": {
            # edges 0→1, 0→2, 0→3, 1→2, 1→3, 2→3; operations skip, none, 3×3, 1×1, pool
            "(2, 2, 0, 4, 2, 1)": naslib(params={"score": 0.5}),
            "(3, 0, 0, 0, 0, 0)": naslib(synflow={"score": None, "time": 1}, nwot={"score": -math.inf}),
        },
        "ImageNet16-120": {ARCH: {"val_accuracy": 40}},
    }
    path = write(tmp_path / "zc_nasbench201.json", json.dumps(content))
    found = b.load("nb201", data=tmp_path)
    assert found.archs[0] == ARCH
    assert found.archs[1].startswith("|nor_conv_1x1~0|+|skip_connect~0|skip_connect~1|+|")
    assert found.accuracy.tolist() == [91.5, 91.5]
    assert found.rivals["nwot"][0] == 1.5
    assert math.isnan(found.rivals["nwot"][1])
    assert any("taken as missing: nwot 1" in note for note in found.notes)
    assert found.rivals["params"][0] == 0.5
    assert np.isnan(found.rivals["params"][1])
    assert np.isnan(found.rivals["synflow"]).all()
    assert found.params is not None
    assert found.params[0] == 500_000
    other = b.read_naslib_json(path, dataset="imagenet16")
    assert (other.dataset, other.archs, dict(other.rivals)) == ("imagenet16", (ARCH,), {})
    with pytest.raises(DataError, match="no dataset 'cifar100'; it has cifar10, ImageNet16-120"):
        b.load("nb201", "cifar100", data=path)


def test_naslib_json_of_other_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "zc.json.gz", gzip.compress(json.dumps({"cifar10": {"key": naslib()}}).encode()))
    found = b.load("nb301", data=path)
    assert found.archs == ("key",)
    assert found.notes[1].startswith("val_accuracy is a surrogate's prediction")


# input, 3×3, pool, 1×1, output; vertex 2 is read by nobody, so that what is left is 0 → 1 → 3 → 4 and 0 → 4
FLAT_101 = (0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 2, 3, 1)


@pytest.mark.parametrize(
    ("benchmark", "dataset", "key", "arch"),
    [
        ("nasbench101", "cifar10", str(FLAT_101), "101101:31"),
        ("nasbench101", "cifar10", "(0, 1, 0, 0, 0, 1)", "1:"),
        ("nasbench101", "cifar10", "101101:31", "101101:31"),
        ("transnas_micro", "class_scene", "(1, 2, 3, 0, 1, 2)", "64-41414-1_23_012"),
        ("transnas_micro", "class_scene", "['1', '2', '3', '0', '1', '2']", "64-41414-1_23_012"),
        ("transnas_macro", "class_scene", "(1, 2, 3, 3, 0, 0)", "64-1233-basic"),
        ("transnas_macro", "class_scene", "64-1233-basic", "64-1233-basic"),
    ],
)
def test_naslib_keys_are_architectures(
    tmp_path: Path, benchmark: str, dataset: str, key: str, arch: str
) -> None:
    path = write(tmp_path / "zc.json", json.dumps({dataset: {key: naslib()}}))
    found = b.load(benchmark, data=path)
    assert found.archs == (arch,)
    # and such that the space knows
    assert b.space_of(benchmark).format(b.space_of(benchmark).parse(arch)) == arch
    assert np.isfinite(b.scorer(benchmark)(found.archs)).all()


@pytest.mark.parametrize(
    ("benchmark", "dataset", "key", "match"),
    [
        ("nasbench101", "cifar10", "key", "expected an upper-triangular matrix of 2 to 7 vertices"),
        ("nasbench101", "cifar10", "(0, 1, 1, 0, 0, 1)", "expected an upper-triangular"),
        ("nasbench101", "cifar10", "(0, 1, 0, 0, 0, 4)", "expected an upper-triangular"),
        ("nasbench101", "cifar10", "(0, 0, 0, 0, 0, 1)", "no path leads from the input to the output"),
        ("nasbench101", "cifar10", "(0, 2, 0, 0, 0, 1)", "expected an upper-triangular"),
        ("transnas_micro", "class_scene", "(1, 2, 3, 0, 1, 4)", "expected six digits of 0 to 3"),
        ("transnas_macro", "class_scene", "(1, 2, 3)", "expected four to six digits of 1 to 4"),
        ("transnas_macro", "class_scene", "(1, 2, 3, 5)", "expected four to six digits of 1 to 4"),
    ],
)
def test_naslib_keys_that_are_none(
    tmp_path: Path, benchmark: str, dataset: str, key: str, match: str
) -> None:
    path = write(tmp_path / "zc.json", json.dumps({dataset: {key: naslib()}}))
    with pytest.raises(DataError, match=match):
        b.load(benchmark, data=path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"cifar10":\n{"a": ', r"bad\.json, line 2: not sound JSON.*truncated"),
        ("[1]", r"expected \{dataset: \{arch: \.\.\.\}\}, found \[1\]"),
        ("{}", "expected {dataset"),
        ('{"cifar10": 3}', "cifar10: expected {arch: ...}, found 3"),
        ('{"cifar10": {"(0,0,0,0,0,0)": 3}}', r"cifar10 > \(0,0,0,0,0,0\): expected an object with val_accuracy"),
        ('{"cifar10": {"(0,0,0)": {"val_accuracy": 1}}}', "expected six op indices"),
        ('{"cifar10": {"(0,0,0,0,0,-1)": {"val_accuracy": 1}}}', "expected six op indices from 0 to 4 or an edge"),
        ('{"cifar10": {"__import__": {"val_accuracy": 1}}}', "expected six op indices"),
        ('{"cifar10": {"%s": {"val_accuracy": 1}}}' % ("(" * 9999), "expected six op indices"),
        ('{"cifar10": {"(0,0,0,0,0,5)": {"val_accuracy": 1}}}', "expected six op indices"),
        ('{"cifar10": {"|a": {"val_accuracy": NaN}}}', "val_accuracy: expected a finite number, found nan"),
        ('{"cifar10": {"|a": {"val_accuracy": "91"}}}', "expected a finite number, found '91'"),
        ('{"cifar10": {"|a": {"val_accuracy": true}}}', "expected a finite number, found True"),
        ('{"cifar10": {"|a": {"val_accuracy": 1, "p": {"time": 1}}}}', "p: expected an object with a score"),
        ('{"cifar10": {"|a": {"val_accuracy": 1, "p": {"score": []}}}}', r"p > score: expected a number, found \[\]"),
        ('{"cifar10": {"|a": {"val_accuracy": 1%s}}}' % ("0" * 400), "expected a finite number"),
        ('{"cifar10": {"(0,0,0,0,0,0)": {"val_accuracy": 1}, "(0, 0,0,0,0,0)": {"val_accuracy": 1}}}', "there twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"cifar10": {"|a": {"val_accuracy": 1%s}}}' % ("0" * 5000), "not sound JSON|finite number"),
    ],
)  # fmt: skip
def test_json_that_is_wrong(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        b.load("nb201", data=write(tmp_path / "bad.json", text))


# --- the published files ---


# (image size, classes) with which each benchmark's networks were trained, as their papers say
INPUTS = {
    **{
        ("nasbench201", d): v
        for d, v in {"cifar10": (32, 10), "cifar100": (32, 100), "imagenet16": (16, 120)}.items()
    },
    **{
        ("nats_size", d): v
        for d, v in {"cifar10": (32, 10), "cifar100": (32, 100), "imagenet16": (16, 120)}.items()
    },
    **{("nasbench101", d): (32, 10) for d in ("val_108ep_one_run", "test_108ep", "naslib_val_accuracy")},
    ("nasbench301", "cifar10"): (32, 10),
    **{
        (f"transnas_{kind}", task): (256, 47)
        for kind in ("micro", "macro")
        for task in (
            *("class_scene", "class_object", "jigsaw", "room_layout", "autoencoder", "normal"),
            "segmentsemantic",
        )
    },
    ("accel_nasbench", "imagenet"): (224, 1000),
    ("nasbench_macro", "cifar10"): (32, 10),
    **{
        (name, dataset): value
        for name in ("nasbench201", "nasbench301", "transnas_micro")
        for dataset, value in {"svhn": (32, 10), "scifar100": (60, 100), "ninapro": (28, 18)}.items()
    },
}


def test_every_benchmark_scores_at_its_own_input() -> None:
    rows = {
        (row.name, dataset)
        for row in b.ROWS.values()
        if row.space
        for dataset in (*row.datasets, *row.json_datasets)
    }
    assert rows == set(INPUTS)
    for (name, dataset), (size, classes) in INPUTS.items():
        space = b.space_of(name)
        arch = space.format(space.sample(np.random.default_rng(1)))
        expected = sed(space.topology(arch, image_size=size, num_classes=classes))
        assert b.scorer(name, dataset)([arch])[0] == pytest.approx(expected, abs=1e-9), (name, dataset)
        others = [(size * 2, classes), (size, classes + 1)]
        assert all(
            sed(space.topology(arch, image_size=s, num_classes=c)) > expected + 1e-7 for s, c in others
        )


def test_every_benchmark_is_one_row() -> None:
    aliases = [a for row in b.ROWS.values() for a in row.aliases]
    assert len({*aliases, *b.ROWS}) == len(aliases) + len(b.ROWS)
    for name, row in b.ROWS.items():
        assert b.datasets(name) == row.datasets == b.BENCHMARKS[name]
        assert row.files
        assert {*row.inputs, *row.units, *row.notes} <= {*row.datasets, *row.json_datasets}
        if row.space is None:
            with pytest.raises(DataError, match="is no search space"):
                b.space_of(name)


@pytest.mark.parametrize(
    ("name", "key", "arch"),
    [
        (
            "nasbench201",
            "(1, 0, 2, 1, 1, 4)",
            "|none~0|+|skip_connect~0|none~1|+|nor_conv_3x3~0|none~1|avg_pool_3x3~2|",
        ),
        ("darts", DARTS_KEY, DARTS_KEY),
        ("transnas_micro", "(1, 0, 2, 3, 1, 2)", "64-41414-1_02_312"),
    ],
)
@pytest.mark.parametrize("dataset", ["svhn", "ninapro", "scifar100"])
def test_naslib_s_further_datasets(tmp_path: Path, name: str, key: str, arch: str, dataset: str) -> None:
    row = b.ROWS["nasbench301" if name == "darts" else name]
    file = next(f for f in row.files if f.endswith(".json"))
    entry = {"val_accuracy": 91.5, "snip": {"score": 2.0}}
    write(tmp_path / file, json.dumps({dataset: {key: entry}}))
    write(tmp_path / row.files[0], b"no table of this dataset")
    found = b.load(name, dataset, tmp_path)
    assert (found.archs, found.dataset) == ((arch,), dataset)
    assert found.accuracy.tolist() == [91.5]
    assert any("no natural images" in n for n in found.notes) == (dataset != "svhn")
    assert np.isfinite(b.scorer(name, dataset)(found.archs)).all()
    (tmp_path / file).unlink()
    with pytest.raises(DataError, match=f"no file of {row.name}; looked for {file}"):
        b.load(name, dataset, tmp_path)


def test_accel_nasbench_takes_the_mean_of_repeats(tmp_path: Path) -> None:
    block = "1|1|1|1|1|1|1,3|3|3|3|3|3|3,1|1|1|1|1|1|1,0|0|0|0|0|0|0"
    lines = ["exp,kernel,layers,se,val_top1,params,macs"]
    lines += [f"{block},{top1},2.5,300" for top1 in (60, 61)]
    lines += [f"{block.replace('3|3', '5|3', 1)},70,2.6,310"]
    found = b.load("mnasnet", data=write(tmp_path / "accel_nasbench.csv", "\n".join(lines)))
    assert found.archs == ("1111111-3333333-1111111-0000000", "1111111-5333333-1111111-0000000")
    assert found.accuracy.tolist() == [60.5, 70]
    assert "1 architectures were trained twice; the mean of both" in found.notes


def test_mmpretrain_reduces_to_one_row_a_network(tmp_path: Path) -> None:
    text = """timm,size,top1,own,name
a,224,80,False,a_3rdparty_in1k
a,384,82,True,a_in1k-384px
a,224,81,True,a_8xb32_in1k
b,224,85,True,b_in21k-pre_in1k
c,224,70,False,c_3rdparty_in1k
"""
    file = write(tmp_path / "mmpretrain_imagenet.csv", text)
    found = b.load("mmpretrain", data=file)
    assert dict(zip(found.archs, found.accuracy.tolist(), strict=True)) == {"a": 81, "c": 70}
    own = b.accuracies_of("mmpretrain", "imagenet_own", file)
    assert own.names == ("a",)
    assert (own.zoo, own.metric, own.unit) == ("timm", "mmpretrain imagenet_own", "%")


@needs_data
def test_nasbench201_published() -> None:
    found = b.load("nasbench201", data=DATA)
    assert len(found) == len(set(found.archs)) == 15_625
    assert found.accuracy.max() == pytest.approx(94.373, abs=1e-3)
    covered = {name: int((~np.isnan(v)).sum()) for name, v in found.rivals.items()}
    assert covered["zen"] == 15_625 - 341
    assert (covered["synflow"], covered["nwot"]) == (9_445, 9_444)
    assert any("zen 341" in note for note in found.notes)
    assert found.params is not None
    assert found.macs is not None
    # all six edges 3×3: 1.53 M parameters and about 220 M multiply-accumulates
    largest = found.archs[int(np.argmax(found.params))]
    assert largest.count("nor_conv_3x3") == 6
    assert found.params.max() == pytest.approx(1.53e6, rel=0.01)
    assert found.macs.max() == pytest.approx(220e6, rel=0.02)
    assert not any("of the benchmark's" in n for n in found.notes)


@needs_data
@pytest.mark.parametrize(
    ("benchmark", "dataset", "rows", "best"),
    [
        ("nasbench101", None, 30_001, 94.9119),
        ("nasbench101", "test_108ep", 846, 94.0605),
        ("nasbench101", "naslib_val_accuracy", 292, 94.7115),
        ("darts", None, 1_218, 94.4889),
        ("transnas_micro", "room_layout", 4_096, -0.6009988),
        ("transnas_macro", "class_scene", 3_256, 57.41441),
        ("timm", None, 729, 87.414),
        ("pycls", None, 35, 80.934),
        ("accel_nasbench", None, 5_125, 67.052),
        ("nasbench_macro", None, 3_969, 93.1267),
        ("mmpretrain", None, 167, 86.25),
        ("mmpretrain", "imagenet_own", 60, 83.66),
        ("pytorchcv", None, 323, 97.24),
        ("pytorchcv", "svhn", 63, 97.74),
    ],
)
def test_published_files(benchmark: str, dataset: str | None, rows: int, best: float) -> None:
    found = b.load(benchmark, dataset, data=DATA)
    assert len(found) == len(set(found.archs)) == rows
    assert found.accuracy.max() == pytest.approx(best, abs=1e-3)
    assert np.isfinite(found.accuracy).all()
    if benchmark == "darts":
        assert any("surrogate" in note for note in found.notes)
    if dataset == "naslib_val_accuracy":
        assert {int((~np.isnan(found.rivals[p])).sum()) for p in ("snip", "synflow", "jacov")} == {292}
        assert found.params is not None
        assert found.macs is not None
        assert 1e5 < found.params.min() < found.params.max() < 5e7  # the space's range is 0.2 M to 50 M
        assert found.macs.max() > 1e9
    if benchmark == "nasbench101" and dataset is None:
        assert "1:" in found.archs
