"""One model → one row, in whatever process this runs."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sed_torch.errors import ModelReferenceError, SedTorchError
from sed_torch.jobs import Packed, Stop
from sed_torch.ranking.cache import RowCache, key_of_graph, key_of_reference
from sed_torch.ranking.rows import RankRow
from sed_torch.scoring.features import pack_features
from sed_torch.zoo import ZOOS, LoadedModel, build, load

if TYPE_CHECKING:
    from sed_torch.graph import Graph
    from sed_torch.scoring.result import Score

__all__ = ["Options", "RankItem", "import_zoo", "score_item", "stopped_row"]


@dataclass(frozen=True)
class RankItem:
    """A model to rank.

    Attributes:
        name: for the row.
        target: a reference, an ``nn.Module``, or a function that makes one; for another process, packed.
    """

    name: str
    target: Any


@dataclass(frozen=True)
class Options:
    """What holds for every model of a run.

    Attributes:
        input_size: as in :func:`sed_torch.score`; inferred for each model when None.
        cache: folder of the cache, for models that only their graph identifies.
    """

    input_size: Any = None
    cache: str | None = None

    def key(self) -> dict[str, Any]:
        """The part of a cache key that the options make."""
        return {"input_size": _plain(self.input_size)}


def _plain(size: Any) -> Any:
    if isinstance(size, Mapping):
        return {str(k): _plain(v) for k, v in size.items()}
    return [_plain(v) for v in size] if isinstance(size, (tuple, list)) else size


@dataclass
class _Clock:
    start: float = field(default_factory=time.perf_counter)
    cpu_start: float = field(default_factory=time.process_time)

    def stamp(self, row: RankRow) -> RankRow:
        """The row with the time since the start."""
        spent = time.process_time() - self.cpu_start
        return replace(row, seconds=time.perf_counter() - self.start, cpu_seconds=spent)


def score_item(item: RankItem, options: Options) -> RankRow:
    """Build, trace and score; whatever goes wrong becomes the row's status and reason."""
    clock = _Clock()
    loaded = None
    try:
        loaded = _load(item)
        row = _row(item, loaded, options)
    except MemoryError as error:
        row = _failed(item, loaded, "memory", error)
    except Exception as error:  # a model's own code may raise anything
        row = _failed(item, loaded, "failed", error)
    return clock.stamp(row)


def stopped_row(item: RankItem, stop: Stop) -> RankRow:
    """The row of a model whose process was stopped, or died."""
    return RankRow(name=item.name, status=stop.status, reason=stop.reason, seconds=stop.seconds)


def import_zoo(item: RankItem) -> None:
    """Importing a zoo takes seconds, once; they are not the first model's."""
    zoo = item.target.partition(":")[0] if isinstance(item.target, str) else ""
    if zoo in ZOOS:
        with contextlib.suppress(ImportError):  # loading the model will say so
            importlib.import_module(ZOOS[zoo])


def _load(item: RankItem) -> LoadedModel:
    if isinstance(item.target, str):
        return load(item.target)
    target = item.target.unpack() if isinstance(item.target, Packed) else item.target
    return build(target, item.name)


def _failed(item: RankItem, loaded: LoadedModel | None, status: Any, error: Exception) -> RankRow:
    first = (str(error).strip().splitlines() or [""])[0]
    kind = "" if isinstance(error, ModelReferenceError) else f"{type(error).__name__}: "
    surprise = "" if isinstance(error, (SedTorchError, MemoryError)) else "unexpected "
    return RankRow(
        name=item.name,
        family=loaded.family if loaded else None,
        status=status,
        reason=f"{surprise}{kind}{first}",
        built_on=loaded.built_on if loaded else None,
    )


def _row(item: RankItem, loaded: LoadedModel, options: Options) -> RankRow:
    from sed_torch.scoring.model import score_graph
    from sed_torch.tracing import trace

    graph = trace(loaded.model, input_size=options.input_size)
    by_name = isinstance(item.target, str) and key_of_reference(item.target, {}) is not None
    if by_name or options.cache is None:
        return _row_of(item, loaded, graph, score_graph(graph, name=item.name))
    # No version pins down a module or a file, but its graph does; only the scoring can be saved then.
    cache, key = RowCache(options.cache), key_of_graph(graph.fingerprint, options.key())
    row = cache.get(key)
    if row is None:
        row = _row_of(item, loaded, graph, score_graph(graph, name=item.name))
        cache.put(key, row)
    return replace(row, name=item.name, family=loaded.family, built_on=loaded.built_on)


def _row_of(item: RankItem, loaded: LoadedModel, graph: Graph, s: Score) -> RankRow:
    return RankRow(
        name=item.name,
        family=loaded.family,
        status="undefined" if s.total is None else "ok",
        reason=s.reason,
        sed=s.total,
        shape=s.shape,
        conv=s.conv,
        pool=s.pool,
        skip=s.skip,
        suppression=s.suppression,
        params=s.params,
        macs=s.macs,
        coverage=s.coverage,
        frontend=s.frontend,
        scope=s.scope,
        definition=s.definition,
        built_on=loaded.built_on,
        fingerprint=s.fingerprint,
        input=_shapes(s.inputs),
        features=pack_features(s.features, s.wiring),
        output=_shapes(graph[name].shape for name in graph.outputs),
        memory=_memory(graph),
    )


def _memory(graph: Graph) -> int | None:
    """Bytes of a training step with one sample; None for a graph whose memory cannot be counted."""
    from sed_torch.costing import step_memory

    try:
        return step_memory(graph)
    except SedTorchError:
        return None


def _shapes(shapes: Iterable[tuple[int, ...] | None]) -> str:
    """``1x3x224x224``, several of them with a plus between; ``?`` for one that the data decide."""
    return " + ".join("?" if shape is None else "x".join(map(str, shape)) for shape in shapes)
