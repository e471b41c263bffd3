"""Results in experiment trackers, by the methods that each documents; the real trackers where installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sed_torch
from sed_torch.errors import InputError
from sed_torch.integrations.tracking import log_to, metrics_of

ROOT = Path(__file__).resolve().parent.parent
SIZE = (2, 3, 8, 8)


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))


@pytest.fixture(scope="module")
def results() -> Any:
    model = net()
    return sed_torch.check(model, input_size=SIZE), sed_torch.cost(model, input_size=SIZE)


class Writer:
    def __init__(self) -> None:
        self.scalars: dict[str, tuple[float, int]] = {}
        self.texts: dict[str, str] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag] = value, step

    def add_text(self, tag: str, text: str, step: int) -> None:
        self.texts[tag] = text


class Run:
    """As ``wandb.init()`` gives it."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, float], int]] = []
        self.summary: dict[str, str] = {}

    def log(self, data: dict[str, float], step: int | None = None) -> None:
        self.logged.append((data, step or 0))


class Logger:
    """As Lightning's, whose ``log_text`` takes a key first."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((metrics, step or 0))

    def log_text(self, key: str, columns: Any = None) -> None:
        raise AssertionError("not asked for")


def test_every_kind_of_run_gets_the_same_numbers(results: Any) -> None:
    report, cost = results
    writer, run, logger, plain = Writer(), Run(), Logger(), dict[str, float]()
    numbers = log_to(writer, report, cost, step=7)
    assert numbers["sed/score"] == report.score.total
    assert numbers["sed/params"] == 837.0
    assert numbers["sed/peak_bytes"] == cost.peak
    assert writer.scalars == {k: (v, 7) for k, v in numbers.items()}
    assert set(writer.texts) == {"sed/checkreport", "sed/cost"}
    assert log_to(run, report, cost, step=7) == numbers
    assert run.logged == [(numbers, 7)]
    assert set(run.summary) == {"sed/checkreport", "sed/cost"}
    assert log_to(logger, report, cost, step=7) == numbers
    assert logger.logged == [(numbers, 7)]
    assert log_to(plain, report, cost) == numbers == plain


def test_what_is_undefined_is_not_logged_as_a_number() -> None:
    numbers = metrics_of(sed_torch.score(nn.ReLU(), input_size=(1, 3, 4, 4)))
    assert "sed/score" not in numbers
    assert numbers["sed/params"] == 0.0


def test_other_things_are_refused(results: Any) -> None:
    with pytest.raises(InputError, match="cannot log to a list: expected a SummaryWriter"):
        log_to([], results[0])
    with pytest.raises(
        InputError, match="expected a score, a check report or a cost to log, found Sensitivity"
    ):
        log_to({}, sed_torch.sensitivity(net(), input_size=SIZE))


def test_tensorboard_reads_it_back(results: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        numbers = log_to(writer, *results, step=3)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(numbers)
    (event,) = events.Scalars("sed/score")
    assert (event.step, event.value) == (3, pytest.approx(numbers["sed/score"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of its own database
def test_mlflow_reads_it_back(results: Any, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("t", artifact_location=str(tmp_path / "files"))
    )
    with mlflow.start_run() as run:
        numbers = log_to(mlflow, *results)
    assert mlflow.get_run(run.info.run_id).data.metrics == pytest.approx(numbers)
    written = mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="sed")
    assert {Path(a.path).name for a in written} == {"checkreport.md", "cost.md"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_takes_it(results: Any, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    with wandb.init(project="t", mode="offline", dir=str(tmp_path)) as run:
        numbers = log_to(run, *results)
    wandb.teardown()  # its own process writes the file, and ends here
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")  # what `wandb sync` sends
    held = kept.read_bytes()
    assert [name for name in numbers if name.encode() not in held] == []
    assert b"sed/checkreport" in held


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "needs", "args", "says"),
    [
        ("track.py", "tensorboard", ["--folder", "{folder}"], "sed/score = "),
        ("tune_optuna.py", "optuna", ["--trials", "8"], "best of 8: "),
        ("tune_ray.py", "ray", ["--trials", "3"], "best of 3: "),
    ],
)
def test_the_example_runs(example: str, needs: str, args: list[str], says: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "examples" / example), *(a.format(folder=tmp_path) for a in args)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert says in done.stdout


def test_facts_of_a_trial_need_no_ray() -> None:
    """What the example for Ray decides, where Ray is not installed."""
    spec = importlib.util.spec_from_file_location("tune_ray", ROOT / "examples" / "tune_ray.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small, large = (module.facts({"width": w, "kernel": 3}) for w in (8, 256))
    assert (small["feasible"], large["feasible"]) == (1.0, 0.0)
    assert small["sed"] < large["sed"]
    assert torch.isfinite(torch.tensor(large["sed"]))
