"""The shape of the package: which file may import which, what is public, and what an import costs."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import sed_torch
from sed_torch import errors
from sed_torch._moved import MOVED, MOVED_NAMES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sed_torch"

ROAD = [
    *("_version", "_moved", "errors", "_collecting", "_files", "_frozen", "_listed", "_plain", "tables"),
    *("attributes", "graph", "entropy", "ops", "batching", "tracing"),
    *("topology", "building", "lowering", "scoring", "costing"),
    *("comparing", "sensitivity", "diagnostics", "spaces", "proxies", "zoo", "jobs", "ranking", "searching"),
    *("evidence", "training", "calibration", "report", "integrations"),
    *("benchmarking",),
    *("cli", "__main__", "__init__"),
]
"""A file imports from files before it only; a package is one place, its files among themselves are free."""

NEEDS_NO_TORCH = [
    *(
        "_version",
        "errors",
        "tables",
        "attributes",
        "graph",
        "entropy",
        "ops",
        "batching",
        "topology",
        "building",
        "lowering",
        "scoring",
    ),
    *("scoring.result", "spaces", "searching", "evidence"),
]

SOLE_IMPORTERS = {
    "torch.fx": {"tracing"},
    "timm": {"zoo"},
    # models, the accuracies that torchvision publishes with its weights, and data sets
    "torchvision": {"zoo", "evidence", "training"},
}

PUBLIC = [
    "Calibration",
    "CheckReport",
    "Comparison",
    "Cost",
    "Finding",
    "Graph",
    "Ranking",
    "Score",
    "SedTorchError",
    "Sensitivity",
    "Topology",
    "TopologyBuilder",
    "__version__",
    "calibrate",
    "check",
    "compare",
    "cost",
    "counterparts",
    "draw",
    "explain",
    "rank",
    "register_rule",
    "score",
    "search",
    "sensitivity",
    "topology",
    "trace",
    "unregister_rule",
]

OPTIONAL = ["timm", "torchvision", "pandas", "scipy", "rich", "click", "matplotlib", "joblib", "sklearn"]

FILES = sorted(PACKAGE.rglob("*.py"))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(p): p for p in FILES}


def _place(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs on import: everything but functions and blocks for type checkers."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_for_types(node):
            continue
        yield node
        for inner in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, inner, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)


def _at_import(path: Path) -> set[str]:
    return {name for node in _statements(_tree(path).body) for name in _imported(node)}


def _anywhere(path: Path) -> set[str]:
    skipped = {n for block in ast.walk(_tree(path)) if _is_for_types(block) for n in ast.walk(block)}  # type: ignore[arg-type]
    return {name for node in ast.walk(_tree(path)) if node not in skipped for name in _imported(node)}


def _imported(node: ast.AST) -> Iterator[str]:
    """Dotted names; ``from sed_torch import tables`` is ``sed_torch.tables``."""
    if isinstance(node, ast.Import):
        yield from (a.name for a in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{a.name}" for a in node.names]
        own = [n for n in names if n in MODULES]
        # whatever is taken from the root itself would be a step back
        rest = [n for n in names if n not in MODULES]
        yield from own
        if rest:
            yield node.module


# -- the road ------------------------------------------------------------------------------------------------


def test_every_file_has_its_place_on_the_road() -> None:
    missing = {_place(m) for m in MODULES} - set(ROAD)
    assert not missing, f"give these a place in ROAD: {sorted(missing)}"
    assert len(ROAD) == len(set(ROAD))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module: str) -> None:
    here = _place(module)
    back = [
        name
        for name in _anywhere(MODULES[module])
        if name.split(".")[0] == "sed_torch"
        and _place(name) != here
        and ROAD.index(_place(name)) >= ROAD.index(here)
    ]
    assert back == [], f"{module} imports what comes after it"


def test_no_files_import_each_other() -> None:
    """Also not inside functions."""
    graph = {m: {n for n in _anywhere(p) if n in MODULES} - {m} for m, p in MODULES.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize("place", NEEDS_NO_TORCH)
def test_the_core_imports_no_torch(place: str) -> None:
    """Neither by itself nor through what it imports."""
    start = f"sed_torch.{place}"
    if start not in MODULES:
        pytest.skip(f"{place} is not written yet")
    seen, todo = set(), [start]
    while todo:
        module = todo.pop()
        seen.add(module)
        names = _at_import(MODULES[module])
        assert not [n for n in names if n.split(".")[0] == "torch"], f"{start} → {module} imports torch"
        todo += [n for n in names if n in MODULES and n not in seen]


def _private(module: str) -> Iterator[str]:
    """Names with an underscore that a file takes from a file of another room."""
    here, tree = _place(module), _tree(MODULES[module])
    rooms: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sed_torch":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES:
                    rooms[alias.asname or alias.name] = whole
                elif re.match("_[^_]", alias.name) and _place(str(node.module)) != here:
                    yield whole
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            room, name = rooms.get(node.value.id), node.attr
            if room and re.match("_[^_]", name) and _place(room) != here:
                yield f"{room}.{name}"


def test_nobody_takes_a_private_name_of_another_room() -> None:
    taken = {module: names for module in MODULES if (names := sorted(_private(module)))}
    assert taken == {}


@pytest.mark.parametrize("package", SOLE_IMPORTERS)
def test_some_packages_have_one_importer(package: str) -> None:
    importers = {
        _place(m)
        for m, path in MODULES.items()
        if any(n == package or n.startswith(f"{package}.") for n in _anywhere(path))
    }
    assert importers <= SOLE_IMPORTERS[package]


def test_tests_share_through_support_only() -> None:
    """A bare `pytest` puts the folder of the tests on the path, not the root: `tests.…` is not there."""
    taken = {
        str(path.relative_to(ROOT)): names
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (names := sorted(n for n in _anywhere(path) if re.match(r"(tests|(test|bench)_\w+)\b", n)))
    }
    assert taken == {}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_file_says_what_it_is_for(module: str) -> None:
    tree = _tree(MODULES[module])
    assert ast.get_docstring(tree)
    typed = any(isinstance(n, (ast.FunctionDef, ast.AnnAssign)) for n in ast.walk(tree))
    assert not typed or "__future__" in _at_import(MODULES[module])


LONG = 450
"""Lines from which on a file has more than one job, or says in its head why it has not."""


@pytest.mark.parametrize(
    "module", sorted(m for m, p in MODULES.items() if len(p.read_bytes().splitlines()) > LONG)
)
def test_a_long_file_says_why_it_is(module: str) -> None:
    assert "(Long because " in str(ast.get_docstring(_tree(MODULES[module]))), (
        f"split {module}, or say why not"
    )


# -- what is public ------------------------------------------------------------------------------------------


def test_public_names() -> None:
    assert sorted(PUBLIC) == PUBLIC
    assert list(sed_torch.__all__) == PUBLIC
    for name in PUBLIC:
        assert name == "__version__" or getattr(sed_torch, name).__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("old", MOVED_NAMES)
def test_names_that_stand_elsewhere(old: str) -> None:
    (module, name), new = old.rsplit(".", 1), MOVED_NAMES[old]
    with pytest.warns(DeprecationWarning, match=re.escape(f"{old} is now {new}")):
        found = getattr(importlib.import_module(module), name)
    home, now = new.rsplit(".", 1)
    assert found is getattr(importlib.import_module(home), now)


@pytest.mark.parametrize("old", MOVED)
def test_old_names_of_modules_lead_on(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=re.escape(f"{old} is now {MOVED[old]}")):
        found = importlib.import_module(old)
    assert found is importlib.import_module(MOVED[old])
    assert found.__name__ == MOVED[old]  # the module itself is not renamed


def test_the_changelog_is_up_to_date() -> None:
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("no CHANGELOG.md yet")
    versions = re.findall(r"^##\s+\[?v?(\d+\.\d+\.\d+[^\s\]]*)", changelog.read_text(encoding="utf-8"), re.M)
    assert versions[0] == sed_torch.__version__


def test_the_error_tree_is_drawn_in_full() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    drawn = re.findall(r"\b([A-Z]\w+Error)\b", str(errors.__doc__).split("Every message")[0])
    assert set(drawn) == set(errors.__all__) == classes
    assert len(drawn) == len(set(drawn))
    assert all(issubclass(getattr(errors, name), errors.SedTorchError) for name in classes)


def _loaded_by(code: str) -> set[str]:
    """Top-level packages that are loaded after some code ran in a fresh process."""
    told = f"import sys\n{code}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_loads_nothing_and_a_score_torch_and_numpy_only() -> None:
    assert not {"torch", "numpy", *OPTIONAL} & _loaded_by("import sed_torch")
    score = "import sed_torch, torch; sed_torch.score(torch.nn.Conv2d(3, 8, 3), input_size=(1, 3, 8, 8))"
    assert not {*OPTIONAL} & _loaded_by(score) - _loaded_by("import torch")
    assert "torch" not in _loaded_by("import sed_torch.entropy, sed_torch.topology; sed_torch.errors")


@pytest.mark.parametrize(
    ("words", "completes"),
    [
        *((["--version"], ""), (["--help"], ""), ([], ""), (["scroe"], ""), (["rank", "--help"], "")),
        *((["rank", "x", "--nope"], ""), (["search", "--space", "darts", "--max-params", "many"], "")),
        *(([], "sed-torch sc"), ([], "sed-torch rank --in")),
    ],
)
def test_help_errors_and_completion_never_load_torch(words: list[str], completes: str) -> None:
    """Of the command line as it is started: torch alone takes longer than a person waits for a typo."""
    env = {"_SED_TORCH_COMPLETE": "bash_complete", "COMP_WORDS": completes, "COMP_CWORD": "1"}
    code = f"""
