"""The truth of every config: dataclasses with types, defaults and ranges, and `parse`, the door.

YAML under `configs/` composes the values; `parse` merges them into a schema, so an unknown key, a
wrong type or a value out of range is one sentence. Nothing of ours is imported here, and no class
beyond `build` ever sees a config.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

SHIFTS = ("auto", "+4/-4", "+4/-5", "none", "10x", "atacworks")
LAYOUTS = ("auto", "paired", "single")
STAGES = ("train", "evaluate", "predict")
MITOCHONDRIAL = ("chrM", "chrMT", "MT", "M", "Mito", "chrMito")
SPLITS = ("validation", "test")
TASKS = ("both", "regression", "classification")
# What only a denoised track, or only a peak head, gives: terms of the loss, metrics to monitor.
TRACK_LOSSES = ("mse", "pearson", "log1p_mse", "poisson")
TRACK_METRICS = ("mse", "pearson", "log1p_pearson", "spearman")
Schema = TypeVar("Schema")


def _check(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _path_or_paths(name: str, value: Any) -> None:
    listed = value if isinstance(value, list) else [value]
    fits = value is None or (listed and all(isinstance(item, str) for item in listed))
    _check(fits, f"{name} is {value!r}, expected one path, or several as in '{name}=[a.bam,b.bam]'")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    _check(value in choices, f"{name} is {value!r}, expected one of {', '.join(choices)}")


@dataclass
class Prepare:
    """From reads to a cut store, or from a bigWig to a coverage store. Lengths in bp.

    One of `bam` (a path, or a list of replicates), `fragments` and `bigwig`; `workers: 0` takes
    every core.
    """

    bam: Any = None
    replicates: str = "merged"
    fragments: str | None = None
    barcodes: str | None = None
    groups: str | None = None
    bigwig: str | None = None
    fasta: str | None = None
    out: str | None = None
    blacklist: str | None = None
    layout: str = "auto"
    min_mapq: int = 30
    shift: str = "auto"
    shift_check: bool = True
    keep_duplicates: bool = False
    max_fragment_bp: int = 2000
    include: list[str] | None = None
    exclude: list[str] = field(default_factory=lambda: list(MITOCHONDRIAL))
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        _path_or_paths("bam", self.bam)
        _one_of("replicates", self.replicates, ("merged", "apart"))
        _one_of("layout", self.layout, LAYOUTS)
        _one_of("shift", self.shift, SHIFTS)
        _check(0 <= self.min_mapq <= 255, f"min_mapq is {self.min_mapq}, expected 0 to 255")
        _check(
            self.max_fragment_bp > 0,
            f"max_fragment_bp is {self.max_fragment_bp}, expected more than 0",
        )
        _check(self.workers >= 0, f"workers is {self.workers}, expected 0 (all cores) or more")


@dataclass
class Data:
    """Windows, noise, labels and folds. `prepare` is used when `store` does not exist yet.

    Noisy input is a thinning of `store`, or `noisy_store`: then `thin_fraction` is 1 where not
    given, otherwise 0.1. `more_stores` (and `more_noisy_stores`, in the same order) are further
    samples, kept apart. `fasta` serves `sequence`.
    """

    store: str = MISSING
    noisy_store: str | None = None
    more_stores: list[str] = field(default_factory=list)
    more_noisy_stores: list[str] = field(default_factory=list)
    prepare: Prepare = field(default_factory=Prepare)
    synthetic: bool = False
    truth: str | None = None
    labels: str = "poisson"
    label_neglog10_p: float = 3.0
    label_min_length_bp: int = 200
    label_max_gap_bp: int = 30
    interval_bp: int = 10_000
    pad_bp: int = 4_200
    half_window_bp: int = 100
    thin_fraction: float | None = None
    thin_range: list[float] | None = None
    target: str = "all"
    sequence: bool = False
    fasta: str | None = None
    reverse_complement: bool = False
    validation: list[str] = MISSING
    test: list[str] = MISSING
    exclude: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _one_of("data.target", self.target, ("all", "complement"))
        self._check_samples()
        self._check_thinning()
        _check(self.interval_bp > 0, f"data.interval_bp is {self.interval_bp}, expected 1 or more")
        for name in ("pad_bp", "half_window_bp", "label_min_length_bp", "label_max_gap_bp"):
            value = getattr(self, name)
            _check(value >= 0, f"data.{name} is {value}, expected 0 or more")

    def _check_samples(self) -> None:
        paired = self.noisy_store is not None
        expected = len(self.more_stores) if paired else 0
        _check(
            len(self.more_noisy_stores) == expected,
            f"data.more_noisy_stores names {len(self.more_noisy_stores)} stores, expected "
            f"{expected}: one for each of data.more_stores, and none without data.noisy_store",
        )
        _check(
            not paired or self.target == "all",
            "data.target=complement needs a thinning of data.store: give no data.noisy_store",
        )

    def _check_thinning(self) -> None:
        if self.thin_fraction is None:
            self.thin_fraction = 0.1 if self.noisy_store is None else 1.0
        _check(
            0 < self.thin_fraction <= 1,
            f"data.thin_fraction is {self.thin_fraction}, expected more than 0 and at most 1",
        )
        if self.thin_range is None:
            return
        pair = len(self.thin_range) == 2
        _check(
            pair and 0 < self.thin_range[0] <= self.thin_range[1] <= 1,
            f"data.thin_range is {self.thin_range}, expected two fractions as in [0.01,0.5]",
        )
        _check(
            self.thin_range[0] <= self.thin_fraction <= self.thin_range[1],
            f"data.thin_fraction is {self.thin_fraction}, outside data.thin_range="
            f"{self.thin_range}: validation would measure a depth that is never trained",
        )


@dataclass
class Model:
    """What all networks have; the class of `name` adds its own sizes.

    `task` says which heads there are, `pretrained` is a checkpoint of ours or of AtacWorks whose
    weights a training starts from.
    """

    name: str = MISSING
    task: str = "both"
    input_transform: str = "none"
    pretrained: str | None = None

    def __post_init__(self) -> None:
        _one_of("model.task", self.task, TASKS)
        _one_of("model.input_transform", self.input_transform, ("none", "log1p", "sqrt"))


@dataclass
class DenoisingResNet(Model):
    """The defaults are AtacWorks' 219,706 parameters. Taps and dilations in bp."""

    name: str = "denoising_resnet"
    channels: int = 15
    kernel_size: int = 51
    dilation: int = 8
    blocks: int = 5
    peak_blocks: int = 2
    peak_kernel_size: int = 51
    peak_dilation: int = 8
    batch_norm: bool = False
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("model.activation", self.activation, ("relu", "prelu"))
        trunks = ("kernel_size", "dilation", "blocks")
        for name in ("channels", *trunks, *(f"peak_{name}" for name in trunks)):
            value = getattr(self, name)
            _check(value >= 1, f"model.{name} is {value}, expected 1 or more")


