"""``[tool.sed-torch]`` in ``pyproject.toml``: what a project says once about its checks."""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

__all__ = ["Settings", "read_settings"]


@dataclass(frozen=True)
class Settings:
    """Settings of the check.

    Attributes:
        select, ignore: codes, names or beginnings of codes.
        fail_on: severity, or None for the command's default.
        baseline: path of the baseline, relative to the file's folder, or None.
        loss: name of the loss, or None.
        memory: bytes that a training step may take, or None.
        per_path: pattern of a module path or file → codes to leave out there.
        input_sizes: pattern of a reference → its size.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str | None = None
    baseline: str | None = None
    loss: str | None = None
    memory: int | None = None
    per_path: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    input_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def input_size(self, ref: str) -> tuple[int, ...] | None:
        """The size for a reference: that of the first pattern it matches."""
        return next((s for p, s in self.input_sizes.items() if p == ref or fnmatch.fnmatchcase(ref, p)), None)


def read_settings(start: Path | None = None) -> Settings:
    """Those of the nearest ``pyproject.toml`` from a folder upwards that has the table; defaults where none has.

    Raises:
        click.UsageError: the table has a key or a value that means nothing.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            table = _toml(path).get("tool", {}).get("sed-torch")
            if table is not None:
                return _settings(table, path)
    return Settings()


def _toml(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    if "sed-torch" not in text:
        return {}
    reader: Any = None
    for name in ("tomllib", "tomli"):  # the first comes with Python 3.11
        with contextlib.suppress(ModuleNotFoundError):
            reader = reader or importlib.import_module(name)
    if reader is None:
        raise click.UsageError(f"{path} has settings: Python 3.10 needs tomli to read them")
    try:
        found: dict[str, Any] = reader.loads(text)
    except reader.TOMLDecodeError as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None
    return found


_KEYS = ("select", "ignore", "fail-on", "baseline", "loss", "memory", "per-path", "input-sizes")


def _settings(table: Mapping[str, Any], path: Path) -> Settings:
    where = f"[tool.sed-torch] in {path}"
    unknown = [k for k in table if k not in _KEYS]
    if unknown:
        raise click.UsageError(f"{where} has {', '.join(unknown)}: expected {', '.join(_KEYS)}")
    sizes = _table(table, "input-sizes", where)
    wrong = [k for k, v in sizes.items() if not (_is_list(v, int) and v and min(v) > 0)]
    if wrong:
        raise click.UsageError(f"{where}: input-sizes of {wrong[0]!r} must be positive integers, batch first")
    per_path = _table(table, "per-path", where)
    fail_on = _word(table, "fail-on", where)
    if fail_on not in (None, "info", "warning", "error", "never"):
        raise click.UsageError(f"{where}: fail-on must be info, warning, error or never, found {fail_on!r}")
    baseline = _word(table, "baseline", where)
    return Settings(
        select=_codes(table.get("select", []), "select", where),
        ignore=_codes(table.get("ignore", []), "ignore", where),
        fail_on=fail_on,
        baseline=str(path.parent / baseline) if baseline else None,
        loss=_word(table, "loss", where),
        memory=_bytes(table, "memory", where),
        per_path={k: _codes(v, f"per-path of {k!r}", where) for k, v in per_path.items()},
        input_sizes={k: tuple(v) for k, v in sizes.items()},
    )


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)


def _codes(value: Any, name: str, where: str) -> tuple[str, ...]:
    if not _is_list(value, str):
        raise click.UsageError(f"{where}: {name} must be a list of codes, found {value!r}")
    return tuple(value)


def _word(table: Mapping[str, Any], name: str, where: str) -> str | None:
    value = table.get(name)
    if value is not None and not isinstance(value, str):
        raise click.UsageError(f"{where}: {name} must be a word, found {value!r}")
    return value


def _bytes(table: Mapping[str, Any], name: str, where: str) -> int | None:
    from sed_torch.errors import InputError
    from sed_torch.tables import bytes_of

    try:
        return bytes_of(table[name]) if name in table else None
    except InputError as error:
        raise click.UsageError(f"{where}: {name}: {error}") from None


def _table(table: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise click.UsageError(f"{where}: {name} must be a table, found {value!r}")
    return value
