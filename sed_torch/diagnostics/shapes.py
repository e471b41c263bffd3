"""SED207 to SED209: reshapes that should permute, directions read by half, overlaps that are uneven."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator

from sed_torch.attributes import Item, Recurrent, Sliding
from sed_torch.diagnostics.batch import is_channels
from sed_torch.diagnostics.heads import heads_instead_of_tokens
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject, common_path
from sed_torch.diagnostics.traces import Aligned
from sed_torch.graph import Node
from sed_torch.ops import OPS
from sed_torch.tables import shape_text

Shape = tuple[int, ...]


def _without_ones(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def _permuted(a: Shape, b: Shape) -> bool:
    """Whether b has the axes of a in another order."""
    a, b = _without_ones(a), _without_ones(b)
    return a != b and sorted(a) == sorted(b)


def _map_as_tokens(a: Shape, b: Shape) -> bool:
    """Whether a (N, C, H, W) is reshaped to (N, H·W, C), or back."""
    if len(a) < len(b):
        a, b = b, a
    if len(b) != 3 or len(a) not in (4, 5) or a[0] != b[0]:
        return False
    positions, channels = math.prod(a[2:]), a[1]
    return positions > 1 < channels and positions != channels and b[1:] == (positions, channels)


def _displaced(a: Shape, b: Shape) -> bool:
    """Whether (N, L, D) is reshaped to (N, heads, L, D / heads), or back: L stays whole and changes its place."""
    if len(a) > len(b):
        a, b = b, a
    if len(a) != 3 or len(b) != 4 or a[0] != b[0] or 1 in (*a[1:], *b[1:]):
        return False
    length, width = a[1:]
    heads, middle, rest = b[1:]
    return middle == length != heads and heads * rest == width


def _splits(a: Shape, b: Shape) -> bool:
    """Whether one shape only splits axes of the other: sizes that happen to be alike say nothing then."""
    a, b = (tuple(itertools.accumulate(_without_ones(s), operator.mul)) for s in (a, b))
    return set(a) <= set(b) or set(b) <= set(a)


def _swaps(a: Shape, b: Shape) -> bool:
    return _permuted(a, b) or _map_as_tokens(a, b) or _displaced(a, b)


def _regrouped(a: Shape, b: Shape) -> bool:
    """Whether whole axes of a, several at a time perhaps, stand in b in another order: (L, N, D) as (N, L·D)."""
    return any(len(x) > 1 < len(y) and _dealt(x, y) for x, y in _segments(_without_ones(a), _without_ones(b)))


def _segments(a: Shape, b: Shape) -> Iterator[tuple[Shape, Shape]]:
    """The shortest runs of axes of both shapes that hold the same entries."""
    i = j = 0
    for end in range(1, len(a) + 1):
        size = math.prod(a[:end])
        at = next((k for k in range(j + 1, len(b) + 1) if math.prod(b[:k]) == size), None)
        if at is not None:
            yield a[i:end], b[j:at]
            i, j = end, at


def _dealt(sizes: Shape, wanted: Shape) -> bool:
    """Whether sizes can be dealt out to groups whose products are the wanted ones."""
    if not wanted:
        return not sizes
    return any(
        math.prod(group) == wanted[0] and _dealt(tuple(rest), wanted[1:])
        for n in range(1, len(sizes) - len(wanted) + 2)
        for chosen in itertools.combinations(range(len(sizes)), n)
        for group, rest in [([sizes[i] for i in chosen], [s for i, s in enumerate(sizes) if i not in chosen])]
    )


def _shares_out_channels(subject: Subject, source: Node, node: Node) -> bool:
    """Whether channels, put last by a permutation, are shared out to anchors: (N, H, W, A · C) as (N, H · W · A, C)."""
    before, after = source.shape or (), node.shape or ()
    inputs = subject.data_inputs(source)
    moved = source.op in OPS.ruled("permute") and len(inputs) == 1 and is_channels(subject, inputs[0])
    last = moved and (inputs[0].shape or ())[1:2] == before[-1:] and len(before) == len(inputs[0].shape or ())
    return last and len(after) == 3 and before[:1] == after[:1] and before[-1] % max(after[-1], 1) == 0


def _may_split(subject: Subject, source: Node, node: Node) -> bool:
    """Whether a reshape may only split or merge axes, as far as its sizes tell, and no map's channels are in it."""
    of_map = is_channels(subject, source) and len(source.shape or ()) > 3
    to_map = any(r.op in ("conv", "conv_transpose", "batch_norm") for r in subject.needed_readers(node))
    if _shares_out_channels(subject, source, node):
        return True
    return (
        _splits(source.shape or (), node.shape or ())
        and not of_map
        and not (to_map and len(node.shape or ()) > 3)
    )


