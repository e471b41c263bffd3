"""References taken apart, without importing anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sed_torch.errors import InputError, ModelReferenceError
from sed_torch.zoo.failing import one_line

__all__ = ["FORMS", "ZOOS", "Reference", "parse_reference"]

ZOOS = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}
"""Packages of named models, by the word before the colon."""

FORMS = "timm:NAME, torchvision:NAME, hf:NAME, package.module:factory, file.py:Class, file.py:fn(width=32), net.pt2"
_PICKLED = "is loaded by pickle, which runs whatever code is in it, and no pickle is loaded here"
_WEIGHTS = "holds weights and does not say what is done with them"
_NO_CODE = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".pkl"), _PICKLED),
    **dict.fromkeys((".safetensors", ".gguf"), _WEIGHTS),
    ".onnx": "is no PyTorch module",
}
"""Files that people have of a model, by ending, and why none is one to read."""
_FILE = re.compile(r"(?P<source>.+?\.py):(?P<call>.+)", re.DOTALL)
_PYTHON_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ZOO_NAME = re.compile(r"[\w.\-]+")
_PATH = re.compile(r"[^\n]+")
_MODULE = re.compile(r"(?P<source>[A-Za-z_][\w.]*):(?P<call>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart.

    Attributes:
        text: as written.
        kind: ``"timm"``, ``"torchvision"``, ``"hf"``, ``"module"``, ``"file"`` or ``"program"``.
        source: the module's name or the file's path; the kind for the zoos.
        name: what to look up there; may be dotted (``Nets.small``).
        args: positional literals.
        kwargs: keyword literals.
        called: whether parentheses were written.
    """

    text: str
    kind: Literal["timm", "torchvision", "hf", "module", "file", "program"]
    source: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    called: bool = False


def parse_reference(text: str) -> Reference:
    """Take a reference apart, without importing anything.

    Raises:
        ModelReferenceError: it has none of the known forms, or its arguments are not literals.
    """
    zoo, colon, rest = text.partition(":")
    if colon and zoo in ZOOS:
        name, args, kwargs, called = _parse_call(text, rest, _PATH if zoo == "hf" else _ZOO_NAME)
        return Reference(text, zoo, zoo, name, args, kwargs, called)  # type: ignore[arg-type]
    if re.fullmatch(r".+\.py", text):
        raise ModelReferenceError(_what_is_in(text))
    ending = Path(text).suffix.lower()
    if ending == ".pt2":
        return Reference(text, "program", text, "")
    if ending in _NO_CODE:
        raise ModelReferenceError(
            f"model reference {text!r}: such a file {_NO_CODE[ending]}; refer to the model's code, as file.py:Class"
        )
    match = _FILE.fullmatch(text)
    kind: Literal["file", "module"] = "file"
    if match is None:
        match, kind = _MODULE.fullmatch(text), "module"
    if match is None:
        hint = ""
        if Path(text).is_file():
            hint = " This is a file, but no Python file: one model is read here, from code."
            if Path(text).suffix.lower() == ".json":
                hint += (
                    f" A config of transformers is hf:{text}; rankings are read by 'report' and 'validate'."
                )
        elif re.fullmatch(r"[\w.]+", text):
            hint = f" Did you mean 'timm:{text}' or 'torchvision:{text}'?"
        raise ModelReferenceError(f"cannot read the model reference {text!r}: expected {FORMS}.{hint}")
    name, args, kwargs, called = _parse_call(text, match["call"], _PYTHON_NAME)
    return Reference(text, kind, match["source"], name, args, kwargs, called)


def _what_is_in(file: str) -> str:
    """Asks for a name in a file, and lists those that it has; the file is read, not run."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        return f"model reference {file!r}: {one_line(error)}"
    kinds = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and n.bases]
    makers = [
        n.name
        for n in tree.body
        if isinstance(n, ast.FunctionDef) and any(_gives_back(r) for r in ast.walk(n))
    ]
    names = [n for n in (*kinds, *makers) if not n.startswith("_")]
    listed = ", ".join(f"{file}:{n}" for n in names[:12]) + (", …" if len(names) > 12 else "")
    if not names:
        return f"model reference {file!r} names no class or function, and the file defines none that could be a model"
    return f"model reference {file!r} names no class or function: expected one of {listed}"


def _gives_back(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and node.value is not None


def _parse_call(
    text: str, call: str, names: re.Pattern[str]
) -> tuple[str, tuple[Any, ...], dict[str, Any], bool]:
    name, bracket, _ = call.partition("(")
    name = name.strip()
    if re.fullmatch(r"[\w.*?\[\]!-]*[*?\[][\w.*?\[\]!-]*", name):
        raise ModelReferenceError(
            f"model reference {text!r}: one model is read here, and this is a pattern; 'check' and 'rank' take patterns"
        )
    if not names.fullmatch(name):
        raise ModelReferenceError(f"model reference {text!r}: {name!r} is not a name; expected {FORMS}")
    if not bracket:
        return name, (), {}, False
    try:
        # Names of timm need not be Python names, so a stand-in is called.
        tree = ast.parse("f" + call[call.index("(") :].strip(), mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise InputError("one call is expected")
        if any(k.arg is None for k in tree.keywords):
            raise InputError("** is not a literal")
        args = tuple(ast.literal_eval(a) for a in tree.args)
        return name, args, {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}, True
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ModelReferenceError(
            f"model reference {text!r}: arguments must be Python literals, such as {name}(32, width=1.5)"
        ) from error
