"""Mutated checkpoints, bytes and values, opened as predict and a training do."""

import copy
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ, edited, edits

DEPTHS, SIZES = {"chr1": 2_000}, {"channels": 2, "kernel_size": 3, "blocks": 1, "peak_blocks": 1}


def open_and_predict(path: str) -> str:
    """The answer to a window, if all that predict takes from the file beside it can be used too."""
    from denoiseq.evaluation.thresholds import choice_at, choices
    from denoiseq.models.checkpoint import open_checkpoint, trained_network
    from denoiseq.prediction.run import peak_threshold
    from denoiseq.prediction.sample import Depth, _filters
    from denoiseq.settings import Conv, Precision, Predict, Prepare
    from denoiseq.training.progress import Progress

    payload, trained = open_checkpoint(path)
    network = trained_network(payload, trained, Conv("torch"), Precision(), "cpu")
    made = payload["preprocessing"]
    if made.get("kind") != "coverage":
        Prepare(max_fragment_bp=made["max_fragment_bp"], **_filters(made))
    Depth.of(payload).warning(10.0)
    if chosen := choices(payload):
        choice_at(chosen, 10.0)
    peak_threshold(Predict(peak_precision=0.5), chosen, 10.0, trained.model.task)
    done = Progress.from_payload(payload)
    done.best_by("loss")
    done.patient(3)
    assert sum(p.numel() for p in network.parameters()) < 100_000
    assert all(torch.isfinite(p).all() for p in network.parameters())
    return "opened"


def start_from(path: str) -> str:
    """Weights of the same network for a training, as `model.pretrained=` gives them."""
    from denoiseq import models
    from denoiseq.models import pretrained
    from denoiseq.settings import Conv, Precision
    from denoiseq.settings.model import DenoisingResNet

    settings = DenoisingResNet(**SIZES, pretrained=path)
    pretrained.start_from(models.build(settings, Conv("torch"), Precision()), settings)
    return "started"


@pytest.fixture(scope="module")
def payload():
    """What a training writes, in small."""
    from denoiseq import models
    from denoiseq.evaluation.thresholds import Choice, LinearWeights, Tuned
    from denoiseq.settings import Data, Train, plain
    from denoiseq.settings.model import DenoisingResNet
    from denoiseq.store.header import blacklist_sha256
    from denoiseq.training.state import State

    data = Data(store="cuts.h5", validation=["chr1"], test=[])
    settings = Train(out="run", model=DenoisingResNet(**SIZES), data=data)
    state = State(models.build(settings.model, settings.conv, settings.precision), settings.optim)
    tuned = Tuned(80.0, {"noisy": 4.0, "denoised": 0.4}, LinearWeights((0.5, 0.5), 0.1))
    points = {name: [0.9, 0.5] for name in ("threshold", "precision", "recall", "f1")}
    state.done.chosen = [
        Choice(depth, tuned, operating_points=points) for depth in (500.0, 5_000.0)
    ]
    state.done.close_epoch({"epoch": 1, "step": 3, "train_loss": 0.5, "validation_loss": 0.5})
    state.done.best = {"monitor": "loss", "value": 0.5, "epoch": 1}
    made = {"shift": "+4/-4", "min_mapq": 30, "keep_duplicates": False, "max_fragment_bp": 2_000}
    return {
        **state.done.payload(),
        "config": plain(settings),
        "preprocessing": made | {"genome": DEPTHS, "blacklist_sha256": blacklist_sha256({})},
        "fingerprint": "0",
        "trained_cuts_per_mb": 5_000.0,
        "trained_cuts_per_mb_range": (5_000.0, 5_000.0),
        "state_dict": state.model.state_dict(),
        "training_state": {"weights": None, "optimizer": state.optimizer.state_dict(),
                           "random": torch.get_rng_state()},
        "seed": 0,
    }  # fmt: skip


