"""Hold `sed_torch.cost` against real training steps and real forwards.

python examples/cost_truth.py [--timm 90] [--seed 0] [--minutes 9] [--rows cost-truth.csv] [--only 'timm:vit*']
                              [-o examples/results/cost.md]
python examples/cost_truth.py --device cuda [--rows cost-truth-cuda.csv] [-o cost-cuda.md]

Each model of `cost_models.py` is built, costed from its graph, and then really run, in float32 and under autocast to
bfloat16, with a small and a larger batch:

- ``torch.autograd.graph.saved_tensors_hooks`` count what autograd keeps for the backward pass (each storage once,
  parameters and buffers left out);
- a ``TorchDispatchMode`` that watches storages come and go gives the fullest moment of a whole training step (forward,
  backward, AdamW) and of a forward without gradients. On a GPU it is ``torch.cuda.max_memory_allocated`` instead, and
  the largest batch is looked for by trying.

Beside them stand torchinfo's "forward/backward pass size" and accelerate's estimate of training, where installed.
Rows are written as they come, and what the file has already is not run again: after ``--minutes`` it stops, and a
second call goes on. With ``--measured OLD.csv`` the measured bytes of its rows are taken and only what is foretold is
made anew.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import fnmatch
import functools
import gc
import platform
import re
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from cost_models import Arguments, Case, cases
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sed_torch import tables
from sed_torch.costing import Cost, cost

COLUMNS = (
    *("model", "amp", "batch", "saved", "saved_true", "inference", "inference_true", "step", "step_true"),
    *("largest", "largest_true", "torchinfo", "accelerate", "weights", "seconds", "reason", "held"),
)
"""``held``: the step that was measured held its outputs to the end, as the one foretold does; "" in older rows."""
BATCHES = (1, 8)
MOST_MACS = 12e9
"""Models that take more a sample are left out on the CPU."""
LEFT_OUT = "left out:"
MiB = 2**20


# -- the truth -------------------------------------------------------------------------------------------------


def storages_in(value: Any) -> Iterator[torch.UntypedStorage]:
    if isinstance(value, Tensor):
        yield value.untyped_storage()
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from storages_in(v)
    elif isinstance(value, dict):
        yield from storages_in(list(value.values()))


def key_of(storage: torch.UntypedStorage) -> int:
    return storage._cdata


class Watching(TorchDispatchMode):
    """Sees every storage that an operator returns, and when it is freed."""

    def __init__(self, known: Sequence[torch.UntypedStorage]) -> None:
        super().__init__()
        self.known = {key_of(s) for s in known}
        self.live: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for storage in storages_in(result):
            if key_of(storage) not in self.known and key_of(storage) not in self.live:
                self._came(storage)
        return result

    def _came(self, storage: torch.UntypedStorage) -> None:
        key, size = key_of(storage), storage.nbytes()
        self.live[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._went, key)

    def _went(self, key: int) -> None:
        self.now -= self.live.pop(key, 0)


@contextmanager
def autocast(device: str, amp: bool) -> Iterator[None]:
    with torch.autocast(device, dtype=torch.bfloat16, enabled=amp):
        yield


def floating(value: Any) -> Iterator[Tensor]:
    """Tensors of an output that a loss can be made of."""
    if isinstance(value, Tensor):
        if value.requires_grad and value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        yield from floating(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from floating(v)


def one_step(model: nn.Module, optimizer: torch.optim.Optimizer, given: Arguments, device: str, amp: bool,
             between: Callable[[], None] = lambda: None) -> None:  # fmt: skip
    """A training step; ``between`` is called after the forward.

    What the forward returned is held until the optimiser is through, as by a caller who still has it by name. The loss
    adds up all outputs, keeps nothing and gives each a gradient of its own, as losses in use do.
    """
    with autocast(device, amp):
        out = model(*given[0], **given[1])
        between()
    outputs = list(floating(out))
    for t in outputs:
        t.register_hook(Tensor.contiguous)  # what a sum gives back is one number for all entries
    torch.autograd.backward([t.sum() for t in outputs])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def adamw(model: nn.Module, *, together: bool = False) -> torch.optim.Optimizer:
    """AdamW whose state is there already, as from the second step on; all parameters ``together``, as on a GPU."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, foreach=together)
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer


