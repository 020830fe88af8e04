"""Make a small synthetic data set: python data/make_synthetic.py FOLDER [--seed N]."""

import argparse
from pathlib import Path

from denoiseq.genomics.synthetic import make_synthetic


def main() -> None:
    """Command line: a folder and a seed."""
    parser = argparse.ArgumentParser(description="Make a small synthetic ATAC-seq data set.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for key, path in make_synthetic(arguments.folder, arguments.seed).items():
        print(f"{key}\t{path}")


if __name__ == "__main__":
    main()
