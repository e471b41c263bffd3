"""One process a package, in it one process a configuration, each with limits; rows are kept as they come."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from coverage_models.cases import PACKAGES, Case, Package

__all__ = ["Limits", "ended", "forget", "install", "kept", "run", "serve", "sources"]

ENDED = 75
"""The exit code of a package's process whose time was up."""


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Rows so far, the last of each name; half a line, as a kill may leave, is passed over."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            found[row["name"]] = row
    return found


def keep(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def forget(path: Path, which: Callable[[dict[str, Any]], bool]) -> None:
    """Leave out rows; their packages are not done any more."""
    from sed_torch._files import write_text

    rows = kept(path)
    gone = {row["package"] for row in rows.values() if which(row)}
    stay = [r for r in rows.values() if not which(r) and not ("done" in r and r["package"] in gone)]
    write_text(path, "".join(json.dumps(r) + "\n" for r in stay))


def ended(rows: dict[str, dict[str, Any]]) -> bool:
    """Whether each configuration of each package has its row, or the package cannot be imported here."""
    return all("done" in rows.get(name, ()) or "skipped" in rows.get(name, ()) for name in PACKAGES)


@functools.lru_cache(maxsize=1)
def sources() -> str:
    """A digest of the code of sed_torch, by which rows that another state of it made are told apart."""
    import sed_torch

    found, folder = hashlib.sha256(), Path(sed_torch.__file__).parent
    for file in sorted(folder.rglob("*.py")):
        found.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return found.hexdigest()[:8]


# -- the packages ----------------------------------------------------------------------------------------------


def install(names: Iterable[str]) -> None:
    """pip, for each package whose version is not here; torch and the like stay at the version they have."""
    stay = ("torch", "torchvision", "numpy", "transformers", "timm", "scipy", "pandas", "triton")
    held = [f"{n}=={v.partition('+')[0]}" for n in stay if (v := version_of(n))]
    limits = Path(sys.prefix) / "coverage-constraints.txt"
    limits.write_text("\n".join(held) + "\n", encoding="utf-8")
    for package in (PACKAGES[n] for n in names):
        if version_of(package.dist) == package.version:
            continue
        wanted = f"{package.dist}=={package.version}"
        alone = [["--no-deps", wanted], list(package.needs)] if package.alone else [[wanted, *package.needs]]
        for what in (w for w in alone if w):
            print(f"installing {' '.join(what)}", file=sys.stderr, flush=True)
            pip = [sys.executable, "-m", "pip", "install", "-q", "--prefer-binary", "-c", str(limits)]
            if subprocess.run([*pip, *what], check=False).returncode:
                print(f"{package.dist} could not be installed", file=sys.stderr)


def version_of(dist: str) -> str:
    try:
        return importlib.metadata.version(dist)
    except importlib.metadata.PackageNotFoundError:
        return ""


# -- the run ---------------------------------------------------------------------------------------------------


class Limits:
    """What a configuration may take, and until when the whole may run.

    Args:
        seconds: a configuration's.
        gigabytes: a configuration's.
        minutes: of the whole; 0 for no end.
    """

    def __init__(self, seconds: float, gigabytes: float, minutes: float) -> None:
        self.seconds, self.gigabytes, self.minutes = seconds, gigabytes, minutes
        self.end = time.time() + 60 * minutes if minutes else float("inf")

    def options(self) -> list[str]:
        left = max((self.end - time.time()) / 60, 0.01) if self.minutes else 0
        return [
            "--seconds",
            f"{self.seconds}",
            "--gigabytes",
            f"{self.gigabytes}",
            "--minutes",
            f"{left:.3f}",
        ]


Show = Callable[[dict[str, Any]], str]
"""A row in one line, for the terminal."""


def run(script: Path, packages: Iterable[str], only: str, rows: Path, limits: Limits, show: Show) -> bool:
    """Every package in a process of its own.

    Returns:
        Whether the run came to its end.
    """
    known = kept(rows)
    for name in packages:
        if "done" in known.get(name, ()):
            continue
        if not any(fnmatch.fnmatchcase(f"{name}:", p) or p.startswith((name, "*")) for p in only.split(",")):
            continue
        if time.time() > limits.end:
            return False
        code = _of_a_package(script, name, only, rows, limits, show)
        if code == ENDED:
            return False
        if code in (-2, 130):
            raise KeyboardInterrupt
        if code:
            print(f"{name}: its process ended with code {code}", file=sys.stderr, flush=True)
    return True


def _of_a_package(script: Path, name: str, only: str, rows: Path, limits: Limits, show: Show) -> int | None:
    """The exit code of a package's process: forked off what all of them import, where that can be done."""
    if not _forks():
        command = [sys.executable, str(script), "--serve", name, "--only", only, "--rows", str(rows)]
        return subprocess.run([*command, *limits.options()], check=False).returncode
    _warm()
    process = multiprocessing.get_context("fork").Process(
        target=_serve_and_exit, args=(name, only, rows, limits, show)
    )
    process.start()
    process.join()
    return process.exitcode


def _serve_and_exit(*args: Any) -> None:
    sys.exit(serve(*args))


def _forks() -> bool:
    return "fork" in multiprocessing.get_all_start_methods()


def serve(name: str, only: str, rows: Path, limits: Limits, show: Show) -> int:
    """In the process of a package: each configuration that has no row yet."""
    package = PACKAGES[name]
    try:
        with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
            importlib.import_module(package.module)
            _warm()
            cases = list(package.cases())
    except (Exception, SystemExit) as error:
        first = (str(error).splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first}"
        keep(rows, {"name": name, "package": name, "skipped": reason})
        print(f"{name}: skipped, {reason}", file=sys.stderr, flush=True)
        return 0
    known, shared = kept(rows), Shared()
    for case in cases:
        if case.name in known or not any(fnmatch.fnmatchcase(case.name, p) for p in only.split(",")):
            continue
        if time.time() > limits.end:
            return ENDED
        row = _in_a_child(package, case, limits, shared)
        keep(rows, row)
        known[case.name] = row
        print(show(row), file=sys.stderr, flush=True)
    if all(case.name in known for case in cases):
        keep(rows, {"name": name, "package": name, "done": len(cases)})
    return 0


@functools.lru_cache(maxsize=1)
def _warm() -> None:
    """What every configuration would import anew is imported before they are forked."""
    from torch import nn

    import sed_torch
    from coverage_models import measuring  # noqa: F401

    sed_torch.score(nn.Conv2d(3, 4, 3), input_size=(1, 3, 8, 8))
    sed_torch.score(nn.TransformerEncoderLayer(8, 2, batch_first=True), input_size=(1, 4, 8))
    sed_torch.score(nn.LSTMCell(4, 4), input_size=(1, 4))


class Shared:
    """Modules that more than one configuration imports are imported once, before the next are forked."""

    def __init__(self) -> None:
        self._once: set[str] = set()

    def imported(self, names: Iterable[str]) -> None:
        """Takes the modules that a configuration had to import."""
        for name in names:
            if name in self._once and name not in sys.modules:
                with contextlib.suppress(Exception), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    importlib.import_module(name)
            self._once.add(name)


def _in_a_child(package: Package, case: Case, limits: Limits, shared: Shared) -> dict[str, Any]:
    forks = _forks()
    context = multiprocessing.get_context("fork" if forks else "spawn")
    here, there = context.Pipe(duplex=False)
    what = case if forks else case.name  # a case holds functions, which only a fork takes along
    child = context.Process(target=_child, args=(package.dist, what, there, limits.gigabytes))
    start = time.time()
    child.start()
    there.close()
    row: dict[str, Any] = {"name": case.name, "package": package.dist, "version": version_of(package.dist)}
    try:
        if here.poll(limits.seconds):
            row, imported = here.recv()
            shared.imported(imported)
        else:
            row["error"] = f"stopped after {limits.seconds:.0f} s"
    except EOFError:
        child.join(10)
        row["error"] = f"the process died (code {child.exitcode})"
    finally:
        if child.is_alive():
            child.join(0.5)
            child.kill()
        child.join()
        here.close()
    row["wall"] = round(time.time() - start, 2)
    row["date"], row["sources"] = time.strftime("%Y-%m-%d"), sources()
    return row


def _child(dist: str, what: Case | str, out: Connection, gigabytes: float) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
    from coverage_models.measuring import Row, measured

    before = set(sys.modules)
    version = version_of(dist)
    name = what if isinstance(what, str) else what.name
    try:
        case = next(c for c in PACKAGES[dist].cases() if c.name == what) if isinstance(what, str) else what
        row = measured(case, dist, version)
    except MemoryError:
        row = Row(name, dist, version, error=f"more than {gigabytes:g} GB of memory")
    except BaseException as error:
        row = Row(name, dist, version, error=f"the measuring failed: {type(error).__name__}: {error}")
    out.send((asdict(row), [m for m in sys.modules if m not in before]))
    out.close()
