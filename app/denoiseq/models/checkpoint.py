"""Checkpoints: one file with the weights, the optimizer, and all that predict must know. It holds
only tensors and plain containers, so it loads with `weights_only=True` and runs no code.
"""

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiseq import models
from denoiseq.atomic import atomic_path
from denoiseq.distributed import device
from denoiseq.errors import UserError
from denoiseq.inputs import refuse_pipe
from denoiseq.models.network import Network
from denoiseq.models.payload import (
    TO_PREDICT,
    check_archive,
    check_payload,
    check_present,
    check_values,
)
from denoiseq.settings import Conv, Model, Precision, Train, parse
from denoiseq.settings.data import Rows
from denoiseq.settings.setting import required

FORMAT = "denoiseq-checkpoint"
VERSION = 3
READABLE = (2, 3)  # version 2 lacks `by_depth` and `answer_cuts_per_mb`
OURS = "a denoiseq checkpoint"


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Write `payload` (tensors and plain containers) under its final name in one step.

    `format` and `version` are added. Training writes the keys of `payload.Payload`, and further
    ones that say how it was done; evaluation and prediction read them.
    """
    buffer = io.BytesIO()  # torch's own file writer hides a full disk behind a RuntimeError
    torch.save({"format": FORMAT, "version": VERSION, **payload}, buffer)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; FileNotFoundError or UserError where it cannot be used."""
    return checked(read_file(path, OURS), path)


def damaged(path: Path | str, what: str, reason: object = "") -> UserError:
    """The error of a file that is not `what` it should be."""
    return UserError(f"{path} is not {what}, or is damaged{f' ({reason})' if reason else ''}.")


def read_file(path: Path, what: str) -> Any:
    """What torch saved in a file, on the CPU; `what` it should be is for the message.

    Nothing in it is trusted: no code runs, and no more memory is taken than a few times its size.
    """
    refuse_pipe(path, "checkpoint")
    if not path.is_file():
        raise FileNotFoundError(
            f"Checkpoint {path} does not exist: give the path of a training's best.pt or last.pt."
        )
    is_archive = True
    try:
        is_archive = check_archive(path)
        payload = torch.load(path, map_location="cpu", weights_only=True)
        check_values(payload, path.stat().st_size)
        return payload
    except UserError as error:
        raise damaged(path, what, error) from error
    except PermissionError:
        raise
    except MemoryError as error:
        if is_archive:
            raise
        raise damaged(path, what, "it asks for more memory than there is") from error
    except Exception as error:  # the bytes of any file may make unpickling fail in any way
        raise damaged(path, what) from error


def checked(payload: Any, path: Path) -> dict[str, Any]:
    """The payload, if it is a checkpoint of ours and of a known version; else UserError."""
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise UserError(f"{path} is not a denoiseq checkpoint: train.py writes them as best.pt.")
    if payload.get("version") not in READABLE:
        raise UserError(
            f"{path} is a checkpoint of version {payload.get('version')}, this program reads "
            f"versions {' and '.join(map(str, READABLE))}: use the program that wrote it."
        )
    try:
        check_payload(payload)
    except UserError as error:
        raise damaged(path, OURS, error) from error
    return payload


def open_checkpoint(path: str | None) -> tuple[dict[str, Any], Train]:
    """A checkpoint's payload and the settings it was trained with."""
    file = Path(required(path, "checkpoint", "best.pt"))
    payload = load_checkpoint(file)
    require(payload, TO_PREDICT, file)
    return payload, trained_settings(payload, file)


def require(payload: Mapping[str, Any], keys: Collection[str], path: Path) -> None:
    """UserError where a checkpoint lacks what its reader needs."""
    try:
        check_present(payload, keys)
    except UserError as error:
        raise damaged(path, OURS, error) from error


def trained_settings(payload: Mapping[str, Any], path: Path) -> Train:
    """The settings that a checkpoint was trained with; those that it lacks have their defaults."""
    try:
        return parse(Train, payload["config"])
    except UserError as error:
        raise damaged(path, OURS, error) from error


def trained_network(
    payload: dict[str, Any], trained: Train, conv: Conv, precision: Precision, on: str
) -> Network:
    """The network of a checkpoint on device `on`, its weights loaded, in evaluation mode.

    Convolution and precision need not be those of the training.
    """
    arguments = trained.model, conv, precision, 0, trained.data.rows
    check_weights(payload["state_dict"], "the checkpoint")
    _check_network(payload["state_dict"], *arguments)
    network = models.build(*arguments)
    network.load_state_dict(payload["state_dict"])
    network.temperature = payload.get("temperature", 1.0)
    return network.eval().to(device(on))


def check_weights(weights: Mapping[str, Tensor], source: object) -> None:
    """UserError where weights are not numbers."""
    for name, weight in weights.items():
        if weight.is_complex() or not torch.isfinite(weight).all():
            raise UserError(
                f"{name} of {source} is not finite, or no number: give the checkpoint of another "
                "epoch"
            )


def _check_network(
    weights: Mapping[str, Tensor],
    settings: Model,
    conv: Conv,
    precision: Precision,
    seed: int,
    rows: Rows,
) -> None:
    """UserError where settings ask for another network than that of the weights.

    It is built without memory, which settings of a few bytes could ask for in any amount.
    """
    blocks = max(getattr(settings, name, 0) for name in ("blocks", "peak_blocks"))
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    try:
        if blocks > len(shapes):
            raise ValueError("more blocks than weights")
        with torch.device("meta"):
            network = models.build(settings, conv, precision, seed, rows)
        if shapes != {name: tuple(w.shape) for name, w in network.state_dict().items()}:
            raise ValueError("other names or shapes")
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise UserError("the checkpoint's weights do not fit its own config") from error
