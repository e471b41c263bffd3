"""Hold `sed_torch.cost` against real training steps and real forwards on the CPU.

python examples/cost_truth.py [--timm 150] [--seed 0] [--batch 2] [--amp] [--models cost-truth.csv] [-o cost.md]

Each model is built, costed from its graph, and then really run: a training forward with
``torch.autograd.graph.saved_tensors_hooks`` gives the bytes that autograd keeps (each storage once, parameters and
buffers left out), and a forward without gradients under a ``TorchDispatchMode`` that watches storages come and go gives
the fullest moment of inference. Rows are written as they come; what the file has already is not run again.
Beside them stands what torchinfo says of the same model, where it is installed: its "forward/backward pass size".
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import platform
import random
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sed_torch import tables
from sed_torch.costing import cost
from sed_torch.zoo import load

COLUMNS = (
    *("model", "amp", "batch", "saved", "saved_true", "inference", "inference_true", "torchinfo", "weights"),
    *("seconds", "reason"),
)
MOST_MACS = 12e9
"""Larger models are left out: each is really run on a CPU."""


def storages_in(value: Any) -> Iterator[torch.UntypedStorage]:
    if isinstance(value, Tensor):
        yield value.untyped_storage()
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from storages_in(v)
    elif isinstance(value, dict):
        yield from storages_in(list(value.values()))


def really_kept(model: nn.Module, inputs: Sequence[Tensor], *, amp: bool) -> int:
    """Bytes that autograd keeps in a training forward."""
    own = {s._cdata for s in storages_in([*model.parameters(), *model.buffers()])}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    model.train()
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), cast:
        model(*inputs)
    return sum(t.untyped_storage().nbytes() for t in kept.values())


class Watching(TorchDispatchMode):
    """Sees every storage that an operator returns, and when it is freed."""

    def __init__(self, known: Sequence[torch.UntypedStorage]) -> None:
        super().__init__()
        self.known = {s._cdata for s in known}
        self.live: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for storage in storages_in(result):
            if storage._cdata not in self.known and storage._cdata not in self.live:
                self._came(storage)
        return result

    def _came(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.live[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._went, key)

    def _went(self, key: int) -> None:
        self.now -= self.live.pop(key, 0)


def really_held(model: nn.Module, inputs: Sequence[Tensor], *, amp: bool) -> int:
    """Bytes of activations, inputs included, at the fullest moment of a forward without gradients."""
    model.eval()
    given = list(storages_in(inputs))
    own = list(storages_in([*model.parameters(), *model.buffers()]))
    watching = Watching([*given, *own])
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp, cache_enabled=False)
    with torch.no_grad(), cast, watching:
        model(*inputs)
    return watching.peak + sum(s.nbytes() for s in given)


def torchinfo_says(model: nn.Module, inputs: Sequence[Tensor]) -> int | None:
    """torchinfo's forward/backward pass size in bytes, None where it is not installed or fails."""
    try:
        import torchinfo
    except ModuleNotFoundError:
        return None
    try:
        return int(
            torchinfo.summary(model, input_data=list(inputs), verbose=0, mode="train").total_output_bytes
        )
    except Exception:  # whatever it cannot do is its answer
        return None


