"""Rows kept on disk, one small file a key. Any number of processes may read and write at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sed_torch.errors import DataError, MissingDependencyError
from sed_torch.ranking.rows import RankRow
from sed_torch.zoo import ZOOS, is_local

__all__ = ["RowCache", "calculus", "default_cache_dir", "key_of_graph", "key_of_reference"]

SCHEMA = "sed_torch.row/2"
_NO_PART = (
    *("benchmarking", "calibration", "cli", "comparing", "diagnostics", "evidence", "integrations"),
    *("jobs", "proxies", "ranking", "report", "searching", "sensitivity", "spaces", "training"),
    *("__main__", "_moved", "_version"),
)
"""What no row depends on, so that working on it leaves the cache good. New places count until they are here."""

_KEPT = ("ok", "undefined", "failed")


def default_cache_dir() -> Path:
    """``$SED_TORCH_CACHE``, else the user's cache folder.

    Raises:
        MissingDependencyError: without platformdirs.
    """
    given = os.environ.get("SED_TORCH_CACHE")
    if given:
        return Path(given)
    try:
        import platformdirs
    except ModuleNotFoundError:
        raise MissingDependencyError("platformdirs", "rank", "cache=True") from None
    return Path(platformdirs.user_cache_dir("sed_torch"))


class RowCache:
    """A folder of rows.

    A file is written beside its place and moved there, so a reader sees all of it or nothing; a file that
    cannot be read counts as absent. Rows that a limit or a crash made are not kept: a next run may do better.

    Args:
        folder: made when the first row is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder) / "rows"

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> RankRow | None:
        """The row kept under a key, or None."""
        try:
            data = json.loads(self._path(key).read_text(encoding="utf-8"))
            return RankRow.from_dict(data["row"]) if data["schema"] == SCHEMA else None
        except (OSError, ValueError, KeyError, TypeError, DataError):
            return None

    def put(self, key: str, row: RankRow) -> None:
        """Keep a row, unless its status is of this run only. A full disk is no reason to stop."""
        from sed_torch._files import write_text

        if row.status not in _KEPT:
            return
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"schema": SCHEMA, "row": row.to_dict()}, allow_nan=False))


def key_of_reference(
    ref: str, options: Mapping[str, Any], computed_by: Mapping[str, Any] | None = None
) -> str | None:
    """Key for a reference to a name of a zoo; None for files and modules, whose code no version pins down.

    Args:
        ref: the reference.
        options: what holds for the whole run.
        computed_by: :func:`calculus`, for who makes many keys.
    """
    zoo, _, rest = ref.partition(":")
    if zoo not in ZOOS or (zoo == "hf" and is_local(rest.partition("(")[0].strip())):
        return None
    return _digest({"ref": ref, zoo: _version(ZOOS[zoo]), **options, **(computed_by or calculus())})


def key_of_graph(fingerprint: str, options: Mapping[str, Any]) -> str:
    """Key for a traced graph."""
    return _digest({"graph": fingerprint, **options, **calculus()})


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


@cache
def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def calculus() -> dict[str, Any]:
    """What the score is computed by: versions, the definition, the rules in force, and the code itself."""
    from sed_torch._version import __version__
    from sed_torch.ops import OPS
    from sed_torch.scoring import DEFAULT_DEFINITION

    rules = hashlib.sha256(repr([(op.name, op.rule, op.spellings) for op in OPS]).encode()).hexdigest()
    return {
        "sed_torch": __version__,
        "torch": _version("torch"),
        "definition": DEFAULT_DEFINITION,
        "rules": rules,
        "code": _code(),
    }


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the sources that decide a row, so that a changed rule never meets an old row."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0].removesuffix(".py") not in _NO_PART:
            digest.update(name.as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
