"""SED301 and SED318 to SED320: values that cannot be other than they are, and gradients that are zero or not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from sed_torch.attributes import Reduce
from sed_torch.diagnostics.masks import rows_blocked
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS
from sed_torch.tables import shape_text


def _values_a_statistic(subject: Subject, node: Node) -> int | None:
    """Over how many entries a normalisation takes its mean; None where that is not known."""
    shape = node.shape
    if shape is None or not shape:
        return None
    if node.op == "batch_norm":
        return node.numel // max(shape[1], 1) if len(shape) > 1 and subject.is_batch_norm(node) else None
    if node.op == "instance_norm":
        return math.prod(shape[2:]) if len(shape) > 2 else None
    if node.op == "group_norm":
        groups = node.facts.get("groups")
        return math.prod(shape[1:]) // groups if isinstance(groups, int) and groups else None
    if node.op == "normalize":
        dim = node.facts.get("dim")
        return shape[dim] if isinstance(dim, int) and -len(shape) <= dim < len(shape) else None
    if node.op in ("layer_norm", "rms_norm"):
        over = node.facts.get("normalized")
        sizes = over if isinstance(over, tuple) else (over,)
        known = sizes and all(isinstance(n, int) for n in sizes)
        return math.prod(sizes) if known else None
    return None


@rule("SED301", "norm-over-one-value", "warning")
def norm_over_one_value(subject: Subject) -> Iterator[Hit]:
    """A normalisation over a single value.

    Batch normalisation of one sample with one position, ``LayerNorm(1)``, instance normalisation of a 1×1 map,
    group normalisation with one channel a group on one position: the mean is the value itself, the result is the
    shift, whatever comes in. Also ``F.normalize`` over an axis of length one, which leaves the sign, and a value less
    its own mean over one entry.

    Why it matters: nothing before a layer normalisation over one value has an effect or gets a gradient; batch and
    instance normalisation raise "Expected more than 1 value per channel when training". That also happens in the
    last batch of an epoch when one sample is left, so where the batch size was assumed or is one, batch
    normalisation is info: train with more than one sample.

    What to do: normalise over the axis that is meant; train with two samples or more (``drop_last=True``); for
    pooled maps use layer or group normalisation over the channels.

    Reference: torch.nn.functional.batch_norm and instance_norm, which check for it.

    Triggers::

        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1), nn.LayerNorm(1))
        size = (2, 4)
        path = "3"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        size = (2, 3, 32, 32)
    """
    yield from _centred_alone(subject)
    for node in subject.live:
        if _values_a_statistic(subject, node) != 1 or (node.op == "normalize" and _of_batch(subject, node)):
            continue
        batch = node.op == "batch_norm"
        name = node.op.replace("_", " ")
        left = "sign" if node.op == "normalize" else "shift"
        yield Hit(
            node.path,
            f"{name} over one value"
            + (
                f" a channel at batch size {subject.samples}"
                if batch
                else f": its result is its {left} alone"
            ),
            "train with two samples or more (drop_last=True), or use group normalisation here"
            if batch
            else "normalise over the axis that is meant",
            {"values": 1, "batch": subject.samples, "shape": node.shape},
            node.source,
            "info" if batch else None,
        )


def _of_batch(subject: Subject, node: Node) -> bool:
    """Whether the axis that is normalised over is that of the samples."""
    dim, rank = node.facts.get("dim"), len(node.shape or ())
    return isinstance(dim, int) and (
        dim % max(rank, 1) == 0 or dim % rank in (subject.batch_dims or {}).get(node.name, ())
    )


def _centred_alone(subject: Subject) -> Iterator[Hit]:
    """A value less its mean over axes that hold one entry: 0, whatever it is."""
    for node in subject.live:
        if node.op != "sub" or len(node.inputs) != 2:
            continue
        value, mean = (subject.graph[i] for i in node.inputs)
        if mean.op not in OPS.ruled("reduce") or mean.target != "mean" or mean.inputs[:1] != (value.name,):
            continue
        dims, shape = mean.of(Reduce).dims, value.shape or ()
        sizes = [shape[d] for d in dims or () if d % max(len(shape), 1) != 0]
        if value.name in subject.trained and sizes and set(sizes) == {1} and len(sizes) == len(dims or ()):
            yield Hit(
                node.path,
                "a value less its mean over one entry is 0, whatever it is",
                "take the mean over the axis that is meant",
                {"values": 1, "shape": shape},
                node.source,
                None if subject.batch_given else "info",
            )


@rule("SED318", "softmax-over-one", "warning")
def softmax_over_one(subject: Subject) -> Iterator[Hit]:
    """A softmax over an axis of length one is the constant 1.

    Also attention over one key: a sequence of one token, or a vector that was made one.

    Why it matters: nothing before it has an effect or gets a gradient. Usually another axis was meant:
    ``softmax(score, -1)`` of scores (N, L, 1) instead of ``softmax(score, 1)``; or one logit with a softmax where a
    sigmoid belongs. Where the input size was assumed it is info.

    What to do: give the axis that is meant.

    Reference: exp(x)/exp(x) = 1.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.score, self.head = nn.Linear(8, 1), nn.Linear(8, 3)
            def forward(self, x):
                return self.head((torch.softmax(self.score(x), -1) * x).sum(1))
        model = Net()
        size = (2, 10, 8)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.score, self.head = nn.Linear(8, 1), nn.Linear(8, 3)
            def forward(self, x):
                return self.head((torch.softmax(self.score(x), 1) * x).sum(1))
        model = Net()
        size = (2, 10, 8)
    """
    yield from _attention_over_one(subject)
    batch = subject.samples
    for node in subject.live:
        dim, shape = node.facts.get("dim"), node.shape or ()
        if node.op not in ("softmax", "log_softmax", "softmin", "gumbel_softmax") or not shape:
            continue
        if dim is None:
            dim = 0 if len(shape) in (0, 1, 3) else 1
        if not isinstance(dim, int) or shape[dim % len(shape)] != 1:
            continue
        if node.name not in subject.trained or (dim == 0 and batch == 1):
            continue
        if dim % len(shape) in (subject.batch_dims or {}).get(node.name, ()):
            continue
        yield Hit(
            node.path,
            f"{node.op} over an axis of length 1 of {'×'.join(map(str, shape))} is constant",
            "give the axis that is meant, or use a sigmoid for one logit",
            {"shape": shape, "dim": dim},
            node.source,
            None if subject.batch_given else "info",
        )


def _attention_over_one(subject: Subject) -> Iterator[Hit]:
    """Attention that finds a single key."""
    for node in subject.live:
        if node.op not in OPS.having("attends") or len(node.inputs) < 2 or node.name not in subject.trained:
            continue
        key = subject.graph[node.inputs[1]]
        rank = len(key.shape or ())
        stacked = node.op == "multi_head_attention_forward"
        at = (0 if rank == 3 else -1) if stacked else rank - 2
        if key.shape is None or at < 0 or key.shape[at] != 1:
            continue
        dims = subject.batch_dims
        if dims is None or at in dims[key.name]:
            continue
        yield Hit(
            node.path,
            f"{node.target} over one key ({shape_text(key.shape)}): its weight is 1 whatever query and key are",
            "give it the axis of tokens that is meant, or use a linear layer",
            {"shape": key.shape, "dim": at},
            node.source,
            None if subject.batch_given else "info",
        )
        return  # the layers after it read as many


def _is_zero(tensor: Tensor | None) -> bool:
    """Whether all entries are zero; a sample is looked at first."""
    if tensor is None or tensor.device.type == "meta" or not tensor.numel():
        return False
    flat = tensor.detach().reshape(-1)
    return not bool(flat[:: max(1, flat.numel() // 64)].any()) and not bool(flat.any())


_ZERO_STAYS = frozenset(
    [
        "relu",
        "relu6",
        "leaky_relu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "tanh",
        "elu",
        "selu",
        "prelu",
        "softsign",
    ]
)


_SUMS = frozenset(["add", "cat", "stack", "sum", "mean"])


def _zeros(subject: Subject) -> Mapping[str, bool]:
    """Values that are zero for any input with the weights the model holds now → whether training can change it."""
    found: dict[str, bool] = {}
    keeps = (
        _ZERO_STAYS
        | OPS.having("identity")
        | OPS.ruled("reshape", "permute", "slice", "expand", "item", "pool")
    )
    for node in subject.graph.nodes:
        if node.op == "parameter":
            if _is_zero(subject.tensors.get(node.target)):
                found[node.name] = subject.parameters[node.target].trainable
        elif node.op in OPS.having("weighted") and len(node.inputs) > 1:
            factors = [i for i in node.inputs[:2] if i in found]
            shift = all(i in found for i in node.inputs[2:])
            if factors and shift:
                found[node.name] = any(found[i] for i in factors)
        elif node.op in ("mul", *OPS.ruled("matmul")):
            factors = [i for i in node.inputs if i in found]
            if factors:
                found[node.name] = any(found[i] for i in factors)
        elif node.op == "batch_norm":
            if all(i in found for i in node.inputs[-2:]) and subject.graph[node.inputs[-1]].op == "parameter":
                found[node.name] = any(found[i] for i in node.inputs[-2:])
        elif node.op in keeps | _SUMS and node.inputs and all(i in found for i in node.inputs):
            found[node.name] = any(found[i] for i in node.inputs)
    return found


@rule("SED319", "zero-times-zero", "warning")
def zero_times_zero(subject: Subject) -> Iterator[Hit]:
    """Both factors of a product start at zero: neither ever gets a gradient.

    One factor at zero is a good start (the branch begins as nothing and grows); with both, the gradient of each
    is the other, zero. Models on ``meta`` have no values and are passed over.

    Why it matters: the branch stays exactly zero however long one trains.

    What to do: initialise one of the two at random, as LoRA does.

    Reference: d(ab)/da = b. Hu et al. (2021), arXiv 2106.09685, section 4.1.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.base = nn.Linear(4, 4)
                self.a, self.b = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
                nn.init.zeros_(self.a.weight)
                nn.init.zeros_(self.b.weight)
            def forward(self, x):
                return self.base(x) + self.b(self.a(x))
        model = Net()
        size = (2, 4)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.base = nn.Linear(4, 4)
                self.a, self.b = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
                nn.init.zeros_(self.b.weight)
            def forward(self, x):
                return self.base(x) + self.b(self.a(x))
        model = Net()
        size = (2, 4)
    """
    zeros = _zeros(subject)
    for node in subject.live:
        product = node.op in ("mul", *OPS.ruled("matmul"))
        factors = node.inputs[:2] if node.op in OPS.having("weighted") else node.inputs if product else ()
        if len(factors) < 2 or not all(i in zeros for i in factors) or not any(zeros[i] for i in factors):
            continue
        yield Hit(
            node.path,
            f"both factors of {node.target} start at zero: neither gets a gradient, the product stays zero",
            "initialise one of them at random",
            {"factors": tuple(subject.graph[i].path or i for i in factors)},
            node.source,
        )


@rule("SED320", "masked-row", "error")
def masked_row(subject: Subject) -> Iterator[Hit]:
    """An attention mask that blocks all keys of a query.

    Looked for where the mask is a buffer or a constant of the forward's own: filled with -inf, added, or given to
    scaled_dot_product_attention or nn.MultiheadAttention.

    Why it matters: softmax of a row of -inf is NaN, in the forward and in every gradient.

    What to do: let each query see itself (``diagonal=0`` in ``torch.tril``, 1 in ``torch.triu`` of what is
    blocked); check which value means "blocked": True in masked_fill and nn.MultiheadAttention, False in
    scaled_dot_product_attention.

    Reference: exp(-inf)/Σ exp(-inf) = 0/0; PyTorch documentation of nn.MultiheadAttention, ``attn_mask``.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.v = nn.Linear(8, 8), nn.Linear(8, 8)
                self.register_buffer("mask", torch.tril(torch.ones(10, 10), -1).bool())
            def forward(self, x):
                score = self.q(x) @ x.transpose(1, 2)
                return torch.softmax(score.masked_fill(~self.mask, float("-inf")), -1) @ self.v(x)
        model = Net()
        size = (2, 10, 8)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.v = nn.Linear(8, 8), nn.Linear(8, 8)
                self.register_buffer("mask", torch.tril(torch.ones(10, 10)).bool())
            def forward(self, x):
                score = self.q(x) @ x.transpose(1, 2)
                return torch.softmax(score.masked_fill(~self.mask, float("-inf")), -1) @ self.v(x)
        model = Net()
        size = (2, 10, 8)
    """
    for node in subject.live:
        rows = rows_blocked(subject, node)
        if rows:
            yield Hit(
                node.path,
                f"the mask blocks every key of {rows} quer{'ies' if rows > 1 else 'y'}: their softmax is NaN",
                "let each query see at least one key",
                {"rows": rows, "operator": node.target},
                node.source,
            )
