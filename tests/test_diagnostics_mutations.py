"""Recall: each defect is planted into real models, and must be found, at the module where it was planted.

A finding counts when the model without the defect does not have it, and its code and path are the expected ones.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sed_torch import trace
from sed_torch.diagnostics import check
from sed_torch.errors import SedTorchError
from sed_torch.graph import Graph, Node
from sed_torch.zoo import load

MODELS = [
    "torchvision:resnet18",
    "torchvision:vgg11_bn",
    "torchvision:mobilenet_v2",
    "torchvision:densenet121",
    "torchvision:googlenet",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:squeezenet1_1",
    "torchvision:efficientnet_b0",
    "torchvision:regnet_y_400mf",
    "torchvision:mnasnet0_5",
    "timm:resnet26d",
    "timm:convnext_atto",
    "timm:mobilenetv3_small_100",
    "timm:poolformer_s12",
]
QUICK = ["torchvision:mobilenet_v2"]

Planted = tuple[nn.Module, str]
"""The model with its defect, and the path where it must be found."""


class Planter:
    """A model, what is known of its graph, and ways to change it.

    Attributes:
        model: built anew for each defect.
        graph: of the model as it was.
        random: seeded by model and defect.
    """

    def __init__(self, model: nn.Module, graph: Graph, seed: str) -> None:
        self.model, self.graph, self.random = copy.deepcopy(model), graph, random.Random(seed)
        self.modules = dict(self.model.named_modules())
        self._replaced: tuple[nn.Module, str, nn.Module] | None = None

    def shuffled(self, items: list[Any]) -> list[Any]:
        return self.random.sample(items, len(items))

    def convs(
        self, wanted: Callable[[Node, nn.Conv2d], bool] = lambda n, m: True
    ) -> list[tuple[Node, nn.Conv2d]]:
        """Convolutions that some output depends on, in a seeded order, each called once."""
        found = []
        for node in self.graph.nodes:
            module = self.modules.get(node.path)
            if (
                node.op == "conv"
                and node.name in self.graph.live
                and type(module) is nn.Conv2d
                and wanted(node, module)
            ):
                found.append((node, module))
        return self.shuffled(found)

    def replace(self, path: str, new: nn.Module) -> nn.Module:
        """Put a module in another's place; the one replaced before comes back."""
        if self._replaced is not None:
            setattr(*self._replaced)
        parent, _, name = path.rpartition(".")
        self._replaced = self.modules[parent], name, self.modules[path]
        setattr(self.modules[parent], name, new)
        return self.model

    def readers(self, node: Node) -> list[Node]:
        return [n for n in self.graph.nodes if node.name in n.inputs]

    def input_of(self, node: Node) -> tuple[int, ...]:
        return self.graph[node.inputs[0]].shape or ()


class Before(nn.Module):
    """Something, then the layer that stood here."""

    def __init__(self, extra: nn.Module, inner: nn.Module) -> None:
        super().__init__()
        self.extra, self.inner = extra, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.extra(x))


class Dropped(Before):
    def forward(self, x: Tensor) -> Tensor:
        self.extra(x)
        return self.inner(x)


