#!/usr/bin/env python
"""A checkpoint to give away: the network and all that predict needs, and nothing of its training.

    python scripts/release_checkpoint.py RUN/checkpoints/best.pt data/yeast/denoiser.pt

Leaves out the optimizer and the random state, so it cannot be resumed from; its config names files
as the training's command did.
"""

import argparse
import sys
from pathlib import Path

from denoiseq.atomic import check_writable
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="of a training")
    parser.add_argument("out", type=Path, help="the file to write")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    try:
        check_writable(arguments.out)
        payload = load_checkpoint(arguments.checkpoint)
        save_checkpoint(arguments.out, {**payload, "training_state": None})
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
