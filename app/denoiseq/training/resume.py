"""Whether a training can go on from a checkpoint, and with which best epoch it does.

A setting that is not named here must be the same, because the network would otherwise be another
function, or the windows left to do would not be those of the training.
"""

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoiseq.atomic import atomic_path
from denoiseq.errors import UserError
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint, trained_settings
from denoiseq.settings import Data, Train, plain
from denoiseq.settings.help import shown
from denoiseq.training.progress import Progress
from denoiseq.windows.dataset import WindowDataset

log = logging.getLogger(__name__)
# Settings without a say in what is learned, and files, whose contents are compared instead.
FREE = (
    *("out", "name", "resume", "stages", "trainer", "model.pretrained", "optim.micro_batch"),
    *("data.store", "data.noisy_store", "data.more_stores", "data.more_noisy_stores"),
    *("data.synthetic", "data.prepare", "data.labels", "data.truth"),
)
# Settings that may change, although the training then does not go on as it would have.
LASTING = (
    *("conv", "precision", "loss", "data.fasta", "optim.epochs", "optim.lr"),
    *("optim.weight_decay", "optim.schedule", "optim.warmup_epochs", "optim.plateau_epochs"),
    *("optim.plateau_factor", "optim.gradient_clip", "optim.patience", "optim.monitor"),
)
# Lists whose order does not matter.
FOLDS = ("data.validation", "data.test", "data.exclude")

Changes = dict[str, tuple[Any, Any]]
"""Dotted name of a setting -> its value in the checkpoint, and now."""


def check_resumable(
    path: Path, payload: Mapping[str, Any], settings: Train, data: WindowDataset
) -> None:
    """Raise UserError if a training cannot go on from a checkpoint as it was; warn of what may
    change.
    """
    if payload["training_state"] is None:
        raise UserError(
            f"{path} was released to predict with, without its training's state: start a training "
            "from its weights with model.pretrained=."
        )
    before = trained_settings(payload, path)
    changes = changed_settings(before, settings)
    lasting = {name: pair for name, pair in changes.items() if _within(name, LASTING)}
    others = {name: pair for name, pair in changes.items() if name not in lasting}
    if others := others | _changed_peaks(payload, before.data, settings.data, data):
        raise UserError(
            f"{path} was trained with other settings ({shown_changes(others)}): resume with the "
            "settings of the training, or start a new one from its weights with model.pretrained=."
        )
    _check_store(path, payload, settings.data, data)
    if not settings.data.sequence:
        lasting.pop("data.fasta", None)  # nothing reads it
    if lasting:
        log.warning("%s is resumed with other settings: %s", path, shown_changes(lasting))


def changed_settings(before: Train, now: Train) -> Changes:
    """The settings that differ, apart from those in FREE."""
    old, new = _flat(plain(before)), _flat(plain(now))
    names = [n for n in {**old, **new} if old.get(n) != new.get(n) and not _within(n, FREE)]
    if "model.name" in names:  # another network has other sizes anyway
        names = [n for n in names if n == "model.name" or not n.startswith("model.")]
    return {name: (old.get(name), new.get(name)) for name in names}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; folds in order."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = sorted(value) if name in FOLDS and isinstance(value, list) else value
    return flat


def _within(name: str, names: tuple[str, ...]) -> bool:
    """Whether a setting is one of `names`, or in a group that is."""
    return any(name == other or name.startswith(f"{other}.") for other in names)


def shown_changes(changes: Changes) -> str:
    """Each changed setting, as name old -> new."""
    return ", ".join(f"{n} {shown(old)} -> {shown(new)}" for n, (old, new) in changes.items())


