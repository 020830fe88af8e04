"""Shim: `python app/evaluate.py …` is `denoiseq evaluate …`, from a checkout."""

import sys

from denoiseq.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
