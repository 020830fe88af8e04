"""Checkpoints: one file with the weights, the optimizer, and all that predict must know. It holds
only tensors and plain containers, so it loads with `weights_only=True` and runs no code.
"""

import io
from pathlib import Path
from typing import Any

import torch

from denoiseq import models
from denoiseq.atomic import atomic_path
from denoiseq.distributed import device
from denoiseq.errors import UserError
from denoiseq.inputs import refuse_pipe
from denoiseq.models.network import Network
from denoiseq.settings import Conv, Precision, Train, parse
from denoiseq.settings.setting import required

FORMAT = "denoiseq-checkpoint"
VERSION = 2


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Write `payload` (tensors and plain containers) under its final name in one step.

    `format` and `version` are added. Keys: state_dict (to predict with), training_state (weights
    where those are an average's, optimizer, random), epoch, step, best, history,
    config, preprocessing, fingerprint, trained_cuts_per_mb, peak_threshold, gaussian_sigma_bp,
    thresholds, temperature, calibration, operating_points, scale, versions, seed; training writes
    them, evaluation and prediction read them.
    """
    buffer = io.BytesIO()  # torch's own file writer hides a full disk behind a RuntimeError
    torch.save({"format": FORMAT, "version": VERSION, **payload}, buffer)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; FileNotFoundError or UserError where it cannot be used."""
    return checked(read_file(path, "a denoiseq checkpoint"), path)


def read_file(path: Path, what: str) -> Any:
    """What torch saved in a file, on the CPU; `what` it should be is for the message."""
    refuse_pipe(path, "checkpoint")
    if not path.is_file():
        raise FileNotFoundError(
            f"Checkpoint {path} does not exist: give the path of a training's best.pt or last.pt."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # the bytes of any file may make unpickling fail in any way
        raise UserError(f"{path} is not {what}, or is damaged.") from error


def checked(payload: Any, path: Path) -> dict[str, Any]:
    """The payload, if it is a checkpoint of ours and of this version; else UserError."""
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise UserError(f"{path} is not a denoiseq checkpoint: train.py writes them as best.pt.")
    if payload.get("version") != VERSION:
        raise UserError(
            f"{path} is a checkpoint of version {payload.get('version')}, this program reads "
            f"version {VERSION}: use the program that wrote it."
        )
    return payload


def open_checkpoint(path: str | None) -> tuple[dict[str, Any], Train]:
    """A checkpoint's payload and the settings it was trained with."""
    payload = load_checkpoint(Path(required(path, "checkpoint", "best.pt")))
    return payload, parse(Train, payload["config"])


def trained_network(
    payload: dict[str, Any], trained: Train, conv: Conv, precision: Precision, on: str
) -> Network:
    """The network of a checkpoint on device `on`, its weights loaded, in evaluation mode.

    Convolution and precision need not be those of the training.
    """
    channels = models.in_channels(trained.data)
    network = models.build(trained.model, conv, precision, in_channels=channels)
    try:
        network.load_state_dict(payload["state_dict"])
    except RuntimeError as error:
        raise UserError("the checkpoint's weights do not fit its own config") from error
    network.temperature = payload.get("temperature", 1.0)
    return network.eval().to(device(on))
