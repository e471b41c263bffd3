"""References are parsed without evaluation, models are built on meta, globs select what they say."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sed_torch
from sed_torch.errors import MissingDependencyError, ModelReferenceError
from sed_torch.ranking.cache import key_of_reference
from sed_torch.training.references import network
from sed_torch.zoo import build, expand, load, parse_reference

NETS = """
from dataclasses import dataclass
import torch
from torch import nn
from sibling import WIDTH

@dataclass
class Config:
    width: int = WIDTH

class Net(nn.Module):
    def __init__(self, width=WIDTH, kernel=(3, 3)):
        super().__init__()
        self.conv = nn.Conv2d(3, width, kernel)
    def forward(self, x):
        return self.conv(x)

class Scalar(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(int(torch.tensor(7).item()), 5)

class Numpy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.total = self.layer.weight.detach().numpy().sum()

class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no such backbone\\nsecond line")

def text():
    return "not a module"

ready = Net(4)
number = 3
"""


@pytest.fixture
def nets(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "sibling.py").write_text("WIDTH = 8\n")
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    yield path
    sys.modules.pop("sibling", None)


class TestParsing:
    def test_literals(self) -> None:
        ref = parse_reference("my/nets.py:Nets.small((1, 2), [-3], width=32, name='a:b,c', act=None)")
        assert (ref.kind, ref.source, ref.name) == ("file", "my/nets.py", "Nets.small")
        assert ref.args == ((1, 2), [-3])
        assert dict(ref.kwargs) == {"width": 32, "name": "a:b,c", "act": None}

    def test_kinds(self) -> None:
        assert parse_reference("timm:resnet50.a1_in1k").name == "resnet50.a1_in1k"
        assert parse_reference("torchvision:resnet50(num_classes=10)").kwargs == {"num_classes": 10}
        assert parse_reference("pkg.mod:factory").kind == "module"
        assert parse_reference("C:\\nets.py:Net").source == "C:\\nets.py"
        assert not parse_reference("pkg.mod:factory").called
        assert parse_reference("pkg.mod:factory()").called

    @pytest.mark.parametrize(
        "text",
        [
            "a.py:f(__import__('os').system('true'))",
            "a.py:f(open)",
            "a.py:f(1)(2)",
            "a.py:f(1).g",
            "a.py:f(1",
            "a.py:f(**{'a': 1})",
            "a.py:f(*[1])",
            "a.py:f(" + "(" * 500 + ")" * 500 + ")",
        ],
    )
    def test_nothing_is_evaluated(self, text: str) -> None:
        with pytest.raises(ModelReferenceError, match="must be Python literals"):
            parse_reference(text)

    @pytest.mark.parametrize(
        "text", ["", ":", "a.py:", "a b:c", "timm:", "timm:res net", "hf:", "a.py:1x", "x:f;g"]
    )
    def test_malformed(self, text: str) -> None:
        with pytest.raises(ModelReferenceError, match="expected timm:NAME"):
            parse_reference(text)

    def test_bare_name_gets_a_hint(self) -> None:
        with pytest.raises(ModelReferenceError, match="Did you mean 'timm:resnet50'"):
            parse_reference("resnet50")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best.PTH", "no pickle is loaded here; refer to the model's code, as file.py:Class$"),
        ("model.safetensors", "holds weights"),
        ("net.onnx", "no PyTorch module"),
    ],
)
def test_files_that_hold_no_code_are_not_read(text: str, message: str) -> None:
    for read in (load, expand):
        with pytest.raises(ModelReferenceError, match=message):
            read(text)


class TestFiles:
    def test_class_and_call(self, nets: Path) -> None:
        loaded = load(f"{nets}:Net(width=32, kernel=(5, 1))")
        assert tuple(loaded.model.conv.weight.shape) == (32, 3, 5, 1)
        assert (loaded.built_on, loaded.family, loaded.reason) == ("meta", "Net", None)
        assert loaded.model.conv.weight.is_meta
        assert load(f"{nets}:Net").model.conv.out_channels == 8  # the sibling's WIDTH
        assert str(nets.parent) not in sys.path

    def test_constants_on_the_cpu_when_meta_fails(self, nets: Path) -> None:
        loaded = load(f"{nets}:Scalar")
        assert loaded.built_on == "meta"
        assert loaded.model.layer.weight.is_meta
        assert loaded.model.layer.in_features == 7
        assert "does not run on meta" in (loaded.reason or "")

    def test_cpu_when_weights_are_read(self, nets: Path) -> None:
        loaded = load(f"{nets}:Numpy")
        assert loaded.built_on == "cpu"
        assert "built on the CPU" in (loaded.reason or "")

    def test_instance(self, nets: Path) -> None:
        loaded = load(f"{nets}:ready")
        assert loaded.built_on == "cpu"
        assert loaded.model.conv.out_channels == 4

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            ("Broken", "could not be built: RuntimeError: no such backbone \\(.*nets.py:31\\)$"),
            ("Nett", "has no 'Nett'; did you mean Net"),
            ("text", "made a str, expected an nn.Module"),
            ("number", "is a int: expected an nn.Module"),
            ("Net(height=3)", "takes no 'height'"),
        ],
    )
    def test_errors(self, nets: Path, call: str, message: str) -> None:
        with pytest.raises(ModelReferenceError, match=message):
            load(f"{nets}:{call}")

    def test_missing_and_broken_files(self, tmp_path: Path) -> None:
        with pytest.raises(ModelReferenceError, match="there is no file"):
            load(f"{tmp_path}/none.py:Net")
        with pytest.raises(ModelReferenceError, match="there is no module 'no_such_package'"):
            load("no_such_package:Net")
        for body, what in (
            ("def", "SyntaxError"),
            ("raise SystemExit(3)", "SystemExit"),
            ("import nope9", "nope9"),
        ):
            (tmp_path / "bad.py").write_text(body)
            with pytest.raises(ModelReferenceError, match=f"importing .* failed: .*{what}"):
                load(f"{tmp_path}/bad.py:Net")

    def test_a_file_changed_within_a_second_is_read_anew(
        self, nets: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of equal size and time, as bytecode tells files apart."""
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        load(f"{nets}:Net(kernel=(5, 1))")
        time = nets.stat().st_mtime_ns
        nets.write_text(NETS.replace("ready = Net(4)", "ready = Net(5)"))
        os.utime(nets, ns=(time, time))
        assert load(f"{nets}:ready").model.conv.out_channels == 5

    def test_module_reference(self) -> None:
        loaded = load("torch.nn:Linear(3, 5)")
        assert loaded.model.weight.shape == (5, 3)
        assert loaded.model.weight.is_meta

    def test_rng_is_left_as_found(self, nets: Path) -> None:
        before = torch.get_rng_state()
        load(f"{nets}:Numpy")
        assert torch.equal(before, torch.get_rng_state())

    def test_build_takes_modules_and_factories(self) -> None:
        model = nn.Linear(2, 2)
        assert build(model, "mine").model is model
        assert build(lambda: nn.Linear(2, 3), "mine").built_on == "meta"


class TestZoos:
    def test_timm(self) -> None:
        pytest.importorskip("timm")
        loaded = load("timm:resnet18(num_classes=7)")
        assert (loaded.family, loaded.built_on) == ("resnet", "meta")
        assert all(p.is_meta for p in loaded.model.parameters())
        assert loaded.model.fc.out_features == 7
        assert load("timm:resnet18.a1_in1k").family == "resnet"

    def test_pretrained_is_never_true(self) -> None:
        pytest.importorskip("timm")
        assert load("timm:resnet18(pretrained=True)").model.fc.weight.is_meta

    def test_torchvision_regnet_keeps_its_weights_on_meta(self) -> None:
        pytest.importorskip("torchvision")
        loaded = load("torchvision:regnet_x_400mf")
        assert (loaded.family, loaded.built_on) == ("regnet", "meta")
        assert "does not run on meta" in (loaded.reason or "")
        assert sum(p.numel() for p in loaded.model.parameters()) == 5_495_976  # torchvision's own figure

    def test_torchvision_backbone_is_not_downloaded(self) -> None:
        pytest.importorskip("torchvision")
        loaded = load("torchvision:fcn_resnet50")
        assert loaded.family == "segmentation.fcn"
        assert all(p.is_meta for p in loaded.model.parameters())

    def test_unknown_names(self) -> None:
        pytest.importorskip("timm")
        pytest.importorskip("torchvision")
        with pytest.raises(
            ModelReferenceError, match=r"timm has no model 'resnet5o'; did you mean .*resnet50"
        ):
            load("timm:resnet5o")
        with pytest.raises(ModelReferenceError, match=r"torchvision has no model 'resnet19'; did you mean"):
            load("torchvision:resnet19")
        with pytest.raises(ModelReferenceError, match="go by keyword"):
            load("timm:resnet18(3)")

    def test_missing_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(MissingDependencyError, match="pip install"):
            load("timm:resnet18")


class TestGlobs:
    def test_exclusion_and_inherited_prefix(self) -> None:
        timm = pytest.importorskip("timm")
        refs = expand("timm:regnety_*,!*_tv,resnet18")
        names = [n for n in timm.list_models("regnety_*") if not n.endswith("_tv")]
        assert refs == [f"timm:{n}" for n in (*names, "resnet18")]
        assert len(names) < len(timm.list_models("regnety_*"))

    def test_arguments_keep_their_commas(self, nets: Path) -> None:
        ref = f"{nets}:Net(width=32, kernel=(5, 1))"
        assert expand([ref, f"{nets}:Net,{nets}:ready"]) == [ref, f"{nets}:Net", f"{nets}:ready"]

    def test_each_once_in_order(self) -> None:
        pytest.importorskip("torchvision")
        assert expand(["torchvision:resnet18", "torchvision:resnet1?"]) == ["torchvision:resnet18"]

    def test_the_modules_of_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "several.py"
        file.write_text(
            "from torch import nn\n"
            "class A(nn.Module): pass\n"
            "class B(nn.Module):\n    def __init__(self, n): pass\n"
            "class Big(nn.Linear):\n    def __init__(self, n=3): super().__init__(n, n)\n"
        )
        assert expand(f"{file}:*") == [f"{file}:A", f"{file}:Big"]
        assert expand(f"{file}:B*") == [f"{file}:Big"]
        with pytest.raises(ModelReferenceError, match="no module that can be made without arguments for 'C"):
            expand(f"{file}:C*")
        with pytest.raises(ModelReferenceError, match="one model is read here, and this is a pattern"):
            load(f"{file}:*")

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("timm:resnett*", "matches none of the .* models of timm"),
            ("timm:resnet18,!*", "no model is left"),
            ("timm:resnet18x", "timm has no model"),
            ("nets/*.py:Net", "globs work on timm:…, torchvision:…, hf:… and on the names in one file"),
            ("", "no model is left"),
        ],
    )
    def test_errors(self, pattern: str, message: str) -> None:
        pytest.importorskip("timm")
        with pytest.raises(ModelReferenceError, match=message):
            expand(pattern)


