"""Which dtype each result has under autocast, by the lists that torch publishes.

Source: "Autocast Op Reference" of torch.amp (CUDA and CPU lists); operators in no list take the widest of their
inputs' dtypes, as torch promotes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["AMP_DTYPES", "Precision", "precision"]

AMP_DTYPES: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16"}
"""Short names of the dtypes that autocast may lower to."""

_FLOATS = ("float16", "bfloat16", "float32", "float64")
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
        *("acos", "asin", "cosh", "sinh", "tan", "exp", "expm1", "log", "pow", "reciprocal", "rsqrt"),
        *("softplus", "cumprod", "cumsum", "cdist", "cosine_similarity", "renorm", "norm", "prod", "sum"),
        *("softmax", "log_softmax", "softmin", "layer_norm", "group_norm", "logsumexp", "cross_entropy"),
        *("nll_loss", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"),
    ]
)
_FULL_ON_CPU = frozenset(
    ["prod", "quantile", "cdist", "mse_loss", "kl_div", "grid_sampler", "polar", "fft", "ifft"]
)


@dataclass(frozen=True)
class Precision:
    """Dtypes of a graph's results, and the copies that autocast makes on the way.

    Attributes:
        dtypes: node name → dtype of its result; under autocast also that of the parts of a tuple.
        casts: node name → its operands that are copied into another dtype for it, with that dtype.
    """

    dtypes: Mapping[str, str]
    casts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def precision(graph: Graph, *, dtype: str | None = None, amp: str | None = None, device: str) -> Precision:
    """The dtypes of all results.

    Args:
        graph: the traced graph.
        dtype: what floating-point parameters and inputs are converted to first; as traced when None.
        amp: the lower dtype of autocast, or None without autocast.
        device: ``"cuda"`` or ``"cpu"``, whose lists differ.
    """
    dtypes: dict[str, str] = {}
    casts: dict[str, Mapping[str, str]] = {}
    full = _FULL_ON_CPU if device == "cpu" else _FULL_ON_CUDA
    for node in graph.nodes:
        converted = dtype if dtype is not None and node.dtype in _FLOATS else node.dtype
        several = node.dtype == "" and any(dtypes[i] in _FLOATS for i in node.inputs)
        if amp is None or not node.inputs or (node.dtype not in _FLOATS and not several):
            dtypes[node.name] = converted
            continue
        wanted = _wanted(node, amp, full)
        if wanted is not None:
            copied = {i: wanted for i in node.inputs if dtypes[i] in _FLOATS and dtypes[i] != wanted}
            if copied:
                casts[node.name] = copied
        dtypes[node.name] = wanted or _promoted(node, dtypes, converted)
    return Precision(dtypes, casts)


def _wanted(node: Node, amp: str, full: frozenset[str]) -> str | None:
    if node.op in OPS and OPS[node.op].rule in _LOWERED_RULES:
        return amp
    return "float32" if node.op in full else None


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
