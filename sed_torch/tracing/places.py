"""Where a forward is: the module being called and the line of the user's code."""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType
from typing import Any

import torch
import torch.fx
from torch import nn

from sed_torch.tracing.programs import GENERATED, place_in
from sed_torch.tracing.shadow import Shadow

__all__ = ["Places", "describe", "is_user_code"]

_CALL_CODE = nn.Module._wrapped_call_impl.__code__
_TORCH_DIR = torch.__path__[0] + os.sep  # torchvision is a user's package
_OWN_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ENTRANCE = os.path.join(_OWN_DIR, "__init__.py")  # whoever called us is not the model
_CALL, _START, _OF_GRAPH, _USERS, _TORCHS = "call", "start", "graph", "user", "torch"


def is_user_code(code: CodeType) -> bool:
    """Neither torch's code nor the tracer's own."""
    return not code.co_filename.startswith((_TORCH_DIR, _OWN_DIR, "<"))


def _kind_of(code: CodeType) -> str:
    if code is _CALL_CODE:
        return _CALL
    if code.co_filename == _ENTRANCE:
        return _START
    if code.co_filename.startswith(GENERATED):
        return _OF_GRAPH
    return _USERS if is_user_code(code) else _TORCHS


def describe(path: str, source: str | None) -> str:
    """A place in words."""
    return (f"module {path!r}" if path else "the root module") + (f", {source}" if source else "")


class Places:
    """Answers where the forward of a shadow is, from the frames of Python."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow
        # by the ids of codes, whose own hashes take long: a code is kept, so that its id stays its own
        self._kinds: dict[int, tuple[str, CodeType]] = {}
        self._lines: dict[tuple[int, int], str] = {}
        self._functions: dict[int, CodeType] | None = None
        self._graphs: dict[int, list[torch.fx.Node]] = {}

    def here(self) -> tuple[str, str | None]:
        """Path of the innermost module being called, and ``file:line`` of the user's code."""
        source: str | None = None
        generated: FrameType | None = None
        kinds = self._kinds
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            known = kinds.get(id(frame.f_code))
            kind = known[0] if known is not None else self._kind(frame.f_code)
            if kind == _TORCHS:
                pass
            elif kind == _CALL:
                module = frame.f_locals["self"]
                path = self._shadow.path_of(module)
                if path is not None and generated is not None:
                    inner, line = place_in(module, generated, self._graphs)
                    path, source = ".".join(filter(None, (path, inner))), source or line
                if path is not None:
                    return path, source or self._user_line(frame)
            elif kind == _USERS:
                source = source or self._line(frame)
            elif kind == _OF_GRAPH:
                generated = frame
            else:
                break
            frame = frame.f_back
        return "", source

    def _user_line(self, frame: FrameType | None) -> str | None:
        while frame is not None:
            kind = self._kind(frame.f_code)
            if kind == _USERS:
                return self._line(frame)
            if kind == _START:
                return None
            frame = frame.f_back
        return None

    def _line(self, frame: FrameType) -> str:
        """``file:line``, one string for all calls of a line."""
        code, line = frame.f_code, frame.f_lineno
        known = self._lines.get((id(code), line))
        if known is None:
            known = self._lines[id(code), line] = f"{code.co_filename}:{line}"
        return known

    def _kind(self, code: CodeType) -> str:
        known = self._kinds.get(id(code))
        if known is None:
            known = self._kinds[id(code)] = _kind_of(code), code
        return known[0]

    def in_own_function(self) -> bool:
        """Whether the call was made by the forward of an ``autograd.Function``, which brings its own gradient."""
        if self._functions is None:
            self._functions = {id(code): code for code in _forwards_of(torch.autograd.Function)}
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not _CALL_CODE:
            if id(frame.f_code) in self._functions:
                return True
            frame = frame.f_back
        return False


def _forwards_of(kind: Any) -> set[CodeType]:
    """The code of ``forward`` in every class derived from ``kind``."""
    code = getattr(getattr(kind, "forward", None), "__code__", None)
    found = {code} if isinstance(code, CodeType) else set()
    return found.union(*map(_forwards_of, kind.__subclasses__()))
