"""What a checkpoint holds, key by key, and how far a file is trusted: as little as possible. Its
archive, sizes and types are checked, so that what reads the payload meets no surprise.
"""

import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import torch
from torch import Tensor

from denoiseq.errors import UserError
from denoiseq.store.header import FILTERS, check_filters

_ZIP = b"PK\x03\x04"
# Written out, a payload is about as large as its file; objects that it holds twice are few.
_TIMES = 4
_MAPPINGS, _SEQUENCES, _SCALARS = (dict, OrderedDict), (list, tuple), (NoneType, bool, int, float)


class Best(TypedDict):
    """The epoch that best.pt is of."""

    monitor: str
    value: float
    epoch: int


class Linear(TypedDict):
    """The filter of the linear baseline."""

    taps: list[float]
    intercept: float


class Points(TypedDict):
    """The rows of `operating_points` that are read."""

    threshold: list[float]
    precision: list[float]


class AtDepth(TypedDict):
    """What validation chose at one depth of the input."""

    cuts_per_mb: float
    temperature: float
    calibration: dict[str, Any] | None
    operating_points: Points | None
    scale: float | None
    peak_threshold: float | None
    gaussian_sigma_bp: float
    thresholds: dict[str, float]
    linear: Linear | None


class TrainingState(TypedDict):
    """What resuming needs: weights where state_dict is an average."""

    weights: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    random: Tensor


class Payload(TypedDict, total=False):
    """The keys that are read again. Older checkpoints lack some of those that training wrote."""

    state_dict: dict[str, Tensor]  # to predict with
    training_state: TrainingState | None  # weights where those above are an average's
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    fingerprint: str
    peaks_fingerprint: dict[str, str]
    trained_cuts_per_mb: float
    trained_cuts_per_mb_range: list[float]
    answer_cuts_per_mb: float  # where the network is told its input's depth
    epoch: int
    batch: int
    step: int
    seed: int
    sums: dict[str, float]
    best: Best | None
    history: list[dict[str, float]]
    scale: float | None
    other_losses: int
    temperature: float
    calibration: dict[str, Any] | None
    operating_points: Points | None
    peak_threshold: float | None
    gaussian_sigma_bp: float | None
    thresholds: dict[str, float] | None
    linear: Linear | None
    by_depth: list[AtDepth]  # ascending; the keys above are those of `nominal`, one of them
    nominal: int


# What resuming a training cannot do without, and what predict and evaluate need.
TO_RESUME = (
    *("state_dict", "config", "fingerprint", "trained_cuts_per_mb"),
    *("epoch", "batch", "step", "best", "history", "training_state"),
)
TO_PREDICT = (
    *("state_dict", "config", "fingerprint", "trained_cuts_per_mb"),
    *("epoch", "step", "seed", "preprocessing", "peak_threshold"),
)