def held_against(ref: str, batch: int, amp: bool) -> dict[str, Any]:
    """One row."""
    row: dict[str, Any] = {"model": ref, "amp": amp, "batch": batch}
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = load(ref).model
            found = cost(model, kernels="cpu", amp="bf16" if amp else None, batch_size=batch)
            if found.flops / 2 > MOST_MACS * batch:
                return {**row, "reason": "left out: too large to be run here"}
            if any(p.device.type == "meta" for p in model.parameters()):
                model = model.to_empty(device="cpu")
                for p in model.parameters():
                    nn.init.normal_(p, std=0.02)
                for b in model.buffers():
                    b.zero_() if not b.is_floating_point() else b.fill_(1.0)
            inputs = real_inputs(model, batch)
            row |= {"saved": found.activations, "saved_true": really_kept(model, inputs, amp=amp)}
            row |= {"inference": found.inference_peak - found.parameters - found.buffers}
            row |= {"inference_true": really_held(model, inputs, amp=amp)}
            row |= {"torchinfo": None if amp else torchinfo_says(model, inputs), "weights": found.parameters}
    except Exception as error:
        row["reason"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
    gc.collect()
    return {**row, "seconds": round(time.process_time() - start, 2)}


def real_inputs(model: nn.Module, batch: int) -> list[Tensor]:
    from sed_torch.tracing.inputs import resolve_inputs

    return [
        torch.randn(batch, *t.shape[1:], dtype=t.dtype)
        if t.is_floating_point()
        else torch.ones(batch, *t.shape[1:], dtype=t.dtype)
        for t in resolve_inputs(model).args
    ]


def drawn(timm_models: int, seed: int) -> list[str]:
    """All small classification and segmentation models of torchvision, and some of timm across its families."""
    import timm
    from torchvision import models

    families: dict[str, list[str]] = {}
    for name in timm.list_models(exclude_filters=["*large*", "*huge*", "*giant*", "*gigantic*", "*xlarge*"]):
        module = timm.models.model_entrypoint(name).__module__
        families.setdefault(module, []).append(name)
    rng = random.Random(seed)
    for names in families.values():
        rng.shuffle(names)
    order = [names[i] for i in range(20) for names in families.values() if i < len(names)]
    names = [
        n for n in models.list_models(module=models) if not n.startswith(("regnet_y_128", "vit_h", "vit_l"))
    ]
    names += models.list_models(module=models.segmentation)
    return [*(f"timm:{n}" for n in order[:timm_models]), *(f"torchvision:{n}" for n in names)]


def ratio(row: dict[str, Any], ours: str) -> float | None:
    true = row.get(f"{ours}_true")
    return float(row[ours]) / float(true) if true not in (None, "", "0", 0) else None


def within(rows: Sequence[dict[str, Any]], ours: str, most: float) -> tuple[int, int]:
    """(how many are that near, of how many)."""
    ratios = [r for r in (ratio(row, ours) for row in rows) if r is not None]
    return sum(abs(r - 1) <= most for r in ratios), len(ratios)


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The report."""
    lines = ["# Cost: memory foretold and memory measured", ""]
    lines += [f"`python examples/cost_truth.py`, {datetime.date.today()}, {_versions()}.", ""]
    for amp in ("False", "True"):
        some = [r for r in rows if str(r["amp"]) == amp]
        ran = [r for r in some if not r.get("reason")]
        if not ran:
            continue
        near, of = within(ran, "saved", 0.01)
        held, of_held = within(ran, "inference", 0.05)
        lines += [
            f"## {'autocast bfloat16' if amp == 'True' else 'float32'}",
            "",
            f"- kept for the backward pass: within 1 % of what autograd keeps on {near} of {of} models",
            f"- fullest moment of a forward without gradients: within 5 % on {held} of {of_held}",
        ]
        known = [r for r in ran if r.get("torchinfo") not in (None, "")]
        if known:
            theirs = sorted(float(r["torchinfo"]) / float(r["saved_true"]) for r in known)
            middle = theirs[len(theirs) // 2]
            lines.append(
                f"- torchinfo's forward/backward size is {middle:.2f} of what autograd keeps in the median "
                f"({theirs[0]:.2f} to {theirs[-1]:.2f}, {len(theirs)} models)"
            )
        lines += ["", "Not within these bounds:", "", _far(ran), ""]
        failed = [r for r in some if r.get("reason") and not str(r["reason"]).startswith("left out")]
        if failed:
            lines += ["Not run:", "", tables.to_markdown(failed, ["model", "reason"]), ""]
    return "\n".join(lines)


def _far(rows: Sequence[dict[str, Any]]) -> str:
    far = [
        {"model": r["model"], "saved / true": ratio(r, "saved"), "inference / true": ratio(r, "inference")}
        for r in rows
        if abs((ratio(r, "saved") or 1) - 1) > 0.01 or abs((ratio(r, "inference") or 1) - 1) > 0.05
    ]
    return tables.to_markdown(far, ["model", "saved / true", "inference / true"]) if far else "none"


def _versions() -> str:
    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    names = ("torch", "timm", "torchvision", "torchinfo")
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {of(n)}" for n in names)])


def main(say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--amp", action="store_true", help="under autocast to bfloat16")
    parser.add_argument("--models", type=Path, default=Path("cost-truth.csv"), help="rows, resumed from here")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if given.models.exists():
        with given.models.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(r["model"], r["amp"], r["batch"]) for r in rows}
    with given.models.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for ref in drawn(given.timm, given.seed):
            if (ref, str(given.amp), str(given.batch)) in done:
                continue
            row = held_against(ref, given.batch, given.amp)
            writer.writerow(row)
            file.flush()
            rows.append(
                {k: v if isinstance(v, (int, float)) or v is None else str(v) for k, v in row.items()}
            )
            say(
                f"{ref}: saved {ratio(row, 'saved')}, inference {ratio(row, 'inference')} {row.get('reason', '')}"
            )
    if given.output:
        given.output.write_text(to_markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
