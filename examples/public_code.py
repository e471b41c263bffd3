"""What the check finds in public training repositories, each finding verified by a real forward or backward pass.

python examples/public_code.py --repositories FOLDER [--only OWNER/NAME] [-o examples/results/public-code.md]
python examples/public_code.py --commands        the git commands that make FOLDER, and nothing else

WARNING: this imports and runs code of other people, from the repositories named in ``public_code.csv``, with your
rights, each repository in a process of its own. Run it where you would run their training scripts: in a container
or a virtual machine, without a network. The script itself reads FOLDER/OWNER/NAME and fetches nothing.

``public_code.csv`` has a row a network: the repository and its commit, the file, an expression that builds it in that
file's names, its input, and the loss the repository trains it with. Files are executed statement by statement only
until the names in the expression are defined, so that the classes of a training script can be had without training.
``public_code_verdicts.csv`` has the verdicts by hand. Where it has none, a finding whose pass
(``public_code_passes.py``) confirms it is true; any other needs a verdict, and the command exits with 1 without.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sed_torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, os.fspath(HERE))
from public_code_page import (  # noqa: E402  beside this file
    GRAVE,
    VERIFIED,
    Found,
    Network,
    Result,
    Verdict,
    commands,
    parsed,
    read_rows,
    to_markdown,
)
from public_code_passes import PASSES, Trial  # noqa: E402

USUAL: Mapping[str, str] = {
    "SED001": "no-gradient",
    "SED002": "no-gradient",
    "SED004": "constant-output",
    "SED005": "no-gradient",
    "SED008": "",
    "SED101": "alike-neighbours",
    "SED102": "alike-neighbours",
    "SED105": "padding-taps",
    "SED104": "unread-positions",
    "SED202": "affine",
    "SED205": "same-result",
    "SED207": "mixed-positions",
    "SED208": "half-read",
    "SED209": "uneven",
    "SED301": "constant-layer",
    "SED302": "variance-shift",
    "SED303": "bounded-output",
    "SED304": "backward-raises",
    "SED305": "overwritten",
    "SED309": "second-moment",
    "SED310": "always-random",
    "SED312": "calls-differ",
    "SED313": "eps-share",
    "SED315": "at-least-half",
    "SED316": "batch-leak",
    "SED317": "batch-size",
    "SED318": "constant-layer",
}
"""The pass that verifies a code where the verdicts name no other."""


# -- getting at a network ------------------------------------------------------------------------------------


def _names(expression: str) -> set[str]:
    return {n.id for n in ast.walk(ast.parse(expression, mode="eval")) if isinstance(n, ast.Name)}


def _package(root: Path, file: str) -> str:
    """The dotted name of the folder a file lies in, its packages importable: as they are, or empty if they fail."""
    parts = Path(file).parts[:-1]
    for depth in range(1, len(parts) + 1):
        dotted = ".".join(parts[:depth])
        try:
            importlib.import_module(dotted)
        except Exception:  # its __init__ needs what is not installed, say
            stand_in = types.ModuleType(dotted)
            stand_in.__path__ = [os.fspath(root.joinpath(*parts[:depth]))]
            sys.modules[dotted] = stand_in
    return ".".join(parts)


class StandIn:
    """What a name from a package that is not installed stands for: it takes any arguments and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn()


def _stand_in(name: str) -> type[StandIn]:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (StandIn,), {})


