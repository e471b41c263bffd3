"""The check inside training scripts: examples train, a forgotten branch stops them, numbers are logged."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.versions import transformers_with_torch
from torch import Tensor, nn

from sed_torch.diagnostics import check
from sed_torch.errors import CheckFailedError
from sed_torch.integrations._shared import failure, memory, metrics, raise_everywhere

pytest_plugins = "pytester"

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def example(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLES / name), *args],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class TestPlain:
    def test_the_example_trains(self) -> None:
        done = example("train_plain.py", "--steps", "6")
        assert done.returncode == 0, done.stderr
        assert "Net: ok" in done.stdout
        losses = [float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("step")]
        assert len(losses) == 6
        assert losses[-1] < losses[0]

    def test_a_forgotten_branch_stops_it(self) -> None:
        done = example("train_plain.py", "--forget")
        assert done.returncode != 0
        assert "SED001 error [branch]" in done.stderr
        assert "step 0" not in done.stdout


class TestShared:
    def test_metrics_are_finite_numbers(self) -> None:
        report = check(nn.Sequential(nn.Linear(4, 4)), input_size=(2, 4))
        found = metrics(report)
        assert found["sed/score"] == pytest.approx(float(report.score or 0))
        assert (found["sed/errors"], found["sed/params"]) == (0.0, 20.0)
        dead = metrics(check(nn.Sequential(nn.ReLU()), input_size=(2, 4)))
        assert "sed/score" not in dead

    def test_memory_is_that_of_the_batch_that_comes(self) -> None:
        model, x, y = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), torch.zeros(2, 4), torch.zeros(2)
        fixed = 4 * 4 * (4 * 8 + 8)  # weights, gradients and two moments, in float32
        found = memory(model, (x, y), None, None)
        assert found["sed/memory_fixed_mib"] * 2**20 == fixed
        assert found["sed/memory_sample_mib"] * 2**20 == 4 * (4 + 8)  # what the layer reads, what relu writes
        assert memory(model, None, (3, 4), None) == found
        assert memory(model, (torch.zeros(2, 5), y), None, None) == {}  # does not fit: nothing is said

    def test_a_model_that_cannot_be_read_stops_training_only_if_something_may(self) -> None:
        class Branches(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x if x.sum() > 0 else -x

        for level, stops in (("error", True), (None, False)):
            report, message = failure(lambda: check(Branches(), input_size=(2, 4)), level)  # type: ignore[arg-type]
            assert report is None
            assert (message is not None) is stops

    def test_every_process_raises(self) -> None:
        raise_everywhere(None, None)
        with pytest.raises(CheckFailedError, match="found on rank zero"):
            raise_everywhere("found on rank zero", None)


class TestLightning:
    def test_the_example_trains_and_logs(self, tmp_path: Path) -> None:
        pytest.importorskip("lightning")
        done = example("train_lightning.py", "--logs", str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert "Net: ok" in done.stdout
        (file,) = tmp_path.rglob("metrics.csv")
        rows = list(csv.DictReader(file.read_text().splitlines()))
        assert float(rows[0]["sed/score"]) == pytest.approx(6.408, abs=1e-3)
        assert float(rows[0]["sed/errors"]) == 0
        assert sum(bool(r["loss"]) for r in rows) == 4

    @pytest.mark.slow
    def test_a_forgotten_branch_stops_it(self, tmp_path: Path) -> None:
        pytest.importorskip("lightning")
        done = example("train_lightning.py", "--forget", "--logs", str(tmp_path))
        assert done.returncode != 0
        assert "SED001 error branch" in done.stderr

    def test_the_network_is_found(self) -> None:
        pytest.importorskip("lightning")
        from lightning.pytorch import LightningModule

        from sed_torch.errors import InputError
        from sed_torch.integrations.lightning import network

        class One(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net, self.loss = Unused(), nn.MSELoss()

        class Two(One):
            def __init__(self) -> None:
                super().__init__()
                self.other = Unused()

        class Own(Two):
            def forward(self, x: Tensor) -> Tensor:
                return self.net(x)

        one, two, own = One(), Two(), Own()
        assert network(one, None) is one.net
        assert network(own, None) is own
        assert network(two, "net.used") is two.net.used
        with pytest.raises(InputError, match="2 children with parameters"):
            network(two, None)
        with pytest.raises(InputError, match="has no such module"):
            network(two, "nothing")

    @pytest.mark.filterwarnings("ignore")  # what Lightning says of its own use of torch
    def test_the_first_batch_and_the_modules_loss_are_read(self, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("lightning")
        from lightning.pytorch import LightningModule, Trainer
        from torch.utils.data import DataLoader, TensorDataset

        from sed_torch.integrations.lightning import SedCheck

        class Module(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3), nn.Softmax(-1))
                self.criterion = nn.CrossEntropyLoss()

            def training_step(self, data: Any, index: int) -> Tensor:
                return self.criterion(self.net(data[0]), data[1])  # type: ignore[no-any-return]

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), lr=0.1)

        data = TensorDataset(torch.randn(4, 3, 8, 8), torch.zeros(4, dtype=torch.long))
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        for level in ("never", "error"):
            callback = SedCheck(raise_on=level)  # type: ignore[arg-type]
            trainer = Trainer(
                accelerator="cpu", max_steps=1, callbacks=[callback], enable_model_summary=False, **quiet
            )
            if level == "error":
                with pytest.raises(CheckFailedError, match="SED303"):
                    trainer.fit(Module(), DataLoader(data, batch_size=2))
            else:
                trainer.fit(Module(), DataLoader(data, batch_size=2))
            assert callback.report is not None
            assert "SED303" in callback.report.codes()
            assert "SED303 error" in capsys.readouterr().out

    def test_other_ranks_do_not_check(self) -> None:
        pytest.importorskip("lightning")
        from sed_torch.integrations.lightning import SedCheck

        class Strategy:
            def broadcast(self, message: Any) -> Any:
                return "rank zero found something"

        class Trainer:
            is_global_zero, strategy, loggers = False, Strategy(), ()

        callback = SedCheck()
        callback.setup(Trainer(), Unused(), "fit")
        with pytest.raises(CheckFailedError, match="rank zero found something"):
            callback.on_train_batch_start(Trainer(), Unused(), None, 0)
        assert callback.report is None
        callback.setup(Trainer(), Unused(), "test")


class TestHuggingFace:
    def test_the_example_trains_and_logs(self, tmp_path: Path) -> None:
        transformers_with_torch()
        pytest.importorskip("accelerate")
        done = example("train_hf.py", "--logs", str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert "Classifier: ok" in done.stdout
        assert "'sed/score': '6.408'" in done.stdout

    @pytest.mark.slow
    def test_a_forgotten_branch_stops_it(self, tmp_path: Path) -> None:
        transformers_with_torch()
        pytest.importorskip("accelerate")
        done = example("train_hf.py", "--forget", "--logs", str(tmp_path))
        assert done.returncode != 0
        assert "SED001 error net.branch" in done.stderr

    def test_without_a_trainer_the_history_is_written(self) -> None:
        pytest.importorskip("transformers")
        from transformers import TrainerControl, TrainerState

        from sed_torch.integrations.hf import SedCheckCallback

        state = TrainerState()
        callback = SedCheckCallback(input_size=(2, 4), raise_on=None)
        callback.on_train_begin(None, state, TrainerControl(), model=Unused())
        assert state.log_history[0]["sed/errors"] == 1.0
        assert callback.report is not None
        assert callback.report.codes() == ("SED001",)

    def test_a_transformers_model_needs_no_input_size(self) -> None:
        transformers = transformers_with_torch()
        config = transformers.BertConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100
        )
        with torch.device("meta"):
            model = transformers.BertForSequenceClassification(config)
        report = check(model, raise_on="error")
        assert report.score is not None
        assert report.errors == ()


PLUGIN = ("-p", "sed_torch.integrations.pytest_plugin")

NET_TEST = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, WIDTH, 3), nn.Conv2d(WIDTH, 8, 1, stride=2)
    def forward(self, x):
        return self.b(self.a(x).relu())

def test_net(sed_check):
    report = sed_check(Net(), input_size=(1, 3, 32, 32), fail_on="warning")
    assert report.score is not None
"""


class TestPytest:
    def test_the_fixture_fails_a_test_on_findings(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(NET_TEST.replace("WIDTH", "8"))
        result = pytester.runpytest(*PLUGIN)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*SED104 warning b*"])

    def test_a_baseline_forgives_and_watches_the_score(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(NET_TEST.replace("WIDTH", "8"))
        pytester.makeini("[pytest]\nsed_baseline = sed.json\n")
        pytester.runpytest(*PLUGIN, "--sed-update-baseline").assert_outcomes(passed=1)
        pytester.runpytest(*PLUGIN).assert_outcomes(passed=1)
        pytester.makepyfile(NET_TEST.replace("WIDTH", "4"))
        result = pytester.runpytest(*PLUGIN)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*SED401 error*"])

    def test_a_baseline_to_update_must_be_named(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(NET_TEST.replace("WIDTH", "8"))
        result = pytester.runpytest(*PLUGIN, "--sed-update-baseline")
        result.stdout.fnmatch_lines(["*--sed-update-baseline needs --sed-baseline FILE*"])
