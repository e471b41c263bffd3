"""What a row of the operator table may say: a rule, spellings, and traits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Op", "RuleName", "Trait"]

RuleName = Literal[
    "keep",  # Γ
    "gate",  # Γ, and the result marks a factor between 0 and 1 (sigmoid, softmax)
    "norm",  # Γ/Γ(0)
    "conv",
    "conv_transpose",
    "linear",
    "pool",
    "adaptive_pool",
    "reduce",  # mean, max, … over dimensions: what is averaged over positions is constant
    "add",
    "mul",
    "cat",
    "stack",
    "reshape",
    "permute",
    "slice",
    "expand",
    "pad",
    "interpolate",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
    "matmul",
    "attention",
    "multi_head_attention",
    "recurrent",
    "embedding",
    "loss",  # a prediction compared with a target: averaged, or one number a position
    "write",  # x[i] = y
    "zero",  # a constant that no longer depends on its input
    "item",  # one of several results
    "opaque",
]

Trait = Literal[
    # what it does to values
    "elementwise",  # each entry of the result depends on the entries at its own place only
    "activation",  # a non-linearity of one tensor, entry by entry
    "nonlinear",  # not affine in its data operands together
    "linear",  # affine in its first operand in evaluation, all others held fixed
    "arithmetic",  # + − × ÷: affine as long as one operand only is data
    "identity",  # in evaluation, the values of its first operand
    "idempotent",  # done twice it is the same as done once, whatever its other arguments
    "nonnegative",  # leaves nothing below zero
    "saturates",  # bounded where its operand grows in both directions
    "squashes",  # leaves factors or probabilities between 0 and 1, or their logarithm
    "normalises",  # brings its operand to a fixed scale
    "keeps_channels",  # no channel of the result depends on another channel
    # what it is
    "weighted",  # mixes channels with a weight that is its second operand
    "sliding",  # reads a window at each position of a grid
    "reduces",  # dimensions of its operand are gone or have length one
    "attends",  # attention
    "recurrent",  # passes a state along the positions
    "loss",  # compares a prediction with a target
    # what happens to memory and gradients
    "view",  # the result may share the memory of its first operand
    "inplace",  # the layer or function has an argument inplace=
    "random",  # draws random numbers, in training at least
    "inverts",  # large where its operand is small: a factor of it divides
    "no_gradient",  # its derivative is zero or none, whatever the operand
    "flat",  # its derivative is zero, which torch computes all the same
    # what autograd keeps for the backward pass (torch's derivatives.yaml); a row without any keeps nothing
    "saves_input",  # its first operand, whoever needs a gradient
    "saves_other",  # its other operands (the weight of a convolution)
    "saves_factors",  # of a product: each factor, if another factor needs a gradient
    "saves_result",
    "saves_map",  # a map of its own, as large as its first operand, made on the way
    "saves_maps",  # two such maps
    "saves_map_on_cpu",  # such a map, by the kernel for the CPU alone
    "result_suffices",  # done in place it keeps its result, from which the gradient follows, instead of its operand
    "saves_mask",  # a byte an entry of the result
    "saves_indices",  # an int64 an entry of the result (of its operand: embedding)
    "saves_statistics",  # mean and reciprocal deviation of each group
    "saves_logsumexp",  # a float32 a query
    "saves_state",  # what the layer computed at each position
]
"""What a row may state about its operator beside its rule."""

_BY_RULE: Mapping[str, tuple[Trait, ...]] = {
    # what follows from the rule, for the rows of users too
    "gate": ("squashes", "nonlinear"),
    "norm": ("normalises",),
    "conv": ("weighted",),
    "conv_transpose": ("weighted",),
    "linear": ("weighted",),
    "pool": ("sliding", "keeps_channels"),
    "adaptive_pool": ("keeps_channels",),
    "reduce": ("reduces",),
    "reshape": ("linear", "view"),
    "permute": ("linear", "view"),
    "attention": ("attends", "nonlinear"),
    "multi_head_attention": ("attends", "nonlinear"),
    "recurrent": ("recurrent", "nonlinear", "saves_state"),
    "loss": ("loss", "nonlinear"),
}
_IMPLIED: Mapping[str, tuple[Trait, ...]] = {
    "activation": ("elementwise", "nonlinear"),
    "elementwise": ("keeps_channels",),
    "identity": ("linear", "elementwise"),
}


@dataclass(frozen=True, slots=True)
class Op:
    """A row of the table.

    Attributes:
        name: canonical name.
        rule: the rule that lowers it.
        spellings: every name under which a model may call it.
        traits: what else is known of it, with what follows from its rule and from other traits.
        shaped_like: those of its spellings whose second operand gives a shape or a dtype, not values.
        dim_at: place of the dimension argument in a call, for rows that take one.
        module: for a user's rule of a module class, that class.
        attrs: for a user's rule, a function of the module that returns the numbers the rule needs.
    """

    name: str
    rule: RuleName
    spellings: tuple[str, ...] = ()
    traits: frozenset[Trait] = frozenset()
    shaped_like: frozenset[str] = frozenset()
    dim_at: int = 1
    module: type | None = None
    attrs: Callable[..., Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        traits: set[Trait] = {*self.traits, *_BY_RULE.get(self.rule, ())}
        for _ in range(2):  # what is implied may imply
            traits |= {t for known in traits for t in _IMPLIED.get(known, ())}
        object.__setattr__(self, "traits", frozenset(traits))

    def has(self, *traits: Trait) -> bool:
        """Whether the row has one of these traits."""
        return not self.traits.isdisjoint(traits)

    @property
    def saves(self) -> tuple[Trait, ...]:
        """What autograd keeps for its backward pass: the traits that begin with ``saves_``, in order."""
        return tuple(sorted(t for t in self.traits if t.startswith("saves_")))
