"""SED310 to SED313: what training and evaluation mode do, and what a batch normalisation is given."""

from __future__ import annotations

from collections.abc import Iterator

from torch.nn.modules.batchnorm import _BatchNorm

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject, common_path
from sed_torch.graph import Node
from sed_torch.ops import OPS

LARGE_EPS = 0.1
"""From here on an eps is no guard against division by zero but a change of what is computed."""

LARGE_MOMENTUM = 0.9
"""Running statistics with this share of the newest batch are those of the last batch."""


@rule("SED310", "dropout-always-on", "warning")
def dropout_always_on(subject: Subject) -> Iterator[Hit]:
    """Dropout that evaluation mode does not turn off.

    ``F.dropout(x, p)`` is on unless ``training=self.training`` is given, a dropout layer that the forward makes
    is always in training mode, and ``scaled_dot_product_attention(dropout_p=…)`` knows no mode at all. A product with
    random zeros and ones that is divided by the share kept is dropout, or stochastic depth, by hand.

    Why it matters: predictions are random and worse than the network can give; validation understates it.

    What to do: give ``training=self.training``, or register an ``nn.Dropout`` in ``__init__``. For Monte Carlo
    dropout, where it is meant: nothing.

    Reference: PyTorch documentation of nn.functional.dropout, ``training``, and of
    scaled_dot_product_attention, ``dropout_p``.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(4, 4)
            def forward(self, x):
                return nn.functional.dropout(self.a(x), 0.5)
        model = Net()
        size = (2, 4)

    Near miss::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(4, 4)
            def forward(self, x):
                return nn.functional.dropout(self.a(x), 0.5, training=self.training)
        model = Net()
        size = (2, 4)
    """
    if subject.graph.frontend == "export":
        return
    found: dict[tuple[str, str | None, str], list[Node]] = {}
    for node in subject.live:
        rate = node.facts.get("p")
        on = node.facts.get("training", node.op == "scaled_dot_product_attention")
        known = OPS.get(node.op)
        drops = known is not None and (known.has("attends", "recurrent") or node.op == "dropout")
        if drops and on is True and isinstance(rate, (int, float)) and 0.0 < rate <= 1.0:
            found.setdefault((node.path, node.source, node.target), []).append(node)
    for nodes in found.values():
        node, rate = nodes[0], nodes[0].facts["p"]
        times = f" ({len(nodes)} times)" if len(nodes) > 1 else ""
        yield Hit(
            node.path,
            f"dropout of {rate:g} in {node.target} stays on in evaluation mode{times}",
            "give training=self.training, or register an nn.Dropout"
            if node.op == "dropout"
            else "give 0.0 unless self.training",
            {"p": rate, "operator": node.target, "times": len(nodes)},
            node.source,
        )

    yield from _dropped_by_hand(subject)


_OF_MASKS = frozenset(["eq", "float", "to", "floor", "add", "div", "mul", "type_as", "logical_not"])


def _is_random_mask(subject: Subject, node: Node) -> tuple[bool, bool]:
    """Whether a value is a mask of random zeros and ones, or one multiple of them; and whether it is scaled."""
    scaled = False
    while node.op in _OF_MASKS or node.op in OPS.ruled("expand", "reshape"):
        if len(node.inputs) != 1:
            return False, False
        scaled |= _scales_up(node)
        tells = node.op in ("eq", "floor")
        node = subject.graph[node.inputs[0]]
        if tells and (node.op in ("add", "constant") or node.op in OPS.having("random")):
            return _is_drawn(subject, node), scaled
    return node.target.startswith("bernoulli") and node.name not in subject.reached, scaled


def _is_drawn(subject: Subject, node: Node) -> bool:
    while node.op == "add" and len(node.inputs) == 1:
        node = subject.graph[node.inputs[0]]
    return bool(node.facts.get("drawn")) or node.op in OPS.having("random")


def _scales_up(node: Node) -> bool:
    """Whether a call divides by a share that is kept, or multiplies by its inverse."""
    scalar = node.facts.get("scalar")
    if not isinstance(scalar, (int, float)) or len(node.inputs) != 1:
        return False
    return (node.op == "div" and 0.0 < scalar < 1.0) or (node.op == "mul" and scalar > 1.0)


