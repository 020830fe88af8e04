"""Shim: `python app/train.py …` is `denoiseq train …`, from a checkout."""

import sys

from denoiseq.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