def really_trained(model: nn.Module, given: Arguments, amp: bool) -> tuple[int, int]:
    """Bytes that autograd keeps after the forward, and bytes at the fullest moment of the step."""
    model.train()
    optimizer = adamw(model)
    state = [*storages_in(dict(enumerate(optimizer.state.values())))]
    own = [*storages_in([*model.parameters(), *model.buffers()])]
    inputs = list(storages_in(list(given)))
    known = {key_of(s): s.nbytes() for s in (*own, *state, *inputs)}
    ours = {key_of(s) for s in own}
    kept: dict[int, Tensor] = {}
    sums: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if key_of(tensor.untyped_storage()) not in ours:
            kept[key_of(tensor.untyped_storage())] = tensor
        return tensor

    def count() -> None:
        sums.append(sum(t.untyped_storage().nbytes() for t in kept.values()))
        kept.clear()

    watching = Watching([*own, *state, *inputs])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), watching:
        one_step(model, optimizer, given, "cpu", amp, count)
    return sums[0], watching.peak + sum(known.values())


def really_held(model: nn.Module, given: Arguments, amp: bool) -> int:
    """Bytes of activations, inputs included, at the fullest moment of a forward without gradients."""
    model.eval()
    inputs = list(storages_in(list(given)))
    own = list(storages_in([*model.parameters(), *model.buffers()]))
    watching = Watching([*inputs, *own])
    with torch.no_grad(), autocast("cpu", amp), watching:
        model(*given[0], **given[1])
    return watching.peak + sum(s.nbytes() for s in inputs)


# -- the peers -------------------------------------------------------------------------------------------------


def torchinfo_says(model: nn.Module, given: Arguments) -> int | None:
    """torchinfo's forward/backward pass size in bytes, None where it is not installed or fails."""
    try:
        import torchinfo

        data = given[1] or list(given[0])
        return int(torchinfo.summary(model, input_data=data, verbose=0, mode="train").total_output_bytes)
    except Exception:  # whatever it cannot do is its answer
        return None


def accelerate_says(model: nn.Module, amp: bool) -> int | None:
    """accelerate's estimate of the largest part of training with Adam in bytes."""
    try:
        from accelerate.commands.estimate import estimate_training_usage
        from accelerate.utils import calculate_maximum_sizes

        total = int(calculate_maximum_sizes(model)[0])
        return int(max(estimate_training_usage(total, "bfloat16" if amp else "float32").values()))
    except Exception:
        return None


# -- rows ------------------------------------------------------------------------------------------------------


