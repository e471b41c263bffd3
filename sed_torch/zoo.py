"""Model references → models.

A reference is ``timm:NAME``, ``torchvision:NAME``, ``pkg.mod:factory``, ``file.py:Class`` or
``file.py:fn(width=32)``. What stands in parentheses are Python *literals*; nothing is evaluated. A reference
to a file or module does run that file, as importing it would.

The only importer of timm and torchvision, and only when a reference asks for them. Models are built on
``meta``: no weights are made, downloaded or read.
"""

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
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sed_torch.errors import InputError, MissingDependencyError, ModelReferenceError

__all__ = ["LoadedModel", "Reference", "build", "expand", "family_of", "load", "parse_reference"]

ZOOS = ("timm", "torchvision")

_FORMS = "timm:NAME, torchvision:NAME, package.module:factory, file.py:Class or file.py:fn(width=32)"
_FILE = re.compile(r"(?P<source>.+?\.py):(?P<call>.+)", re.DOTALL)
_MODULE = re.compile(r"(?P<source>[A-Za-z_][\w.]*):(?P<call>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart.

    Attributes:
        text: as written.
        kind: ``"timm"``, ``"torchvision"``, ``"module"`` or ``"file"``.
        source: the module's name or the file's path; the kind for the zoos.
        name: what to look up there; may be dotted (``Nets.small``).
        args: positional literals.
        kwargs: keyword literals.
        called: whether parentheses were written.
    """

    text: str
    kind: Literal["timm", "torchvision", "module", "file"]
    source: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    called: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """A model and how it came to be.

    Attributes:
        ref: the reference, or a name for a model that came without one.
        model: the module.
        built_on: ``"meta"`` when its parameters take no memory, else ``"cpu"``.
        family: timm's model file, torchvision's module, else the model's class.
        reason: why it was not built on ``meta`` entirely; None when it was.
    """

    ref: str
    model: nn.Module
    built_on: Literal["meta", "cpu"]
    family: str
    reason: str | None = None


# -- parsing ---------------------------------------------------------------------------------------------


def parse_reference(text: str) -> Reference:
    """Take a reference apart, without importing anything.

    Raises:
        ModelReferenceError: it has none of the known forms, or its arguments are not literals.
    """
    zoo, colon, rest = text.partition(":")
    if colon and zoo in ZOOS:
        name, args, kwargs, called = _parse_call(text, rest, dotted=False)
        return Reference(text, zoo, zoo, name, args, kwargs, called)  # type: ignore[arg-type]
    if re.fullmatch(r".+\.py", text):
        raise ModelReferenceError(_what_is_in(text))
    match = _FILE.fullmatch(text)
    kind: Literal["file", "module"] = "file"
    if match is None:
        match, kind = _MODULE.fullmatch(text), "module"
    if match is None:
        hint = (
            f" Did you mean 'timm:{text}' or 'torchvision:{text}'?" if re.fullmatch(r"[\w.]+", text) else ""
        )
        raise ModelReferenceError(f"cannot read the model reference {text!r}: expected {_FORMS}.{hint}")
    name, args, kwargs, called = _parse_call(text, match["call"], dotted=True)
    return Reference(text, kind, match["source"], name, args, kwargs, called)


def _what_is_in(file: str) -> str:
    """Asks for a name in a file, and lists those that it has; the file is read, not run."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        return f"model reference {file!r}: {_one_line(error)}"
    kinds = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and n.bases]
    makers = [
        n.name
        for n in tree.body
        if isinstance(n, ast.FunctionDef) and any(_gives_back(r) for r in ast.walk(n))
    ]
    names = [n for n in (*kinds, *makers) if not n.startswith("_")]
    listed = ", ".join(f"{file}:{n}" for n in names[:12]) + (", …" if len(names) > 12 else "")
    return f"model reference {file!r} names no class or function: expected one of {listed or f'{file}:NAME'}"


