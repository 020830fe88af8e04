"""Shim: `python app/prepare.py …` is `denoiseq prepare …`, from a checkout."""

import sys

from denoiseq.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