Measured = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""(model, autocast, batch) → a row that was measured before."""

TRUTH = ("saved_true", "inference_true", "step_true", "held", "accelerate", "torchinfo")
"""Columns that do not depend on what is foretold."""


def rows_of(
    case: Case, wanted: Sequence[tuple[bool, int]], measured: Measured = MappingProxyType({})
) -> Iterator[dict[str, Any]]:
    """A row for each (autocast, batch) of one model; what was ``measured`` before is taken from there."""
    try:
        model = case.make()
    except Exception as error:
        yield from ({"model": case.name, "amp": a, "batch": b, "reason": _said(error)} for a, b in wanted)
        return
    for amp, batch in wanted:
        start, row = time.process_time(), {"model": case.name, "amp": amp, "batch": batch}
        try:
            row |= _held_against(model, case, batch, amp, measured.get((case.name, str(amp), str(batch))))
        except Exception as error:
            row["reason"] = _said(error)
        gc.collect()
        yield {**row, "seconds": round(time.process_time() - start, 2)}


def _said(error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else ""
    return re.sub(r"/\S*/site-packages/", "", f"{type(error).__name__}: {first}")[:160]


def _held_against(
    model: nn.Module, case: Case, batch: int, amp: bool, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    given = case.inputs(model, batch)
    model.train()  # many let go here of what they cached in evaluation mode
    found = cost(model, input_data=_as_data(given), kernels="cpu", amp="bf16" if amp else None)
    if found.flops / 2 > MOST_MACS * batch:
        return {"reason": f"{LEFT_OUT} more than {MOST_MACS / 1e9:g} GMACs a sample"}
    row: dict[str, Any] = {"saved": found.activations, "step": found.peak, "weights": found.parameters}
    row["inference"] = found.inference_peak - found.parameters - found.buffers
    if before is not None:
        return {**row, **{name: before.get(name) for name in TRUTH}}
    row["saved_true"], row["step_true"] = really_trained(model, given, amp)
    row["held"] = True
    row["inference_true"] = really_held(model, given, amp)
    if batch == BATCHES[0]:
        row["accelerate"] = accelerate_says(model, amp)
        row["torchinfo"] = None if amp else torchinfo_says(model, given)
    return row


def _as_data(given: Arguments) -> Any:
    return given[1] or given[0]


def rows_on_gpu(case: Case, wanted: Sequence[tuple[bool, int]]) -> Iterator[dict[str, Any]]:
    """A row for each (autocast, batch): the peak of a real step, and the largest batch that ran, by halving."""
    for amp, batch in wanted:
        row: dict[str, Any] = {"model": case.name, "amp": amp, "batch": batch}
        start = time.process_time()
        try:
            model = case.make().to("cuda")
            given = case.inputs(model, batch)
            model.train()  # many let go here of what they cached in evaluation mode
            found = cost(model, input_data=_as_data(given), amp="bf16" if amp else None)
            row |= {
                "step": found.peak,
                "step_true": _cuda_peak(model, given, amp),
                "weights": found.parameters,
            }
            if batch == BATCHES[-1]:
                free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
                row["largest"] = found.largest_batch(free)
                row["largest_true"] = _largest(model, case, found, amp, free)
        except Exception as error:
            row["reason"] = _said(error)
        gc.collect()
        torch.cuda.empty_cache()
        yield {**row, "seconds": round(time.process_time() - start, 2)}


def _cuda_peak(model: nn.Module, given: Arguments, amp: bool) -> int:
    """``torch.cuda.max_memory_allocated`` of the second step."""
    model.train()
    args, kwargs = (torch.utils._pytree.tree_map_only(Tensor, lambda t: t.cuda(), g) for g in given)
    optimizer = adamw(model, together=True)
    one_step(model, optimizer, (args, kwargs), "cuda", amp)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    one_step(model, optimizer, (args, kwargs), "cuda", amp)
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated())


def _largest(model: nn.Module, case: Case, found: Cost, amp: bool, free: int) -> int:
    """The largest batch that runs, looked for around the one foretold, to a hundredth of it."""

    def runs(batch: int) -> bool:
        try:
            _cuda_peak(model, case.inputs(model, batch), amp)
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            model.zero_grad(set_to_none=True)  # of a step that stopped half-way
            gc.collect()
            torch.cuda.empty_cache()
        return True

    low, high = 0, max(2 * found.largest_batch(free), 2)
    while runs(high):
        low, high = high, 2 * high
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if runs(middle) else (low, middle)
    return low


# -- the report ------------------------------------------------------------------------------------------------


def ratio(row: Mapping[str, Any], ours: str, true: str = "") -> float | None:
    found, real = row.get(ours), row.get(true or f"{ours}_true")
    if found in (None, "") or real in (None, "", "0", 0):
        return None
    return float(found) / float(real)


def within(rows: Sequence[Mapping[str, Any]], ours: str, most: float) -> str:
    """How many are that near, of how many."""
    ratios = [r for r in (ratio(row, ours) for row in rows) if r is not None]
    near = sum(abs(r - 1) <= most for r in ratios)
    return f"{near} of {len(ratios)} ({near / len(ratios):.1%})" if ratios else "not run"


def to_markdown(rows: Sequence[Mapping[str, Any]], device: str, listed: Sequence[str]) -> str:
    """The report; ``listed`` are the models that there are to run."""
    command = "python examples/cost_truth.py" + (" --device cuda" if device == "cuda" else "")
    ran = [r for r in rows if not r.get("reason")]
    failed = [r for r in rows if r.get("reason")]
    lines = [
        "# Cost: memory foretold and memory measured",
        "",
        f"`{command}`, {datetime.date.today()}, {_versions(device)}.",
        "",
        _reached(rows, listed),
        "",
        ON_A_GPU if device == "cuda" else " ".join([ON_A_CPU, *_let_go(ran)]),
        "",
        *_summary(ran),
        "",
        *(_largest_batches(ran) if device == "cuda" else _peers(ran)),
        "",
        "" if device == "cuda" else NOT_ON_A_GPU,
        "",
        "## Outside these bounds",
        "",
        _far(ran),
        "",
        "## All models",
        "",
        "Bytes foretold over bytes measured; peers' figures over the measured ones that they are taken for.",
        "",
        _table(ran),
        "",
    ]
    if failed:
        reasons = list({(r["model"], r["reason"]): r for r in failed}.values())
        lines += ["## Not run", "", tables.to_markdown(reasons, ["model", "reason"]), ""]
    return "\n".join(lines)


def _reached(rows: Sequence[Mapping[str, Any]], listed: Sequence[str]) -> str:
    """How many of the models were really run, and why the others were not, in sentences."""
    ran = {r["model"] for r in rows if not r.get("reason")} & set(listed)
    ruled = {r["model"] for r in rows if str(r.get("reason") or "").startswith(LEFT_OUT)} - ran
    tried = {r["model"] for r in rows} & set(listed)
    never = [name for name in listed if name not in tried]
    words = [
        f"Of {len(listed)} models listed, {len(ran)} were really run, in the settings that the tables say, and "
        f"{len(listed) - len(ran)} were not: {len(ruled & tried)} left out by rule in each setting tried, "
        f"{len(tried - ran - ruled)} that could not be built or run as they come (both under “Not run”), and "
        f"{len(never)} not reached: the time given to the run was over before their turn in the list"
        + (f" ({', '.join(never)})." if never else ".")
    ]
    for amp, batch in ((a, b) for a in (False, True) for b in BATCHES):
        done = {r["model"] for r in rows if (str(r["amp"]), str(r["batch"])) == (str(amp), str(batch))}
        short = [name for name in tried if name not in done]
        if short and done:
            setting = f"{'autocast bfloat16' if amp else 'float32'} at batch {batch}"
            words.append(f"For {setting} the time did not reach {len(short)} of the {len(tried)} tried.")
    return " ".join(words)


def _let_go(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the measured step holds, and in how many rows it does not."""
    stepped = [r for r in rows if ratio(r, "step")]
    otherwise = sum(str(r.get("held")) != "True" for r in stepped)
    words = [
        "The step holds its outputs until the optimiser is through, and the loss gives each a gradient map."
    ]
    if otherwise:
        words.append(
            f"In {otherwise} of {len(stepped)} rows the step measured is an older one, which let go of its outputs "
            "before the backward pass and gave them no such map; so did most of the steps foretold beside them."
        )
    return words