@dataclass
class UNet(Model):
    """Channels and taps of each level, the bottleneck last; a level halves the width."""

    name: str = "unet"
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 128, 256])
    kernel_sizes: list[int] = field(default_factory=lambda: [5, 5, 25, 25, 250])
    up_kernel_size: int = 5
    batch_norm: bool = False
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("model.activation", self.activation, ("relu", "prelu"))
        _check(
            len(self.channels) == len(self.kernel_sizes) >= 2,
            f"model.channels is {self.channels} and model.kernel_sizes {self.kernel_sizes}, "
            "expected a number a level each, 2 levels or more",
        )
        for name in ("channels", "kernel_sizes", "up_kernel_size"):
            value = getattr(self, name)
            least = value if name == "up_kernel_size" else min(value)
            _check(least >= 1, f"model.{name} is {value}, expected 1 or more")


@dataclass
class Linear(Model):
    """Linear and logistic regression; `field` is the taps of a convolution in bp."""

    name: str = "linear"
    field: int = 8401

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.field >= 1, f"model.field is {self.field}, expected 1 or more")


MODELS: dict[str, type[Model]] = {
    "denoising_resnet": DenoisingResNet,
    "unet": UNet,
    "linear": Linear,
}


@dataclass
class Conv:
    """Which convolution the layers call: ours or torch's. Same weights, same results.

    `algorithm` is dilconv's: auto takes the faster one for each layer, direct errs as plain sums
    do, spectral is fast for long filters.
    """

    backend: str = "dilconv"
    algorithm: str = "auto"

    def __post_init__(self) -> None:
        _one_of("conv.backend", self.backend, ("dilconv", "torch"))
        _one_of("conv.algorithm", self.algorithm, ("auto", "direct", "spectral"))
        _check(
            self.backend == "dilconv" or self.algorithm == "auto",
            f"conv.algorithm is {self.algorithm!r}, which only conv.backend=dilconv knows",
        )


@dataclass
class Precision:
    """fp32, or bf16: activations in bfloat16; weights, sums, heads, losses and metrics float32."""

    name: str = "fp32"

    def __post_init__(self) -> None:
        _one_of("precision.name", self.name, ("fp32", "bf16"))


