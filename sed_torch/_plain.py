"""Plain data → frozen dataclasses: what ``to_dict`` wrote is read back, or refused in words. Nothing is executed."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError

__all__ = ["checked_schema", "finite", "from_text", "revived"]

Kind = TypeVar("Kind")


def finite(value: float | None) -> float | str | None:
    """A number as strict JSON can hold it: infinities are strings; None stays None."""
    if value is None or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def from_text(text: str, what: str) -> dict[str, Any]:
    """The object of a JSON text.

    Raises:
        DataError: it is no JSON, or no object.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what}: expected JSON, {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{what}: expected a JSON object, found {type(data).__name__}")
    return data


def checked_schema(data: Mapping[str, Any], schema: str, what: str) -> None:
    """Raise DataError for data of another kind, or of another version."""
    found = data.get("schema") if isinstance(data, Mapping) else None
    if found != schema:
        raise DataError(f"{what}: expected the schema {schema!r}, found {found!r}")


def revived(kind: type[Kind], data: Any, where: str) -> Kind:
    """An instance of a dataclass from plain data, field by field, each as its annotation says.

    Args:
        kind: the dataclass. Fields that are dataclasses are revived likewise, by their own ``from_dict`` if they have
            one; fields with a default may be missing.
        data: a mapping from names of fields; other names are overlooked.
        where: for messages.

    Raises:
        DataError: a field is missing, or holds what it cannot.
    """
    if not isinstance(data, Mapping):
        raise DataError(f"{where}: expected an object with fields, found {_short(data)}")
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if not field.init:
            continue
        if field.name in data:
            values[field.name] = _value(hints[field.name], data[field.name], f"{where}: {field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DataError(f"{where}: no {field.name!r}")
    return kind(**values)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(args, value, where)
    if origin is Literal:
        if value in args:
            return value
        raise DataError(f"{where}: expected one of {', '.join(map(str, args))}, found {_short(value)}")
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = args[:1] * len(value) if args[1:] == (...,) else args
        if len(kinds) == len(value):
            return tuple(
                _value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
            )
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        read = {str(k): _value(args[1], v, f"{where}[{k!r}]") for k, v in value.items()}
        return read if origin is dict else FrozenMapping(read)
    if isinstance(kind, type):
        if is_dataclass(kind):
            if isinstance(value, kind):
                return value
            own = getattr(kind, "from_dict", None)
            return own(value) if own is not None else revived(kind, value, where)
        read_ = _scalar(kind, value)
        if read_ is not MISSING:
            return read_
    raise DataError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {_short(value)}")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    error: DataError | None = None
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _value(kind, value, where)
        except DataError as problem:
            error = error or problem
    raise error or DataError(f"{where}: expected nothing, found {_short(value)}")


def _scalar(kind: type, value: Any) -> Any:
    """The value where it is of this kind; a float may also be written as a whole number or as an infinity's name."""
    if kind is float:
        if value in ("inf", "-inf"):
            return float(value)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else MISSING
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    return MISSING


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
