"""What summary tools show of a network, and where sed-torch shows the same: every row is tried, on both sides.

A row names a fact, how to get it here, and how to get it from a peer. Here, every row has to give a value; where a peer
is installed and both give a number, the two have to be equal.

python examples/features.py -o examples/results/features.md
"""

from __future__ import annotations

import argparse
import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sed_torch
from sed_torch.report import draw

SIZE = (2, 3, 32, 32)
PEERS = ("torchinfo", "fvcore", "torchview", "torchlens", "lightning", "accelerate")


def net() -> nn.Module:
    """Convolutions, a pool, a frozen layer, one that is never called."""
    model = nn.Sequential()
    model.add_module("stem", nn.Conv2d(3, 8, 3, padding=1, bias=False))
    model.add_module("act", nn.ReLU())
    model.add_module("pool", nn.MaxPool2d(2))
    model.add_module("body", nn.Conv2d(8, 16, 3, groups=2, bias=False).requires_grad_(False))
    model.add_module("flat", nn.Flatten())
    model.add_module("head", nn.Linear(16 * 14 * 14, 10, bias=False))
    return model.eval()


@cache
def score() -> Any:
    return sed_torch.score(net(), input_size=SIZE)


@cache
def cost() -> Any:
    return sed_torch.cost(net(), input_size=SIZE, optimizer="adam")


def table() -> Any:
    return score().table("all")


@cache
def torchinfo() -> Any:
    return importlib.import_module("torchinfo").summary(net(), SIZE, verbose=0, depth=5)


def info(layer: str) -> Any:
    return next(x for x in torchinfo().summary_list if x.var_name == layer)


@cache
def flops() -> Any:
    found = importlib.import_module("fvcore.nn").FlopCountAnalysis(net(), torch.zeros(1, *SIZE[1:]))
    return found.unsupported_ops_warnings(False)