@dataclass
class Loss:
    """Weights of mse, 1 - Pearson, cross-entropy, mse of log1p coverage, Poisson deviance.

    `bce_positive_weight` is what a base inside a peak weighs in the cross-entropy against one
    outside: a number, or "balanced".
    """

    mse: float = 0.0005
    pearson: float = 1.0
    bce: float = 1.0
    log1p_mse: float = 0.0
    poisson: float = 0.0
    bce_positive_weight: int | float | str = 1.0

    def __post_init__(self) -> None:
        for name in ("mse", "pearson", "bce", "log1p_mse", "poisson"):
            value = getattr(self, name)
            _check(value >= 0, f"loss.{name} is {value}, expected 0 or more")
        weight = self.bce_positive_weight
        _check(
            weight == "balanced" if isinstance(weight, str) else weight > 0,
            f"loss.bce_positive_weight is {weight!r}, expected more than 0, or balanced",
        )


@dataclass
class Optim:
    """How the weights move.

    A step takes `batch_size` windows over all processes; `micro_batch` bounds how many go through
    the network at a time (0: all), which changes memory and time, not the result. `monitor` names
    the validation metric whose best epoch is kept as best.pt; after `patience` epochs without a
    better one training ends (0: never). No `epochs` measure and keep the weights of
    `model.pretrained` as they are. Rates per step, `warmup_epochs` and the `plateau_…` in
    epochs.
    """

    name: str = "adam"
    lr: float = 2e-4
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    plateau_epochs: int = 3
    plateau_factor: float = 0.3
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    batch_size: int = 8
    micro_batch: int = 0
    epochs: int = 25
    patience: int = 0
    monitor: str = "auprc"

    def __post_init__(self) -> None:
        _one_of("optim.name", self.name, ("adam", "adamw"))
        _one_of("optim.schedule", self.schedule, ("constant", "cosine", "plateau"))
        _check(self.lr > 0, f"optim.lr is {self.lr}, expected more than 0")
        for name in (
            "weight_decay",
            "warmup_epochs",
            "gradient_clip",
            "patience",
            "micro_batch",
            "epochs",
        ):
            value = getattr(self, name)
            _check(value >= 0, f"optim.{name} is {value}, expected 0 or more")
        for name in ("batch_size", "plateau_epochs"):
            value = getattr(self, name)
            _check(value >= 1, f"optim.{name} is {value}, expected 1 or more")
        _check(
            0 < self.plateau_factor < 1,
            f"optim.plateau_factor is {self.plateau_factor}, expected between 0 and 1",
        )
        _check(
            0 <= self.ema_decay < 1,
            f"optim.ema_decay is {self.ema_decay}, expected 0 (none) or more and less than 1",
        )


@dataclass
class Trainer:
    """How the machine is used. `threads: null` leaves the choice to torch.

    `device: auto` takes a GPU a process where there is one. `checkpoint_minutes` is the longest
    time that a killed training loses (0: a step).
    """

    device: str = "auto"
    threads: int | None = None
    workers: int = 0
    checkpoint_minutes: float = 10.0
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        _one_of("trainer.device", self.device, ("auto", "cpu", "cuda"))
        _check(
            self.threads is None or self.threads >= 1,
            f"trainer.threads is {self.threads}, expected null or 1 and more",
        )
        for name in ("workers", "checkpoint_minutes"):
            value = getattr(self, name)
            _check(value >= 0, f"trainer.{name} is {value}, expected 0 or more")


@dataclass
class Train:
    """`denoiseq train`. `out` is the run folder; `stages` may go on to evaluate and predict."""

    out: str = MISSING
    name: str = "train"
    seed: int = 0
    resume: str | None = None
    stages: list[str] = field(default_factory=lambda: ["train"])
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=DenoisingResNet)
    conv: Conv = field(default_factory=Conv)
    precision: Precision = field(default_factory=Precision)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        for stage in self.stages:
            _one_of("stages", stage, STAGES)
        _check(self.stages[:1] == ["train"], "stages must begin with train")
        self._check_task()
        _check(
            self.optim.epochs > 0 or self.model.pretrained is not None,
            "optim.epochs is 0, which keeps given weights: give model.pretrained=, or epochs",
        )

    def _check_task(self) -> None:
        task, monitor = self.model.task, self.optim.monitor
        terms = {"both": (*TRACK_LOSSES, "bce"), "regression": TRACK_LOSSES}.get(task, ("bce",))
        _check(
            any(getattr(self.loss, name) > 0 for name in terms),
            f"no term of the loss has a weight for model.task={task}: raise one of "
            f"{', '.join(f'loss.{name}' for name in terms)}",
        )
        _check(
            task != "classification" or monitor not in TRACK_METRICS,
            f"optim.monitor={monitor} needs a denoised track, which model.task=classification "
            "has not: choose auprc, auroc, best_f1 or loss",
        )


@dataclass
class DataOverrides:
    """What may differ at evaluation from the data of the training; null = as trained."""

    store: str | None = None
    noisy_store: str | None = None
    fasta: str | None = None
    truth: str | None = None
    thin_fraction: float | None = None
    target: str | None = None
    validation: list[str] | None = None
    test: list[str] | None = None