def _dropped_by_hand(subject: Subject) -> Iterator[Hit]:
    """A product with random zeros and ones that is scaled for what is kept, as dropout and stochastic depth are."""
    found: dict[tuple[str, str | None], Node] = {}
    for node in subject.live:
        inputs = [subject.graph[i] for i in node.inputs]
        data = [i for i in inputs if i.name in subject.reached]
        if node.op != "mul" or len(inputs) != 2 or len(data) != 1:
            continue
        mask, scaled = _is_random_mask(subject, next(i for i in inputs if i is not data[0]))
        after = subject.needed_readers(node)
        scaled = scaled or _scales_up(data[0]) or (len(after) == 1 and _scales_up(after[0]))
        if mask and scaled:
            found.setdefault((node.path, node.source), node)
    for node in found.values():
        yield Hit(
            node.path,
            "a product with random zeros and ones, scaled as dropout is, stays on in evaluation mode",
            "leave it out unless self.training",
            {"operator": node.target},
            node.source,
        )


def _norm(subject: Subject, node: Node) -> _BatchNorm | None:
    module = subject.module_at(node)
    return module if node.op == "batch_norm" and isinstance(module, _BatchNorm) else None


@rule("SED311", "frozen-norm-updates", "warning")
def frozen_norm_updates(subject: Subject) -> Iterator[Hit]:
    """A batch normalisation whose parameters are frozen still normalises by the batch and updates its statistics.

    ``requires_grad_(False)`` stops the gradient, not the running mean and variance: after ``model.train()`` the
    "frozen" backbone changes with every batch.

    Why it matters: features drift away from what the frozen layers were trained for, and the evaluated network is
    not the one that was trained.

    What to do: override ``train()`` so that frozen parts stay in ``eval()``, or use a frozen batch
    normalisation. Calling ``eval()`` once does not last: ``model.train()`` undoes it.

    Reference: PyTorch documentation of nn.BatchNorm2d, ``track_running_stats``.

    Triggers::

        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
        )
        model[0].requires_grad_(False)
        model[1].requires_grad_(False)
        size = (2, 3, 32, 32)

    Near miss (the frozen part stays in evaluation mode)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
                self.body.requires_grad_(False)
                self.head = nn.Conv2d(8, 4, 3)
            def forward(self, x):
                return self.head(self.body(x))
            def train(self, mode=True):
                super().train(mode)
                self.body.eval()
                return self
        model = Net()
        size = (2, 3, 32, 32)
    """
    if not _some_frozen(subject) or subject.in_modes is None:
        return
    found: dict[str, Node] = {}
    for node in subject.in_modes.live:
        module = _norm(subject, node)
        if module is None or node.facts.get("training") is not True or not module.track_running_stats:
            continue
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            found.setdefault(node.path, node)
    if found:
        nodes = list(found.values())
        yield Hit(
            common_path(list(found)),
            f"{len(found)} batch normalisation{'s' if len(found) > 1 else ''} with frozen parameters "
            f"still update{'' if len(found) > 1 else 's'} running statistics in training mode",
            "keep frozen parts in eval() by overriding train()",
            {"layers": tuple(found)},
            nodes[0].source,
        )


def _some_frozen(subject: Subject) -> bool:
    """Whether there is a frozen batch normalisation beside trainable parameters."""
    frozen = any(
        isinstance(m, _BatchNorm) and m.weight is not None and not m.weight.requires_grad
        for m in subject.modules.values()
    )
    return frozen and any(p.trainable for p in subject.graph.parameters)


def _before(subject: Subject, node: Node) -> frozenset[str]:
    """The weights of the layers whose results a normalisation reads, through sums, products and concatenations."""
    passed = OPS.having("elementwise", "arithmetic") | OPS.ruled("cat", "reshape", "pool", "add", "mul")
    found: set[str] = set()
    seen: set[str] = set()
    todo = subject.data_inputs(node)
    while todo:
        value = todo.pop()
        if value.name in seen or len(seen) > _FAR:
            continue
        seen.add(value.name)
        if value.op in OPS.having("weighted"):
            weight = subject.weight(value)
            found.update([weight.name] if weight is not None else [])
        elif value.op in passed:
            todo += subject.data_inputs(value)
    return frozenset(found)


_FAR = 64
"""So many values are looked at behind a normalisation."""