@rule("SED207", "reshape-that-permutes", "warning")
def reshape_that_permutes(subject: Subject) -> Iterator[Hit]:
    """A reshape gives a value the sizes of its own axes in another order.

    ``view`` and ``reshape`` read entries in the order of memory: (N, L, heads, d) viewed as (N, heads, L, d) cuts
    each token into pieces and deals them out to other tokens; (N, L, D) viewed as (N, heads, L, D / heads) does the
    same. Also a map (N, C, H, W) viewed as tokens (N, H·W, C), tokens viewed as a map, and whole axes put together
    in another order, as in the final state (layers, N, D) of an LSTM viewed as (N, layers · D), or (N, T, V, D) viewed
    as (N · V, T, D); these last where the batch could be read at two sizes. Where it could, all hold at both. And
    attention whose (N, L, heads, d) nobody transposed: it runs over the heads of each token.

    Why it matters: shapes fit and the network trains, on features, tokens and samples that are mixed up.

    What to do: ``transpose``, ``permute``, ``flatten(2).transpose(1, 2)``.

    Reference: PyTorch documentation of Tensor.view and Tensor.permute.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 4, stride=4)
                self.head = nn.Linear(8, 2)
            def forward(self, x):
                x = self.conv(x)
                return self.head(x.view(x.size(0), 64, 8))
        model = Net()
        size = (2, 3, 32, 32)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 4, stride=4)
                self.head = nn.Linear(8, 2)
            def forward(self, x):
                return self.head(self.conv(x).flatten(2).transpose(1, 2))
        model = Net()
        size = (2, 3, 32, 32)
    """
    yield from heads_instead_of_tokens(subject)
    found: dict[str | None, list[Node]] = {}
    for node in subject.live:
        inputs = subject.data_inputs(node)
        if node.op != "reshape" or len(inputs) != 1 or node.shape is None or inputs[0].shape is None:
            continue
        if _mixes_axes(subject, inputs[0], node) and not _is_undone(subject, node):
            found.setdefault(node.source, []).append(node)
    for nodes in found.values():
        node = nodes[0]
        before = subject.data_inputs(node)[0].shape or ()
        sizes = " to ".join(shape_text(s) for s in (before, node.shape or ()))
        times = f" ({len(nodes)} times)" if len(nodes) > 1 else ""
        yield Hit(
            node.path,
            f"{node.target} from {sizes} only has the sizes of a permutation: it mixes the axes up{times}",
            "use transpose or permute",
            {"before": before, "after": node.shape, "times": len(nodes)},
            node.source,
        )


def _mixes_axes(subject: Subject, source: Node, node: Node) -> bool:
    """Whether a reshape has the sizes of a permutation, at both batch sizes where there are two."""
    before, after = source.shape or (), node.shape or ()
    regroups = _regrouped(before, after)
    if not (regroups or _swaps(before, after)) or _may_split(subject, source, node):
        return False
    other = subject.traces.other if subject.traces is not None else None
    if not isinstance(other, Aligned):
        return _swaps(before, after)
    a, b = other.shapes.get(source.name), other.shapes.get(node.name)
    return a is not None and b is not None and (_swaps(a, b) or (regroups and _regrouped(a, b)))


