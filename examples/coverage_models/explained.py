"""What a person found out about rows that differ or fail: globs over names, the first that fits is told."""

from __future__ import annotations

OUTER = (
    "sed_torch: it counts the outer products of einsum (the streams of hyper-connections), which torch computes by an "
    "elementwise multiplication that its counter does not see"
)

DIFFERENCES: dict[str, str] = {
    "vector-quantize-pytorch:SimVQ": "sed_torch: torch's counter has no formula for cdist, a product of two matrices",
    "titans-pytorch:NeuralMemory": "torch: the forward takes gradients inside, whose work sed_torch says it leaves out",
    "titans-pytorch:MemoryAsContextTransformer": OUTER,
    "tab-transformer-pytorch:*": OUTER,
    "itransformer:*": OUTER,
    "torch-geometric:GPSConv": "sed_torch: torch's counter does not see the products of this attention",
    "vit-pytorch:ats_vit.ViT": "neither: how many tokens stay depends on values; sed_torch says that it takes them as "
    "spread evenly, torch counts those that stayed with these weights",
    "e3nn:*": "sed_torch: three of its einsums contract an axis of one entry, which torch computes by an elementwise "
    "multiplication that its counter does not see",
    "nflows:transforms.SVDLinear": "sed_torch: torch's counter has no formula for the product of a matrix and a vector "
    "(the reflections of Householder)",
    "normflows:flows.*RationalQuadraticSpline": "torch: what follows the entries that a mask chooses is not read, and "
    "said to be unknown",
}
"""Multiply-accumulates that differ from torch's counter: who is right, and why."""

FAILURES: dict[str, str] = {
    "torch-geometric:GraphUNet": "a sparse product whose pattern the data decide",
    "spandrel:architectures.HVICIDNet.*": "arithmetic on the entries that a mask of the image chooses; open",
    "torchdyn:*": "whether time runs forward is asked of the values of the times given, which are floats: those of "
    "inputs are not read",
    "transformers:muse_glimmer_assistant": "hidden states of several layers side by side, whose number the "
    "configuration of the draft model does not tell",
    "transformers:*": "the configuration does not tell the sizes of all inputs; the message says what to give",
    "kornia:filters.Canny": "a loop runs until the data no longer change",
}
"""Models that are not read: the cause behind the message."""
