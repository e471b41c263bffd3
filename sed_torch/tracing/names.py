"""Names of torch functions that the recorder treats in a way of their own, and what a name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "CALL",
    "INPUT_IS_NOT_FIRST",
    "ITEM",
    "NEEDS_VALUES",
    "OF_AUTOGRAD",
    "PRINTS",
    "RANDOM",
    "RANDOM_OF_TENSORS",
    "SELECTS",
    "SHAPED_LIKE",
    "SILENT",
    "SIZED",
    "VIEWS",
    "in_place",
    "label_of",
    "target",
]

CALL = "call"
"""Where a node's ``meta`` keeps the function called, and whether it writes into its first argument."""
ITEM = "item"
"""Spelling of the nodes that take one of several results."""

# Asking these must not make a node.
SILENT = frozenset(
    [
        "size",
        "dim",
        "numel",
        "stride",
        "__len__",
        "ndimension",
        "nelement",
        "element_size",
        "storage_offset",
        "get_device",
        "data_ptr",
        "__repr__",
        "__format__",
        "__hash__",
        "is_floating_point",
        "is_complex",
        "is_contiguous",
        "is_same_size",
        "is_signed",
        "is_inference",
        "is_pinned",
        "is_shared",
        "is_tensor",
        "is_storage",
        "_is_view",
        "is_set_to",
        "is_conj",
        "is_neg",
        "__dir__",
        "__deepcopy__",
        "untyped_storage",
        "_version",
        "has_names",
        "result_type",
        "can_cast",
        "promote_types",
    ]
)
PRINTS = frozenset(["__format__", "__repr__"])
INPUT_IS_NOT_FIRST = frozenset(["where", "searchsorted"])
OF_AUTOGRAD = frozenset(["requires_grad_", "register_hook", "retain_grad"])
RANDOM_OF_TENSORS = frozenset(
    [
        "bernoulli",
        "multinomial",
        "poisson",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_dropout",
        "feature_alpha_dropout",
        "native_dropout",
        "rrelu",
    ]
)
RANDOM = RANDOM_OF_TENSORS | frozenset(
    [
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "rand_like",
        "randn_like",
        "randint_like",
        "uniform_",
        "normal_",
        "bernoulli_",
        "exponential_",
        "random_",
        "log_normal_",
        "cauchy_",
        "geometric_",
    ]
)
# These keep some entries of a map, as a detector keeps boxes.
SELECTS = frozenset(["__getitem__", "where", "masked_select"])
# Where the data choose which entries go on, or where torch is left: what came before stands.
CHOOSES = SELECTS | frozenset(
    [
        *("nonzero", "argwhere", "unique", "_unique2", "unique_consecutive", "bincount"),
        *("numpy", "__array__", "tolist"),
    ]
)
NEEDS_VALUES = frozenset(
    [
        "item",
        "tolist",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "__complex__",
        "__contains__",
        "numpy",
        "__array__",
        "nonzero",
        "argwhere",
        "unique",
        "_unique2",
        "unique_consecutive",
        "equal",
        "allclose",
        "is_nonzero",
        "bincount",
    ]
)
# What these take besides a tensor are sizes, which a model may compute as a tensor of its own making.
SIZED = frozenset(
    [
        "view",
        "reshape",
        "expand",
        "repeat",
        "unflatten",
        "narrow",
        "as_strided",
        "split",
        "chunk",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
    ]
)
SHAPED_LIKE = frozenset(["zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"])
"""Of their first operand only shape and dtype count."""
VIEWS = frozenset(
    [
        "__getitem__",
        "view",
        "reshape",
        "view_as",
        "permute",
        "transpose",
        "t",
        "select",
        "narrow",
        "unsqueeze",
        "squeeze",
        "expand",
        "flatten",
        "unflatten",
        "chunk",
        "split",
        "unbind",
        "T",
        "mT",
        "movedim",
        "swapaxes",
        "diagonal",
        "detach",
    ]
)


_NOT_IN_PLACE = frozenset(["__int__", "__index__", "__invert__", "__iter__", "__init__"])


def in_place(name: str) -> bool:
    """True for ``add_``, ``__iadd__``, ``__setitem__``: the call writes into its first argument."""
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name not in _NOT_IN_PLACE)
    return name.endswith("_")


def label_of(name: str) -> str | None:
    """What fx would call the node of a parameter, where that takes no look at each letter; else None."""
    label = name.replace(".", "_")
    plain = name.islower() and name[:2] != "__" and ".." not in name
    return label if plain and label.isascii() and f"_{label}".isidentifier() else None


_TARGETS: dict[str, Callable[..., Any]] = {}


def target(name: str) -> Callable[..., Any]:
    """A callable to stand as fx target: fx wants one with a name; the graph is read, not run."""
    known = _TARGETS.get(name)
    if known is None:

        def known(*_: Any, **__: Any) -> None:
            raise NotImplementedError("a recorded graph describes a model; it cannot be run")

        known.__name__ = known.__qualname__ = name
        _TARGETS[name] = known
    return known
