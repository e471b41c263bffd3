"""``sed-torch validate``: a ranking or a benchmark against trained accuracies, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.commands import run

from sed_torch.evidence.benchmarks import scorer
from sed_torch.spaces import get_space

RANKING = """name,family,sed,params,macs,status,reason
timm:a,f,3,30,1,ok,
timm:b,f,2,10,2,ok,
timm:c,g,1,20,3,ok,
timm:d,g,,5,4,failed,broke
timm:z,g,9,5,4,ok,
"""
TRUTH = "model,top1\na,90\nb,70\nc,80\nd,60\ne,50\n"
TIMM = """model,img_size,top1,param_count,infer_gmacs
a.one_in1k,224,90,1,1
a.two_in1k,224,60,1,1
b.one_in1k,224,70,1,1
c.one_in1k,224,80,1,1
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("rank.csv", RANKING), ("truth.csv", TRUTH), ("results-imagenet.csv", TIMM)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Twenty cells whose accuracy is a rising function of their score, at CIFAR-10's input."""
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    archs = sorted({str(space.sample(rng)) for _ in range(20)})
    rows = [
        f"{a},{50 + s if np.isfinite(s) else 10}" for a, s in zip(archs, scorer("nb201")(archs), strict=True)
    ]
    path = tmp_path / "nb201.csv"
    path.write_text("\n".join(["arch,cifar10_test", *rows]) + "\n")
    return path


def test_a_ranking_against_a_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("validate", files / "rank.csv", "--against", files / "truth.csv", "--bootstrap", 0)
    status, out, err = run(capsys, *command, "--format", "json")
    data = json.loads(out)
    assert (status, err, data["n"]) == (0, "", 3)
    # Scores 3, 2, 1 against 90, 70, 80: Σd² = 2, ρ = 1 − 6·2/(3·8) = 0.5. Params 30, 10, 20 are in perfect order.
    assert data["overall"]["spearman"] == pytest.approx(0.5)
    assert {r["rival"]: r["rival_correlation"]["spearman"] for r in data["rivals"]}[
        "params"
    ] == pytest.approx(1)
    left_out = {r["name"]: r["reason"] for r in data["left_out"]}
    assert left_out == {
        "timm:d": "no score: broke",
        "timm:z": "no accuracy",
        "e": "not in the ranking",
    }
    _, text, _ = run(capsys, *command)
    assert re.search(r"all +3 +0\.500", text)
    _, md, _ = run(capsys, *command, "--format", "md")
    assert "| all | 3 | 0.500 |" in md
    _, table, _ = run(capsys, *command, "--format", "csv")
    assert [r["predictor"] for r in csv.DictReader(io.StringIO(table))] == ["SED", "params", "macs"]
    target = files / "out.md"
    assert run(capsys, *command, "-o", target)[:2] == (0, "")
    assert target.read_text() == md


