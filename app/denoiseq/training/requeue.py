"""The checkpoint from which a job goes on that its scheduler has started again."""

import logging
import os
from pathlib import Path

from denoiseq.models.checkpoint import load_checkpoint, trained_settings
from denoiseq.settings import Train
from denoiseq.training.resume import changed_settings, shown_changes
from denoiseq.training.state import checkpoint_path

log = logging.getLogger(__name__)
# Variables by which SLURM, torchrun, Grid Engine and LSF tell a job that it has run before.
RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT", "RESTARTED", "LSB_RESTART")
# Set in every job of submitit, which starts a job again without telling it.
SUBMITIT = "SUBMITIT_EXECUTOR"


def checkpoint_of_job(settings: Train) -> str | None:
    """last.pt of the run folder, in a job that is started again with the settings that made it."""
    again = any(os.environ.get(name, "") not in ("", "0", "N") for name in RESTARTS)
    if not again and SUBMITIT not in os.environ:
        return None
    last: Path = checkpoint_path(settings.out, "last")
    if not last.is_file():
        if again:
            log.warning(
                "this job was started again, but %s does not exist: the training starts anew (to "
                "go on, a job needs an out= that stays the same)",
                last,
            )
        return None
    changes = changed_settings(trained_settings(load_checkpoint(last), last), settings)
    if changes:
        log.warning(
            "this job was started again, but %s is of other settings (%s): the training starts "
            "anew",
            last,
            shown_changes(changes),
        )
        return None
    log.info("this job was started again: it goes on from %s", last)
    return str(last)