def _is_undone(subject: Subject, node: Node) -> bool:
    """Whether nothing but changes of each entry stands between a reshape and one back to the order it had."""
    before = subject.data_inputs(node)[0].shape
    value = node
    for value in subject.forward_alone(node):
        if value.op == "reshape":
            return value.shape == before
        if value.op not in OPS.having("elementwise"):
            return False
    return False


_SAME = frozenset(["dropout", "clone", "contiguous", "to"])


def _read_at(subject: Subject, node: Node) -> list[Node]:
    """Who reads a value, looked at through what leaves it as it is."""
    found: list[Node] = []
    for reader in subject.needed_readers(node):
        passed = reader.op in _SAME or reader.op in OPS.having("activation")
        found += _read_at(subject, reader) if passed else [reader]
    return found


def _index(node: Node) -> tuple[object, ...] | None:
    """The index of x[…] or select as one entry an axis; None where it is another operator."""
    if node.op == "select":
        dim, at = node.facts.get("dim"), node.facts.get("at")
        return (
            (*((("slice", None, None, None),) * int(dim)), at) if isinstance(dim, int) and dim >= 0 else None
        )
    index = node.facts.get("index")
    if node.op != "getitem" or "index" not in node.facts:
        return None
    return index if isinstance(index, tuple) and index[:1] != ("slice",) else (index,)


def _at_one_step(reader: Node, source: Node, time: int) -> int | None:
    """Whether x[…] takes the first (0) or the last step (-1) of every direction: one place in time, all channels."""
    index = _index(reader)
    length = (source.shape or ())[time] if source.shape else 0
    if index is None or len(index) <= time or index[time] not in (0, -1, length - 1) or length < 2:
        return None
    rest = index[time + 1 :]
    whole = all(i in ("...", ("slice", None, None, None)) for i in (*index[:time], *rest))
    if not whole or (reader.shape or (0,))[-1] != (source.shape or (1,))[-1]:
        return None
    return 0 if index[time] == 0 else -1


def _of_one_direction(reader: Node, source: Node) -> str | None:
    """The direction whose channels alone x[…] takes; None where it takes others."""
    index, rank = _index(reader), len(source.shape or ())
    channels = (source.shape or (0,))[-1]
    if index is None or not index or (len(index) < rank and "..." not in index):
        return None
    taken = index[-1]
    if not isinstance(taken, tuple) or taken[:1] != ("slice",) or len(taken) != 4 or taken[3] is not None:
        return None
    bounds = [b + channels if isinstance(b, int) and b < 0 else b for b in taken[1:3]]
    if bounds[0] in (None, 0) and bounds[1] == channels // 2:
        return "forward"
    return "backward" if bounds[0] == channels // 2 and bounds[1] in (None, channels) else None


def _recurrent_items(subject: Subject, node: Node) -> tuple[Node | None, Node | None]:
    items = {r.of(Item).index: r for r in subject.readers.get(node.name, ()) if r.op == "item"}
    return items.get(0), items.get(1)


