"""What a score costs, as ratios to named rivals: one run, one fresh process a row, one thread.

    python tests/benchmarks/speed.py [-o examples/results/speed.md] [--repeat 5]

Needs torchinfo and fvcore besides the test extra. Each process builds the model, calls once to warm up and then
``repeat`` times; the minimum CPU time counts. Memory is the peak over what the process held before the call.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = {"resnet50": "torchvision", "vit_base_patch16_224": "timm"}
RIVALS = {
    "torch.fx.symbolic_trace": 6.0,
    "torchinfo (input_size, CPU)": 0.8,
    "fvcore flop_count_table": 0.5,
    "synflow (CPU)": 1 / 15,
}
"""Rival → the ratio of our time to its time that we mean to stay under."""
OURS = "sed_torch.score"


def build(name: str) -> Any:
    if MODELS[name] == "torchvision":
        import torchvision

        return torchvision.models.get_model(name)
    import timm

    return timm.create_model(name)


def calls(model: Any) -> dict[str, Callable[[], Any]]:
    import torch

    size = (1, 3, 224, 224)

    def ours() -> Any:
        import sed_torch

        return sed_torch.score(model, input_size=size).to_dict()

    def info() -> Any:
        import torchinfo

        return torchinfo.summary(model, input_size=size, verbose=0, device="cpu")

    def fvcore() -> Any:
        from fvcore.nn import FlopCountAnalysis, flop_count_table

        analysis = FlopCountAnalysis(model, torch.zeros(size))
        return flop_count_table(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False))

    def synflow() -> Any:
        from sed_torch.proxies import compute

        # its input is one sample of ones, whatever the batch size
        return compute(model, ["synflow"], input_size=size, batch_size=2)

    functions = (lambda: torch.fx.symbolic_trace(model), info, fvcore, synflow)
    return {OURS: ours, **dict(zip(RIVALS, functions, strict=True))}


def measure(name: str, what: str, repeat: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = build(name).eval()
    call = calls(model)[what]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    call()
    first = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return {"first": first, "warm": min(times), "mb": peak / 1024}


def import_time(module: str) -> float:
    """Seconds of ``import module`` in a fresh interpreter, the best of five."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return min(float(r.stdout) for r in runs)


def in_process(name: str, what: str, repeat: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, what, "--repeat", str(repeat)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} on {name} failed:\n{done.stderr[-2000:]}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def report(repeat: int) -> str:
    import numpy
    import torch

    import sed_torch

    lines = [
        "# What a score costs",
        "",
        f"Made by `python tests/benchmarks/speed.py` on {datetime.date.today()}: sed_torch {sed_torch.__version__}, "
        f"torch {torch.__version__}, numpy {numpy.__version__}, Python {platform.python_version()}, one thread. "
        "CPU seconds of the warm call (minimum) and of the first; ratio = sed_torch.score / rival, warm.",
    ]
    for name in MODELS:
        ours = in_process(name, OURS, repeat)
        lines += [
            "",
            f"## {name}",
            "",
            "| call | first s | warm s | extra MB | ratio | aim |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines.append(f"| {OURS} | {ours['first']:.3f} | {ours['warm']:.3f} | {ours['mb']:.0f} | | |")
        for rival, aim in RIVALS.items():
            row = in_process(name, rival, repeat)
            ratio = ours["warm"] / row["warm"]
            lines.append(
                f"| {rival} | {row['first']:.3f} | {row['warm']:.3f} | {row['mb']:.0f} | {ratio:.3f} | ≤ {aim:.3g} |"
            )
    base, mine = import_time("torch"), import_time("sed_torch")
    lines += [
        "",
        f"`import torch` {base:.2f} s, `import sed_torch` {mine:.2f} s: ratio {mine / base:.2f} (aim ≤ 1.3).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "CALL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one, args.repeat)))
        return
    text = report(args.repeat)
    if args.output:
        from sed_torch._files import write_text

        write_text(args.output, text)
    print(text)


if __name__ == "__main__":
    main()
