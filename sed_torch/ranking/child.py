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
from typing import IO, Any

from sed_torch.ranking.packing import Packed
from sed_torch.ranking.worker import Item, Options, score_item


def main() -> None:
    """Serve until the parent closes the pipe, or is gone."""
    # What a model prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        request = json.loads(line)
        item, options = _item(request), Options(input_size=request["input_size"], cache=request["cache"])
        _warm_up(item)
        _answer(answers, {"started": True})
        _answer(answers, {"row": score_item(item, options).to_dict()})


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


def _leave_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