@rule("SED208", "half-read-direction", "warning")
def half_read_direction(subject: Subject) -> Iterator[Hit]:
    """Of a bidirectional layer only one direction is read as it ends.

    ``output[:, -1]`` holds the forward state after all steps and the backward state after its first one, and
    ``output[:, 0]`` the other way round; ``h[-1]`` is the backward direction of the last layer alone,
    ``output[..., :hidden]`` the forward one.

    Why it matters: half of the layer, and half of its cost, sees one step of the sequence or is not read. Of several
    layers it is the last one: those below hand all their steps on to it.

    What to do: ``torch.cat([h[-2], h[-1]], -1)``, or the mean or maximum over time.

    Reference: PyTorch documentation of nn.LSTM on ``h_n`` of bidirectional layers.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
                self.head = nn.Linear(32, 3)
            def forward(self, x):
                return self.head(self.rnn(x)[0][:, -1])
        model = Net()
        size = (4, 10, 8)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
                self.head = nn.Linear(32, 3)
            def forward(self, x):
                _, (h, _) = self.rnn(x)
                return self.head(torch.cat([h[-2], h[-1]], -1))
        model = Net()
        size = (4, 10, 8)
    """
    for node in subject.live:
        if node.op not in OPS.having("recurrent") or node.facts.get("bidirectional") is not True:
            continue
        output, state = _recurrent_items(subject, node)
        time = node.of(Recurrent).time
        readers = _read_at(subject, output) if output is not None else []
        returned = output is not None and output.name in subject.graph.outputs
        if output is not None and readers and isinstance(time, int) and not returned:
            steps = {_at_one_step(r, output, time) for r in readers}
            last = " of its last layer" if len(node.of(Recurrent).layers) > 2 else ""
            if steps in ({0}, {-1}):
                which = "forward" if steps == {0} else "backward"
                yield _half(
                    node, readers[0], f"the {which} direction{last} is read after its first step only"
                )
            halves = {_of_one_direction(r, output) for r in readers}
            if len(halves) == 1 and None not in halves and not _read_at(subject, state or node):
                other = "backward" if halves == {"forward"} else "forward"
                yield _half(node, readers[0], f"the {other} direction{last} is not read")
            continue
        if state is not None and not readers:
            taken = [_index(r) for r in _read_at(subject, state)]
            directions = (state.shape or (0,))[0]
            places = {i[0] % directions for i in taken if i and isinstance(i[0], int) and directions}
            if (
                taken
                and all(i and isinstance(i[0], int) for i in taken)
                and len({p % 2 for p in places}) == 1
            ):
                yield _half(
                    node, _read_at(subject, state)[0], "the final state of one direction only is read"
                )


def _half(node: Node, reader: Node, what: str) -> Hit:
    return Hit(
        node.path,
        f"{node.op} runs in both directions and {what}",
        "use torch.cat([h[-2], h[-1]], -1), or a mean over time",
        {"hidden": node.of(Recurrent).hidden, "reads": str(_index(reader))},
        reader.source,
    )


@rule("SED209", "uneven-overlap", "warning")
def uneven_overlap(subject: Subject) -> Iterator[Hit]:
    """A transposed convolution whose kernel is no multiple of its stride.

    Positions of the result get contributions from different numbers of taps, in a checkerboard: with a 3×3 kernel
    and stride 2 from 1, 2, 2 and 4.

    Why it matters: the pattern shows in generated images and segmentations; the network must learn to undo it,
    and its gradient has it too.

    What to do: a kernel that is a multiple of the stride (4 for 2), or interpolate and convolve.

    Reference: Odena, Dumoulin, Olah (2016), "Deconvolution and checkerboard artifacts", Distill.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3, stride=2))
        size = (2, 3, 16, 16)
        path = "2"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, stride=2))
        size = (2, 3, 16, 16)
    """
    found = [
        n
        for n in subject.live
        if n.op == "conv_transpose"
        and all(d == 1 for d in n.of(Sliding).dilation)
        and any(k % s for k, s in zip(n.window, n.of(Sliding).stride, strict=True))
    ]
    if not found:
        return
    first = found[0]
    a = first.of(Sliding)
    kernel, stride = (shape_text(sizes) for sizes in (a.window, a.stride))
    count = f", and {len(found) - 1} more" if len(found) > 1 else ""
    yield Hit(
        first.path if len(found) == 1 else common_path([n.path for n in found]),
        f"a {kernel} kernel with stride {stride} overlaps unevenly ({first.path or 'root'}{count}): a checkerboard",
        "use a kernel that is a multiple of the stride, or interpolate and convolve",
        {
            "window": a.window,
            "stride": a.stride,
            "layers": tuple(n.path for n in found),
        },
        subject.assigned(first.path) or first.source,
    )
