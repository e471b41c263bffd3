"""Exported programs score as the module that they were made of; files of them are read without running anything."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import ModelReferenceError
from sed_torch.zoo import load

pytest.importorskip("torch", minversion="2.9")


class Net(nn.Module):
    flag: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.c, self.n, self.l = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.register_buffer("flag", torch.tensor([1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.l(self.n(self.c(x)).relu().mean((2, 3)))
        return y * self.flag


def _program() -> Any:
    return torch.export.export(Net().eval(), (torch.zeros(2, 3, 8, 8),))


def _saved(folder: Path) -> Path:
    file = folder / "net.pt2"
    torch.export.save(_program(), file)
    return file


def test_a_program_scores_as_its_module_with_or_without_an_input() -> None:
    program, size = _program(), (2, 3, 8, 8)
    plain = sed_torch.score(Net(), input_size=size)
    for model in (program, program.module(), program.run_decompositions().module()):
        for given in ({}, {"input_size": size}):
            score = sed_torch.score(model, **given)
            assert (score.macs, score.params, score.coverage) == (plain.macs, plain.params, 1)
            assert score.total == pytest.approx(plain.total)
    assert sed_torch.score(program).assumed == ("input as the program was exported",)
    assert not [f for f in sed_torch.check(program).findings if f.severity == "error"]


def test_blocks_and_lines_of_a_program_are_those_of_its_source() -> None:
    plain, program = sed_torch.trace(Net(), input_size=(2, 3, 8, 8)), sed_torch.trace(_program())
    for op in ("conv", "batch_norm", "linear"):
        [ours], [theirs] = ([n for n in g.nodes if n.op == op] for g in (program, plain))
        assert (ours.path, ours.source) == (theirs.path, theirs.source)


def test_arguments_by_name_and_in_containers_are_those_of_the_export() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(4, 3)

        def forward(self, pair: tuple[Tensor, Tensor], *, scale: Tensor) -> Tensor:
            y: Tensor = self.l(pair[0] + pair[1])
            return y * scale

    program = torch.export.export(Two(), ((torch.zeros(5, 4), torch.zeros(5, 4)),), {"scale": torch.ones(3)})
    assert sed_torch.score(program).macs == 12


def test_a_file_is_read_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _saved(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    import pickle

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    loaded = load(str(file))
    score = sed_torch.score(loaded.model)
    assert (loaded.built_on, score.macs) == ("meta", sed_torch.score(Net(), input_size=(2, 3, 8, 8)).macs)
    assert all(p.is_meta for p in loaded.model.parameters())


def _changed(file: Path, change: Callable[[str, Any], None]) -> Path:
    """A copy of an archive with its JSON files changed."""
    new = file.with_name("changed.pt2")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(new, "w") as out:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".json"):
                found = json.loads(data)
                change(name, found)
                data = json.dumps(found).encode()
            out.writestr(name, data)
    return new


def _calls_another(name: str, found: Any) -> None:
    if "models/" in name:
        found["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"


def _pickles_a_weight(name: str, found: Any) -> None:
    if name.endswith("weights_config.json"):
        found["config"]["c.weight"]["use_pickle"] = True


def _varies(name: str, found: Any) -> None:
    if "models/" in name:
        sizes = found["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0] = {"as_expr": {"expr_str": "__import__('os').getpid()", "hint": None}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_calls_another, "calls 'torch.hub.load', which is no operator of torch"),
        (_pickles_a_weight, "'c.weight' can be read by unpickling only"),
        (_varies, "sizes that vary, which torch reads by evaluating text"),
    ],
)
def test_what_would_run_something_is_refused(
    tmp_path: Path, change: Callable[[str, Any], None], message: str
) -> None:
    file = _changed(_saved(tmp_path), change)
    with pytest.raises(ModelReferenceError, match=message) as error:
        load(str(file))
    assert "torch.export.load(" in str(error.value)


def test_guards_are_not_run(tmp_path: Path) -> None:
    def add(name: str, found: Any) -> None:
        if "models/" in name:
            found["guards_code"] = ["(_ for _ in ()).throw(SystemError('it ran'))"]

    assert sed_torch.score(load(str(_changed(_saved(tmp_path), add))).model).coverage == 1


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"no archive")
    with pytest.raises(ModelReferenceError, match=r"cannot be read as torch\.export\.save"):
        load(str(tmp_path / "net.pt2"))
    with pytest.raises(ModelReferenceError, match="there is no such file"):
        load(str(tmp_path / "other.pt2"))
