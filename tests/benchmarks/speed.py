"""What a score costs, as ratios to other ways of reading a model: all in one run, in turns, on one thread.

    python tests/benchmarks/speed.py -o examples/results/speed.md [--rounds 7]

Needs torchinfo, fvcore and torchview besides the test extra. Each model has a process of its own. There every
call is made once to warm up, then all calls are made in turns; a ratio is taken within a turn, and the median over
the turns counts. So a machine that others slow down slows both sides of a ratio, which is why this is not
pytest-benchmark: that finishes the rounds of one function before it starts the next, and compares seconds of
different minutes. Seconds are CPU seconds, so waiting for a core does not count.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = {
    "resnet50": "torchvision",
    "vit_base_patch16_224": "timm",
    "convnext_tiny": "timm",
    "efficientnet_b0": "timm",
}
SIZE = (1, 3, 224, 224)
OURS = "sed_torch.score"
BOTH = "symbolic_trace + meta forward"
RUNS_THE_NETWORK = ("torchinfo (input_size, CPU)", "fvcore flop_count_table (CPU)", "synflow (CPU)")
"""Calls of seconds each: they join the first turns only."""
AIMS: dict[str, dict[str, float]] = {
    BOTH: dict.fromkeys(MODELS, 1.3),
    "torch.fx.symbolic_trace": {"resnet50": 6.0, "vit_base_patch16_224": 6.0},
    "torchinfo (input_size, CPU)": dict.fromkeys(MODELS, 0.8),
    "fvcore flop_count_table (CPU)": dict.fromkeys(MODELS, 0.5),
    "synflow (CPU)": dict.fromkeys(MODELS, 1 / 15),
    "torchview.draw_graph (meta)": {},
    "torch.export (strict=False)": {},
}
"""Rival → model → the ratio of our time to its time that we mean to stay under."""
MEMORY_AIM, IMPORT_AIM = 30.0, 1.3
FORETOLD_AIM = 5.0
"""Milliseconds that the expected accuracy may take on top of a score."""
PACKAGES = ("torch", "torchvision", "timm", "numpy", "torchinfo", "fvcore", "torchview")


def build(name: str) -> Any:
    if MODELS[name] == "torchvision":
        import torchvision

        return torchvision.models.get_model(name).eval()
    import timm

    return timm.create_model(name).eval()


def score(model: Any) -> Any:
    import sed_torch

    return sed_torch.score(model, input_size=SIZE)


def calls(model: Any) -> dict[str, Callable[[], Any]]:
    """Ours and its rivals, on one model; those that take it on ``meta`` get a copy there."""
    import torch
    import torchinfo
    import torchview
    from fvcore.nn import FlopCountAnalysis, flop_count_table

    from sed_torch.proxies import compute

    on_meta = copy.deepcopy(model).to("meta")
    x, x_meta = torch.zeros(SIZE), torch.empty(SIZE, device="meta")

    def both() -> None:
        torch.fx.symbolic_trace(on_meta)
        with torch.no_grad():
            on_meta(x_meta)

    def fvcore() -> Any:
        analysis = FlopCountAnalysis(model, x)
        return flop_count_table(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False))

    return {
        OURS: lambda: score(model),
        BOTH: both,
        "torch.fx.symbolic_trace": lambda: torch.fx.symbolic_trace(on_meta),
        "torchview.draw_graph (meta)": lambda: torchview.draw_graph(
            on_meta, input_data=x_meta, device="meta"
        ),
        "torch.export (strict=False)": lambda: torch.export.export(model, (x,), strict=False),
        "torchinfo (input_size, CPU)": lambda: torchinfo.summary(
            model, input_size=SIZE, verbose=0, device="cpu"
        ),
        "fvcore flop_count_table (CPU)": fvcore,
        # its input is one sample of ones, whatever the batch size
        "synflow (CPU)": lambda: compute(model, ["synflow"], input_size=SIZE, batch_size=2),
    }


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Seconds of each call in each turn, and the memory that a first score takes beyond the model."""
    import torch

    import sed_torch  # noqa: F401  its import is measured elsewhere

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = build(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = seconds(lambda: score(model))
    mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    functions = calls(model)
    for call in functions.values():
        call()
    turns: dict[str, list[float]] = {what: [] for what in functions}
    for i in range(rounds):
        for what, call in functions.items():
            if i < 2 or what not in RUNS_THE_NETWORK:
                turns[what].append(seconds(call))
    return {"first": first, "mb": mb, "turns": turns}


def table(name: str, found: dict[str, Any]) -> list[str]:
    turns: dict[str, list[float]] = found["turns"]
    ours = turns[OURS]
    lines = [
        "",
        f"## {name}",
        "",
        "| call | CPU s, median | ratio, median | ratio, range | aim | met |",
        "|---|---:|---:|---:|---:|---|",
        f"| {OURS} | {statistics.median(ours):.3f} | | | | |",
    ]
    for rival, aims in AIMS.items():
        ratios = [a / b for a, b in zip(ours, turns[rival], strict=False)]
        ratio, aim = statistics.median(ratios), aims.get(name)
        wanted = "| |" if aim is None else f"≤ {aim:.3g} | {'yes' if ratio <= aim else 'no'} |"
        row = f"{statistics.median(turns[rival]):.3f} | {ratio:.3f} | {min(ratios):.3f} to {max(ratios):.3f}"
        lines.append(f"| {rival} | {row} | {wanted}")
    met = "yes" if found["mb"] <= MEMORY_AIM else "no"
    memory = f"{found['mb']:.0f} MB over the built model (aim ≤ {MEMORY_AIM:.0f}, met: {met})"
    return [*lines, "", f"The first score of a process: {found['first']:.3f} CPU s, {memory}."]


def import_time(module: str) -> float:
    """CPU seconds of ``import module`` in a fresh interpreter."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def imports(rounds: int) -> list[str]:
    pairs = [(import_time("sed_torch"), import_time("torch")) for _ in range(rounds)]
    mine, base = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return [
        "",
        "## Import",
        "",
        f"`import sed_torch` {mine:.2f} CPU s, `import torch` {base:.2f} CPU s: ratio {ratio:.2f} "
        f"(aim ≤ {IMPORT_AIM}, met: {'yes' if ratio <= IMPORT_AIM else 'no'}).",
    ]


def foretelling(rounds: int) -> list[str]:
    """What the shipped calibration takes on top of a score: features of the topology, and the prediction."""
    from dataclasses import replace

    from sed_torch.calibration import imagenet

    lines = ["", "## Expected accuracy", "", "| model | features, ms | prediction, ms | aim for both | met |"]
    lines.append("|---|---:|---:|---:|---|")
    for name in MODELS:
        found = score(build(name))
        imagenet().predict(found)
        features, predictions = [], []
        for _ in range(rounds):
            fresh = replace(found)  # nothing of it is kept from before
            features.append(1e3 * seconds(lambda fresh=fresh: fresh.features))
            predictions.append(1e3 * seconds(lambda fresh=fresh: imagenet().predict(fresh)))
        a, b = statistics.median(features), statistics.median(predictions)
        met = "yes" if a + b <= FORETOLD_AIM else "no"
        lines.append(f"| {name} | {a:.2f} | {b:.2f} | ≤ {FORETOLD_AIM:g} | {met} |")
    return lines


def in_process(name: str, rounds: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(rounds: int) -> str:
    import sed_torch

    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    head = [
        "# What a score costs",
        "",
        f"Made by `python tests/benchmarks/speed.py` on {datetime.date.today()}: sed_torch "
        f"{sed_torch.__version__}, {versions}, Python {platform.python_version()}, one thread.",
        "",
        f"CPU seconds, {rounds} turns (2 of the calls that run the network); ratio = {OURS} / rival within a "
        "turn. Models are built and everything is warm.",
    ]
    for name in MODELS:
        head += table(name, in_process(name, rounds))
    return "\n".join([*head, *foretelling(20 * rounds), *imports(min(rounds, 5))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", metavar="MODEL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.rounds)))
        return
    text = report(args.rounds)
    if args.output:
        from sed_torch._files import write_text

        write_text(args.output, text)
    print(text)


if __name__ == "__main__":
    main()
