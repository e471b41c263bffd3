"""Calls a constructor on ``meta``, where its weights take no memory, as far as it lets itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sed_torch.errors import ModelReferenceError
from sed_torch.zoo.failing import not_built, one_line

__all__ = ["construct"]


class _WeightsOnMeta(TorchFunctionMode):
    """Only ``torch.empty``, from which layers make their weights, goes to ``meta``; constants keep values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def construct(make: Callable[[], Any], ref: str) -> tuple[nn.Module, Literal["meta", "cpu"], str | None]:
    """On meta; else with the weights alone on meta, unless values were missed; else on the CPU. The RNG is left as
    found.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return _module(make(), ref), "meta", None
        except ModelReferenceError:
            raise
        except (Exception, SystemExit) as error:
            if not _may_be_of_meta(error):
                raise not_built(ref, error) from error
            first, of_values = one_line(error), isinstance(error, _OF_VALUES)
            reason = f"the constructor does not run on meta ({first})"
        try:
            if not of_values:
                with torch.device("cpu"), _WeightsOnMeta():
                    return _module(make(), ref), "meta", f"{reason}; constants were made on the CPU"
        except (Exception, SystemExit) as error:
            if one_line(error) == first and not _is_of_meta(error):  # it was not for want of values
                raise not_built(ref, error) from error
        try:
            with torch.device("cpu"):
                return _module(make(), ref), "cpu", f"{reason}; built on the CPU"
        except ModelReferenceError:
            raise
        except (Exception, SystemExit) as error:
            raise not_built(ref, error) from error


_OF_VALUES = (IndexError, UnboundLocalError, ArithmeticError)
"""What a constructor may run into that computes with numbers where there are none, or only what lay in memory."""


def _may_be_of_meta(error: BaseException) -> bool:
    """Whether a constructor may fail because tensors have no values: only then is it worth running again."""
    text = str(error)
    if "NVIDIA" in text or "CUDA" in text:
        return False
    return isinstance(error, (RuntimeError, *_OF_VALUES)) or "meta" in text


def _is_of_meta(error: BaseException) -> bool:
    """``weight.data = constant`` says that the kinds of tensor differ, and does not name the devices."""
    return "meta" in str(error) or "incompatible tensor type" in str(error)


def _module(made: Any, ref: str) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise ModelReferenceError(f"{ref} made a {type(made).__name__}, expected an nn.Module")
    return made
