"""Topologies of published networks, traced once and kept in a folder: what several scripts here begin with."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed

import sed_torch
from sed_torch.topology import Topology
from sed_torch.zoo import load


def file_of(ref: str, folder: Path) -> Path:
    return folder / (ref.replace(":", "__") + ".json.gz")


def known(ref: str, folder: Path) -> tuple[str, Topology] | None:
    """(family, topology) of a network that was traced before."""
    try:
        data = json.loads(gzip.decompress(file_of(ref, folder).read_bytes()))
    except OSError:
        return None
    return data["family"], Topology.from_dict(data["topology"])


def trace_all(refs: Iterable[str], folder: Path, jobs: int = 1) -> None:
    """Trace what the folder has not yet. ``timm:NAME@160`` is at 160 × 160, ``cv:NAME`` is pytorchcv's."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [r for r in dict.fromkeys(refs) if not file_of(r, folder).exists()]
    for ref, reason in zip(missing, Parallel(jobs)(delayed(_trace)(r, folder) for r in missing), strict=True):
        if reason:
            print(f"{ref}: left out: {reason}")


def families_and_topologies(refs: Iterable[str], folder: Path) -> Iterator[tuple[str, str, Topology]]:
    """(reference, family, topology) of those that could be traced."""
    for ref in refs:
        found = known(ref, folder)
        if found is not None:
            yield ref, *found


def _trace(ref: str, folder: Path) -> str | None:
    try:
        family, model, size = _model(ref)
        topology = sed_torch.topology(model, input_size=size)
    except Exception as error:  # a model's own code may raise anything
        return f"{type(error).__name__}: {str(error)[:100]}"
    data = {"ref": ref, "family": family, "topology": topology.to_dict()}
    file_of(ref, folder).write_bytes(gzip.compress(json.dumps(data).encode(), 2))
    return None


def _model(ref: str) -> tuple[str, Any, Any]:
    name, _, side = ref.partition("@")
    size = (1, 3, int(side), int(side)) if side else None
    if not name.startswith("cv:"):
        loaded = load(name)
        return str(loaded.family), loaded.model, size
    from pytorchcv.model_provider import get_model

    with torch.device("meta"):
        model = get_model(name[3:], pretrained=False)
    return "pytorchcv", model, (1, 3, *getattr(model, "in_size", (224, 224)))