class TimesZero(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + 0 * self.extra(x)


class Detached(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.extra(x).detach()


class Itself(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + self.extra(x))


class StaleSkip(Before):
    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.5
        return self.inner(self.extra(x) + x)


class Overwrites(Before):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(self.inner(x))
        y += 1.0
        return y


def _like(conv: nn.Conv2d) -> nn.Conv2d:
    pad: Any = conv.padding
    return nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, pad, conv.dilation, conv.groups
    )  # type: ignore[arg-type]


# -- defects -------------------------------------------------------------------------------------------------


def unused_module(p: Planter) -> Iterator[Planted]:
    for path, module in p.shuffled(list(p.modules.items())):
        if not isinstance(module, (nn.Sequential, nn.ModuleList)) and list(module.children()):
            module.add_module("forgotten", nn.Conv2d(4, 4, 3))
            yield p.model, f"{path}.forgotten".lstrip(".")
            del module.forgotten


def dropped_branch(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, Dropped(_like(conv), conv)), f"{node.path}.extra"


def times_zero(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, TimesZero(_like(conv), conv)), node.path


def detached_branch(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, Detached(_like(conv), conv)), f"{node.path}.extra"


def skip_of_nothing(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, Itself(nn.Identity(), conv)), node.path


def stale_skip(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, StaleSkip(nn.ReLU(inplace=True), conv)), f"{node.path}.extra"


def overwritten(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, Overwrites(nn.Identity(), conv)), node.path


def wrong_stride(p: Planter) -> Iterator[Planted]:
    """A stride larger than the kernel, where the map is read by nobody else."""
    for node, conv in p.convs(
        lambda n, m: len(p.readers(p.graph[n.inputs[0]])) == 1 and min(p.input_of(n)[2:]) > 16
    ):
        old = conv.stride
        conv.stride = (2 * conv.kernel_size[0], 2 * conv.kernel_size[1])
        yield p.model, node.path
        conv.stride = old


def oversized_pool(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: min(p.input_of(n)[2:]) >= 4):
        side = min(p.input_of(node)[2:])
        width = side - 1 + side % 2  # odd, so that padding keeps the size
        pool = nn.AvgPool2d(width, stride=1, padding=width // 2)
        yield p.replace(node.path, Before(pool, conv)), f"{node.path}.extra"


def pool_after_pool(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: min(p.input_of(n)[2:]) >= 4):
        pools = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1))
        yield p.replace(node.path, Before(pools, conv)), f"{node.path}.extra.1"


def degraded_map(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: min(m.kernel_size) > 1 and min(p.input_of(n)[2:]) >= 28):
        pools = nn.Sequential(nn.AvgPool2d(9, 1, 4), nn.AvgPool2d(9, 1, 4))
        yield p.replace(node.path, Before(pools, conv)), f"{node.path}.inner"


ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)


def dropped_activation(p: Planter) -> Iterator[Planted]:
    """An activation module between two mixing layers, nothing else reading on the way."""
    for act in p.shuffled([n for n in p.graph.nodes if n.name in p.graph.live]):
        if not isinstance(p.modules.get(act.path), ACTIVATIONS):
            continue
        if sum(n.path == act.path for n in p.graph.nodes) > 1:
            continue  # shared by several places
        before, after = _mix_before(p, act), _mix_after(p, act)
        if before is not None and after is not None:
            yield p.replace(act.path, nn.Identity()), after.path


def _mix_before(p: Planter, node: Node) -> Node | None:
    while node.inputs:
        node = p.graph[node.inputs[0]]
        if node.op in ("conv", "linear"):
            return node
        if node.op != "batch_norm" or len(p.readers(node)) != 1:
            return None
    return None


def _mix_after(p: Planter, node: Node) -> Node | None:
    for _ in range(8):
        readers = p.readers(node)
        if len(readers) != 1:
            return None
        node = readers[0]
        if node.op in ("conv", "linear"):
            return node
        if node.op not in ("dropout", "flatten", "batch_norm"):
            return None
    return None


def dropout_before_norm(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: [r.op for r in p.readers(n)] == ["batch_norm"]):
        yield p.replace(node.path, Before(nn.Dropout(0.5), conv)), f"{node.path}.extra"


def bias_before_norm(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: [r.op for r in p.readers(n)] == ["batch_norm"] and m.bias is None):
        conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
        yield p.model, node.path
        conv.bias = None


def frozen_middle(p: Planter) -> Iterator[Planted]:
    convs = [n for n in p.graph.nodes if n.op == "conv" and n.name in p.graph.live]
    for node, conv in p.convs(lambda n, m: n not in (convs[0], convs[-1])):
        conv.requires_grad_(False)
        yield p.model, node.path
        conv.requires_grad_(True)


def taps_on_padding(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(
        lambda n, m: min(m.kernel_size) > 1 and set(m.stride) == {1} and type(m.padding) is tuple
    ):
        n = max(p.input_of(node)[2:])
        old = conv.dilation, conv.padding
        conv.dilation = (n, n)
        conv.padding = tuple(n * (k - 1) // 2 for k in conv.kernel_size)
        yield p.model, node.path
        conv.dilation, conv.padding = old


def shared_layer(p: Planter) -> Iterator[Planted]:
    seen: dict[Any, tuple[Node, nn.Conv2d]] = {}
    order = sorted(p.convs(), key=lambda pair: p.graph.index[pair[0].name])
    for node, conv in order:
        key = (conv.weight.shape, conv.stride, conv.padding, conv.groups)
        if key in seen:
            yield p.replace(node.path, seen[key][1]), seen[key][0].path
        seen[key] = (node, conv)


def groups_apart(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: m.in_channels >= 8):
        c = conv.in_channels
        pair = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, groups=c), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1, groups=c)
        )
        yield p.replace(node.path, Before(pair, conv)), f"{node.path}.extra.2"