import os, contextlib, io
os.environ.update({env if completes else {}})
from sed_torch.cli import main
out = io.TextIOWrapper(io.BytesIO())
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
    main({words})
assert out.tell(), "nothing was said"
"""
    assert not {"torch", "timm", "rich", "pandas", "scipy"} & _loaded_by(code)


def test_a_function_and_a_module_of_one_name() -> None:
    """``topology`` is both; whichever way the module came in, the package's name is the function."""
    code = "import sed_torch.topology, sed_torch as s; assert callable(s.topology), s.topology"
    _loaded_by(code)
    _loaded_by("from sed_torch.topology import Topology; import sed_torch as s; assert callable(s.topology)")


def test_rooms_need_no_import_of_their_own() -> None:
    _loaded_by("import sed_torch as s; s.report.to_html, s.evidence.validate, s.zoo.load, s.spaces.get_space")


def test_wrong_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = sed_torch.scores  # type: ignore[attr-defined]
    assert set(PUBLIC) <= set(dir(sed_torch))


# -- names ---------------------------------------------------------------------------------------------------

SAME_NAME = {
    "Net": "the network of each space, in its own package",
}
"""Public classes that several files have, and why."""

SAME_CONSTANT = {
    "COLUMNS": "of the table of each result",
    "LEVEL": "of the intervals that a room gives: 90 % of accuracies, 95 % of correlations",
    "MAX_BYTES": "of a file that a room reads",
    "ROWS": "of a table in code: operators, benchmarks",
    "SCHEMA": "of the file of each result",
    **dict.fromkeys(
        ("BLOCKS", "HEAD_WIDTH", "LAYERS", "OPS", "STEM_WIDTH", "WIDTHS"), "of each search space"
    ),
}
"""Public constants that several files have, and why. One name with two meanings is what this list keeps out."""


def _several(defined: Callable[[ast.stmt], Iterable[str]]) -> dict[str, list[str]]:
    """Public names that more than one file defines → these files."""
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        body = _tree(path).body
        public = {
            e.value
            for node in body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            for e in ast.walk(node.value)
            if isinstance(e, ast.Constant)
        }
        for name in (n for node in body for n in defined(node) if n in public):
            homes.setdefault(name, []).append(module)
    return {name: modules for name, modules in homes.items() if len(modules) > 1}


def _classes(node: ast.stmt) -> Iterable[str]:
    return [node.name] if isinstance(node, ast.ClassDef) else []


def _constants(node: ast.stmt) -> Iterable[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


@pytest.mark.parametrize(
    ("defined", "known"), [(_classes, SAME_NAME), (_constants, SAME_CONSTANT)], ids=["classes", "constants"]
)
def test_no_public_name_has_two_meanings(
    defined: Callable[[ast.stmt], Iterable[str]], known: Mapping[str, str]
) -> None:
    several = _several(defined)
    assert set(several) == set(known), {n: several.get(n) for n in set(several) ^ set(known)}