def _changed_peaks(
    payload: Mapping[str, Any], before: Data, now: Data, data: WindowDataset
) -> Changes:
    """Labels and true peaks that differ: a file may have moved, its peaks must be the same."""
    stored, changes = payload.get("peaks_fingerprint"), {}
    for name in ("labels", "truth"):
        old, new = getattr(before, name), getattr(now, name)
        if old == new and new in ("poisson", None):  # they follow from the store
            continue
        if stored is None:  # an earlier release wrote the checkpoint
            same = _same_file(old, new)
        else:
            same = stored[name] == data.peaks_fingerprint[name]
        if not same:
            changes[f"data.{name}"] = old, f"{new}, with other peaks" if old == new else new
    return changes


def _same_file(old: str | None, new: str | None) -> bool:
    """Whether two paths lead to the same content; by name, where the old file is gone."""
    if old == new:
        return True
    if None in (old, new) or "poisson" in (old, new):
        return False
    before, now = Path(str(old)), Path(str(new))
    return before.read_bytes() == now.read_bytes() if before.is_file() else before.name == now.name


def _check_store(
    path: Path, payload: Mapping[str, Any], settings: Data, data: WindowDataset
) -> None:
    """Raise UserError unless the stores hold what the checkpoint was trained on."""
    if payload["fingerprint"] != data.fingerprint:
        raise UserError(
            f"{path} was trained on a store prepared otherwise than {data.store.path} or one that "
            "goes with it: resume on the same ones."
        )
    stored, called = payload.get("peaks_fingerprint"), settings.labels == "poisson"
    same_labels = not (stored and called) or stored["labels"] == data.peaks_fingerprint["labels"]
    depth = payload["trained_cuts_per_mb"]
    if not (same_labels and math.isclose(depth, data.input_cuts_per_mb, rel_tol=1e-6)):
        raise UserError(
            f"{path} was trained on other reads than {data.store.path} or one that goes with it "
            "holds: resume on the same stores."
        )


def adopt_best(resumed: Path, best: Path, done: Progress, monitor: str) -> None:
    """Leave in best.pt the best epoch by `monitor`, and in `done.best` which that is.

    Where another metric chose so far, or best.pt is gone, it is the best of the epochs whose
    weights are at hand, in the best.pt beside `resumed` and in that itself; where none is, it is
    None, and the next epoch becomes the best.
    """
    beside = resumed.with_name("best.pt")
    kept = beside if beside.is_file() else best
    files = {path: load_checkpoint(path) for path in (resumed, kept) if path.is_file()}
    at_hand = {p["epoch"]: (path, p) for path, p in files.items() if _is_end_of_epoch(p, done)}
    so_far = done.best if done.best_is_comparable(monitor) else done.best_by(monitor)
    done.best = so_far
    if so_far is not None and so_far["epoch"] not in at_hand:
        done.best = done.best_by(monitor, at_hand)
    if done.best is not None:
        path, payload = at_hand[done.best["epoch"]]
        if payload["best"] == done.best:
            _copy(path, best)
        else:
            save_checkpoint(best, payload | {"best": done.best})
    _warn_of_lost_best(so_far, done, monitor)


def _is_end_of_epoch(payload: Mapping[str, Any], done: Progress) -> bool:
    """Whether a checkpoint has the weights that an epoch of this very training ended with."""
    epoch, history = payload["epoch"], payload["history"]
    same = repr(history) == repr(done.history[:epoch])  # as text, in which nan is nan
    return epoch > 0 and payload["batch"] == 0 and same


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _warn_of_lost_best(so_far: dict[str, Any] | None, done: Progress, monitor: str) -> None:
    """Say once where best.pt is not the best epoch so far."""
    if so_far == done.best and (so_far is not None or not done.history):
        return
    then = "best.pt is chosen from the epochs to come"
    if done.best is not None:
        then = f"best.pt begins with epoch {done.best['epoch']}"
    if so_far is None:
        log.warning("no epoch before the resumed one has a comparable %s: %s", monitor, then)
    else:
        log.warning(
            "epoch %d was the best by %s so far, but its weights were not kept: %s",
            so_far["epoch"], monitor, then,
        )  # fmt: skip