def _gives_back(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and node.value is not None


def _parse_call(text: str, call: str, *, dotted: bool) -> tuple[str, tuple[Any, ...], dict[str, Any], bool]:
    name, bracket, _ = call.partition("(")
    name = name.strip()
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*" if dotted else r"[\w.\-]+", name):
        raise ModelReferenceError(f"model reference {text!r}: {name!r} is not a name; expected {_FORMS}")
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


# -- loading ---------------------------------------------------------------------------------------------


def load(ref: str) -> LoadedModel:
    """Build the model that a reference names, on ``meta`` where its constructor allows.

    Args:
        ref: ``timm:NAME``, ``torchvision:NAME``, ``pkg.mod:factory``, ``file.py:Class`` or
            ``file.py:fn(width=32)``. Modules and files are looked up from the working directory.

    Raises:
        ModelReferenceError: the reference is malformed, names nothing (the message lists close matches), or
            what it names cannot be built.
        MissingDependencyError: timm or torchvision is needed and not installed.
    """
    reference = parse_reference(ref)
    if reference.kind in ZOOS:
        zoo = _ZOOS[reference.kind]()
        zoo.check(reference)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a zoo says of its own weights concerns no graph
            model, built_on, reason = _construct(lambda: zoo.create(reference), ref)
        return LoadedModel(ref, model, built_on, zoo.family(reference.name), reason)
    with _importing(reference), torch.random.fork_rng(devices=[]):
        return build(_resolve(reference), ref, reference.args, reference.kwargs, called=reference.called)


def family_of(ref: str) -> str | None:
    """The family of a timm or torchvision reference, without building it; None for other or unknown ones."""
    zoo, _, rest = ref.partition(":")
    if zoo not in ZOOS:
        return None
    known, name = _ZOOS[zoo](), rest.partition("(")[0]
    return known.family(name) if known.known(name) else None


def build(
    target: Any,
    ref: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    called: bool = False,
) -> LoadedModel:
    """A module as it is, or the one that a class or factory makes.

    Raises:
        ModelReferenceError: ``target`` is neither, or makes something else, or fails.
    """
    if isinstance(target, nn.Module) and not called:
        devices = {p.device.type for p in target.parameters()}
        built_on: Literal["meta", "cpu"] = "meta" if devices == {"meta"} else "cpu"
        return LoadedModel(ref, target, built_on, type(target).__name__, "given as a module, not built here")
    if not callable(target):
        raise ModelReferenceError(
            f"{ref} is a {type(target).__name__}: expected an nn.Module, a class or a function that makes one"
        )
    _check_arguments(target, ref, args, kwargs or {})
    model, built_on, reason = _construct(lambda: target(*args, **(kwargs or {})), ref)
    return LoadedModel(ref, model, built_on, type(model).__name__, reason)


def _check_arguments(target: Any, ref: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Arguments that are missing or too many, before anything is run."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        plain = ref.partition("(")[0]
        source, _, name = plain.rpartition(":")
        needed = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY, p.KEYWORD_ONLY)
        ]
        example = ", ".join(f"{n}=…" for n in needed)
        module = Path(source).stem if source.endswith(".py") else source
        raise ModelReferenceError(
            f"{ref} could not be built: {type(error).__name__}: {error}. "
            f"Write {plain}({example}) with Python literals; where it takes an "
            f"object, such as a config, refer to a function in a file of yours:\n"
            f"    from {module} import {name.partition('.')[0]}\n"
            f"    def make():\n"
            f"        return {name}({example})"
        ) from error


class _WeightsOnMeta(TorchFunctionMode):
    """Only ``torch.empty``, from which layers make their weights, goes to ``meta``; constants keep values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _construct(make: Callable[[], Any], ref: str) -> tuple[nn.Module, Literal["meta", "cpu"], str | None]:
    """On meta; else with the weights alone on meta; else on the CPU. The RNG is left as found."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return _module(make(), ref), "meta", None
        except ModelReferenceError:
            raise
        except (Exception, SystemExit) as error:
            if not _may_be_of_meta(error):
                raise _not_built(ref, error) from error
            first = _one_line(error)
            reason = f"the constructor does not run on meta ({first})"
        try:
            with torch.device("cpu"), _WeightsOnMeta():
                return _module(make(), ref), "meta", f"{reason}; constants were made on the CPU"
        except (Exception, SystemExit) as error:
            if _one_line(error) == first and "meta" not in first:  # it was not for want of values
                raise _not_built(ref, error) from error
        try:
            with torch.device("cpu"):
                return _module(make(), ref), "cpu", f"{reason}; built on the CPU"
        except ModelReferenceError:
            raise
        except (Exception, SystemExit) as error:
            raise _not_built(ref, error) from error


def _may_be_of_meta(error: BaseException) -> bool:
    """Whether a constructor may fail because tensors have no values: only then is it worth running again."""
    text = str(error)
    if "NVIDIA" in text or "CUDA" in text:
        return False
    return isinstance(error, RuntimeError) or "meta" in text


def _not_built(ref: str, error: BaseException) -> ModelReferenceError:
    hint = ""
    if "NVIDIA" in str(error) or "CUDA" in str(error):
        hint = ". It asks for a GPU that is not here: let it take the device as an argument"
    return ModelReferenceError(f"{ref} could not be built: {_one_line(error)}{_where(error)}{hint}")


def _where(error: BaseException) -> str:
    """`` (net.py:27)``: the innermost line that is neither torch's nor ours."""
    skipped = (torch.__path__[0], os.path.dirname(__file__), "<frozen")
    place, frame = "", error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith(skipped):
            place = f" ({os.path.relpath(file) if file.startswith(os.getcwd()) else file}:{frame.tb_lineno})"
        frame = frame.tb_next
    return place


def _module(made: Any, ref: str) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise ModelReferenceError(f"{ref} made a {type(made).__name__}, expected an nn.Module")
    return made


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


# -- modules and files -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _importing(reference: Reference) -> Iterator[None]:
    """Import and build as if the file were run by itself: with its folder and the working directory to import
    from, no arguments on its command line, and its prints out of the way of our output.
    """
    folders = [os.fspath(Path.cwd())]
    if reference.kind == "file":
        path = Path(reference.source).resolve()
        folders = [os.fspath(path.parent), *folders, os.fspath(_package_of(path)[0])]
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


def _package_of(path: Path) -> tuple[Path, str]:
    """The folder from which a file is imported as a module of its package, and its name there."""
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(n for n in names if n != "__init__")


def _resolve(reference: Reference) -> Any:
    if reference.kind == "file":
        module = _import_file(reference)
    else:
        module = _import(reference, lambda: importlib.import_module(reference.source))
    found: Any = module
    for part in reference.name.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise ModelReferenceError(
                f"{reference.source} has no {reference.name!r}{_did_you_mean(reference.name, names)}"
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
    loader = spec.loader
    sys.modules[name] = module
    try:
        _import(reference, lambda: loader.exec_module(module))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _imports_its_package(path: Path) -> bool:
    """Whether the file holds an import such as ``from .parts import Block``."""
    with contextlib.suppress(SyntaxError, ValueError):  # told when it is imported
        return any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(ast.parse(path.read_bytes())))
    return False


def _import_of_package(reference: Reference, path: Path) -> ModuleType:
    folder, name = _package_of(path.resolve())
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
            f"importing {reference.source} failed: {_one_line(error)}{_where(error)}"
        ) from error


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    close = close or [n for n in names if name.lower() in n.lower()][:5]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def modules_matching(source: str, pattern: str) -> list[str]:
    """Names of the module classes that a file or module defines and that can be made without arguments, in order.

    Args:
        source: a path of a Python file, or a dotted module name.
        pattern: as in a shell, such as ``"*"`` or ``"Res*"``.

    Raises:
        ModelReferenceError: the source cannot be imported.
    """
    reference = parse_reference(f"{source}:any")
    with _importing(reference), torch.random.fork_rng(devices=[]):
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