def test_a_ranking_against_timm(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("validate", files / "rank.csv", "--against", "timm", "--bootstrap", 0, "--format", "json")
    results = ("--timm-results", files / "results-imagenet.csv")
    assert json.loads(run(capsys, *command, *results)[1])["overall"]["spearman"] == pytest.approx(0.5)
    # The median of a's recipes is 75, between b and c: 75, 70, 80 against 3, 2, 1 gives Σd² = 1 + 1 + 4.
    out = run(capsys, *command, *results, "--recipe", "median")[1]
    assert json.loads(out)["overall"]["spearman"] == pytest.approx(-0.5)
    # The data folder is looked through where no file is named.
    assert json.loads(run(capsys, *command, "--data", files)[1])["n"] == 3
    assert "accuracies: median over tags an architecture" in json.loads(out)["notes"][0]
    # A single row has no order: that is a finding.
    status, out, _ = run(capsys, *command, *results, "--tags", "two_*")
    assert (status, json.loads(out)["overall"]["reason"]) == (1, "1 complete rows, at least 3 are needed")
    assert json.loads(out)["notes"][0].endswith("; of tags two_* only")


def test_a_ranking_against_a_table_of_published_models(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "timm,size,top1,own,name",
        "a,224,90,True,a_in1k",
        "b,224,70,False,b_in1k",
        "c,224,80,True,c_in1k",
    ]
    (files / "mmpretrain_imagenet.csv").write_text("\n".join(rows) + "\n")
    options = ("--data", files, "--bootstrap", 0, "--format", "json")
    status, out, _ = run(capsys, "validate", files / "rank.csv", "--against", "mmpretrain", *options)
    data = json.loads(out)
    assert (status, data["n"], data["overall"]["spearman"]) == (0, 3, 0.5)
    assert "best of several trainings" in data["notes"][0]
    status, out, err = run(
        capsys,
        "validate",
        files / "rank.csv",
        "--against",
        "mmpretrain",
        "--dataset",
        "imagenet_own",
        *options,
    )
    assert (status, json.loads(out)["n"]) == (1, 2)
    refused = ("--against", files / "truth.csv", "--dataset", "imagenet_own")
    status, _, err = run(capsys, "validate", files / "rank.csv", *refused)
    assert status == 2
    assert "--dataset" in err


def test_a_file_with_columns_of_its_own(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files / "own.csv"
    path.write_text("model,top1,timm_arch,loss\nNet A,1,a,3\nNet B,2,b,1\nNet C,3,c,2\n")
    command = ("validate", files / "rank.csv", "--against", path, "--bootstrap", 0, "--format", "json")
    assert "none of its 5 networks" in run(capsys, *command)[2]  # by model
    named = (*command, "--name-column", "timm_arch")
    assert json.loads(run(capsys, *named)[1])["overall"]["spearman"] == pytest.approx(-1)
    # 3, 2, 1 against 3, 1, 2: Σd² = 2.
    out = run(capsys, *named, "--metric-column", "loss")[1]
    assert json.loads(out)["overall"]["spearman"] == pytest.approx(0.5)
    assert "expected the column nothing" in run(capsys, *named, "--metric-column", "nothing")[2]


def test_timms_results_are_fetched_where_there_are_none(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[Path] = []

    def fetch() -> Path:
        fetched.append(files / "results-imagenet.csv")
        return fetched[-1]

    monkeypatch.setattr("sed_torch.evidence.fetch_timm_results", fetch)
    empty = tmp_path / "empty"
    empty.mkdir()
    command = ("validate", files / "rank.csv", "--against", "timm", "--bootstrap", 0, "--format", "json")
    # A folder that was named, and has none, is an error; the default one is not.
    assert "no file of timm" in run(capsys, *command, "--data", empty)[2]
    assert not fetched
    monkeypatch.setenv("SED_TORCH_DATA", str(empty))
    assert json.loads(run(capsys, *command)[1])["n"] == 3
    assert len(fetched) == 1


def test_a_ranking_against_torchvision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rank.csv"
    path.write_text(
        "name,sed\ntorchvision:resnet18,1\ntorchvision:resnet50,2\ntorchvision:resnet152,3\ntorchvision:alexnet,0\n"
    )
    command = ("validate", path, "--against", "torchvision", "--recipe", "V1", "--bootstrap", 0)
    _, out, _ = run(capsys, *command, "--format", "json")
    assert json.loads(out)["overall"]["spearman"] == pytest.approx(1)
    assert "torchvision" in json.loads(out)["source"]


def test_a_benchmark(benchmark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("validate", "--benchmark", "nasbench201", "--data", benchmark, "--bootstrap", 20)
    status, out, _ = run(capsys, *command, "--format", "json")
    data = json.loads(out)
    assert (status, data["overall"]["spearman"]) == (0, pytest.approx(1))
    assert data["overall"]["intervals"]["spearman"]["low"] == pytest.approx(1)
    sampled = json.loads(run(capsys, *command, "--format", "json", "--sample", 7)[1])
    assert sampled["n"] == 7
    assert any("random sample of 7" in note for note in sampled["notes"])


def test_datasets_are_scored_at_their_own_input() -> None:
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
    space = get_space("nasbench201")
    for dataset, size, classes in ((None, 32, 10), ("cifar100", 32, 100), ("ImageNet16-120", 16, 120)):
        expected = space.score_many([cell], image_size=size, num_classes=classes)
        assert scorer("nb201", dataset)([cell]) == pytest.approx(expected, abs=1e-12)
    assert scorer("nb201")([cell])[0] - scorer("nb201", "imagenet16")([cell])[0] > 0.4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "expected a RANKING with --against SOURCE, or --benchmark NAME"),
        (("{0}/rank.csv",), "needs --against torchvision, timm or FILE"),
        (("{0}/rank.csv", "--benchmark", "nasbench201"), "a RANKING is not scored"),
        (("{0}/rank.csv", "--against", "timm", "--sample", "5"), "--sample: goes with --benchmark only"),
        (("{0}/rank.csv", "--against", "torchvision", "--recipe", "x"), "'x' is none of best, V1, V2"),
        (
            ("{0}/rank.csv", "--against", "torchvision", "--tags", "x"),
            "--tags: goes with --against timm only",
        ),
        (
            ("{0}/rank.csv", "--against", "{0}/truth.csv", "--recipe", "x"),
            "goes with --against torchvision or timm",
        ),
        (
            ("{0}/rank.csv", "--against", "timm", "--name-column", "x"),
            "--name-column: goes with --against FILE only",
        ),
        (
            ("{0}/rank.csv", "--against", "{0}/absent.csv"),
            "absent.csv: no such file; expected torchvision, timm,",
        ),
        (("{0}/rank.csv", "--against", "{0}/rank.csv"), "none of the usual columns"),
        (("{0}/absent.csv", "--against", "torchvision"), "does not exist"),
        (("--benchmark", "nasbench201", "--against", "timm"), "--against: goes with a RANKING only"),
        (("--benchmark", "what", "--data", "{0}"), "no benchmark 'what': expected one of nasbench201"),
        (("--benchmark", "nasbench201", "--data", "{0}"), "no file of nasbench201"),
        (("--benchmark", "nasbench201", "--dataset", "mnist", "--data", "{0}"), "no dataset 'mnist'"),
        (("--benchmark", "timm", "--data", "{0}"), "timm is no search space: rank its models"),
    ],
)
def test_what_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    status, out, err = run(capsys, "validate", *(a.format(files) for a in args))
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
