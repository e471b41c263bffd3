"""Rank timm models before training, within and across families.

python examples/rank_timm.py 'timm:resnet*,!*x*' 'timm:regnety_*,!*_tv' --jobs 2
"""

from __future__ import annotations

import argparse

import sed_torch
from sed_torch import tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", default=["timm:resnet??", "timm:regnety_0*,!*_tv"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--top", type=int, default=5, help="rows a family")
    args = parser.parse_args()

    ranking = sed_torch.rank(args.patterns, jobs=args.jobs)
    for family in ranking.families:
        print(f"### {family.family}: {family.models} models, median SED {family.median_sed or 0:.3f}\n")
        rows = [
            {
                "model": r.name,
                "SED": r.sed,
                "params": tables.quantity(r.params),
                "given size": r.residual_rank,
            }
            for r in ranking.within(family.family).top(args.top)
        ]
        print(tables.to_markdown(rows, ("model", "SED", "params", "given size")), end="\n\n")
    for row in ranking.failures:
        print(f"- {row.name}: {row.reason}")


if __name__ == "__main__":  # worker processes import this file
    main()