# -- timm and torchvision --------------------------------------------------------------------------------


class _Zoo:
    """What the two have in common."""

    name = ""

    def names(self) -> list[str]:
        raise NotImplementedError

    def known(self, name: str) -> bool:
        return name in self.names()

    def create(self, reference: Reference) -> Any:
        raise NotImplementedError

    def family(self, name: str) -> str:
        raise NotImplementedError

    def check(self, reference: Reference) -> None:
        if not self.known(reference.name):
            hint = _did_you_mean(reference.name, self.names())
            raise ModelReferenceError(f"{self.name} has no model {reference.name!r}{hint}")
        if reference.args:
            raise ModelReferenceError(f"{reference.text}: arguments of {self.name} models go by keyword")


class _Timm(_Zoo):
    name = "timm"

    def __init__(self) -> None:
        self._timm = _import_zoo("timm", "timm")

    def names(self) -> list[str]:
        return list(self._timm.list_models())

    def known(self, name: str) -> bool:
        # A tag of weights may follow the architecture, as in resnet50.a1_in1k.
        return bool(self._timm.is_model(name))

    def create(self, reference: Reference) -> Any:
        return self._timm.create_model(reference.name, **{**reference.kwargs, "pretrained": False})

    def family(self, name: str) -> str:
        return str(self._timm.models.model_entrypoint(name).__module__).rsplit(".", 1)[-1]