@cache
def lightning() -> Any:
    module = importlib.import_module("lightning.pytorch")
    summaries = importlib.import_module("lightning.pytorch.utilities.model_summary")

    class Wrapped(module.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.example_input_array = torch.zeros(SIZE)

        def forward(self, x: Any) -> Any:
            return self.net(x)

    return summaries.ModelSummary(Wrapped(), max_depth=-1)


def fvcore(name: str) -> Any:
    return getattr(importlib.import_module("fvcore.nn"), name)


@cache
def adam_bytes() -> float:
    """Parameters, gradients and Adam's two moments in float32, as accelerate counts them, all trained."""
    sizes = importlib.import_module("accelerate.utils.modeling").compute_module_sizes(net())
    return float(sizes[""])


def half_bytes() -> Any:
    """Parameters in float16, as accelerate counts them."""
    return importlib.import_module("accelerate.utils.modeling").compute_module_sizes(net(), torch.float16)[""]


@dataclass(frozen=True)
class Feature:
    """A fact about a network.

    Attributes:
        name: of the fact.
        call: how to get it here, in words.
        ours: gets it.
        peers: peer → what it calls it.
        theirs: peer → gets it as the same number, where it gives one.
    """

    name: str
    call: str
    ours: Callable[[], Any]
    peers: dict[str, str]
    theirs: dict[str, Callable[[], Any]] = field(default_factory=dict)


FEATURES = (
    Feature(
        *("input and output shapes", 'score.table("input, output")'),
        lambda: (list(table()["body"].input[0]), list(table()["body"].output[0])),
        {"torchinfo": "input_size, output_size", "lightning": "In sizes, Out sizes",
         "torchview": "show_shapes", "torchlens": "shape"},
        {"torchinfo": lambda: (info("body").input_size, info("body").output_size),
         "lightning": lambda: (lightning().in_sizes[4], lightning().out_sizes[4])},
    ),
    Feature(
        *("parameters by module", 'score.table("params, params %")'),
        lambda: table()["body"].params,
        {"torchinfo": "num_params, params_percent", "fvcore": "parameter_count",
         "lightning": "Params", "torchlens": "params"},
        {"torchinfo": lambda: info("body").num_params, "fvcore": lambda: fvcore("parameter_count")(net())["body"],
         "lightning": lambda: lightning().param_nums[4]},
    ),
    Feature(
        *("shapes of parameters", 'score.table("param shapes")'),
        lambda: dict(table()["head"].param_shapes)["weight"],
        {"fvcore": "parameter shapes", "torchlens": "params"},
    ),
    Feature(
        *("trained and frozen parameters", 'score.table("trainable")'),
        lambda: table()[""].trainable,
        {"torchinfo": "trainable", "lightning": "trainable_parameters"},
        {"torchinfo": lambda: torchinfo().trainable_params, "lightning": lambda: lightning().trainable_parameters},
    ),
    Feature(
        *("kernel, stride, groups", 'score.table("kernel, stride, groups")'),
        lambda: list(table()["stem"].kernel[0]),
        {"torchinfo": "kernel_size"},
        {"torchinfo": lambda: info("stem").kernel_size},
    ),
    Feature(
        *("MACs by module", 'score.table("MACs, MACs %")'),
        lambda: table()["body"].macs,
        {"torchinfo": "mult_adds (of a batch)", "fvcore": "by_module", "lightning": "FLOPs"},
        {"torchinfo": lambda: info("body").macs / SIZE[0], "fvcore": lambda: flops().by_module()["body"]},
    ),
    Feature(
        *("MACs in all", "score.macs"),
        lambda: score().macs,
        {"torchinfo": "total_mult_adds (of a batch)", "fvcore": "total",
         "lightning": "total_flops", "torchlens": "flops"},
        {"torchinfo": lambda: torchinfo().total_mult_adds / SIZE[0], "fvcore": lambda: sum(
            v for k, v in flops().by_operator().items() if k in ("conv", "linear"))},
    ),
    Feature(
        *("MACs by operator", "score.by_op()"),
        lambda: next(o.macs for o in score().by_op() if o.op == "conv"),
        {"fvcore": "by_operator", "torchlens": "flops by type"},
        {"fvcore": lambda: flops().by_operator()["conv"]},
    ),
    Feature(
        *("activations by module", 'score.table("activations")'),
        lambda: table()["body"].activations,
        {"fvcore": "ActivationCountAnalysis"},
        {"fvcore": lambda: fvcore("ActivationCountAnalysis")(net(), torch.zeros(1, *SIZE[1:]))
         .unsupported_ops_warnings(False).by_module()["body"]},
    ),
    Feature(
        *("bytes of parameters", 'score.table("bytes")'),
        lambda: table()[""].bytes,
        {"torchinfo": "Params size", "lightning": "model_size", "accelerate": "Total Size"},
        {"torchinfo": lambda: torchinfo().total_param_bytes, "lightning": lambda: lightning().model_size * 1e6,
         "accelerate": adam_bytes},
    ),
    Feature(
        *("bytes of parameters in half precision", 'cost(model, dtype="float16").parameters'),
        lambda: sed_torch.cost(net(), input_size=SIZE, dtype="float16").parameters,
        {"accelerate": "Total Size, float16"},
        {"accelerate": half_bytes},
    ),
    Feature(
        *("bytes of the largest layer", 'max(r.bytes for r in score.table() if r.param_shapes)'),
        lambda: max(r.bytes for r in table() if r.param_shapes),
        {"accelerate": "Largest Layer"},
    ),
    Feature(
        *("bytes of the maps of a forward", 'score.table("memory")'),
        lambda: table()[""].memory,
        {"torchinfo": "Forward/backward pass size", "torchlens": "activation memory"},
    ),
    Feature(
        *("memory of training with Adam", 'cost(model, optimizer="adam").peak'),
        lambda: cost().peak,
        {"accelerate": "Training using Adam"},
    ),
    Feature(
        *("an input of your own", "score(model, input_data=batch)"),
        lambda: sed_torch.score(net(), input_data=torch.zeros(SIZE)).macs,
        {"torchinfo": "input_data", "fvcore": "inputs", "torchview": "input_data", "torchlens": "input_args",
         "lightning": "example_input_array"},
        {"fvcore": lambda: fvcore("FlopCountAnalysis")(net(), torch.zeros(1, *SIZE[1:]))
         .unsupported_ops_warnings(False).total()},
    ),
    Feature(
        *("mode of each module", 'score.table("mode")'),
        lambda: table()["body"].mode,
        {"lightning": "Mode", "torchinfo": "mode"},
    ),
    Feature(
        *("depth of nesting, a tree", "score.table(depth=2, tree=True)"),
        lambda: score().table(depth=1, tree=True).to_text(),
        {"torchinfo": "depth, var_names", "fvcore": "max_depth", "lightning": "max_depth", "torchview": "depth"},
    ),
    Feature(
        *("operators that nothing counts", "score.unknown, score.coverage"),
        lambda: (score().unknown, score().coverage),
        {"fvcore": "unsupported_ops"},
    ),
    Feature(
        *("modules that are never called", 'score.table("called"), check(model)'),
        lambda: [r.module for r in table() if not r.called],
        {"fvcore": "uncalled_modules"},
        {"fvcore": lambda: sorted(flops().uncalled_modules())},
    ),
    Feature(
        *("a drawing, repeats folded", "draw(model).to_svg()"),
        lambda: draw(score()).to_svg()[:4],
        {"torchview": "draw_graph, roll", "torchlens": "draw"},
    ),
    Feature(
        *("the graph, operator by operator", "trace(model).nodes"),
        lambda: len(sed_torch.trace(net(), input_size=SIZE).nodes),
        {"torchview": "edge_list", "torchlens": "trace"},
    ),
    Feature(
        *("rows for programs", "score.table().to_dataframe(), .to_csv(), .to_json()"),
        lambda: score().table().to_csv()[:6],
        {"torchlens": "to_pandas, to_html"},
    ),
)  # fmt: skip


def difference(feature: Feature, peer: str) -> str | None:
    """What is wrong between the two sides, or None where the peer is missing or gives no number."""
    if peer not in feature.theirs or find_spec(peer) is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = feature.ours(), feature.theirs[peer]()
    alike = (
        list(ours) == list(theirs)
        if isinstance(ours, (tuple, list))
        else abs(ours - theirs) <= 1e-6 * abs(ours)
    )
    return None if alike else f"{feature.name}: {ours} here, {theirs} in {peer}"


def page() -> str:
    """The table in Markdown."""
    head = ["# What summary tools show, and how to get it here", ""]
    head += [
        "Made by `python examples/features.py`. Each row was computed; a test compares those in **bold** with the",
        "tool's own number where it is installed. Nothing here runs the model: no data, no weights, no GPU.",
        "",
        f"| fact | sed-torch | {' | '.join(PEERS)} |",
        f"|---|---|{'---|' * len(PEERS)}",
    ]
    for f in FEATURES:
        f.ours()
        cells = [f"**{f.peers[p]}**" if p in f.theirs else f.peers.get(p, "–") for p in PEERS]
        head.append(f"| {f.name} | `{f.call}` | {' | '.join(cells)} |")
    head += [
        "",
        "What they have and a static reader cannot: values of activations (torchlens), operators as they ran in one "
        "real pass (fvcore), models of a hub that are fetched by name (accelerate).",
    ]
    return "\n".join(head) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.output is None:
        print(page())
    else:
        args.output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