class Hidden(nn.Module):
    """A layer that nobody registers."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.held = [inner]

    def forward(self, x: Tensor) -> Tensor:
        return self.held[0](x)  # type: ignore[no-any-return]


class WithoutGradient(Before):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.extra(x)
        return self.inner(y)


class AlwaysDrops(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(nn.functional.dropout(x, 0.1))


class OverTheBatch(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * torch.softmax(x, 0))


class ViewedAsTokens(Before):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = torch.tanh(x.reshape(n, h * w, c)).transpose(1, 2)
        return self.inner(y.reshape(n, c, h, w))


def hidden_layer(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, Hidden(conv)), f"{node.path}"


def under_no_grad(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: p.input_of(n)[1] > 3):
        c = p.input_of(node)[1]
        yield p.replace(node.path, WithoutGradient(nn.Conv2d(c, c, 1), conv)), f"{node.path}.extra"


def always_dropping(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, AlwaysDrops(nn.Identity(), conv)), node.path


def over_the_batch(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs():
        yield p.replace(node.path, OverTheBatch(nn.Identity(), conv)), node.path


def viewed_as_tokens(p: Planter) -> Iterator[Planted]:
    for node, conv in p.convs(lambda n, m: p.input_of(n)[1] not in (1, p.input_of(n)[2] * p.input_of(n)[3])):
        yield p.replace(node.path, ViewedAsTokens(nn.Identity(), conv)), node.path


def _norms(p: Planter) -> list[str]:
    found = [n.path for n in p.graph.nodes if type(p.modules.get(n.path)) is nn.BatchNorm2d]
    return p.shuffled(list(dict.fromkeys(found)))


def frozen_norm(p: Planter) -> Iterator[Planted]:
    for path in _norms(p):
        p.modules[path].requires_grad_(False)
        yield p.model, path
        p.modules[path].requires_grad_(True)


def large_eps(p: Planter) -> Iterator[Planted]:
    for path in _norms(p):
        yield p.replace(path, nn.BatchNorm2d(p.modules[path].num_features, 0.8)), path  # type: ignore[arg-type]


def shared_norm(p: Planter) -> Iterator[Planted]:
    seen: dict[Any, str] = {}
    # Behind a sum or a concatenation the rule says nothing, see its page.
    behind = [n for n in p.graph.nodes if n.op == "batch_norm" and p.graph[n.inputs[0]].op == "conv"]
    places = [n.path for n in behind if n.path in p.modules]
    for path in dict.fromkeys(places):
        width = getattr(p.modules[path], "num_features", 0)
        if width in seen and type(p.modules[path]) is nn.BatchNorm2d:
            yield p.replace(path, p.modules[seen[width]]), seen[width]
        seen.setdefault(width, path)


def _insert(
    kind: type[Before], make: Callable[[int], nn.Module], path: str = "", rows: int = 1
) -> Callable[[Planter], Iterator[Planted]]:
    """Plant something for ``channels`` before convolutions of maps of so many rows; it is found at a path below."""

    def plant(p: Planter) -> Iterator[Planted]:
        for node, conv in p.convs(lambda n, m: p.input_of(n)[1] > 3 and p.input_of(n)[2] >= rows):
            yield p.replace(node.path, kind(make(p.input_of(node)[1]), conv)), f"{node.path}{path}"

    return plant


class Pooled(Before):
    """A gate of what a global pool leaves."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * self.extra(x.mean((2, 3)))[:, :, None, None])


class WithLogarithm(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * torch.log(torch.softmax(self.extra(x.mean((2, 3))), 1))[:, :, None, None])


class WithRoot(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * torch.sqrt(torch.relu(self.extra(x.mean((2, 3)))))[:, :, None, None])


