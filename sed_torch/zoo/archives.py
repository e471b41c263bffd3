"""A ``.pt2`` file of ``torch.export.save`` as a module, without unpickling and without running anything in it.

The archive holds the graph and the sizes of its tensors as JSON and the weights as plain numbers. Weights stay unread;
small buffers and constants are read, as they may decide what a network does. Whatever in the archive would be
unpickled or evaluated is refused.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.errors import ModelReferenceError

__all__ = ["read_program"]

_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|prim|higher_order|torchvision|torchao|quantized_decomposed)\.\w+(\.\w+)?"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|neg|lt|le|gt|ge|eq|ne|pow|mod)"
)
_SMALL = 1 << 20  # bytes
_EVALUATED = frozenset(["as_expr", "expr_str"])


def read_program(file: str) -> nn.Module:
    """The module of an exported program in a file, with weights on ``meta``.

    Raises:
        ModelReferenceError: it is no such file, or what it holds can be read by unpickling or evaluating only.
    """
    if not Path(file).is_file():
        raise ModelReferenceError(f"model reference {file!r}: there is no such file")
    try:
        with zipfile.ZipFile(file) as archive:
            return _module(_Archive(archive))
    except ModelReferenceError as error:
        raise ModelReferenceError(f"model reference {file!r}: {error}. {_trusted(file)}") from error
    except Exception as error:  # another version's format, or no such archive at all
        said = str(error).strip().split("\n")[0]
        raise ModelReferenceError(
            f"model reference {file!r} cannot be read as torch.export.save of torch {torch.__version__} writes it "
            f"({type(error).__name__}: {said}). {_trusted(file)}"
        ) from error


def _trusted(file: str) -> str:
    return (
        "Where you trust it, refer to file.py:model, a file of yours with\n    import torch\n"
        f"    model = torch.export.load({Path(file).as_posix()!r}).module()"
    )


class _Archive:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        models = [n for n in names if re.fullmatch(r"[^/]*/?models/[^/]+\.json", n)]
        if len(models) != 1:
            raise ModelReferenceError(f"it holds {len(models)} exported programs: expected one")
        self._root = models[0][: models[0].rindex("models/")]
        self.name = Path(models[0]).stem
        self.text = archive.read(models[0])

    def tensors(self, what: str) -> dict[str, Tensor]:
        """``weights`` or ``constants``: parameters without their numbers, small ones of the rest with theirs."""
        config = f"{self._root}data/{what}/{self.name}_{what}_config.json"
        found: dict[str, Tensor] = {}
        for name, entry in json.loads(self._archive.read(config))["config"].items():
            if entry["use_pickle"] or entry["tensor_meta"] is None:
                raise ModelReferenceError(f"its {name!r} can be read by unpickling only")
            found[name] = self._tensor(entry, f"{self._root}data/{what}/{entry['path_name']}")
        return found

    def _tensor(self, entry: dict[str, Any], path: str) -> Tensor:
        meta = entry["tensor_meta"]
        dtype, sizes, strides = _dtype(meta["dtype"]), _ints(meta["sizes"]), _ints(meta["strides"])
        if entry["is_param"]:
            empty = torch.empty_strided(sizes, strides, dtype=dtype, device="meta")
            return nn.Parameter(empty, requires_grad=meta["requires_grad"])
        if not math.prod(sizes) or self._archive.getinfo(path).file_size > _SMALL:
            return torch.empty_strided(sizes, strides, dtype=dtype, device="meta")
        numbers = torch.frombuffer(bytearray(self._archive.read(path)), dtype=dtype)
        return torch.as_strided(numbers, sizes, strides, meta["storage_offset"]["as_int"]).clone()


def _module(archive: _Archive) -> nn.Module:
    from torch._export.serde import schema, serialize

    for key, value in _entries(json.loads(archive.text)):
        if key in _EVALUATED and value:
            raise ModelReferenceError(
                "it was exported with sizes that vary, which torch reads by evaluating text; export it with fixed ones"
            )
        if key == "target" and isinstance(value, str) and not _OPERATOR.fullmatch(value):
            raise ModelReferenceError(f"it calls {value!r}, which is no operator of torch")
    read: Any = serialize
    program = read._bytes_to_dataclass(schema.ExportedProgram, archive.text)
    if hasattr(program, "guards_code"):
        program.guards_code = []  # Python text, which torch would run
    weights, constants = archive.tensors("weights"), archive.tensors("constants")
    loaded = read.ExportedProgramDeserializer().deserialize(program, weights, constants, None)
    module: nn.Module = loaded.module()
    return module


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, v in value.items():
            yield key, v
            yield from _entries(v)
    elif isinstance(value, list):
        for v in value:
            yield from _entries(v)


def _ints(sizes: list[dict[str, Any]]) -> list[int]:
    return [int(n["as_int"]) for n in sizes]


def _dtype(number: int) -> torch.dtype:
    from torch._export.serde import serialize

    found: torch.dtype = serialize._SERIALIZE_TO_TORCH_DTYPE[number]
    return found
