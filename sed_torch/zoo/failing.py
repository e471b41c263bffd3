"""Why a model could not be found, imported or built, in words."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from sed_torch.errors import ModelReferenceError

__all__ = ["did_you_mean", "not_built", "one_line", "where"]


def not_built(ref: str, error: BaseException) -> ModelReferenceError:
    """The error that a constructor ends in, with its line and, where it is known, what to do."""
    hint = ""
    if "NVIDIA" in str(error) or "CUDA" in str(error):
        hint = ". It asks for a GPU that is not here: let it take the device as an argument"
    return ModelReferenceError(f"{ref} could not be built: {one_line(error)}{where(error)}{hint}")


def where(error: BaseException) -> str:
    """`` (net.py:27)``: the innermost line that is neither torch's nor ours nor of Python's imports."""
    skipped = (
        os.path.dirname(importlib.__file__),
        torch.__path__[0],
        os.fspath(Path(__file__).parents[1]),
        "<frozen",
    )
    place, frame = "", error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith(skipped):
            place = f" ({os.path.relpath(file) if file.startswith(os.getcwd()) else file}:{frame.tb_lineno})"
        frame = frame.tb_next
    return place


def one_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """``; did you mean resnet18?``, or nothing where no name is close."""
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    close = close or [n for n in names if name.lower() in n.lower()][:5]
    return f"; did you mean {' or '.join(close)}?" if close else ""
