"""How much of what people build with PyTorch is read: configurations of packages that pip installs, one row each.

    python examples/coverage.py --install                                 # what is missing, at the listed versions
    python examples/coverage.py -o examples/results/coverage.md           # run what has no row yet, write the page
    python examples/coverage.py --only 'vit-pytorch:*,monai:*'            # a glob over names; a package is its prefix
    python examples/coverage.py --minutes 10                              # go on in the next call
    python examples/coverage.py --again failed                            # run anew what was not read or differs
    python examples/coverage.py --again stale                             # run anew what other sources made

Each configuration is built without weights being downloaded, scored, and held against three second opinions: its
multiply-accumulates against ``torch.utils.flop_counter``, its parameters against torch's own number, and all that the
model holds (weights, buffers, hooks, flags, other attributes) against what it held before. It runs in a process of its
own with a limit of time and memory. Rows are kept as they come, so that Ctrl-C loses nothing: the next call goes on.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# else a package's "import coverage" would find this file
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE]


def _know_the_cases() -> None:
    """Makes ``coverage_models``, beside this file, a package that can be imported."""
    folder = HERE / "coverage_models"
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[folder.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


for name, value in {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",  # nothing is downloaded
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "disabled",
    "YOLO_OFFLINE": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}.items():
    os.environ.setdefault(name, value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="where to write the page")
    parser.add_argument("--only", default="*", help="globs over the names of configurations, between commas")
    parser.add_argument(
        "--install", action="store_true", help="have pip install the packages that are missing"
    )
    parser.add_argument(
        "--list", action="store_true", help="show the packages and their versions, run nothing"
    )
    parser.add_argument("--again", metavar="WHAT", help="'failed', 'stale' or globs: forget these rows first")
    parser.add_argument("--at-hand", action="store_true", help="write the page of the rows kept so far")
    parser.add_argument("--rows", type=Path, default=Path("coverage-rows.jsonl"), help="where rows are kept")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; the next call goes on")
    parser.add_argument("--seconds", type=float, default=240, help="limit of one configuration")
    parser.add_argument("--gigabytes", type=float, default=8, help="limit of one configuration")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()

    _know_the_cases()
    from coverage_models import fields, running
    from coverage_models.cases import PACKAGES
    from coverage_models.page import line, page

    fields.load()
    limits = running.Limits(args.seconds, args.gigabytes, args.minutes)
    if args.serve:
        return running.serve(args.serve, args.only, args.rows, limits, line)
    if args.list:
        print("\n".join(f"{p.dist}=={p.version}" for p in PACKAGES.values()))
        return 0
    if args.install:
        running.install(n for n in PACKAGES if _wanted(n, args.only))
    if args.again:
        running.forget(args.rows, lambda row: _asked_again(row, args.again))
    through = False
    try:
        if not args.at_hand:
            through = running.run(Path(__file__), PACKAGES, args.only, args.rows, limits, line)
    except KeyboardInterrupt:
        print("stopped; what was done is kept, the same command goes on", file=sys.stderr)
    if args.output:
        from sed_torch._files import write_text

        rows = running.kept(args.rows)
        write_text(args.output, page(rows, running.ended(rows)))
    return 0 if through or args.at_hand else running.ENDED


def _asked_again(row: dict[str, Any], what: str) -> bool:
    from coverage_models import running
    from coverage_models.page import failed

    if what == "failed":
        return failed(row)
    if what == "stale":
        return "done" not in row and row.get("sources") != running.sources()
    return _matches(row["name"], what)


def _matches(name: str, globs: str) -> bool:
    return any(fnmatch.fnmatchcase(name, g) for g in globs.split(","))


def _wanted(package: str, globs: str) -> bool:
    return any(fnmatch.fnmatchcase(package, g.partition(":")[0]) for g in globs.split(","))


if __name__ == "__main__":
    sys.exit(main())
