"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from sed_torch.cli.output import METHODS, form_of, refuse_form

__all__ = [
    "byte_count",
    "expected_options",
    "one_or_many",
    "output_options",
    "python_file",
    "quantity",
    "refuse",
    "sizes",
    "worker_options",
    "writable",
    "writable_as",
]

_WRITTEN = (*METHODS, "html", "parquet")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--format",
        "form",
        type=click.Choice([*METHODS]),
        is_eager=True,  # the callback of --output looks at it
        help="Default: by the suffix of --output, else text.",
    )(command)
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False),
        callback=writable_as(*_WRITTEN),
        help="Write to a file, whole or not at all; .html is a page, .parquet a table.",
    )(command)


def expected_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--expected/--no-expected",
        default=True,
        show_default=True,
        help="Say what accuracy comparable networks reach.",
    )(command)
    return click.option(
        "--calibration",
        type=click.Path(exists=True),
        metavar="FILE|FOLDER",
        help="By calibrations of your own ('sed-torch calibrate').  [default: SED_TORCH_CALIBRATIONS, else ImageNet's]",
    )(command)


def writable(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Told before the work, not after it."""
    folder = os.path.dirname(path or "") or "."
    if path is not None and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise click.BadParameter(f"{folder!r} is not a folder that can be written to")
    return path


def python_file(ctx: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """A file that Python can import, in a folder that can be written to."""
    if path is not None and not path.endswith(".py"):
        raise click.BadParameter(f"{path!r} is no Python file: name it FILE.py")
    return writable(ctx, parameter, path)


def writable_as(*forms: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """That a file can be written, in a form that the command has by its suffix; told before the work too."""

    def check(ctx: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
        if path is not None:
            refuse_form(form_of(ctx.params.get("form"), path), forms)
        return writable(ctx, parameter, path)

    return check


class Size(tuple[int, ...]):
    """A size, and the dtype that was written behind it."""

    dtype: str


def sizes(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[tuple[int, ...]]:
    """``1,3,224,224`` or ``1x3x224x224``, ``35,20:int64`` for token ids: batch first, all positive."""
    sizes: list[tuple[int, ...]] = []
    for value in values:
        numbers, _colon, dtype = value.partition(":")
        try:
            size = Size(int(part) for part in numbers.strip("() ").replace("x", ",").split(","))
        except ValueError:
            size = Size()
        if dtype:
            size.dtype = dtype.strip()
        if not size or min(size) < 1:
            raise click.BadParameter(f"{value!r} is no size; expected positive integers such as 1,3,224,224")
        sizes.append(size)
    return sizes


def one_or_many(sizes: list[tuple[int, ...]]) -> Any:
    return sizes[0] if len(sizes) == 1 else sizes or None


def byte_count(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """``2G``, ``1.5GiB``, ``800M`` or plain bytes; units are powers of 1024, as for memory."""
    from sed_torch.errors import InputError
    from sed_torch.tables import bytes_of

    try:
        return None if text is None else bytes_of(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def quantity(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """``1.0M``, ``200k`` or a plain number; units are powers of 1000."""
    from sed_torch.errors import InputError
    from sed_torch.tables import count_of

    try:
        return None if text is None else count_of(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def refuse(needs: str, options: Mapping[str, Any]) -> None:
    """What would be ignored is an error."""
    for name, value in options.items():
        if value not in (None, ()):
            what = "a RANKING is not scored" if name == "--benchmark" else f"goes with {needs} only"
            raise click.UsageError(f"{name}: {what}")


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--jobs, --backend and --scheduler: where the work is done."""
    command = click.option(
        "--scheduler",
        metavar="ADDRESS",
        callback=_of_cluster,
        help="Of the Dask scheduler (tcp://host:8786), or of a Ray cluster.",
    )(command)
    command = click.option(
        "--backend",
        type=click.Choice(["loky", "dask", "ray"]),
        default="loky",
        show_default=True,
        is_eager=True,  # the scheduler's callback looks at it
        help="What runs the workers: this machine, or a cluster.",
    )(command)
    return click.option(
        "--jobs",
        "-j",
        type=click.IntRange(min=-1),
        callback=_some,
        default=1,
        show_default=True,
        help="-1: one a core.",
    )(command)


def _some(_: click.Context, __: click.Parameter, jobs: int) -> int:
    if jobs == 0:
        raise click.BadParameter("0 workers do nothing; expected 1 or more, or -1")
    return jobs


def _of_cluster(ctx: click.Context, _: click.Parameter, scheduler: str | None) -> str | None:
    """Dask needs one; Ray starts here without."""
    backend = ctx.params["backend"]
    if backend == "dask" and scheduler is None:
        raise click.UsageError("--backend dask needs --scheduler ADDRESS")
    if backend == "loky" and scheduler is not None:
        raise click.UsageError("--scheduler ADDRESS goes with --backend dask or ray")
    return scheduler