class LowRank(Before):
    """A low-rank path beside the layer's input, both of whose factors start at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + self.extra(x.movedim(1, -1)).movedim(-1, 1))


def both_zero(channels: int) -> nn.Module:
    pair = nn.Sequential(
        nn.Linear(channels, 4, bias=False, device="cpu"), nn.Linear(4, channels, bias=False, device="cpu")
    )
    for layer in pair:
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    return pair


class RowsDropped(Before):
    """Stochastic depth by hand, in evaluation mode too."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.9)
        return self.inner(x + self.extra(x.movedim(1, -1)).movedim(-1, 1) * kept / 0.9)


class MadeAParameter(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        gate = nn.Parameter(self.extra(x.mean((2, 3))))
        return self.inner(x * gate[:, :, None, None])


class OverHeads(Before):
    """Attention over the columns of a map whose heads nobody moved."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.mean(2).transpose(1, 2)
        y = self.extra(tokens).unflatten(-1, (2, -1))
        y = torch.nn.functional.scaled_dot_product_attention(y, y, y)
        return self.inner(x + y.reshape(tokens.shape).transpose(1, 2)[:, :, None])


class LogOfRectified(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * torch.log(torch.relu(self.extra(x.mean((2, 3)))))[:, :, None, None])


class OverOne(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * torch.softmax(self.extra(x.mean((2, 3))), 1)[:, :, None, None])


class ForOneBatchSize(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.extra(x).reshape(1, *x.shape[1:]))


class NeverCalled(Before):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Table(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(1, channels, 8, 8))


class AsSequence(Before):
    """The last step of a recurrent layer over the rows of a map, as a gate."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.extra(x.mean(3).transpose(1, 2))[0][:, -1]
        return self.inner(x * y[:, :, None, None])


class Blocked(Before):
    """Attention over the columns of a map, in which no query sees itself or what comes before."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.extra(x.mean(2).transpose(1, 2))
        score = y @ y.mT
        n = score.shape[-1]
        seen = torch.tril(torch.ones(n, n, device="cpu"), -1).bool()
        y = torch.softmax(score.masked_fill(~seen, float("-inf")), -1) @ y
        return self.inner(x + y.transpose(1, 2)[:, :, None])


class Reduced(nn.Sequential):
    """Half as large, and up again by an overlap that is uneven."""

    def __init__(self, channels: int) -> None:
        up = nn.ConvTranspose2d(channels, channels, 3, 2, 1, output_padding=1)
        super().__init__(nn.Conv2d(channels, channels, 2, 2), nn.ReLU(), up)


def ends_in_softmax(p: Planter) -> Iterator[Planted]:
    yield nn.Sequential(p.model, nn.Softmax(-1)), "1"


DEFECTS: dict[str, tuple[str, Callable[[Planter], Iterator[Planted]], dict[str, Any]]] = {
    "unused module": ("SED001", unused_module, {}),
    "dropped branch": ("SED002", dropped_branch, {}),
    "times zero": ("SED003", times_zero, {}),
    "detached branch": ("SED005", detached_branch, {}),
    "degraded map": ("SED101", degraded_map, {}),
    "oversized pool": ("SED102", oversized_pool, {}),
    "pool after pool": ("SED103", pool_after_pool, {}),
    "wrong stride": ("SED104", wrong_stride, {}),
    "taps on padding": ("SED105", taps_on_padding, {}),
    "bias before norm": ("SED201", bias_before_norm, {}),
    "dropped activation": ("SED202", dropped_activation, {}),
    "groups apart": ("SED204", groups_apart, {}),
    "skip of nothing": ("SED205", skip_of_nothing, {}),
    "shared layer": ("SED206", shared_layer, {}),
    "dropout before norm": ("SED302", dropout_before_norm, {}),
    "ends in softmax": ("SED303", ends_in_softmax, {"loss": "CrossEntropyLoss"}),
    "overwritten": ("SED304", overwritten, {}),
    "stale skip": ("SED305", stale_skip, {}),
    "frozen middle": ("SED306", frozen_middle, {}),
    "hidden layer": ("SED007", hidden_layer, {}),
    "under no_grad": ("SED005", under_no_grad, {}),
    "always dropping": ("SED310", always_dropping, {}),
    "over the batch": ("SED316", over_the_batch, {}),
    "viewed as tokens": ("SED207", viewed_as_tokens, {}),
    "frozen norm": ("SED311", frozen_norm, {}),
    "large eps": ("SED313", large_eps, {}),
    "shared norm": ("SED312", shared_norm, {}),
    "norm over one": (
        "SED301",
        _insert(Before, lambda c: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.InstanceNorm2d(c)), ".extra.1"),
        {},
    ),
    "one half at least": (
        "SED315",
        _insert(Pooled, lambda c: nn.Sequential(nn.Linear(c, c), nn.ReLU(), nn.Sigmoid()), ".extra.2"),
        {},
    ),
    "log of softmax": ("SED314", _insert(WithLogarithm, lambda c: nn.Linear(c, c)), {}),
    "root at zero": ("SED321", _insert(WithRoot, lambda c: nn.Linear(c, c)), {}),
    "zero times zero": ("SED319", _insert(LowRank, both_zero, ".extra.1"), {}),
    "rows dropped": ("SED310", _insert(RowsDropped, lambda c: nn.Linear(c, c)), {}),
    "made a parameter": ("SED005", _insert(MadeAParameter, lambda c: nn.Linear(c, c), ".extra"), {}),
    "over heads": ("SED207", _insert(OverHeads, lambda c: nn.Linear(c, c)), {}),
    "log of rectified": ("SED321", _insert(LogOfRectified, lambda c: nn.Linear(c, c)), {}),
    "softmax over one": ("SED318", _insert(OverOne, lambda c: nn.Linear(c, 1)), {}),
    "one batch size": ("SED317", _insert(ForOneBatchSize, lambda c: nn.Identity()), {}),
    "table never called": ("SED008", _insert(NeverCalled, Table, ".extra"), {}),
    "half a direction": (
        "SED208",
        # of one step, which a squeezed map has, both directions have seen all
        _insert(
            AsSequence, lambda c: nn.GRU(c, c // 2, bidirectional=True, batch_first=True), ".extra", rows=2
        ),
        {},
    ),
    "blocked row": ("SED320", _insert(Blocked, lambda c: nn.Linear(c, c)), {}),
    "uneven overlap": ("SED209", _insert(Before, Reduced, ".extra.2"), {}),
}

PLACES = 2
"""Places a model at which each defect is planted."""


@functools.cache
def traced(ref: str) -> tuple[nn.Module, Graph]:
    model = load(ref).model
    return model, trace(model)


def hunt(ref: str, defect: str, places: int = PLACES) -> list[tuple[bool, str]]:
    """For each planted place: whether it was found, and a line for the report."""
    code, plant, options = DEFECTS[defect]
    model, graph = traced(ref)
    # a Sequential around the model has no input size of its own
    size = (
        {"input_size": next(n.shape for n in graph.nodes if n.op == "input")}
        if defect in ("ends in softmax", "hidden layer")
        else {}
    )
    before = {f.key for f in check(model, select=[code], **options).findings}
    outcome: list[tuple[bool, str]] = []
    for place in range(places):
        for planted, path in _planted(plant, Planter(model, graph, f"{ref} {defect} {place}")):
            try:
                report = check(planted, select=[code], **options, **size)
            except SedTorchError:
                continue  # shapes do not fit at this place: try the next one
            found = any(f.path == path and f.key not in before for f in report.findings)
            outcome.append((found, f"{ref} {defect} at {path}: {sorted(f.key for f in report.findings)[:4]}"))
            break
    return outcome


def _planted(plant: Callable[[Planter], Iterator[Planted]], planter: Planter) -> Iterator[Planted]:
    """The first dozen places; what is made for them has no memory, as the model."""
    places = plant(planter)
    for _ in range(12):
        with torch.device("meta"):
            found = next(places, None)
        if found is None:
            return
        yield found


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("ref", QUICK)
def test_a_planted_defect_is_found(ref: str, defect: str) -> None:
    outcome = hunt(ref, defect, places=1)
    assert outcome, f"{ref} offers no place for {defect}"
    missed = [line for found, line in outcome if not found]
    assert not missed, "\n".join(missed)


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_recall(defect: str) -> None:
    outcomes = {ref: hunt(ref, defect) for ref in MODELS}
    planted = [o for found in outcomes.values() for o in found]
    missed = [line for found, line in planted if not found]
    models = sum(bool(found) for found in outcomes.values())
    print(f"{defect}: {len(planted) - len(missed)} of {len(planted)} found, in {models} models")
    assert models >= 10
    assert len(missed) <= 0.05 * len(planted), "\n".join(missed)
