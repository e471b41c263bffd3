"""Write NATS-Bench's accuracies as a CSV that `sed-torch validate` reads.

pip install nats_bench
python examples/nats_to_csv.py NATS-tss-v1_0-3ffb9-simple -o nb201.csv
python examples/nats_to_csv.py NATS-sss-v1_0-50262-simple --space size -o nats_size.csv
sed-torch validate --benchmark nasbench201 --data nb201.csv

NATS-Bench publishes pickles, and loading a pickle runs the code in it. sed-torch loads none: this script asks
NATS-Bench's own package for each figure, so run it on files you trust.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
EPOCHS = {"topology": "200", "size": "90"}
SEEDS = 3


def rows(api: Any, epochs: str) -> Iterator[dict[str, Any]]:
    """A row an architecture: test accuracies, means over seeds and single runs, and the benchmark's own counts."""
    for index in range(len(api)):
        row: dict[str, Any] = {"arch": api.arch(index)}
        for name, dataset in DATASETS.items():
            row[f"{name}_test"] = accuracy(api, index, dataset, epochs, is_random=False)
        seeds = sorted(api.query_meta_info_by_index(index, epochs).get_dataset_seeds("cifar10"))
        for k in range(SEEDS):
            known = k < len(seeds)
            found = accuracy(api, index, "cifar10", epochs, is_random=seeds[k]) if known else ""
            row[f"cifar10_test_seed{k}"] = found
        cost = api.get_cost_info(index, "cifar10", hp=epochs)
        yield row | {"params_M": cost["params"], "cifar10_flops_M": cost["flops"]}


def accuracy(api: Any, index: int, dataset: str, epochs: str, *, is_random: bool | int) -> float:
    """Test accuracy in percent: the mean over the seeds (False), or that of one seed."""
    info = api.get_more_info(index, dataset, hp=epochs, is_random=is_random)
    return float(info["test-accuracy"])


def write(api: Any, epochs: str, path: Path) -> int:
    """Write all rows; returns how many."""
    found = rows(api, epochs)
    first = next(found)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(found)
    return len(api)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("benchmark", help="folder (the 'simple' archive, unpacked) or file of NATS-Bench")
    parser.add_argument("--space", choices=EPOCHS, default="topology")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()

    from nats_bench import create

    api = create(args.benchmark, args.space, fast_mode=Path(args.benchmark).is_dir(), verbose=False)
    print(f"{write(api, EPOCHS[args.space], args.output):,} architectures in {args.output}")


if __name__ == "__main__":
    main()
