"""Rankings read back from files."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from sed_torch.errors import DataError
from sed_torch.ranking.result import Ranking
from sed_torch.ranking.rows import RankRow

__all__ = ["read_ranking"]


def read_ranking(path: str | os.PathLike[str]) -> Ranking:
    """A ranking written by :meth:`Ranking.to_csv` or :meth:`Ranking.to_json`.

    Raises:
        DataError: the file is missing or something else.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the ranking {file}: {error}") from error
    try:
        if file.suffix.lower() == ".json":
            return _of_file(json.loads(text), file)
        lines = csv.DictReader(io.StringIO(text))
        if not {"name", "sed"} <= set(lines.fieldnames or ()):
            raise DataError(f"{file} is not a ranking: expected columns 'name' and 'sed'")
        if len(set(lines.fieldnames or ())) < len(lines.fieldnames or ()):
            raise DataError(f"{file} is not a ranking: a column stands twice in its first line")
        return Ranking(tuple(RankRow.from_dict(_whole(r, lines.line_num, file)) for r in lines))
    except RecursionError as error:
        raise DataError(f"{file} is not a ranking: nested too deeply") from error
    except (json.JSONDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"{file} is not a ranking: {error!r}") from error


def _whole(row: dict[str, Any], line: int, file: Path) -> dict[str, Any]:
    """The row, if it has a cell for each column: a file that was cut off ends in one that has not."""
    if None in row or None in row.values():
        raise DataError(f"{file}, line {line}: not as many cells as columns; the file is cut off or damaged")
    return row


def _of_file(data: Any, file: Path) -> Ranking:
    try:
        return Ranking.from_dict(data)
    except DataError as error:
        raise DataError(f"{file} is not a ranking: {error}") from error
