"""Shim: `python app/predict.py …` is `denoiseq predict …`, from a checkout."""

import sys

from denoiseq.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
