"""The process in which a model is scored when it may have to be stopped: requests on stdin, rows on stdout.

Run by :mod:`sed_torch.ranking.supervise` as ``python -m sed_torch.ranking.child``. One JSON object a line: a
request holds ``name``, and ``ref`` or ``object`` (a module or factory, packed by the parent process);
answers are ``{"started": true}`` when the clock may run, then ``{"row": {…}}``.
"""

from __future__ import annotations

import base64
import faulthandler
import importlib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO, Any

from sed_torch.ranking.packing import Packed
from sed_torch.ranking.worker import Item, Options, score_item

_PATIENCE = float(os.environ.get("SED_TORCH_CHILD_IDLE_S", "60"))


@dataclass
class _Idle:
    """Since when there is nothing to do, on the monotonic clock; None while there is."""

    since: float | None = None


def main() -> None:
    """Serve until the parent closes the pipe, or is gone."""
    # What a model prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    idle = _Idle()
    threading.Thread(target=_watch, args=(os.getppid(), idle), daemon=True).start()
    for line in sys.stdin:
        idle.since = None
        request = json.loads(line)
        item, options = _item(request), Options(input_size=request["input_size"], cache=request["cache"])
        _warm_up(item)
        _answer(answers, {"started": True})
        _answer(answers, {"row": score_item(item, options).to_dict()})
        idle.since = time.monotonic()


def _item(request: dict[str, Any]) -> Item:
    if "ref" in request:
        return Item(request["name"], request["ref"])
    data = request["object"]
    packed = Packed(None if data is None else base64.b64decode(data), request["problem"])
    return Item(request["name"], packed)


def _warm_up(item: Item) -> None:
    """Importing a zoo takes seconds, once; they are not the first model's."""
    if isinstance(item.target, str):
        zoo = item.target.partition(":")[0]
        if zoo in ("timm", "torchvision"):
            try:
                importlib.import_module(zoo)
            except ImportError:
                return  # loading the model will say so


def _answer(answers: IO[str], data: dict[str, Any]) -> None:
    answers.write(json.dumps(data, allow_nan=False) + "\n")
    answers.flush()


def _watch(parent: int, idle: _Idle) -> None:
    """Leave when the parent is gone, and when a parent that lives on (a cluster's worker) asks no more."""
    while os.getppid() == parent:
        time.sleep(0.5)
        since = idle.since
        if since is not None and time.monotonic() - since > _PATIENCE:
            os._exit(0)
    os._exit(1)


if __name__ == "__main__":
    main()