@pytest.mark.parametrize(
    ("exclusion", "left"),
    [
        ("!timm:resnet34", ["timm:resnet18"]),  # a reference in full
        ("!resnet34", ["timm:resnet18"]),  # its name
        ("!*34", ["timm:resnet18"]),
        ("!timm:*34", ["timm:resnet18"]),
        ("!torchvision:resnet34", ["timm:resnet18", "timm:resnet34"]),  # another zoo's
        ("!torchvision:*", ["timm:resnet18", "timm:resnet34"]),
        ("!34", ["timm:resnet18", "timm:resnet34"]),  # no part of a name
    ],
)
def test_what_is_excluded_of_a_glob(exclusion: str, left: list[str]) -> None:
    pytest.importorskip("timm")
    assert expand(["timm:resnet18", "timm:resnet34", exclusion]) == left
    assert expand(f"timm:resnet18,timm:resnet34,{exclusion}") == left


TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
}


class TestHuggingFace:
    """Models of transformers from configs that are here."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("transformers", reason="references hf:NAME are of transformers")

    @staticmethod
    def _config(folder: Path, **fields: object) -> Path:
        path = folder / "config.json"
        given = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_key_value_heads": 1}
        path.write_text(json.dumps({**given, **TINY, **fields}))
        return path

    def test_types_and_classes_take_the_defaults_of_their_config(self) -> None:
        loaded = load("hf:bert(num_hidden_layers=1, hidden_size=24)")
        assert (type(loaded.model).__name__, loaded.family, loaded.built_on) == ("BertModel", "bert", "meta")
        assert (loaded.model.config.num_hidden_layers, loaded.model.config.vocab_size) == (1, 30522)
        assert all(p.is_meta for p in loaded.model.parameters())
        loaded = load("hf:LlamaForCausalLM")  # seven billion parameters, on meta
        assert (type(loaded.model).__name__, loaded.family) == ("LlamaForCausalLM", "llama")
        assert sum(p.numel() for p in loaded.model.parameters()) == 6_738_415_616  # as LLaMA 7B is published

    def test_local_configs(self, tmp_path: Path) -> None:
        path = self._config(tmp_path, torch_dtype="bfloat16")
        for ref in (f"hf:{path}", f"hf:{tmp_path}"):
            loaded = load(ref)
            assert (type(loaded.model).__name__, loaded.family) == ("LlamaForCausalLM", "llama")
            assert loaded.model.lm_head.weight.dtype is torch.bfloat16
        model = load(f"hf:{path}(hidden_size=32)").model
        assert model.model.layers[0].self_attn.q_proj.weight.shape == (32, 32)  # head_dim is derived anew
        assert type(load(f"hf:{path}(architectures=None)").model).__name__ == "LlamaModel"
        assert expand([f"hf:{path}(num_hidden_layers=1),bert"])[1] == "hf:bert"

    def test_rows_of_local_configs_are_not_kept_by_name(self, tmp_path: Path) -> None:
        path = self._config(tmp_path)
        assert key_of_reference("hf:bert(num_hidden_layers=1)", {}) is not None
        assert key_of_reference(f"hf:{path}(num_hidden_layers=1)", {}) is None

    def test_globs_match_types_or_else_classes(self) -> None:
        assert "hf:bert" in expand("hf:ber*")
        assert "hf:BertModel" in expand("hf:Bert*,!*ForMaskedLM")
        assert "hf:BertForMaskedLM" not in expand("hf:Bert*,!*ForMaskedLM")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("bertt", r"no model 'bertt'; did you mean bert or .* Nothing is downloaded"),
            ("BertModell", "did you mean BertModel"),
            ("meta-llama/Llama-2-7b", r"nothing is downloaded.* Give a local config\.json"),
            ("AutoConfig", "no model 'AutoConfig'"),
            ("__doc__", "no model '__doc__'"),
            ("depth_anything", "name a class, hf:DepthAnythingForDepthEstimation"),
            (
                "bert(num_hiden_layers=2)",
                "BertConfig has no field 'num_hiden_layers'; did you mean num_hidden_layers",
            ),
            ("bert(num_hidden_layers='two')", "config cannot be made"),
            ("bert(2)", "go by keyword"),
        ],
    )
    def test_errors(self, name: str, message: str) -> None:
        with pytest.raises(ModelReferenceError, match=message):
            load(f"hf:{name}")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"architectures": ["Llama9ForCausalLM"]}, r"does not have, .* hf:.*\(architectures=None\)"),
            ({"quantization_config": {"quant_method": "fp8"}}, r"hf:.*\(quantization_config=None\)"),
            ({"model_type": "llama9"}, "config cannot be made: .*llama9"),
            ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}, "config cannot be made: .*"),
        ],
    )
    def test_errors_of_local_configs(self, tmp_path: Path, fields: dict[str, object], message: str) -> None:
        (tmp_path / "mine.py").write_text("raise SystemExit('code beside a config is run')\n")
        path = self._config(tmp_path, **fields)
        with pytest.raises(ModelReferenceError, match=message):
            load(f"hf:{path}")

    def test_folder_without_a_config(self, tmp_path: Path) -> None:
        with pytest.raises(ModelReferenceError, match=r"has no config\.json"):
            load(f"hf:{tmp_path}")

    def test_backbones_come_without_trained_weights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timm = pytest.importorskip("timm", reason="the backbone of DETR is of timm")
        asked = []
        create = timm.create_model
        monkeypatch.setattr(timm, "create_model", lambda *a, **k: asked.append(k) or create(*a, **k))
        fields = {"backbone": "resnet18", "use_timm_backbone": True, "use_pretrained_backbone": True}
        path = tmp_path / "config.json"
        path.write_text(
            json.dumps({"model_type": "detr", "encoder_layers": 1, "decoder_layers": 1, **fields})
        )
        assert load(f"hf:{path}").built_on == "meta"
        assert asked
        assert not any(k.get("pretrained") for k in asked)

    def test_are_scored(self) -> None:
        score = sed_torch.score(load("hf:bert(num_hidden_layers=1, hidden_size=24)").model)
        assert score.coverage == 1

    def test_absent_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingDependencyError, match=r"'hf:NAME' needs .*sed-torch\[hf\]"):
            load("hf:bert")


class TestFilesAsPeopleHaveThem:
    """Files of real repositories: they read their command line, print, and import their neighbours."""

    @staticmethod
    def _write(folder: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("import torch\nfrom torch import nn\n" + text)

    @pytest.mark.parametrize("ref", ["arg.py:Net", "arg.py:make", "arg:Net"])
    def test_see_no_arguments_and_print_to_stderr(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ref: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["sed-torch", "check", "--strict"])
        text = (
            "import argparse, sys\nprint('imported')\na = argparse.ArgumentParser().parse_args()\n"
            "class Net(nn.Linear):\n  def __init__(self):\n    super().__init__(2, 2)\n"
            "def make():\n  print('built', len(sys.argv))\n  argparse.ArgumentParser().parse_args()\n  return Net()\n"
        )
        self._write(tmp_path, {"arg.py": text})
        sys.modules.pop("arg", None)
        path = list(sys.path)
        assert isinstance(load(ref).model, nn.Linear)
        assert capsys.readouterr().out == ""
        assert (sys.argv, sys.path) == (["sed-torch", "check", "--strict"], path)

    def test_relative_imports_climb_and_the_working_directory_is_on_the_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        net = (
            "from .parts import part\nfrom rootwide_of_test import width\n"
            "class Net(nn.Linear):\n  def __init__(self):\n    super().__init__(part, width)\n"
        )
        parts = {"parts.py": "part = 3\n", "net.py": net}
        self._write(tmp_path, {f"pkg_a/sub/{n}": t for n, t in parts.items()})
        self._write(tmp_path, {"pkg_a/__init__.py": "", "pkg_a/sub/__init__.py": ""})
        self._write(tmp_path, {f"pkg_b/{n}": t for n, t in parts.items()})  # without __init__.py
        self._write(tmp_path, {"rootwide_of_test.py": "width = 5\n"})
        for ref in ("pkg_a/sub/net.py:Net", "pkg_b/net.py:Net"):
            model = load(ref).model
            assert (model.in_features, model.out_features) == (3, 5)

    def test_a_constructor_that_fails_is_run_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        text = "runs = []\ndef make():\n  with open('runs', 'a') as f: f.write('x')\n  raise {}\n"
        for i, (error, runs) in enumerate(
            [
                ("TypeError('out')", 1),
                ("SystemExit(2)", 1),
                ("OSError('no net')", 1),
                ("RuntimeError('no')", 2),
                ("IndexError('no')", 2),
            ]
        ):
            self._write(tmp_path, {f"f{i}.py": text.format(error)})
            with pytest.raises(ModelReferenceError, match=rf"could not be built: .* \(f{i}.py:6\)"):
                load(f"f{i}.py:make")
            assert len((tmp_path / "runs").read_text()) == runs
            (tmp_path / "runs").unlink()

    def test_a_config_object_is_met_with_the_way_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        self._write(
            tmp_path,
            {
                "gpt.py": "class GPT(nn.Module):\n  def __init__(self, config, up): pass\ndef make(): return GPT\n"
            },
        )
        with pytest.raises(ModelReferenceError) as caught:
            load("gpt.py:GPT")
        text = str(caught.value)
        assert "gpt.py:GPT(config=…, up=…)" in text
        assert "from gpt import GPT\n    def make():\n        return GPT(config=…, up=…)" in text
        with pytest.raises(ModelReferenceError, match=r"expected one of gpt\.py:GPT, gpt\.py:make"):
            load("gpt.py")
        with pytest.raises(ModelReferenceError, match=r"did you mean timm:resnet18\?"):
            load("timn:resnet18")


def test_a_constructor_that_sets_weights_to_a_constant_is_built_on_the_cpu() -> None:
    def make() -> nn.Module:
        layer = nn.Conv2d(3, 3, 1)
        layer.weight.data = torch.from_numpy(np.eye(3, dtype=np.float32)).reshape(3, 3, 1, 1)
        return layer

    assert build(make, "make").built_on == "cpu"


def test_a_constructor_that_computes_with_values_is_built_on_the_cpu() -> None:
    def make() -> nn.Module:
        try:
            width = int(torch.linalg.lstsq(torch.eye(2), torch.ones(2, 1)).solution.sum().item())
        except RuntimeError:
            print("no solution")
        return nn.Linear(2, width)  # not bound where there are no numbers

    built = build(make, "make")
    assert (built.built_on, built.model.out_features) == ("cpu", 2)


def test_networks_to_train_are_not_of_transformers() -> None:
    pytest.importorskip("transformers", reason="references hf:NAME are of transformers")
    with pytest.raises(ModelReferenceError, match="gives back no plain logits to train"):
        network("hf:bert", 10)
