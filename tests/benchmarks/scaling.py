"""How the cost of a score grows with the network: one fresh process a row, one thread, everything on ``meta``.

    python tests/benchmarks/scaling.py [-o examples/results/scaling.md] [--blocks 100,1000,10000]

Vision transformers of more and more blocks, and a Llama of 70 billion parameters where transformers is installed.
The exponent is that of CPU seconds between one row and the next: 1 is linear.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import math
import platform
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

LIMIT_GB, LIMIT_EXPONENT = 2.0, 1.1
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


def peak_gb() -> float:
    """Most memory this process ever held, libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(what: str) -> dict[str, float]:
    import torch

    import sed_torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    model = build(what)
    built = time.process_time() - start
    sed_torch.score(torch.nn.Linear(2, 2), input_size=(1, 2))  # what the first call loads is not at stake
    inputs = {} if what == "llama" else {"input_size": (1, 3, 32, 32)}
    start = time.process_time()
    graph = sed_torch.trace(model, **inputs)
    traced = time.process_time() - start
    from sed_torch.api import score_graph

    s = score_graph(graph)
    seconds = time.process_time() - start
    return {
        "params": s.params,
        "nodes": len(graph.nodes),
        "built": built,
        "traced": traced,
        "seconds": seconds,
        "gb": peak_gb(),
        "sed": float(s),
        "coverage": s.coverage,
    }


def in_process(what: str) -> dict[str, float]:
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
        "seconds of building on `meta`, of the trace, and of trace and score; peak memory of the whole process. "
        f"Aims: exponent ≤ {LIMIT_EXPONENT} in the number of nodes, memory < {LIMIT_GB:g} GB.",
        "",
        "| network | parameters, M | nodes | build s | trace s | score s | µs a node | exponent | peak GB | SED |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    before: dict[str, float] | None = None
    for n in blocks:
        row = in_process(str(n))
        exponent = ""
        if before is not None:
            growth = math.log(row["seconds"] / before["seconds"]) / math.log(row["nodes"] / before["nodes"])
            exponent = f"{growth:.2f}"
        lines.append(_line(f"ViT, {n} blocks", row, exponent))
        before = row
    if importlib.util.find_spec("transformers") is not None:
        lines.append(_line("Llama 2 70B", in_process("llama"), ""))
    else:
        lines += ["", "Llama 2 70B was skipped: transformers is not installed."]
    return "\n".join(lines) + "\n"


def _line(name: str, row: dict[str, float], exponent: str) -> str:
    return (
        f"| {name} | {row['params'] / 1e6:.1f} | {row['nodes']:.0f} | {row['built']:.1f} | {row['traced']:.2f} "
        f"| {row['seconds']:.2f} | {row['seconds'] / row['nodes'] * 1e6:.0f} | {exponent} | {row['gb']:.2f} "
        f"| {row['sed']:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--blocks", default="100,1000,10000", help="numbers of blocks, separated by commas")
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
