"""Calibrations as files: strict JSON with numbers and names, nothing that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sed_torch.calibration.result import Calibration
from sed_torch.errors import DataError

__all__ = ["MAX_BYTES", "read_calibration", "write_calibration"]

MAX_BYTES = 32 << 20


def write_calibration(calibration: Calibration, path: str | os.PathLike[str]) -> None:
    """Write a file that :func:`read_calibration` reads, atomically."""
    from sed_torch._files import write_text

    text = json.dumps(calibration.to_dict(), allow_nan=False, separators=(",", ":"))
    write_text(path, text + "\n")


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """A calibration from its file.

    Raises:
        DataError: the file is missing, cut off, of another kind, or holds what cannot be.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file} is no calibration: larger than {MAX_BYTES >> 20} MiB")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the calibration {file}: {error}") from error
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no calibration, or it is cut off: {error}") from error
    return Calibration.from_dict(data, str(file))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
