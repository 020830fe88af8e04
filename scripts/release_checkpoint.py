"""Make a checkpoint to publish: the network and all that predict needs, without training state.

    python scripts/release_checkpoint.py RUN/checkpoints/best.pt data/yeast/denoiser.pt

Leaves out the optimizer and the random state, so it cannot be resumed from; its config names files
as the training's command did.
"""

from pathlib import Path

from bench.command import parser, script
from denoiseq.atomic import check_writable
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint


@script
def main():
    made = parser(__doc__)
    made.add_argument("checkpoint", type=Path, help="of a training")
    made.add_argument("out", type=Path, help="the file to write")
    arguments = made.parse_args()
    check_writable(arguments.out)
    payload = load_checkpoint(arguments.checkpoint)
    save_checkpoint(arguments.out, {**payload, "training_state": None})
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")
