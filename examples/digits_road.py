"""From a score to an accuracy in two minutes: rank cells, train a few, calibrate, and foretell the rest.

python examples/digits_road.py [FOLDER]

The same road on the command line: rank -o rank.csv, train-counterparts -o runs.csv, then
sed-torch calibrate rank.csv --accuracies runs.csv -o my.json, and rank --calibration my.json --by expected.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

import sed_torch
from sed_torch.calibration import Calibration, expect, read_calibration, write_calibration
from sed_torch.ranking import Ranking
from sed_torch.spaces import get_space
from sed_torch.training import Recipe
from sed_torch.training.networks import space_network

CELLS, TRAINED, WIDTH = 24, 10, 4


def main(folder: Path, epochs: int = 4) -> tuple[Ranking, Calibration]:
    """Rank cells of NAS-Bench-201 in small networks on scikit-learn's digits; train ten of them; foretell all."""
    space, rng = get_space("nasbench201"), np.random.default_rng(1)
    cells = list(dict.fromkeys(space.format(space.sample(rng)) for _ in range(CELLS)))
    networks = {c: partial(space_network, "nasbench201", c, 10, WIDTH, 1) for c in cells}
    ranking = sed_torch.rank(networks, input_size=(1, 3, 8, 8), progress=False)
    chosen = [r.name for r in ranking.scored if np.isfinite(r.sed or 0.0)]
    spread = [chosen[i] for i in np.linspace(0, len(chosen) - 1, TRAINED).round().astype(int)]
    sed_torch.counterparts(
        "nasbench201",
        folder / "runs.csv",
        archs=spread,
        n=TRAINED,
        width=WIDTH,
        cells=1,
        dataset="digits",
        recipe=Recipe(epochs=epochs),
        seeds=1,
        device="cpu",
        proxies=(),
        progress=False,
    )
    calibration = sed_torch.calibrate(ranking, folder / "runs.csv", groups=None, title="digits accuracy")
    write_calibration(calibration, folder / "digits.json")
    return expect(ranking, read_calibration(folder / "digits.json"), sort="expected"), calibration


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    place.mkdir(parents=True, exist_ok=True)
    for result in main(place):
        print(result, end="\n\n")