def _apart(layers: list[frozenset[str]]) -> list[frozenset[str]]:
    """Of sets of layers, those that each have one which the others before them lack, and lack one of theirs."""
    found: list[frozenset[str]] = []
    for one in layers:
        if one and all(one - other and other - one for other in found):
            found.append(one)
    return found


@rule("SED312", "shared-batch-norm", "warning")
def shared_batch_norm(subject: Subject) -> Iterator[Hit]:
    """One batch normalisation stands behind several different layers.

    Why it matters: its running mean and variance are a mixture of what the places have, which fits none of them
    in evaluation; in training each place is normalised by its own batch. Accuracy falls from one to the other.

    What to do: create one normalisation a place. Where the layers before share their weights too (siamese and
    recurrent networks), nothing.
    Behind a sum or a concatenation each place must have a layer that the other lacks, for unrolled networks share
    their norms by right.

    Reference: Ioffe, Szegedy (2015), arXiv 1502.03167, section 3.1, on inference with population statistics.

    Triggers::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
                self.norm = nn.BatchNorm2d(8)
            def forward(self, x):
                x = torch.relu(self.norm(self.a(x)))
                return torch.relu(self.norm(self.b(x)))
        model = Net()
        size = (2, 3, 32, 32)
        path = "norm"

    Near miss (the layer before is shared as well)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(8, 8, 3)
                self.norm = nn.BatchNorm2d(8)
            def forward(self, x):
                x = torch.relu(self.norm(self.a(x)))
                return torch.relu(self.norm(self.a(x)))
        model = Net()
        size = (2, 8, 32, 32)
    """
    places: dict[int, list[Node]] = {}
    for node in subject.live:
        module = _norm(subject, node)
        if module is not None and module.track_running_stats:
            places.setdefault(id(module), []).append(node)
    for nodes in places.values():
        layers = _apart([_before(subject, n) for n in nodes])
        if len(layers) > 1:
            yield Hit(
                nodes[0].path,
                f"one batch normalisation serves {len(layers)} different layers: its running statistics fit none",
                "create one normalisation a place",
                {"calls": len(nodes), "weights": tuple(sorted(set().union(*layers)))},
                subject.assigned(nodes[0].path) or nodes[0].source,
            )


@rule("SED313", "norm-constants", "warning")
def norm_constants(subject: Subject) -> Iterator[Hit]:
    """A normalisation with a very large eps, or batch statistics with a momentum near one.

    The second argument of ``nn.BatchNorm2d`` is eps, not momentum: ``BatchNorm2d(64, 0.8)`` adds 0.8 to every
    variance. And ``momentum`` is the share of the newest batch here, where other libraries mean the share of the
    old ones: 0.99 there is 0.01 here.

    Why it matters: with a large eps channels of small variance are not brought to unit variance; with a large
    momentum the running statistics are those of the last batch.

    What to do: ``nn.BatchNorm2d(64, momentum=0.2)``, eps as it is.

    Reference: PyTorch documentation of nn.BatchNorm2d.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, 0.8), nn.ReLU())
        size = (2, 3, 32, 32)
        path = "1"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, 1e-3, 0.03), nn.ReLU())
        size = (2, 3, 32, 32)
    """
    for name, limit, what in (
        ("eps", LARGE_EPS, "is added to every variance; was momentum meant?"),
        (
            "momentum",
            LARGE_MOMENTUM,
            "leaves the statistics of the last batch; 1 - momentum is meant elsewhere",
        ),
    ):
        found = [
            n
            for n in subject.live
            if n.op in OPS.having("normalises")
            and isinstance(n.facts.get(name), float)
            and n.facts[name] >= limit
            and (name == "eps" or ((module := _norm(subject, n)) is not None and module.momentum is not None))
        ]
        if found:
            value = found[0].facts[name]
            paths = tuple(dict.fromkeys(n.path for n in found))
            count = f" in {len(paths)} normalisations" if len(paths) > 1 else ""
            yield Hit(
                paths[0] if len(paths) == 1 else common_path(paths),
                f"{name} is {value:g}{count}: it {what}",
                "give momentum by name, and leave eps as it is" if name == "eps" else "give 1 - momentum",
                {name: value, "layers": paths},
                subject.assigned(paths[0]) or found[0].source,
            )