class _Torchvision(_Zoo):
    name = "torchvision"

    def __init__(self) -> None:
        self._models = _import_zoo("torchvision", "test").models

    def names(self) -> list[str]:
        return list(self._models.list_models())

    def create(self, reference: Reference) -> Any:
        builder = self._models.get_model_builder(reference.name)
        # Without a word, segmentation and detection models would download their backbone's weights.
        given = {"weights": None, "weights_backbone": None}
        taken = {k: v for k, v in given.items() if k in inspect.signature(builder).parameters}
        return builder(**{**reference.kwargs, **taken})

    def family(self, name: str) -> str:
        module = str(self._models.get_model_builder(name).__module__)
        return module.removeprefix("torchvision.models.")


_ZOOS: dict[str, Callable[[], _Zoo]] = {"timm": _Timm, "torchvision": _Torchvision}


def _import_zoo(package: str, extra: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(package, extra, f"a reference '{package}:NAME'") from None


# -- globs -----------------------------------------------------------------------------------------------


def expand(patterns: str | Sequence[str]) -> list[str]:
    """References from patterns: ``timm:resnet*``, ``timm:regnety_*,!*_gn``, ``torchvision:*``, ``a.py:Net``.

    A comma separates patterns; one without a prefix inherits the one before it. ``!`` excludes, from all that
    was found, what matches the rest as a name or as a reference. Order is that of the patterns and, within a
    glob, the zoo's; each reference comes once. Names of timm and torchvision are checked, others are not.

    Raises:
        ModelReferenceError: a pattern is malformed or matches nothing.
        MissingDependencyError: timm or torchvision is needed and not installed.
    """
    found: dict[str, None] = {}
    excluded: list[str] = []
    for argument in [patterns] if isinstance(patterns, str) else patterns:
        prefix = ""
        for part in _split(argument):
            if part.startswith("!"):
                excluded.append(part[1:])
                continue
            zoo, colon, _ = part.partition(":")
            if colon:
                prefix = zoo if zoo in ZOOS else ""
            elif prefix:
                part = f"{prefix}:{part}"
            found.update(dict.fromkeys(_matches(part)))
    kept = [r for r in found if not any(_excludes(e, r) for e in excluded)]
    if not kept:
        raise ModelReferenceError(
            f"no model is left of {_split_back(patterns)!r}: expected {_FORMS}, or a glob"
        )
    return kept


def _split(text: str) -> list[str]:
    """At commas outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'" and depth:
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth <= 0:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in (*parts, text[start:]) if p.strip()]


def _split_back(patterns: str | Sequence[str]) -> str:
    return patterns if isinstance(patterns, str) else " ".join(patterns)


def _is_glob(text: str) -> bool:
    return any(c in text.partition("(")[0] for c in "*?[")


def _matches(pattern: str) -> list[str]:
    zoo, _, rest = pattern.partition(":")
    if zoo not in ZOOS:
        if _is_glob(pattern):
            raise ModelReferenceError(f"{pattern!r}: globs work on timm:… and torchvision:… only")
        return [parse_reference(pattern).text]
    known = _ZOOS[zoo]()
    if not _is_glob(rest):
        known.check(parse_reference(pattern))
        return [pattern]
    names = [n for n in known.names() if fnmatch.fnmatchcase(n, rest)]
    if not names:
        hint = _did_you_mean(rest.strip("*?"), known.names())
        raise ModelReferenceError(
            f"{pattern!r} matches none of the {len(known.names())} models of {zoo}{hint}"
        )
    return [f"{zoo}:{n}" for n in names]


def _excludes(pattern: str, ref: str) -> bool:
    return fnmatch.fnmatchcase(ref, pattern) or fnmatch.fnmatchcase(ref.partition(":")[2], pattern)