class NotInstalled(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives modules whose every name is a :class:`StandIn`, for what a repository imports and is not installed.

    Training scripts import loggers, readers of data and simulators that their networks do not need.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = os.fspath(folder)

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        frame = sys._getframe(1)
        while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if not frame.f_code.co_filename.startswith(self.folder):
            return None  # installed packages look for others that are optional
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__["__getattr__"] = _stand_in


def _defines(statement: ast.stmt) -> bool:
    """Whether it only gives a name to a class, a function or a constant."""
    if isinstance(statement, ast.Assign):
        return not any(isinstance(node, ast.Call) for node in ast.walk(statement))
    return isinstance(statement, ast.ClassDef | ast.FunctionDef)


def names_of(root: Path, file: str, wanted: set[str]) -> dict[str, Any]:
    """The names of a file, executed statement by statement until all that are wanted are there.

    After that only classes, functions and constants are defined, so training is never reached. A statement that
    raises (a data set that is not there) is passed over.

    Raises:
        NameError: the file ends and a name is not defined.
    """
    path = root / file
    sys.path[:0] = [os.fspath(path.parent), os.fspath(root)]
    sys.argv = [path.name]
    package = _package(root, file)
    name = f"{package}.{path.stem}" if package else path.stem
    module = types.ModuleType(name)
    module.__dict__.update(__file__=os.fspath(path), __package__=package)
    sys.modules[name] = module
    scope = module.__dict__
    wanted = wanted - set(dir(__builtins__)) - {"torch", "nn", "Options"}
    failed: list[str] = []
    for statement in ast.parse(path.read_text(encoding="utf-8", errors="replace")).body:
        if wanted <= set(scope) and not _defines(statement):
            continue
        try:
            code = compile(ast.Module([statement], []), os.fspath(path), "exec")
            exec(code, scope)
        except (Exception, SystemExit) as error:
            failed.append(f"line {statement.lineno}: {type(error).__name__}: {error}")
    if missing := wanted - set(scope):
        raise NameError(f"{', '.join(sorted(missing))} not defined; {'; '.join(failed[-3:])}")
    return {"torch": torch, "nn": nn, "Options": types.SimpleNamespace, **scope}


def _on_this_machine(folder: Path) -> None:
    """Answer calls of ``.cuda()`` on the CPU where there is no GPU, stand in for packages, let no connection be made.

    Old training code calls ``.cuda()`` in its forward, and fetches trained weights where it builds a network. The
    last is a courtesy, not a fence: code that wants a connection can still make one.
    """
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self
        nn.Module.cuda = lambda self, *args, **kwargs: self
        for kind in ("FloatTensor", "LongTensor"):
            setattr(torch.cuda, kind, getattr(torch, kind))

    def refused(*args: Any, **kwargs: Any) -> None:
        raise OSError("no connections are made here")

    sys.meta_path.append(NotInstalled(folder))  # asked last
    socket.socket.connect = refused  # type: ignore[assignment,method-assign]


def built(network: Network, folder: Path) -> tuple[nn.Module, tuple[Any, ...], Any]:
    """The network, the arguments of its forward, and its loss."""
    torch.manual_seed(0)
    scope = names_of(folder / network.repository, network.file, _names(network.build))
    model = eval(network.build, scope)
    torch.manual_seed(0)
    inputs = eval(network.input, {"torch": torch})
    loss = eval(network.loss, {"torch": torch, "nn": nn}) if network.loss else None
    return model, inputs if isinstance(inputs, tuple) else (inputs,), loss


# -- checking it ---------------------------------------------------------------------------------------------


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _verified(trial: Trial, verify: str) -> tuple[bool | None, str]:
    if not verify:
        return None, ""
    try:
        outcome = PASSES[verify](trial)
    except Exception as error:  # strangers' code
        return None, f"the pass {verify} failed: {_first_line(error)[:200]}"
    return outcome.holds, outcome.measured


def checked(network: Network, folder: Path, verdicts: Sequence[Verdict]) -> Result:
    """Build a network, score and check it, and verify what was found."""
    result = Result(network)
    try:
        model, inputs, loss = built(network, folder)
    except Exception as error:  # strangers' code
        result.reason = f"could not be built: {_first_line(error)}"
        return result
    try:
        report = sed_torch.check(model, input_data=inputs, loss=loss)
        result.score = float(report.score) if report.score is not None else None
        result.coverage = report.coverage
    except Exception as error:  # a crash of the check is a result too
        where = traceback.extract_tb(error.__traceback__)[-1]
        result.reason = f"check: {_first_line(error)} ({Path(where.filename).name}:{where.lineno})"
        return result
    seen: dict[str, int] = {}
    kept: dict[str, Any] = {}
    for finding in report.findings:
        seen[finding.code] = seen.get(finding.code, 0) + 1
        trial = Trial(model, inputs, loss, finding, kept)
        result.found.append(_judged(trial, network, verdicts, seen[finding.code], folder))
    return result


def _judged(trial: Trial, network: Network, verdicts: Sequence[Verdict], number: int, folder: Path) -> Found:
    finding = trial.finding
    root = os.fspath(folder / network.repository) + os.sep
    source = finding.source or ""
    found = Found(
        finding.code,
        finding.severity,
        finding.path,
        finding.message.replace(root, ""),
        source.removeprefix(root) if source.startswith(root) else Path(source).name,
    )
    if finding.severity not in GRAVE:
        return found
    verdict = next((v for v in verdicts if v.covers(network, finding.code, finding.path)), None)
    verify = verdict.verify if verdict else USUAL.get(finding.code, "")
    if number <= VERIFIED:
        found.holds, found.measured = _verified(trial, verify)
    return found


def child(
    repository: str, folder: Path, output: Path, networks: Sequence[Network], verdicts: Sequence[Verdict]
) -> None:
    """Check the networks of one repository, and write what was found as JSON; runs in a process of its own."""
    warnings.simplefilter("ignore")
    _on_this_machine(folder)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # some scripts make folders
        for network in networks:
            if network.repository == repository:
                modules, path = set(sys.modules), list(sys.path)
                result = checked(network, folder, verdicts)
                result.reason = result.reason.replace(os.fspath(folder / repository) + os.sep, "")
                with output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
                sys.path[:] = path
                for name in set(sys.modules) - modules:  # two files of a repository may each have a `utils`
                    if str(getattr(sys.modules[name], "__file__", "")).startswith(os.fspath(folder)):
                        del sys.modules[name]
        os.chdir(HERE)


def in_a_child(
    repository: str, folder: Path, data: Path, networks: Sequence[Network], seconds: float
) -> Iterator[Result]:
    """The results of one repository's networks, from a process that runs its code."""
    mine = [n for n in networks if n.repository == repository]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "results.jsonl"
        output.touch()
        command = [sys.executable, os.fspath(Path(__file__).resolve()), "--child", repository]
        command += ["--repositories", os.fspath(folder), "--data", os.fspath(data), "-o", os.fspath(output)]
        reason = ""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"not done after {seconds:.0f} s"
        lines = output.read_text(encoding="utf-8").splitlines()
    for network, line in zip(mine, lines, strict=False):
        result = parsed(line)
        assert result.network == network
        yield result
    for network in mine[len(lines) :]:
        yield Result(network, reason=reason)


def _lines_of(path: Path | None) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repositories", metavar="FOLDER", type=Path, help="clones, as FOLDER/OWNER/NAME")
    parser.add_argument("--commands", action="store_true", help="print the git commands that make FOLDER")
    parser.add_argument(
        "--only", action="append", default=[], metavar="OWNER/NAME", help="these repositories only"
    )
    parser.add_argument("--data", type=Path, default=HERE, help="where public_code.csv and its verdicts are")
    parser.add_argument("--seconds", type=float, default=900.0, help="a repository's time")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "public-code.md")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="keep results here, and take those that it has from it"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    networks: list[Network] = read_rows(args.data / "public_code.csv", Network)
    verdicts: list[Verdict] = read_rows(args.data / "public_code_verdicts.csv", Verdict)
    if args.commands or args.repositories is None:
        print("\n".join(commands(networks)))
        sys.exit(0 if args.commands else "name the folder of the clones: --repositories FOLDER")
    folder = args.repositories.resolve()
    if args.child:
        child(args.child, folder, args.output, networks, verdicts)
        return
    print(
        f"This runs code from the repositories in {folder}, with your rights: Ctrl-C stops it.",
        file=sys.stderr,
    )
    known = [parsed(line) for line in _lines_of(args.resume)]
    results: list[Result] = []
    for name in dict.fromkeys(n.repository for n in networks if not args.only or n.repository in args.only):
        mine = [n for n in networks if n.repository == name]
        of_it = [r for n in mine for r in known if r.network == n]
        if len(of_it) < len(mine):
            of_it = list(in_a_child(name, folder, args.data.resolve(), networks, args.seconds))
            if args.resume:
                with args.resume.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(r)) + "\n" for r in of_it)
        results += of_it
        text = "; ".join(
            r.reason or f"{r.network.title}: " + (", ".join(sorted({f.code for f in r.grave})) or "clean")
            for r in of_it
        )
        print(f"{name}: {text}", file=sys.stderr, flush=True)
    args.output.write_text(
        to_markdown(results, verdicts, "python examples/public_code.py --repositories FOLDER"),
        encoding="utf-8",
    )
    print(f"wrote {args.output}")
    if missing := sum(not f.verdict for r in results for f in r.grave):
        sys.exit(
            f"{missing} findings have no verdict: read the code, and add them to public_code_verdicts.csv"
        )


if __name__ == "__main__":
    main()
