"""SED316 and SED317: what happens to the batch axis. It is followed by reading the model at two batch sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sed_torch.attributes import Recurrent, Reduce
from sed_torch.batching.doubts import RUNS
from sed_torch.diagnostics.finding import Severity
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.diagnostics.traces import Aligned
from sed_torch.errors import TraceError
from sed_torch.graph import Node
from sed_torch.ops import OPS
from sed_torch.tables import shape_text

Dims = Mapping[str, tuple[int, ...]]


def _size(node: Node, dim: int) -> int:
    return (node.shape or ())[dim] if node.shape is not None else 0


def _keep_batch(subject: Subject, dims: Dims) -> list[Node]:
    """Outputs that have one entry a sample."""
    nodes = [subject.graph[o] for o in subject.graph.outputs]
    return [n for n in nodes if any(_size(n, d) == subject.samples for d in dims[n.name])]


def _dim(node: Node) -> int | None:
    """The dimension that a softmax or the like normalises over; F.softmax without one chooses by the rank."""
    dim, rank = node.facts.get("dim"), len(node.shape or ())
    if "dim" not in node.facts or not rank:
        return None
    if dim is None:
        return 0 if rank in (0, 1, 3) else 1
    return int(dim) % rank if isinstance(dim, int) and not isinstance(dim, bool) else None


def _normalised(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str, bool]]:
    for node in subject.live:
        dim = _dim(node) if node.op in OPS.having("squashes") or node.op == "normalize" else None
        mine = dims[node.name]
        if dim is None or dim not in mine:
            continue
        between = len(mine) > 1 and _size(node, dim) == subject.samples
        # rows of one table that attend to each other may be a set or a graph
        yield (
            node,
            f"{node.op} normalises over the batch axis (dimension {dim})",
            not between or _is_map(subject),
        )


def _is_map(subject: Subject) -> bool:
    """Whether an input has more than one axis besides the batch."""
    return any(len(n.shape or ()) > 2 for n in subject.graph.nodes if n.op == "input")


def _time(node: Node, source: Node) -> int | None:
    """The dimension along which an attention or recurrent layer passes information on."""
    rank = len(source.shape or ())
    if node.op == "multi_head_attention_forward":
        return 0 if rank == 3 else None
    if node.op == "scaled_dot_product_attention":
        return rank - 2 if rank > 2 else None
    time = node.of(Recurrent).time if node.op in OPS.having("recurrent") else None
    return time if rank == 3 else None


def _along(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str, bool]]:
    """Attention and recurrent layers that run along the samples: batch_first was forgotten."""
    kept = _keep_batch(subject, dims)
    sure = _first_is_batch(subject, dims)
    for node in subject.live:
        if not (node.op in OPS.having("attends", "recurrent") and node.inputs):
            continue
        source = subject.graph[node.inputs[0]]
        time = _time(node, source)
        if time is None or dims[source.name] != (time,) or _size(source, time) != subject.samples:
            continue
        rank = len(source.shape or ())
        consumed = any(len(n.shape or ()) < rank for n in kept)
        name = "attends" if node.op in OPS.having("attends") else "runs"
        if kept or sure:
            told = node.of(Recurrent).time == 1 if node.op in OPS.having("recurrent") else False
            why = "the batch is no longer the first axis" if told else "batch_first=True is missing"
            yield node, f"{node.target} {name} along the batch axis: {why}", sure or consumed
        return  # the layers after it do the same


def _first_is_batch(subject: Subject, dims: Dims) -> bool:
    """Whether a layer that can read samples along the first axis alone has read them there."""
    layers = ("conv", "conv_transpose", "batch_norm", *OPS.ruled("pool"))
    return any(n.op in layers and 0 in dims[n.name] for n in subject.live)


def _running(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str, bool]]:
    """Sums, maxima and orders that run along the samples."""
    for node in subject.live:
        dim, mine = node.facts.get("dim"), dims[node.name]
        rank = len(node.shape or ())
        if node.op not in RUNS or not isinstance(dim, int) or rank < 2 or dim % rank not in mine:
            continue
        if len(mine) == 1 and _size(node, dim % rank) == subject.samples:
            text = f"{node.target} runs along the batch axis (dimension {dim % rank})"
            yield node, text, _is_map(subject)


def _averaged_away(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str, bool]]:
    """A mean over the samples where one over another axis was meant: no output has an entry a sample."""
    sure = _first_is_batch(subject, dims)
    for node in subject.live:
        source = subject.graph[node.inputs[0]] if node.inputs else node
        shape = source.shape or ()
        if node.op not in OPS.ruled("reduce") or dims[source.name] != (0,) or dims[node.name]:
            continue
        alone = {d % max(len(shape), 1) for d in node.of(Reduce).dims or ()} == {0}
        if alone and len(shape) > 2 and shape[0] == subject.samples and shape[1] > 1:
            yield (
                node,
                f"{node.target} over the batch axis (dimension 0): no output has an entry a sample",
                sure,
            )
            return


_LOSSES_THAT_BROADCAST = frozenset(["mse_loss", "l1_loss"])


def _tables(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str, bool]]:
    """(N,) with (N, 1) becomes N × N: an entry for each pair of samples."""
    arithmetic = OPS.having("arithmetic")
    for node in subject.live:
        spread = node.op in arithmetic and len(dims[node.name]) > 1
        if not (spread or node.op in _LOSSES_THAT_BROADCAST) or len(node.inputs) != 2:
            continue
        a, b = (subject.graph[i] for i in node.inputs)
        batch = subject.samples
        ones = len(dims[a.name]) == len(dims[b.name]) == 1
        apart = len({len(n.shape or ()) - dims[n.name][0] for n in (a, b)}) == 2 if ones else False
        ranks = len(a.shape or ()) != len(b.shape or ())
        if not (apart and ranks and all(_size(n, dims[n.name][0]) == batch for n in (a, b))):
            continue
        if not _meets_pairs(subject, dims, node):
            shapes = " and ".join(shape_text(_sizes(n, dims)) for n in (a, b))
            yield node, f"{node.op} of {shapes} broadcasts to N×N: each sample with each other", True


def _sizes(node: Node, dims: Dims) -> Iterator[str]:
    """The sizes of a value, N for that of the batch."""
    return ("N" if d in dims[node.name] else str(n) for d, n in enumerate(node.shape or ()))


def _meets_pairs(subject: Subject, dims: Dims, node: Node) -> bool:
    """Whether a table of pairs is put together with another one: distances and similarities that are meant."""
    todo, seen = [node], {node.name}
    while todo:
        value = todo.pop()
        for reader in subject.needed_readers(value):
            others = [subject.graph[i] for i in reader.inputs if i not in seen]
            if any(len(dims[o.name]) > 1 for o in others):
                return True
            if reader.op in OPS.having("elementwise", "activation") and reader.name not in seen:
                seen.add(reader.name)
                todo.append(reader)
    return False


def _statistics(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str, bool]]:
    """A mean, norm or the like over the batch alone that goes back into each sample."""
    one_input = sum(n.op == "input" for n in subject.graph.nodes) == 1
    for node in subject.live:
        source = subject.graph[node.inputs[0]] if node.inputs else node
        if node.op not in OPS.ruled("reduce") or len(dims[source.name]) != 1 or dims[node.name]:
            continue
        at = dims[source.name][0]
        rank = len(source.shape or ())
        alone = {d % rank for d in node.of(Reduce).dims or ()} == {at} and rank > 1
        if alone and _size(source, at) == subject.samples and _goes_back(subject, dims, node):
            text = f"{node.target} over the batch axis (dimension {at}) goes back into each sample"
            yield node, text, one_input or _is_map(subject)
            return  # the others are of the same normalisation


def _goes_back(subject: Subject, dims: Dims, node: Node) -> bool:
    """Whether what was taken over all samples meets the samples again."""
    todo, seen = [node], {node.name}
    while todo:
        for reader in subject.needed_readers(todo.pop()):
            if dims[reader.name]:
                if reader.op in OPS.having("arithmetic"):
                    return True
            elif reader.name not in seen:
                seen.add(reader.name)
                todo.append(reader)
    return False


@rule("SED316", "batch-axis-mixed", "warning")
def batch_axis_mixed(subject: Subject) -> Iterator[Hit]:
    """A sample's output depends on the other samples of its batch, by what looks like a wrong axis.

    The batch axis is found by reading the model at two batch sizes. Looked for: a softmax over it (also
    ``F.softmax`` without ``dim`` on three axes, which takes the first), a mean, deviation or norm over it that goes
    back into each sample, a cumulative sum or a sort along it, an attention or recurrent layer that runs along it
    because ``batch_first`` was forgotten (info where the model may take sequences first on purpose); these only where
    an output still has one entry a sample. Where none has: a mean over the samples of a map, and a recurrent layer
    along them, for sure where a convolution or batch normalisation has read samples along the first axis.
    And ``(N,)`` with ``(N, 1)`` that broadcasts to N × N, also in ``mse_loss`` and the like, unless another table of
    pairs meets it, as in distances and similarities of all pairs.

    Why it matters: shapes fit and the loss falls, and at another batch size the network gives other answers.

    What to do: name the axis that is meant, counted from the end; give ``batch_first=True``; ``squeeze(-1)``.

    Reference: PyTorch documentation of nn.MultiheadAttention and nn.LSTM, ``batch_first``; of nn.functional.softmax,
    ``dim``.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.score = nn.Linear(8, 1)
                self.head = nn.Linear(8, 3)
            def forward(self, x):
                weight = torch.softmax(self.score(x), 0)
                return self.head((weight * x).sum(1))
        model = Net()
        size = (2, 10, 8)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.score = nn.Linear(8, 1)
                self.head = nn.Linear(8, 3)
            def forward(self, x):
                weight = torch.softmax(self.score(x), 1)
                return self.head((weight * x).sum(1))
        model = Net()
        size = (2, 10, 8)
    """
    if subject.traces is None or subject.traces.doubtful is None:
        return
    dims = subject.batch_dims
    if dims is None:
        return
    kept = _keep_batch(subject, dims)
    finders = (_normalised, _along, _statistics, _running, _tables)
    for find in finders if kept else (_along, _averaged_away, _tables):
        for node, message, sure in find(subject, dims):
            yield Hit(
                node.path,
                message,
                "name the axis that is meant, or give batch_first=True",
                {"operator": node.target, "shape": node.shape, "batch": subject.samples},
                node.source,
                None if sure else "info",
            )


def _parts_of_axes(source: Node, rows: int) -> bool:
    """Whether ``rows`` a sample are not whole axes of what is reshaped, but a part of one."""
    whole = 1
    for n in (source.shape or ())[1:]:
        if whole == rows:
            return False
        whole *= n
    return whole != rows


def is_channels(subject: Subject, source: Node) -> bool:
    """Whether dimension 1 of a value holds the channels of a map."""
    value = source
    while value.op in OPS.having("elementwise") and len(subject.data_inputs(value)) == 1:
        value = subject.data_inputs(value)[0]
    return value.op in ("conv", "conv_transpose", "batch_norm", *OPS.ruled("pool", "adaptive_pool"))


def _rows(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str]]:
    """``view(-1, n)`` with an n that does not divide a sample: rows of the output are parts of samples."""
    batch = subject.samples
    outputs = [subject.graph[o] for o in subject.graph.outputs]
    scattered = [n for n in outputs if dims[n.name][:1] == (0,) and _size(n, 0) > batch]
    if not scattered or any(_size(n, 0) == batch and 0 in dims[n.name] for n in outputs):
        return
    for node in subject.live:
        if node.op != "reshape" or dims[node.name][:1] != (0,):
            continue
        source = subject.data_inputs(node)[0] if subject.data_inputs(node) else node
        rows = _size(node, 0) // batch
        if dims[source.name] != (0,) or _size(source, 0) != batch or rows < 2:
            continue
        if _parts_of_axes(source, rows) or is_channels(subject, source):
            yield node, f"{node.target} makes {rows} rows of each sample: the output has {rows}× the batch"
            return


def _lost(subject: Subject, dims: Dims) -> Iterator[tuple[Node, str]]:
    """A reshape to a literal batch size moves the samples into another axis."""
    outputs = [subject.graph[o] for o in subject.graph.outputs]
    if subject.samples < 2 or any(dims[n.name] for n in outputs):
        return
    for node in subject.live:
        inputs = subject.data_inputs(node)
        if node.op != "reshape" or len(inputs) != 1 or dims[inputs[0].name] != (0,):
            continue
        if 0 not in dims[node.name] and _size(node, 0) == subject.samples:
            yield node, f"{node.target} has the batch size {subject.samples} written into it"
            return
    yield from _counted(subject, dims, outputs)


def _counted(subject: Subject, dims: Dims, outputs: list[Node]) -> Iterator[tuple[Node, str]]:
    """Samples that are taken one by one up to a literal number: rows of the output at any batch size."""
    if not all(n.shape is not None and n.shape[:1] == (subject.samples,) for n in outputs):
        return
    for node in subject.live:
        at = node.facts.get("at") if node.op == "select" else node.facts.get("index")
        at = at[0] if isinstance(at, tuple) and at and at[0] != "slice" else at
        source = subject.graph[node.inputs[0]] if node.inputs else node
        if at == subject.samples - 1 and dims[source.name] == (0,) and 0 not in dims[node.name]:
            yield node, f"the forward takes {subject.samples} samples one by one, whatever the batch size is"
            return


def _squeezed(subject: Subject, other: Aligned, dims: Dims) -> Iterator[tuple[Node, str]]:
    """``squeeze()`` takes the batch axis too, where one sample is left."""
    for node in subject.live:
        if node.op != "squeeze" or not node.inputs or not node.target.startswith("squeeze"):
            continue
        source, before = subject.graph[node.inputs[0]], other.shapes.get(node.inputs[0])
        if before is None or source.shape is None or len(before) != len(source.shape):
            continue
        own = [d for d in dims[source.name] if _size(source, d) == subject.samples]
        named = node.facts.get("dim")
        rank = len(before)
        chosen = range(rank) if named is None else [named] if isinstance(named, int) else list(named)
        taken = {d % rank for d in chosen if isinstance(d, int)}
        after = other.shapes.get(node.name)
        if own and set(own) <= taken and after is not None and math.prod(after) > 1:
            yield node, "squeeze() takes the batch axis too where one sample is left"


def _is_square(node: Node, samples: int) -> bool:
    return node.op == "input" and node.shape == (samples, samples)


@rule("SED317", "batch-size-fixed", "warning")
def batch_size_fixed(subject: Subject) -> Iterator[Hit]:
    """The forward works for one batch size, or gives the wrong number of rows.

    The model is read at a second batch size. Looked for: shapes that do not fit there (an error: the last batch of
    an epoch raises), a batch size written into a ``view``, a ``view(-1, n)`` with an n that does not make one row
    a sample, and ``squeeze()`` without a dimension, which drops the batch when one sample is left.

    Why it matters: the last batch of an epoch, and a single sample in use, have another size; a wrong number of
    rows shows as "Expected input batch_size to match target batch_size", or not at all.

    What to do: ``flatten(1)`` or ``view(x.size(0), -1)``, and ``squeeze(-1)`` with the axis that is meant.

    Reference: PyTorch documentation of Tensor.view and torch.squeeze: "if the tensor has a batch dimension of size
    1, then squeeze(input) will also remove the batch dimension".

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.head = nn.Linear(8, 4)
            def forward(self, x):
                return self.head(self.conv(x).mean((2, 3), keepdim=True).squeeze())
        model = Net()
        size = (4, 3, 16, 16)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.head = nn.Linear(8, 4)
            def forward(self, x):
                return self.head(self.conv(x).mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1))
        model = Net()
        size = (4, 3, 16, 16)
    """
    traces = subject.traces
    other = traces.doubtful if traces is not None else None
    if traces is None or other is None:
        return
    if isinstance(other, TraceError):
        if any(_is_square(n, subject.samples) for n in subject.graph.nodes):
            return  # an adjacency matrix: what all inputs begin with are the nodes of a graph
        first = str(other).split("\n", 1)[0]
        yield Hit(
            other.module_path or "",
            f"works at batch size {subject.samples} and not at {traces.batch}: {first}",
            "take the batch size from the input: flatten(1), view(x.size(0), -1)",
            {"works": subject.samples, "fails": traces.batch},
            other.source,
            "error",
        )
        return
    dims = subject.batch_dims or {}
    found: list[tuple[Node, str, Severity | None]] = [
        *((*hit, None) for hit in (*_rows(subject, dims), *_lost(subject, dims))),
        # where what follows brings the axis back, one sample comes out as many do
        *((*hit, "info" if traces.one_sample_works else None) for hit in _squeezed(subject, other, dims)),
    ]
    for node, message, severity in found:
        yield Hit(
            node.path,
            message,
            "name the axis: flatten(1), view(x.size(0), -1), squeeze(-1)",
            {"operator": node.target, "shape": node.shape, "batch": subject.samples},
            node.source,
            severity,
        )