@dataclass
class Evaluate:
    """`denoiseq evaluate`. `out: null` writes beside the checkpoint; `loci` examples are drawn."""

    checkpoint: str | None = None
    split: str = "validation"
    out: str | None = None
    loci: int = 4
    data: DataOverrides = field(default_factory=DataOverrides)
    conv: Conv = field(default_factory=Conv)
    precision: Precision = field(default_factory=Precision)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        _one_of("split", self.split, SPLITS)
        _check(0 <= self.loci <= 12, f"loci is {self.loci}, expected 0 to 12")


@dataclass
class Predict:
    """`denoiseq predict`. `depth` (cut sites per Mb, or "trained") thins the input first."""

    checkpoint: str | None = None
    bam: Any = None
    fragments: str | None = None
    barcodes: str | None = None
    store: str | None = None
    fasta: str | None = None
    blacklist: str | None = None
    shift_check: bool = True
    out: str | None = None
    name: str | None = None
    depth: int | float | str | None = None
    seed: int = 0
    peak_threshold: float | None = None
    peak_min_length_bp: int | None = None
    peak_max_gap_bp: int | None = None
    tile_bp: int = 50_000
    batch_size: int = 4
    workers: int = 0
    conv: Conv = field(default_factory=Conv)
    precision: Precision = field(default_factory=Precision)
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self) -> None:
        _path_or_paths("bam", self.bam)
        depth = self.depth
        cuts_per_mb = isinstance(depth, (int, float)) and not isinstance(depth, bool) and depth > 0
        _check(
            depth is None or depth == "trained" or cuts_per_mb,
            f'depth is {self.depth!r}, expected null, "trained" or a number of cut sites per Mb',
        )
        _check(
            self.peak_threshold is None or self.peak_threshold > 0,
            f"peak_threshold is {self.peak_threshold}, expected a probability between 0 and 1, or "
            "a coverage above 0 for a model without peaks",
        )
        for name in ("tile_bp", "batch_size"):
            value = getattr(self, name)
            _check(value >= 1, f"{name} is {value}, expected 1 or more")


COMMANDS: dict[str, type] = {
    "prepare": Prepare,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
}


def keys(schema: type, prefix: str = "") -> list[str]:
    """Every dotted key that `schema` accepts, groups and all models' settings included."""
    names = []
    for kind in (schema, *schema.__subclasses__()):
        hints = get_type_hints(kind)
        for item in fields(kind):
            names.append(prefix + item.name)
            if is_dataclass(hints[item.name]):
                names += keys(hints[item.name], f"{prefix}{item.name}.")
    return list(dict.fromkeys(names))


def unknown_key(key: str, schema: type) -> str:
    """The sentence for a key that `schema` does not have, with the nearest one that it has."""
    known = keys(schema)
    if key in known:
        return f"'{key}' is a setting of another model: choose the model with model=NAME"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown config key '{key}'" + (f": did you mean '{near[0]}'?" if near else "")


def parse(schema: type[Schema], values: DictConfig | dict[str, Any]) -> Schema:
    """Check `values` against `schema` and return its dataclass; a ValueError is one sentence."""
    try:
        base = OmegaConf.structured(schema)
        if schema is Train:
            base.model = OmegaConf.structured(_model_class(OmegaConf.create(values)))
        merged = OmegaConf.merge(base, values)
        return cast(Schema, OmegaConf.to_object(merged))
    except ConfigKeyError as error:
        raise ValueError(unknown_key(error.full_key or str(error.key), schema)) from error
    except MissingMandatoryValue as error:
        key = error.full_key or error.key
        raise ValueError(f"{key} is required: give {key}=…") from error
    except ValidationError as error:
        reason = str(error.msg or error).splitlines()[0]
        if "not a ListConfig" in reason:
            reason = f"expected a list, as in '{error.full_key}=[a,b]'"
        raise ValueError(f"wrong value for {error.full_key}: {reason}") from error
    except InterpolationResolutionError as error:
        raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    except OmegaConfBaseException as error:
        raise ValueError(" ".join(str(error).split())) from error


def _model_class(values: Any) -> type[Model]:
    """The class of `model.name` in the values of a training, which decides its other keys."""
    name = OmegaConf.select(values, "model.name") or DenoisingResNet.name
    _one_of("model.name", name, tuple(MODELS))
    return MODELS[name]


def plain(config: Any) -> dict[str, Any]:
    """A schema's dataclass as plain dicts and lists, to be stored in a checkpoint or printed."""
    values = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    return cast(dict[str, Any], values)


def to_yaml(config: Any) -> str:
    """The same as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)
