"""How the cost of a score grows with the network: one fresh process a row, one thread, everything on ``meta``.

    python tests/benchmarks/scaling.py [-o examples/results/scaling.md] [--blocks 3,30,300,3000,10000]

Vision transformers of more and more blocks, and a Llama of 70 billion parameters where transformers is installed.
The exponent is that of CPU seconds in the number of nodes, between one row and the next and fitted to all: 1 is linear.
Seconds are the median of several scores where one takes less than some seconds, in the middle one of five processes up
to 50,000 nodes. The interpreter's garbage collector walks
all that torch loaded whenever enough new objects were made; its share of the seconds is shown.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.util
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

LIMIT_GIB, LIMIT_EXPONENT = 2.0, 1.1
ENOUGH = 3.0  # seconds of scores that a median is taken over
MANY = 50_000  # nodes, from which on one process is enough
LLAMA = {
    # the published configuration of Llama 2 70B
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}


def build(what: str) -> Any:
    import torch

    with torch.device("meta"):
        if what == "llama":
            from transformers import LlamaConfig, LlamaForCausalLM

            return LlamaForCausalLM(LlamaConfig(**LLAMA))
        from timm.models import VisionTransformer

        return VisionTransformer(
            img_size=32, patch_size=8, embed_dim=64, num_heads=4, depth=int(what), weight_init="skip"
        )


def peak_gib() -> float:
    """Most memory this process ever held, libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(what: str) -> dict[str, float]:
    import torch

    import sed_torch
    from sed_torch.scoring.model import score_graph

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    model = build(what)
    built = time.process_time() - start
    sed_torch.score(torch.nn.Linear(2, 2), input_size=(1, 2))  # what the first call loads is not at stake
    inputs = {} if what == "llama" else {"input_size": (1, 3, 32, 32)}
    collector = Collector()
    runs: list[tuple[float, float, float]] = []
    while not runs or sum(seconds for seconds, _, _ in runs) < ENOUGH:
        collector.seconds = 0.0
        start = time.process_time()
        graph = sed_torch.trace(model, **inputs)
        traced = time.process_time() - start
        s = score_graph(graph)
        runs.append((time.process_time() - start, traced, collector.seconds))
    seconds, traced, collected = (statistics.median(column) for column in zip(*runs, strict=True))
    return {
        "params": s.params,
        "nodes": len(graph.nodes),
        "built": built,
        "traced": traced,
        "seconds": seconds,
        "collected": collected,
        "runs": len(runs),
        "gib": peak_gib(),
        "sed": float(s),
        "coverage": s.coverage,
    }


class Collector:
    """CPU seconds that the garbage collector took."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, 0.0
        gc.callbacks.append(self._told)

    def _told(self, phase: str, _: dict[str, int]) -> None:
        now = time.process_time()
        if phase == "stop":
            self.seconds += now - self._since
        self._since = now


def in_process(what: str) -> dict[str, float]:
    """Measured in a process of its own; where that takes seconds, the middle one of five processes."""
    first = _in_one_process(what)
    if first["nodes"] > MANY:
        return first
    rows = [first, *(_in_one_process(what) for _ in range(4))]
    return sorted(rows, key=lambda row: row["seconds"])[2]


def _in_one_process(what: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-2000:]}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def report(blocks: list[int]) -> str:
    import timm
    import torch

    import sed_torch

    lines = [
        "# How the cost of a score grows",
        "",
        f"Made by `python tests/benchmarks/scaling.py` on {datetime.date.today()}: sed_torch {sed_torch.__version__}, "
        f"torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}, one thread. CPU "
        "seconds of building on `meta`, of the trace, of trace and score, and of garbage collection in them (medians "
        "of the runs, middle one of five processes up to 50,000 nodes); peak memory of the whole process, torch and "
        "timm included. "
        f"Aims: exponent ≤ {LIMIT_EXPONENT} in the number of nodes, memory < {LIMIT_GIB:g} GiB.",
        "",
        "| network | parameters, M | nodes | runs | build s | trace s | score s | of it collection | µs a node "
        "| exponent | peak GiB | SED |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows: list[dict[str, float]] = []
    for n in blocks:
        row = in_process(str(n))
        exponent = f"{fitted([rows[-1], row]):.2f}" if rows else ""
        lines.append(_line(f"ViT, {n} blocks", row, exponent))
        rows.append(row)
    if importlib.util.find_spec("transformers") is not None:
        lines.append(_line("Llama 2 70B", in_process("llama"), ""))
    else:
        lines += ["", "Llama 2 70B was skipped: transformers is not installed."]
    if len(rows) > 1:
        lines += ["", f"Fitted to all rows of vision transformers, the exponent is {fitted(rows):.2f}."]
    return "\n".join(lines) + "\n"


def fitted(rows: list[dict[str, float]]) -> float:
    """Slope of ln seconds over ln nodes, by least squares."""
    x, y = ([math.log(row[k]) for row in rows] for k in ("nodes", "seconds"))
    return statistics.linear_regression(x, y).slope


def _line(name: str, row: dict[str, float], exponent: str) -> str:
    return (
        f"| {name} | {row['params'] / 1e6:.1f} | {row['nodes']:.0f} | {row['runs']:.0f} | {row['built']:.1f} "
        f"| {row['traced']:.3g} | {row['seconds']:.3g} | {row['collected']:.2g} "
        f"| {row['seconds'] / row['nodes'] * 1e6:.0f} | {exponent} | {row['gib']:.2f} | {row['sed']:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument(
        "--blocks", default="3,30,300,3000,10000", help="numbers of blocks, separated by commas"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one)))
        return
    text = report([int(n) for n in args.blocks.split(",")])
    if args.output:
        from sed_torch._files import write_text

        write_text(args.output, text)
    print(text)


if __name__ == "__main__":
    main()