def check_archive(path: Path) -> bool:
    """UserError where a zip archive, as torch writes them, has packed, outsized or broken parts.

    torch itself checks no checksum, and would unpack a part to whatever size it has. False for
    torch's form before 1.6, in which a text or tensor may say any size.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        _check(all(part.compress_type == zipfile.ZIP_STORED for part in parts), "it is packed")
        size = sum(part.file_size for part in parts)
        _check(size <= path.stat().st_size, "its parts are larger than the file")
        broken = archive.testzip()
        _check(broken is None, f"the checksum of {broken} is wrong")
    return True


def check_values(payload: Any, bytes_in_file: int) -> None:
    """UserError where a payload holds anything but plain values and whole tensors of the CPU, or
    more than its file: one list, or the memory of one tensor, can stand in it a million times.
    """
    waiting, size = [payload], 0
    while waiting:
        value = waiting.pop()
        size += 1
        if isinstance(value, Tensor):
            whole = value.layout == torch.strided and value.device.type == "cpu"
            _check(whole and not value.is_quantized, "a tensor is not plain")
            size += value.numel() * value.element_size()
        elif type(value) in _MAPPINGS:
            size += 2 * len(value)
            waiting += [*value, *value.values()] if size <= _TIMES * bytes_in_file else []
        elif type(value) in (*_SEQUENCES, torch.Size):
            size += len(value)
            waiting += value if size <= _TIMES * bytes_in_file else []
        elif type(value) is str:
            size += len(value) // 64  # names of keys are kept once
        else:
            _check(type(value) in _SCALARS, f"it holds a {type(value).__name__}")
        _check(size <= _TIMES * bytes_in_file, "what it holds is larger than the file")


def check_payload(payload: Mapping[str, Any]) -> None:
    """UserError where a key that is there has a value of another type than the code reads."""
    for key, hint in get_type_hints(Payload).items():
        _check(key not in payload or _fits(payload[key], hint), f"{key} is of another type")
    _check(_is_plain(payload.get("config")), "config holds a tensor")
    by_depth = payload.get("by_depth", [])
    for choice in (payload, *by_depth):
        _check_choice(choice)
    measured = [choice["cuts_per_mb"] for choice in by_depth]
    ascending = all(low < high for low, high in pairwise([0.0, *measured]))
    _check(ascending, f"by_depth holds depths of {measured}")
    _check(0 <= payload.get("nominal", 0) < max(len(by_depth), 1), "nominal is not in by_depth")
    _check(payload.get("answer_cuts_per_mb", 1.0) > 0, "answer_cuts_per_mb is not above 0")
    depths = payload.get("trained_cuts_per_mb_range", (0.0, 0.0))
    _check(len(depths) == 2 and depths[0] <= depths[1], "trained_cuts_per_mb_range is no range")
    for key in ("epoch", "batch", "step", "seed", "other_losses"):
        _check(payload.get(key, 0) >= 0, f"{key} is {payload.get(key)}")
    _check(len(payload.get("history", ())) <= payload.get("epoch", 2**63), "history is too long")
    if "preprocessing" in payload:
        _check_preprocessing(payload["preprocessing"])


def _check_choice(choice: Mapping[str, Any]) -> None:
    temperature = choice.get("temperature", 1.0)
    _check(0 < temperature < float("inf"), f"temperature is {temperature}")
    points = choice.get("operating_points") or {"threshold": [], "precision": []}
    same = len(points["threshold"]) == len(points["precision"])
    _check(same, "operating_points are not one threshold for each precision")


def check_present(payload: Mapping[str, Any], keys: Collection[str]) -> None:
    """UserError where a checkpoint lacks one of the keys."""
    missing = [key for key in keys if key not in payload]
    if "preprocessing" in keys and not missing:
        made = payload["preprocessing"]
        filters = FILTERS if made.get("kind") != "coverage" else ()
        needed = ("genome", "blacklist_sha256", *filters)
        missing = [f"preprocessing.{key}" for key in needed if key not in made]
    _check(not missing, f"it lacks {', '.join(missing)}")


def _check_preprocessing(made: dict[str, Any]) -> None:
    check_filters(made)
    genome, checksum = made.get("genome", {}), made.get("blacklist_sha256", "")
    _check(_fits(genome, dict[str, int]), "preprocessing.genome is of another type")
    _check(all(size >= 0 for size in genome.values()), "preprocessing.genome has a length below 0")
    _check(type(checksum) is str, "preprocessing.blacklist_sha256 is of another type")


def _is_plain(value: Any) -> bool:
    """Whether no tensor is in it."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, _SEQUENCES):
        return all(map(_is_plain, value))
    return not isinstance(value, Tensor)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: an int is a float as well, and a tuple a list."""
    arguments = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, option) for option in arguments)
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        return type(value) in _MAPPINGS and all(
            k in value and _fits(value[k], hints[k]) for k in hints
        )
    if get_origin(hint) is dict:
        key, item = arguments
        return type(value) in _MAPPINGS and all(
            _fits(k, key) and _fits(v, item) for k, v in value.items()
        )
    if get_origin(hint) is list:
        return type(value) in _SEQUENCES and all(_fits(item, arguments[0]) for item in value)
    if hint is float:
        return type(value) is float or _fits(value, int)
    if hint is int:
        return type(value) is int and -(2**63) <= value < 2**63
    return hint is Any or isinstance(value, hint)


def _check(condition: bool, reason: str) -> None:
    if not condition:
        raise UserError(reason)
