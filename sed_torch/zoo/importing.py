"""Modules and files that references name, imported as if they were run by themselves."""

from __future__ import annotations

import ast
import contextlib
import difflib
import fnmatch
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import torch
from torch import nn

from sed_torch.errors import ModelReferenceError
from sed_torch.zoo.failing import did_you_mean, one_line, where
from sed_torch.zoo.references import ZOOS, Reference, parse_reference

__all__ = ["importing", "modules_matching", "package_of", "resolve"]


@contextlib.contextmanager
def importing(reference: Reference) -> Iterator[None]:
    """Import and build as if the file were run by itself: with its folder and the working directory to import
    from, no arguments on its command line, and its prints out of the way of our output.
    """
    folders = [os.fspath(Path.cwd())]
    if reference.kind == "file":
        path = Path(reference.source).resolve()
        folders = [os.fspath(path.parent), *folders, os.fspath(package_of(path)[0])]
    before, argv = list(sys.path), sys.argv
    sys.path[:0] = list(dict.fromkeys(folders))
    sys.argv = [reference.source]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv = argv
        added = [p for p in sys.path if p not in before and p not in folders]  # by the file itself
        sys.path[:] = [*before, *added]


def package_of(path: Path) -> tuple[Path, str]:
    """The folder from which a file is imported as a module of its package, and its name there."""
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(n for n in names if n != "__init__")


def resolve(reference: Reference) -> Any:
    """What a reference to a module or a file names; to be called while :func:`importing`."""
    if reference.kind == "file":
        module = _import_file(reference)
    else:
        module = _import(reference, lambda: importlib.import_module(reference.source))
    found: Any = module
    for part in reference.name.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise ModelReferenceError(
                f"{reference.source} has no {reference.name!r}{did_you_mean(reference.name, names)}"
            )
        found = getattr(found, part)
    return found


def _import_file(reference: Reference) -> ModuleType:
    path = Path(reference.source)
    if not path.is_file():
        raise ModelReferenceError(f"model reference {reference.text!r}: there is no file {reference.source}")
    if _imports_its_package(path):
        return _import_of_package(reference, path)
    # The absolute path in the name keeps two files of one name apart; dataclasses and pickle want the entry.
    name = "_sed_torch_ref_" + re.sub(r"\W", "_", os.fspath(path.resolve()))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelReferenceError(f"{reference.source} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    loader = _AsItStands(name, os.fspath(path)) if isinstance(spec.loader, SourceFileLoader) else spec.loader
    sys.modules[name] = module
    try:
        _import(reference, lambda: loader.exec_module(module))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


class _AsItStands(SourceFileLoader):
    """Reads the source each time: bytecode kept beside it is told from it by size and whole seconds alone, so
    a file that a script writes twice within a second would be the first one still.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _imports_its_package(path: Path) -> bool:
    """Whether the file holds an import such as ``from .parts import Block``."""
    with contextlib.suppress(SyntaxError, ValueError):  # told when it is imported
        return any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(ast.parse(path.read_bytes())))
    return False


def _import_of_package(reference: Reference, path: Path) -> ModuleType:
    folder, name = package_of(path.resolve())
    if "." not in name and path.name != "__init__.py":  # a package without __init__.py
        folder, name = path.resolve().parent.parent, f"{path.resolve().parent.name}.{path.stem}"
        sys.path.insert(0, os.fspath(folder))
    module: ModuleType = _import(reference, lambda: importlib.import_module(name))
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise ModelReferenceError(
            f"{reference.source} is {name} of its package, but a package of that name was imported already, "
            f"from {module.__file__}"
        )
    return module


def _import(reference: Reference, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == reference.source:
            close = difflib.get_close_matches(reference.source, ZOOS, n=1)
            hint = f"; did you mean {close[0]}:{reference.text.partition(':')[2]}?" if close else ""
            raise ModelReferenceError(
                f"model reference {reference.text!r}: there is no module {reference.source!r} here{hint}"
            ) from error
        raise ModelReferenceError(
            f"importing {reference.source} failed: {one_line(error)}{where(error)}"
        ) from error


def modules_matching(source: str, pattern: str) -> list[str]:
    """Names of the module classes that a file or module defines and that can be made without arguments, in order.

    Args:
        source: a path of a Python file, or a dotted module name.
        pattern: as in a shell, such as ``"*"`` or ``"Res*"``.

    Raises:
        ModelReferenceError: the source cannot be imported.
    """
    reference = parse_reference(f"{source}:any")
    with importing(reference), torch.random.fork_rng(devices=[]):
        if reference.kind == "file":
            module = _import_file(reference)
        else:
            module = _import(reference, lambda: importlib.import_module(reference.source))
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
        and fnmatch.fnmatchcase(name, pattern)
        and _needs_nothing(value)
    ]


def _needs_nothing(kind: type) -> bool:
    try:
        parameters = list(inspect.signature(kind).parameters.values())
    except (TypeError, ValueError):
        return False
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in variable for p in parameters)