def _largest_batches(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The largest batch foretold beside the largest that ran, where it was looked for."""
    found = [
        {
            "model": r["model"],
            "autocast": "bf16" if str(r["amp"]) == "True" else "no",
            "largest batch foretold": r["largest"],
            "that ran": r["largest_true"],
            "foretold over that": ratio(r, "largest"),
        }
        for r in rows
        if r.get("largest_true") not in (None, "")
    ]
    columns = ["model", "autocast", "largest batch foretold", "that ran", "foretold over that"]
    return [tables.to_markdown(found, columns)] if found else []


def _settings(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for amp in ("False", "True"):
        for batch in map(str, BATCHES):
            some = [r for r in rows if str(r["amp"]) == amp and str(r["batch"]) == batch]
            if some:
                yield f"{'autocast bfloat16' if amp == 'True' else 'float32'}, batch {batch}", some


def _summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| setting | saved for backward, 1 % | inference peak, 5 % | peak of a step, 5 % | 10 % |",
        "|---|---|---|---|---|",
    ]
    for words, some in _settings(rows):
        cells = (within(some, "saved", 0.01), within(some, "inference", 0.05), within(some, "step", 0.05))
        lines.append(f"| {words} | {' | '.join(cells)} | {within(some, 'step', 0.1)} |")
    return lines


ON_A_CPU = (
    f"Left out by rule: models above {MOST_MACS / 1e9:g} GMACs a sample. A batch norm of one position cannot be "
    "trained at batch 1."
)
ON_A_GPU = (
    "Measured is `torch.cuda.max_memory_allocated` of a second step. It counts the workspace of cuBLAS (8 MiB, 32 MiB "
    "from Hopper on) and of convolutions, and rounds each allocation up to 512 bytes; what is foretold leaves these "
    "out. The largest batch that ran is looked for by halving, to a hundredth."
)
NOT_ON_A_GPU = (
    "The comparison on a GPU (`--device cuda`: `torch.cuda.max_memory_allocated` of a step, and the largest batch that "
    "runs) has not been run: no GPU was at hand."
)
WHY = {
    "torch:GRU*": "its states are in float32 under autocast, which its readers are not told; what one call holds "
    "inside for a moment of its backward pass is an estimate",
    "torch:*": "what one call holds inside for a moment of its backward pass is an estimate",
    "transformers:bigbird*": "its first forward makes layers anew, which are counted; the one measured is not the "
    "first",
    "transformers:m2m_100": "drops whole layers at random in training: the step measured is another draw",
    "transformers:xlnet": "einsum leaves its result in an order of its own, which the next copies",
    "transformers:gpt_neox": "its output holds the cache of keys and values, to which a gradient is foretold; the step "
    "measured gives them none. A sum hands on its gradient without a copy, which is counted twice",
    "transformers:mamba": "the mode that watches storages makes autograd add gradients up in new maps, where otherwise "
    "it adds them in place",
    "timm:sequencer*": "the work space of an LSTM is an estimate, as of the layer alone",
    "timm:tiny_vit*": "what attention that runs operator by operator holds for a moment of a step is not counted",
    "*rcnn*": "read up to where data choose, and said so",
    "*fcos*": "read up to where data choose, and said so",
    "*retinanet*": "read up to where data choose, and said so",
    "*ssd*": "read up to where data choose, and said so",
}
"""Name, with wildcards, the first that fits → why the count is off."""

PEERS = {
    "sed_torch, saved for backward": ("saved", "saved_true"),
    "torchinfo, forward/backward pass size": ("torchinfo", "saved_true"),
    "sed_torch, peak of a step": ("step", "step_true"),
    "accelerate, training with Adam": ("accelerate", "step_true"),
}


def _peers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Over models in float32, with the smaller batch: median and range of foretold over measured."""
    some = [r for r in rows if str(r["amp"]) == "False" and str(r["batch"]) == str(BATCHES[0])]
    lines = ["| in float32, over the truth | models | least | median | most |", "|---|---:|---:|---:|---:|"]
    for words, pair in PEERS.items():
        found = sorted(r for r in (ratio(row, *pair) for row in some) if r is not None)
        if found:
            low, middle, high = found[0], found[len(found) // 2], found[-1]
            lines.append(f"| {words} | {len(found)} | {low:.3f} | {middle:.3f} | {high:.3f} |")
    return lines


def _far(rows: Sequence[Mapping[str, Any]]) -> str:
    bounds = {"saved": 0.01, "inference": 0.05, "step": 0.1}
    far = [
        {
            "model": r["model"],
            "setting": f"{'bf16' if str(r['amp']) == 'True' else 'fp32'}, {r['batch']}",
            **{k: ratio(r, k) for k, most in bounds.items() if abs((ratio(r, k) or 1) - 1) > most},
            "why": next((why for name, why in WHY.items() if fnmatch.fnmatch(str(r["model"]), name)), "open"),
        }
        for r in rows
        if any(abs((ratio(r, k) or 1) - 1) > most for k, most in bounds.items())
    ]
    return tables.to_markdown(far, ["model", "setting", *bounds, "why"]) if far else "none"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = ["model", "setting", "saved, MiB", "saved", "inference", "step", "torchinfo", "accelerate"]
    shown = []
    for r in sorted(rows, key=lambda r: (str(r["model"]), str(r["amp"]), int(r["batch"]))):
        amp = "bf16" if str(r["amp"]) == "True" else "fp32"
        cells: dict[str, Any] = {"model": r["model"], "setting": f"{amp}, {r['batch']}"}
        if r.get("saved_true") not in (None, ""):
            cells["saved, MiB"] = round(float(r["saved_true"]) / MiB, 1)
        cells |= {k: ratio(r, k) for k in ("saved", "inference", "step")}
        cells |= {
            "torchinfo": ratio(r, "torchinfo", "saved_true"),
            "accelerate": ratio(r, "accelerate", "step_true"),
        }
        shown.append(cells)
    return tables.to_markdown(shown, columns)


def _versions(device: str) -> str:
    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    names = ("torch", "timm", "torchvision", "transformers", "ultralytics", "torchinfo", "accelerate")
    where = [torch.cuda.get_device_name()] if device == "cuda" else []
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {of(n)}" for n in names), *where])


def main(say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm", type=int, default=90, help="how many of timm's networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="stop after so long; a second call goes on"
    )
    parser.add_argument("--rows", type=Path, default=Path("cost-truth.csv"), help="resumed from here")
    parser.add_argument(
        "--measured", type=Path, help="rows whose measured bytes are taken; what is foretold is made anew"
    )
    parser.add_argument("--only", default="*", help="names of models, with wildcards")
    parser.add_argument(
        "--settings", default="fp32:1,bf16:1,fp32:8,bf16:8", help="dtype:batch, in this order"
    )
    parser.add_argument("-o", "--output", type=Path, help="write the report here")
    given = parser.parse_args()
    torch.backends.mha.set_fastpath_enabled(False)  # one kernel, into which nobody can look
    rows = _read(given.rows)
    done = {_key(r) for r in rows}
    settings = [(a == "bf16", int(b)) for a, b in (s.split(":") for s in given.settings.split(","))]
    measured = {_key(r): r for r in _read(given.measured) if r["saved_true"]} if given.measured else {}
    run = rows_on_gpu if given.device == "cuda" else functools.partial(rows_of, measured=measured)
    end = time.monotonic() + 60 * given.minutes
    with given.rows.open("a", encoding="utf-8", newline="") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for case in cases(given.timm, given.seed):
            wanted = [s for s in settings if (case.name, str(s[0]), str(s[1])) not in done]
            if not wanted or not fnmatch.fnmatch(case.name, given.only):
                continue
            if time.monotonic() > end:
                say("stopped: call again to go on")
                break
            for row in run(case, wanted):
                writer.writerow(row)
                file.flush()
                rows.append(row)
                say(_line(row))
    if given.output:
        given.output.write_text(
            to_markdown(rows, given.device, [c.name for c in cases(given.timm, given.seed)]), encoding="utf-8"
        )


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():  # the rows of this run, before its first
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["model"], str(row["amp"]), str(row["batch"])


def _line(row: Mapping[str, Any]) -> str:
    found = "  ".join(
        f"{k} {r:.3f}" for k in ("saved", "inference", "step") if (r := ratio(row, k)) is not None
    )
    setting = f"{'bf16' if row['amp'] else 'fp32'}, {row['batch']}"
    return f"{row['model']} ({setting}): {found} {row.get('reason', '')} [{row.get('seconds', 0)} s]"


if __name__ == "__main__":
    main()