def written(payload, legacy=False) -> bytes:
    buffer = io.BytesIO()
    whole = {"format": "denoiseq-checkpoint", "version": 2, **payload}
    torch.save(whole, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def repacked(data: bytes, change, method=zipfile.ZIP_STORED) -> bytes:
    """The archive with its parts changed and every checksum right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


READERS = st.sampled_from([open_and_predict, start_from])


def outcome_of_bytes(folder, sandbox, data, read=open_and_predict):
    path = Path(folder) / "fuzz.pt"
    path.write_bytes(data)
    outcome = sandbox(read, str(path))
    assert outcome.state != "failed", outcome.text
    return outcome


@pytest.mark.parametrize("read", [open_and_predict, start_from])
@pytest.mark.parametrize("legacy", [False, True])
def test_an_unchanged_checkpoint_is_read(folder, sandbox, payload, read, legacy):
    assert outcome_of_bytes(folder, sandbox, written(payload, legacy), read).state == "read"


@FUZZ
@given(changes=edits(), legacy=st.booleans(), read=READERS)
def test_bytes_of_a_checkpoint(folder, sandbox, payload, changes, legacy, read):
    outcome_of_bytes(folder, sandbox, edited(written(payload, legacy), changes), read)


@FUZZ
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_weight_is_noticed(folder, sandbox, payload, place, bit):
    data = bytearray(written(payload))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        parts = [p for p in archive.infolist() if "/data/" in p.filename]
    part = parts[int(place * len(parts))]
    name = part.filename.encode()
    extra = int.from_bytes(data[part.header_offset + 28 : part.header_offset + 30], "little")
    begin = part.header_offset + 30 + len(name) + extra
    data[begin + int(place * part.file_size)] ^= 1 << bit
    outcome = outcome_of_bytes(folder, sandbox, bytes(data))
    assert outcome.state == "refused" and "checksum" in outcome.text


@FUZZ
@given(changes=edits(), read=READERS)
def test_what_the_pickle_says(folder, sandbox, payload, changes, read):
    """Opcodes changed inside an archive whose checksums are right."""
    data = repacked(
        written(payload), lambda name, x: edited(x, changes) if name.endswith("data.pkl") else x
    )
    outcome_of_bytes(folder, sandbox, data, read)


def places(value, path=()) -> list[tuple]:
    """The way to every value of nested dicts and lists."""
    inner = value.items() if isinstance(value, Mapping) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def doubled(times: int) -> list:
    """A list that written out has 2^times items."""
    value: list = [0]
    for _ in range(times):
        value = [value, value]
    return value


def endless() -> list:
    value: list = []
    value.append(value)
    return value


NUMBERS = [
    0,
    -1,
    1,
    3,
    10**6,
    10**9,
    10**12,
    2**63,
    10**400,
    0.5,
    -1e300,
    float("nan"),
    float("inf"),
]
ODD = st.one_of(
    st.sampled_from([*NUMBERS, None, True, "", "x", "poisson", "linear", "unet", [], {}, ["a"]]),
    st.sampled_from([[0.5] * 3, {"a": 1}, {1: 2}, {(): 0}, b"x", 1j, {3}, ("a",), "${x}", "???"]),
    st.sampled_from([[1] * 40, ["chr1", None], {"name": "unet", "channels": [1] * 60}]),
    st.builds(doubled, st.sampled_from([3, 40])),
    st.builds(endless),
    st.builds(torch.zeros, st.sampled_from([(), (3,), (2, 2, 3), (0,), (1, 2, 3, 4)])),
    st.sampled_from([torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16]).map(
        lambda dtype: torch.ones(2, 2, 3, dtype=dtype)
    ),
    st.sampled_from(["nan", "huge", "meta", "sparse"]).map(
        lambda kind: {
            "nan": torch.full((2, 2, 3), float("nan")),
            "huge": torch.zeros(1).expand(10**12),
            "meta": torch.zeros(2, 2, 3, device="meta"),
            "sparse": torch.zeros(2, 2).to_sparse(),
        }[kind]
    ),
    st.text(max_size=8),
    st.integers(-(2**70), 2**70),
    st.floats(),
)


# tensors of the same shape
LIKE = [
    lambda x: torch.full(x.shape, float("nan")),
    lambda x: torch.full(x.shape, -float("inf")),
    lambda x: x.to(torch.complex64),
    lambda x: x.double(),
    lambda x: x.bool(),
    lambda x: torch.zeros(()).expand(x.shape),
    lambda x: x.to("meta"),
    lambda x: x.flatten(),
]


def changed_values(draw, payload):
    """A payload with a value or two replaced, removed or added."""
    changed = copy.deepcopy(payload)
    part = draw(st.sampled_from(["", "config", "preprocessing", "state_dict", "training_state"]))
    ways = [way for way in places(payload) if way and part in ("", way[0])]
    for way in draw(st.lists(st.sampled_from(ways), min_size=1, max_size=2)):
        holder = changed
        for key in way[:-1]:
            holder = holder[key] if isinstance(holder, dict) and key in holder else None
        if not isinstance(holder, dict):
            continue
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if kind == "replace":
            value = holder.get(way[-1])
            odd = isinstance(value, torch.Tensor) and draw(st.integers(0, 3))
            holder[way[-1]] = draw(st.sampled_from(LIKE))(value) if odd else draw(ODD)
        elif kind == "remove":
            holder.pop(way[-1], None)
        else:
            holder[draw(st.sampled_from(["x", "name", 3, "resume", "linear"]))] = draw(ODD)
    return changed


@FUZZ
@given(data=st.data(), legacy=st.booleans(), read=READERS)
def test_values_of_a_checkpoint(folder, sandbox, payload, data, legacy, read):
    changed = changed_values(data.draw, payload)
    outcome_of_bytes(folder, sandbox, written(changed, legacy), read)


def test_a_packed_archive_is_refused(folder, sandbox, payload):
    """A gigabyte of zeros would be a megabyte of it."""
    packed = repacked(written(payload), lambda name, x: x, zipfile.ZIP_DEFLATED)
    for read in (open_and_predict, start_from):
        assert "it is packed" in outcome_of_bytes(folder, sandbox, packed, read).text


@pytest.mark.parametrize("change", [
    {"channels": 10**6}, {"kernel_size": 10**12}, {"blocks": 10**12}, {"peak_blocks": 10**9},
    {"name": "linear", "field": 10**12},
])  # fmt: skip
def test_a_config_of_a_huge_network_is_refused(folder, sandbox, payload, change):
    config = copy.deepcopy(payload["config"])
    config["model"] = change if "name" in change else config["model"] | change
    outcome = outcome_of_bytes(folder, sandbox, written(payload | {"config": config}))
    assert outcome.state == "refused" and "do not fit its own config" in outcome.text
