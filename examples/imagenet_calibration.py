"""The ImageNet calibration that is shipped, made from the results that timm publishes.

python examples/imagenet_calibration.py --topologies FOLDER [--results results-imagenet.csv] [--jobs 2]

FOLDER keeps the traced networks: the first run takes some ten minutes, later ones half a minute. What is written are
the numbers that the process needs, each network's features and its coefficient: no names and no table of accuracies.
timm's results are facts under the Apache License 2.0 (github.com/huggingface/pytorch-image-models, results/).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from zoo_topologies import families_and_topologies, trace_all

from sed_torch.calibration import Calibration, calibrate, write_calibration
from sed_torch.calibration.networks import Candidates
from sed_torch.evidence import Accuracies, timm_results
from sed_torch.evidence.benchmarks import find_file
from sed_torch.scoring import DEFAULT_DEFINITION, evaluate
from sed_torch.scoring.features import feature_matrix

SHIPPED = Path(__file__).resolve().parent.parent / "sed_torch" / "calibration" / "imagenet.json"
TITLE, NOTE = "ImageNet top-1", "as trained by published recipes"
SOURCE = "timm's results on ImageNet-1k, best recipe without more data or a teacher (Apache-2.0)"


def candidates(refs: Sequence[str], folder: Path) -> Candidates:
    """Scores and features of traced networks, named by their references, in the families of their model files."""
    found = list(families_and_topologies(refs, folder))
    evaluations = [evaluate(topology) for _, _, topology in found]
    return Candidates(
        tuple(ref for ref, _, _ in found),
        np.array([np.nan if e.total is None else e.total for e in evaluations]),
        feature_matrix(evaluations),
        DEFAULT_DEFINITION,
        tuple(family for _, family, _ in found),
    )


def by_reference(accuracies: Accuracies) -> dict[str, float]:
    """Accuracies by reference."""
    return {f"timm:{row.name}": row.accuracy for row in accuracies.rows}


def made(accuracies: Accuracies, folder: Path) -> Calibration:
    """The calibration, with the networks that the folder has."""
    measured = by_reference(accuracies)
    nets = candidates(list(measured), folder)
    return calibrate(nets, measured, title=TITLE, note=NOTE, source=SOURCE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topologies", type=Path, required=True)
    parser.add_argument(
        "--results", type=Path, help="timm's results-imagenet.csv; default: of the data folder"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED)
    args = parser.parse_args()
    accuracies = timm_results(args.results or find_file("timm"))
    trace_all(by_reference(accuracies), args.topologies, args.jobs)
    calibration = made(accuracies, args.topologies)
    write_calibration(calibration, args.output)
    print(calibration)


if __name__ == "__main__":
    main()
