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
    "vit-pytorch:ats_vit.ViT": "torch: what follows the choice of tokens is not read, and said to be unknown",
    "kornia:filters.Laplacian": "not looked into (a depthwise convolution, which torch counts as nothing here)",
    "e3nn:*": "not looked into",
}
"""Multiply-accumulates that differ from torch's counter: who is right, and why."""

FAILURES: dict[str, str] = {
    "vit-pytorch:ats_vit.ViT": "tokens are kept by the values of their attention (unique), before any output",
    "mixture-of-experts:*": "the number of classes is the larger of a constant and an index of the data",
    "st-moe-pytorch:*": "the number of classes is the larger of a constant and an index of the data",
    "pytorch-crf:*": "a mask of bytes in torch.where, which the CPU takes and meta tensors do not; open",
    "torch-geometric:MFConv": "one linear layer a node degree, most of them on no node; an open fault of sed_torch's",
    "torch-geometric:GraphUNet": "a sparse product whose pattern the data decide",
    "transformers:*": "the configuration does not tell the sizes of all inputs; the message says what to give",
    "kornia:filters.Canny": "a loop runs until the data no longer change",
}
"""Models that are not read: the cause behind the message."""
