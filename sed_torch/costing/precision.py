"""Which dtype each result has under autocast, by the lists that torch publishes.

Source: "Autocast Op Reference" of torch.amp (CUDA and CPU lists); operators in no list take the widest of their
inputs' dtypes, as torch promotes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS, lookup
from sed_torch.tracing import Autocast

__all__ = ["AMP_DTYPES", "Precision", "autocast", "precision"]

AMP_DTYPES: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16"}
"""Short names of the dtypes that autocast may lower to."""

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_LOWERED = _FLOATS[:3]
"""Of these autocast makes others; float64 stays."""
_LOWERED_RULES = (
    "conv",
    "conv_transpose",
    "linear",
    "matmul",
    "attention",
    "multi_head_attention",
    "recurrent",
)
# Autocast's lists are by spelling. On CUDA these take float32 whatever they are given, and leave float32:
_FULL_ON_CUDA = frozenset(
    [
        *(
            "acos",
            "asin",
            "cosh",
            "sinh",
            "tan",
            "exp",
            "expm1",
            "log",
            "pow",
            "reciprocal",
            "rsqrt",
            "erfinv",
        ),
        *("softplus", "cumprod", "cumsum", "cdist", "cosine_similarity", "renorm", "norm", "prod", "sum"),
        *("softmax", "log_softmax", "softmin", "layer_norm", "rms_norm", "group_norm", "logsumexp"),
        *("cross_entropy", "deform_conv"),
        *("nll_loss", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"),
    ]
)
_FULL_ON_CPU = frozenset(
    [
        *("prod", "quantile", "cdist", "mse_loss", "l1_loss", "kl_div", "binary_cross_entropy", "nll_loss"),
        *(
            "multi_margin_loss",
            "triplet_margin_loss",
            "ctc_loss",
            "grid_sampler",
            "polar",
            "fft",
            "ifft",
            "stft",
        ),
        *("trace", "inverse", "pinverse", "svd", "qr", "eigh", "solve", "det", "local_response_norm"),
        *("avg_pool3d", "adaptive_avg_pool3d", "max_pool3d", "adaptive_max_pool3d", "deform_conv"),
    ]
)
_AS_GIVEN = frozenset(["dot", "outer", "bilinear", "grouped_mm", "_grouped_mm"])
_AS_GIVEN_ON_CPU = frozenset([*_AS_GIVEN, "mv", "addmv"])
"""Products that autocast leaves alone."""


@dataclass(frozen=True)
class Precision:
    """Dtypes of a graph's results, and the copies that autocast makes on the way.

    Attributes:
        dtypes: node name → dtype of its result; under autocast also that of the parts of a tuple.
        casts: node name → its operands that are copied into another dtype for it, with that dtype.
    """

    dtypes: Mapping[str, str]
    casts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def autocast(amp: str, *, device: str) -> Autocast:
    """How a forward is followed under autocast to ``amp`` on a device."""
    return Autocast(amp, partial(_taken_in, amp=amp, device=device))


def _taken_in(spelling: str, *, amp: str, device: str) -> str | None:
    """The dtype that an operator's floating operands are cast to; those written over in place never are."""
    row = lookup(spelling)
    if row is None or (spelling.endswith("_") and not spelling.endswith("__")):
        return None
    names = {row.name, spelling}
    if names & (_FULL_ON_CPU if device == "cpu" else _FULL_ON_CUDA):
        return "float32"
    if names & (_AS_GIVEN_ON_CPU if device == "cpu" else _AS_GIVEN):
        return None
    return amp if row.rule in _LOWERED_RULES or row.name == "prelu" else None


def precision(graph: Graph, *, dtype: str | None = None, amp: str | None = None, device: str) -> Precision:
    """The dtypes of all results.

    Args:
        graph: the traced graph.
        dtype: what floating-point parameters and inputs are converted to first; as traced when None.
        amp: the lower dtype of autocast, or None without autocast.
        device: ``"cuda"`` or ``"cpu"``, whose lists differ.
    """
    if amp is not None and dtype is None and any("taken" in n.facts for n in graph.nodes):
        return _as_followed(graph)
    dtypes: dict[str, str] = {}
    casts: dict[str, Mapping[str, str]] = {}
    for node in graph.nodes:
        converted = dtype if dtype is not None and node.dtype in _FLOATS else node.dtype
        several = node.dtype == "" and any(dtypes[i] in _FLOATS for i in node.inputs)
        if amp is None or not node.inputs or (node.dtype not in _FLOATS and not several):
            dtypes[node.name] = converted
            continue
        wanted = _taken_in(node.target, amp=amp, device=device)
        if wanted is not None:
            copied = {i: wanted for i in node.inputs if dtypes[i] in _FLOATS and dtypes[i] != wanted}
            if copied:
                casts[node.name] = copied
        dtypes[node.name] = wanted or _promoted(node, dtypes, converted)
    return Precision(dtypes, casts)


def _as_followed(graph: Graph) -> Precision:
    """Of a graph that was followed under autocast: its own dtypes."""
    dtypes: dict[str, str] = {}
    casts: dict[str, Mapping[str, str]] = {}
    for node in graph.nodes:
        taken = node.facts.get("taken")
        dtypes[node.name] = node.dtype or (taken if node.shape is None and taken else "")
        copied = {i: taken for i in node.inputs if taken and dtypes[i] in _LOWERED and dtypes[i] != taken}
        if copied:
            casts[node.name] = copied
    return Precision(dtypes, casts)


def _promoted(node: Node, dtypes: Mapping[str, str], traced: str) -> str:
    """The widest floating dtype among the operands that carry data; as traced where none does.

    A norm takes the dtype of its map: its float32 weight does not widen it.
    """
    if node.op in OPS and OPS[node.op].has("normalises"):
        first = dtypes[node.inputs[0]]
        return first if first in _FLOATS else traced
    if node.op in ("to", "float", "half", "bfloat16", "double", "type", "type_as"):
        return traced
    widths = [dtypes[i] for i in node.inputs if dtypes[i] in _FLOATS]
    if not widths:
        return traced
    if {"float16", "bfloat16"} <= set(widths):
        return "float32"
    return max(widths, key=_FLOATS.index)
