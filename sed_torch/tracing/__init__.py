"""Module + input shapes → :class:`~sed_torch.graph.Graph`. The only part that uses ``torch.fx``.

Front-ends, in this order, the one used is named in ``Graph.frontend``:

``fx``
    The forward is followed on ``meta`` tensors and recorded as a ``torch.fx.Graph`` (:mod:`.recorder`).
``export``
    ``torch.export.export(strict=False)`` on ``meta`` tensors (:mod:`.exporting`). It replaces
    ``nn.Module.__call__`` for all threads while it runs; ``auto`` tries it when no other thread runs.
``fx+leaf``
    As ``fx``, with the submodule that could not be entered as one opaque node (:mod:`.leaves`); its
    parameters count as not covered.
``fx+bound``
    As ``fx``; where the data would choose how many entries go on (the boxes of a detector), all do, and of two
    ways one is followed (:mod:`.bounding`). One opaque node stands for what data choose; it owns the parameters
    of ways that were not followed.
``fx+cut``
    As ``fx+bound``, up to where a choice has no bound. What comes after is one opaque node, which owns the
    parameters that were not reached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.fx
from torch import nn

from sed_torch._collecting import collected_rarely
from sed_torch.batching import find_batch
from sed_torch.errors import DataDependentError, InputError, SedTorchError, TraceError
from sed_torch.graph import Graph
from sed_torch.tracing.autocasting import Autocast
from sed_torch.tracing.bounding import TWO_WAYS
from sed_torch.tracing.calling import fitted, guessed_wrong, multiplies_ids, other_readings, refuse_unbatched
from sed_torch.tracing.convert import to_graph
from sed_torch.tracing.ending import cut_short, note_choices
from sed_torch.tracing.facts import output_names
from sed_torch.tracing.functions import functions_followed
from sed_torch.tracing.given import tensors_replaced
from sed_torch.tracing.inputs import Inputs, resolve_inputs
from sed_torch.tracing.lazy import settled
from sed_torch.tracing.leaves import install_leaves
from sed_torch.tracing.places import is_user_code
from sed_torch.tracing.randomness import random_state_kept
from sed_torch.tracing.recorder import Recorder
from sed_torch.tracing.resizing import resized
from sed_torch.tracing.scripted import scripts_followed
from sed_torch.tracing.shadow import Shadow, unwrap
from sed_torch.tracing.signals import Signal, explained, signals_noticed
from sed_torch.tracing.stating import read_as_stated
from sed_torch.tracing.surroundings import default_device_set_aside, surroundings_kept
from sed_torch.tracing.tensors import tensors_in
from sed_torch.tracing.transforms import transforms_followed
from sed_torch.tracing.turns import others_run, together
from sed_torch.tracing.wrapping import wraps_followed

__all__ = ["Autocast", "Frontend", "trace"]

Frontend = Literal["auto", "fx", "export"]


def trace(
    model: nn.Module,
    *,
    input_size: Any = None,
    input_data: Any = None,
    frontend: Frontend = "auto",
    ignore_modules: Sequence[str] = (),
    training: bool = False,
    batch: int | None = None,
    autocast: Autocast | None = None,
) -> Graph:
    """The computational graph of a module, without running it on data.

    The model may live on any device, in any mode and dtype; it is left exactly as found. It is read as in
    evaluation mode, whatever mode it is in, unless ``training`` says otherwise.

    Args:
        model: the module. DataParallel, DDP and ``torch.compile`` wrappers are looked through.
        input_size: size with batch dimension, a sequence of sizes, or a mapping by argument name.
        input_data: a tensor, tuple or dict; only its shapes and dtypes are used.
        frontend: ``"fx"``, ``"export"``, or ``"auto"`` for the first that works. Training mode has ``"fx"`` only.
        ignore_modules: dotted paths of submodules to treat as one opaque node.
        training: follow the forward in the modes that ``model.train()`` leaves (auxiliary heads are then called).
        batch: read the inputs at this batch size instead; they must all begin with one size.
        autocast: follow the forward with the dtypes that it has under this autocast; by ``"fx"`` only.

    Raises:
        ModelError: the module cannot be read as it is.
        InputError: the input is missing or malformed.
        TraceError: the forward could not be followed; the message tells where.
    """
    with default_device_set_aside(), collected_rarely():
        return _trace(model, input_size, input_data, frontend, ignore_modules, training, batch, autocast)


def _trace(
    model: nn.Module,
    input_size: Any,
    input_data: Any,
    frontend: Frontend,
    ignore_modules: Sequence[str],
    training: bool,
    batch: int | None,
    autocast: Autocast | None,
) -> Graph:
    model = unwrap(model)
    if frontend not in ("auto", "fx", "export"):
        raise InputError(f"frontend must be 'auto', 'fx' or 'export', found {frontend!r}")
    _check_ignored(model, ignore_modules)
    inputs = fitted(model, resolve_inputs(model, input_size, input_data))
    if batch is not None:
        inputs = resized(inputs, batch)
    model = settled(model, inputs)

    def read(inputs: Inputs) -> Graph:
        if training or autocast is not None:
            return _record(model, inputs, ignore_modules, training=training, autocast=autocast)
        return _export(model, inputs) if frontend == "export" else _record(model, inputs, ignore_modules)

    with random_state_kept():
        try:
            graph = read(inputs)
        except TraceError as error:
            found = _read_otherwise(model, inputs, error, read)
            if found is None and not (training or frontend != "auto" or autocast is not None):
                with _guess_told(model, inputs):
                    return _fall_back(model, inputs, ignore_modules, error)
            if found is None and isinstance(error, DataDependentError) and frontend == "auto":
                found = _bounded(model, inputs, ignore_modules, training=training, autocast=autocast)
                found = None if found is not None and found.frontend == "fx+cut" else found
            if found is None:
                with _guess_told(model, inputs):
                    raise
            graph = found
        if inputs.from_sizes and multiplies_ids(graph):
            graph = _read_otherwise(model, inputs, TraceError("whole numbers meet weights"), read) or graph
    refuse_unbatched(graph, inputs)
    return graph


def _read_otherwise(
    model: nn.Module, inputs: Inputs, error: TraceError, read: Callable[[Inputs], Graph]
) -> Graph | None:
    """The graph with what else the input could be; None where nothing else fits."""
    if isinstance(error, DataDependentError):
        return None
    if inputs.hint:
        raise InputError(inputs.hint) from error
    for other in other_readings(model, inputs):
        with contextlib.suppress(TraceError):
            return read(other)
    return read_as_stated(inputs, error, read) if inputs.guessed else None


@contextlib.contextmanager
def _guess_told(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """An error on an input that was guessed says so first."""
    try:
        yield
    except TraceError as error:
        if not inputs.guessed or isinstance(error, DataDependentError):
            raise
        told = type(error)(
            guessed_wrong(model, inputs, error),
            module_path=error.module_path,
            source=error.source,
            frontends=error.frontends,
            table=error.table,
        )
        told.details = error.details
        raise told from error


def _check_ignored(model: nn.Module, paths: Sequence[str]) -> None:
    if not paths:
        return
    known = dict(model.named_modules())
    for path in paths:
        if path not in known or not path:
            raise InputError(
                f"ignore_modules names {path!r}, which is no submodule of {type(model).__name__}"
            )


def _record(
    model: nn.Module,
    inputs: Inputs,
    leaves: Sequence[str] = (),
    *,
    training: bool = False,
    cut: bool = False,
    takes: bool | None = None,
    autocast: Autocast | None = None,
) -> Graph:
    def follow(single: Mapping[str, int] | None = None) -> Graph:
        shadow = Shadow(model, training=training)
        recorder = Recorder(shadow, single, autocast, takes)
        with autocast.on() if autocast is not None else contextlib.nullcontext():
            _follow(recorder, inputs, leaves, cut=cut)
        bounded = recorder.bounds is not None and recorder.bounds.chose
        frontend = (
            "fx+cut"
            if recorder.was_cut
            else "fx+leaf"
            if recorder.opaque
            else "fx+bound"
            if bounded
            else "fx"
        )
        note_choices(recorder)
        told = recorder.bounds.words() if recorder.bounds is not None else ()
        assumed = tuple(dict.fromkeys((*inputs.assumed, *recorder.assumed, *recorder.known.words(), *told)))
        return to_graph(recorder.graph, model, frontend=frontend, assumed=assumed)

    return _at_one_sample(follow(), None if training or inputs.resized else follow)


def _at_one_sample(graph: Graph, follow: Callable[[Mapping[str, int]], Graph] | None) -> Graph:
    """The graph knowing its batch axis. Where samples are mixed, so that what one costs depends on how many there
    are, it is read again with one sample.
    """
    axes = find_batch(graph)
    mixing = next((m for m in axes.mixing if m.strong), None)
    words = [axes.words] if axes.words else []
    if axes.batch > 1 and mixing is not None and follow is not None:
        with contextlib.suppress(TraceError):  # a batch size that the code fixes
            single = follow({name: dim for name, dim in axes.inputs.items() if dim is not None})
            where = graph[mixing.node].path
            words.append(
                f"one sample of {axes.batch} was read: {where or 'the root module'} {mixing.how} the batch"
            )
            places = {name: axes.inputs.get(name) for name in (n.name for n in single if n.op == "input")}
            return dataclasses.replace(single, batch=1, batch_dims=places, assumed=(*single.assumed, *words))
    return dataclasses.replace(
        graph, batch=axes.batch, batch_dims=axes.inputs, axes=axes, assumed=(*graph.assumed, *words)
    )


def _follow(recorder: Recorder, inputs: Inputs, leaves: Sequence[str], *, cut: bool) -> None:
    """Let a recorder follow the forward; all else that following it took is let go."""
    shadow = recorder.shadow
    model = shadow.original
    install_leaves(recorder, leaves)
    args, kwargs = tensors_replaced(
        inputs.args,
        dict(inputs.kwargs),
        lambda t, name: recorder.placeholder(t, name, inputs.values.get(id(t))),
    )
    try:
        with surroundings_kept(model, shadow.passed_on):
            _run(recorder, args, kwargs, training=shadow.training)
    except TraceError as error:
        if not (cut and cut_short(recorder, error)):
            raise _with_table(error, recorder, model) from error.__cause__
    finally:
        shadow.disarm()
    recorder.known.drop_questions(recorder.graph)


def _run(recorder: Recorder, args: Any, kwargs: Any, *, training: bool) -> None:
    """Call the shadow; whatever stops it is a :class:`SedTorchError` of ours, also where the forward caught it."""
    model = recorder.shadow.original
    try:
        with (
            signals_noticed() as noticed,
            together(),
            scripts_followed(Recorder),
            transforms_followed(Recorder),
            wraps_followed(Recorder),
            functions_followed(Recorder),
            torch.enable_grad(),
            recorder,
        ):
            if training:
                recorder.shadow.train()
            result = recorder.shadow.root(*args, **kwargs)
        if noticed and recorder.signalled is None:
            recorder.signalled = noticed[0].error
            recorder.signalled.guarded = True
        if recorder.signalled is None:
            recorder.output(tensors_in(result), output_names(result))
    except Signal as signal:
        raise signal.error from signal.__cause__
    except SedTorchError:
        raise
    except RecursionError as error:
        raise TraceError(
            f"the forward of {type(model).__name__} recurses too deeply to be followed"
        ) from error
    except Exception as error:
        raise explained(error) or _from_user_code(error, model) from error
    if recorder.signalled is not None:
        raise recorder.signalled


def _with_table(error: TraceError, recorder: Recorder, model: nn.Module) -> TraceError:
    """The same error with the graph up to the failing node, its last lines in the message."""
    try:
        recorder.graph.output(())
        table = str(to_graph(recorder.graph, model, frontend="fx"))
    except Exception:  # the table is a courtesy; it must not hide the error it illustrates
        table = ""
    lines = [line for line in table.splitlines()[1:-1] if line.strip()]
    text = str(error)
    if lines:
        text += "\nThe last operators that were followed:\n" + "\n".join(lines[-5:])
    told = type(error)(
        text, module_path=error.module_path, source=error.source, frontends=error.frontends, table=table
    )
    told.guarded = error.guarded
    if isinstance(error, DataDependentError) and isinstance(told, DataDependentError):
        told.chooses = error.chooses
    return told


def _from_user_code(error: Exception, model: nn.Module) -> TraceError:
    source = None
    tb = error.__traceback__
    while tb is not None:
        code = tb.tb_frame.f_code
        if is_user_code(code):
            source = f"{code.co_filename}:{tb.tb_lineno}"
        tb = tb.tb_next
    where = f" at {source}" if source else ""
    return TraceError(
        f"the forward of {type(model).__name__} raised {type(error).__name__}{where}: {error}", source=source
    )


def _fall_back(model: nn.Module, inputs: Inputs, ignored: Sequence[str], error: TraceError) -> Graph:
    """export, then the offending submodule as an opaque leaf, then what comes before; else all reasons."""
    from sed_torch.errors import ShapeError

    reasons = [("fx", _first_line(error))]
    details: list[str] = []
    if isinstance(error, ShapeError):
        raise error  # a shape that does not fit does not fit elsewhere either
    chooses = isinstance(error, DataDependentError) and error.chooses
    if chooses:
        reasons.append(("export", "not tried: it cannot tell how many entries the data would choose"))
    elif error.guarded:
        reasons.append(("export", "not tried: the forward would catch its error and go on without a layer"))
    elif not ignored and not others_run():
        try:
            return _export(model, inputs)
        except TraceError as second:
            reasons.append(("export", _first_line(second)))
            details.append(f"torch.export: {type(second.__cause__).__name__}: {second.__cause__}")
    elif not ignored:
        reasons.append(("export", "not tried: it would disturb the other threads that run"))
    leaf = error.module_path
    tried = set(ignored)
    last = error
    while leaf and leaf not in tried:
        tried.add(leaf)
        try:
            leaves = _record(model, inputs, tuple(tried))
        except TraceError as third:
            reasons.append((f"leaf {leaf}", _first_line(third)))
            last = third
            leaf = third.module_path if third.module_path not in tried else leaf.rpartition(".")[0]
        else:
            return _or_bounded(model, inputs, leaves, bounds=chooses and not ignored)
    if isinstance(error, DataDependentError) and not ignored:
        for opaque in ((), tuple(tried)) if tried else ((),):
            if not error.guarded and (found := _bounded(model, inputs, opaque)) is not None:
                return found
            with contextlib.suppress(TraceError):
                return _record(model, inputs, opaque, cut=True)
    kind = type(error) if isinstance(error, (DataDependentError, ShapeError)) else TraceError
    tail = "".join(f"\n  {name}: {why}" for name, why in reasons[1:])
    told = kind(
        f"{error}" + (f"\nOther front-ends:{tail}" if tail else ""),
        module_path=error.module_path,
        source=error.source,
        frontends=tuple(reasons),
        table=error.table,
    )
    told.details = tuple(details)
    raise told from last


def _or_bounded(model: nn.Module, inputs: Inputs, leaves: Graph, *, bounds: bool) -> Graph:
    """The graph with opaque leaves, or the one that goes through them to a bound, where that reads more."""
    bounded = _bounded(model, inputs) if bounds else None
    return bounded if bounded is not None and _reached(bounded) > _reached(leaves) else leaves


def _bounded(model: nn.Module, inputs: Inputs, opaque: Sequence[str] = (), **how: Any) -> Graph | None:
    """The graph in which choices of the data are bounded. Of two ways the one that reads more parameters."""
    found: list[Graph] = []
    for takes in (True, False):
        with contextlib.suppress(TraceError):
            found.append(_record(model, inputs, opaque, cut=True, takes=takes, **how))
        if found and not any(words.startswith(TWO_WAYS) for words in found[0].assumed):
            break
    best = max(found, key=_reached, default=None)
    return best if best is not None and _reached(best) else None


def _reached(graph: Graph) -> int:
    left = {i for n in graph.nodes if n.op == "opaque" for i in n.inputs}
    return sum(math.prod(n.shape or ()) for n in graph.nodes if n.op == "parameter" and n.name not in left)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]


def _export(model: nn.Module, inputs: Inputs) -> Graph:
    from sed_torch.tracing.exporting import export_graph

    fx_graph = export_graph(model, inputs)
    return _at_one_sample(to_graph(fx_graph, model, frontend="export", assumed=inputs.assumed), None)
