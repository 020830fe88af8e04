"""Training on a small real store: exact resume, records, and what stops it."""

import csv
import logging
import math
import multiprocessing
import os
import shutil
import signal
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from denoiseq.distributed import LostRank
from denoiseq.errors import UserError
from denoiseq.evaluation.calibration import calibrate
from denoiseq.evaluation.measure import measure, tune, validate
from denoiseq.evaluation.thresholds import choices, operating_points
from denoiseq.interrupt import Interrupted
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint
from denoiseq.settings import Data, Evaluate, Loss, Optim, Train, Trainer
from denoiseq.training.loop import Training
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.optimizer import Average, learning_rate, make_optimizer
from denoiseq.training.state import train_options
from denoiseq.windows.batches import TileBatches
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.splits import Splits

LOSS = partial(atacworks_loss, weights=Loss())
WINDOWS = Data(
    store="toy.h5", validation=["chrB"], test=[], interval_bp=1_000, pad_bp=200,
    half_window_bp=75, thin_fraction=0.3,
)  # fmt: skip
VALIDATION = Train(optim=Optim(batch_size=8), trainer=Trainer(progress=False))
SIGMAS_BP = (20, 40)
SHORT = {"epochs": 3, "batch_size": 4, "lr": 3e-3, "tensorboard": False, "progress": False}


@pytest.fixture(autouse=True)
def _few_bandwidths(monkeypatch):
    monkeypatch.setattr("denoiseq.evaluation.baselines.SIGMAS_BP", SIGMAS_BP)


@pytest.fixture
def fit(store, peaks, make_model, train_settings, tmp_path):
    """Train from scratch or from a checkpoint; returns the result, the model and the folder."""

    def trained(name="run", loss=LOSS, resume=None, model=None, truth=None, **more):
        model = model or make_model(seed=1)
        data = WindowDataset(store, ["chrA", "chrC"], WINDOWS, peaks, training=True)
        held = WindowDataset(store, ["chrB"], WINDOWS, peaks, training=False, truth=truth)
        resume = None if resume is None else str(resume)
        more = {"data": WINDOWS} | SHORT | more
        settings = train_settings(tmp_path / name, resume=resume, **more)
        training = Training(model, Splits(data, held), settings, metadata={"versions": {"a": 1}})
        training.loss = loss
        metrics, done = training.train(), training.state.done
        result = SimpleNamespace(history=done.history, best=done.best, metrics=metrics)
        return result, model, tmp_path / name

    return trained


class Killer:
    """The loss, which sends this process a signal at its n-th training call."""

    def __init__(self, at: int, number: int = signal.SIGINT, validating: bool = False):
        self.at, self.number, self.validating, self.calls = at, number, validating, 0

    def __call__(self, pred, batch):
        if pred.coverage.requires_grad != self.validating:
            self.calls += 1
            if self.calls == self.at:
                os.kill(os.getpid(), self.number)
        return LOSS(pred, batch)


def untimed(history):
    timed = ("seconds", "segments_per_second")
    return [{k: v for k, v in row.items() if k not in timed} for row in history]


def equal(a, b):
    """Nested containers of tensors, bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def same_end(one, two):
    """Whether two runs ended in the same weights, optimizer, history and choices."""
    pairs = []
    for name in ("last", "best"):
        a, b = (load_checkpoint(f / "checkpoints" / f"{name}.pt") for f in (one[2], two[2]))
        for payload in (a, b):
            payload["history"] = untimed(payload["history"])
            del payload["config"]  # names its own folder
        pairs.append((a, b))
    assert all(equal(a, b) for a, b in pairs)
    assert untimed(one[0].history) == untimed(two[0].history)
    assert one[0].metrics["denoised"] == two[0].metrics["denoised"]
    return True


def test_same_seed_same_bits_other_seed_other(fit):
    one, two, other = fit("one"), fit("two"), fit("other", seed=9)
    assert same_end(one, two)
    assert untimed(one[0].history) != untimed(other[0].history)


# 9 or 10 batches an epoch: within the first, at an epoch's last batch or near it, in the third.
@pytest.mark.parametrize("at", [1, 4, 9, 10, 11, 24])
def test_interrupted_and_resumed_is_uninterrupted(fit, at):
    whole = fit("whole", schedule="cosine", warmup_epochs=0.5)
    with pytest.raises(Interrupted, match=r"go on with resume=.*last\.pt"):
        fit("cut", loss=Killer(at), schedule="cosine", warmup_epochs=0.5)
    last = whole[2].parent / "cut" / "checkpoints" / "last.pt"
    assert load_checkpoint(last)["step"] == at
    resumed = fit("cut", resume=last, schedule="cosine", warmup_epochs=0.5)
    assert same_end(whole, resumed)
    rows = (resumed[2] / "history.csv").read_text().splitlines()
    assert len(rows) == 4


# Ctrl-C comes to all processes; SIGTERM also from the launcher, to who is left when one dies.
@pytest.mark.parametrize(("number", "told"), [(signal.SIGINT, Interrupted),
                                              (signal.SIGTERM, LostRank)])  # fmt: skip
def test_a_process_that_goes_first_is_not_taken_for_dead(fit, number, told):
    killer = Killer(3, number)

    def loss(pred, batch):
        found = killer(pred, batch)
        if killer.calls == killer.at:
            raise LostRank("another process of the training died or is out of reach")
        return found

    with pytest.raises(told, match=r"go on with resume=.*last\.pt"):
        fit("cut", loss=loss)


EVERYTHING = {
    "optimizer": "adamw",
    "schedule": "plateau",
    "plateau_epochs": 1,
    "warmup_epochs": 0.5,
    "gradient_clip": 1.0,
    "ema_decay": 0.9,
    "micro_batch": 3,
}


@pytest.mark.parametrize("at", [4, 24])
def test_every_option_resumes_to_the_same_bits(fit, at):
    whole = fit("whole", **EVERYTHING)
    with pytest.raises(Interrupted):
        fit("cut", loss=Killer(at), **EVERYTHING)
    last = whole[2].parent / "cut" / "checkpoints" / "last.pt"
    torch.manual_seed(77)  # another process would not be where this one is
    assert same_end(whole, fit("cut", resume=last, **EVERYTHING))


def test_a_killed_training_goes_on_from_its_last_checkpoint(fit):
    """As kill -9 leaves it: no handler runs, the checkpoint is the one of some step before."""
    whole = fit("whole")

    class Killed(BaseException):
        pass

    calls = []

    def loss(pred, batch):
        calls.append(pred.coverage.requires_grad)
        if sum(calls) == 14:
            raise Killed
        return LOSS(pred, batch)

    with pytest.raises(Killed):
        fit("cut", loss=loss, checkpoint_minutes=0)
    last = whole[2].parent / "cut" / "checkpoints" / "last.pt"
    assert load_checkpoint(last)["step"] == 13
    assert same_end(whole, fit("cut", resume=last))


def test_killed_before_its_first_step_it_starts_again(fit):
    whole = fit("whole")
    with pytest.raises(ZeroDivisionError):
        fit("cut", loss=lambda pred, batch: 1 / 0)
    last = whole[2].parent / "cut" / "checkpoints" / "last.pt"
    assert same_end(whole, fit("cut", resume=last))


def test_sigterm_and_a_stop_in_validation_resume_too(fit):
    whole = fit("whole")
    with pytest.raises(Interrupted):
        fit("term", loss=Killer(5, signal.SIGTERM))
    last = whole[2].parent / "term" / "checkpoints" / "last.pt"
    with pytest.raises(Interrupted):
        fit("term", loss=Killer(2, validating=True), resume=last)
    stopped = load_checkpoint(last)
    assert (stopped["epoch"], stopped["history"]) == (0, [])
    assert stopped["batch"] == stopped["step"] > 5
    assert same_end(whole, fit("term", resume=last))


def test_resume_into_another_folder_brings_the_best_along(fit):
    whole = fit("whole")
    with pytest.raises(Interrupted):
        fit("cut", loss=Killer(24))
    last = whole[2].parent / "cut" / "checkpoints" / "last.pt"
    assert same_end(whole, fit("elsewhere", resume=last))


def test_signal_handlers_are_given_back(fit):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        fit(loss=Killer(2))
    assert signal.getsignal(signal.SIGINT) is before
    fit("again")
    assert signal.getsignal(signal.SIGINT) is before


def test_it_learns(fit, make_model):
    result, model, _ = fit(epochs=8, lr=1e-2)
    first, last = result.history[0], result.history[-1]
    assert last["train_loss"] < 0.8 * first["train_loss"]
    untrained = make_model(seed=1)
    weights = zip(model.parameters(), untrained.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in weights)
    assert result.metrics["denoised"]["auprc"] > 0.8


def test_what_a_run_leaves(fit):
    result, model, folder = fit()
    with (folder / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert {"train_loss", "train_loss_bce", "validation_loss", "validation_auprc"} <= set(rows[0])
    assert float(rows[2]["train_loss"]) == result.history[2]["train_loss"]
    best = load_checkpoint(folder / "checkpoints" / "best.pt")
    values = [row["validation_auprc"] for row in result.history]
    top = values.index(max(values)) + 1
    assert best["best"] == {"monitor": "auprc", "value": max(values), "epoch": top}
    assert best["epoch"] == top
    assert equal(best["state_dict"], dict(model.state_dict()))
    assert best["versions"] == {"a": 1}
    assert best["config"]["optim"]["lr"] == SHORT["lr"]
    assert best["preprocessing"] == {"shift": "+4/-4"}
    assert best["trained_cuts_per_mb"] > 0
    assert 0 < best["peak_threshold"] < 1
    assert best["peak_threshold"] == best["thresholds"]["denoised"]
    assert best["gaussian_sigma_bp"] in SIGMAS_BP
    assert result.metrics["split"] == "validation"
    assert result.metrics["scale"]["denoised"] == pytest.approx(best["scale"], rel=1e-6)
    assert not list(folder.rglob("*.tmp-*"))


def test_metrics_are_those_of_measure_with_the_checkpoint(fit, store, peaks):
    result, model, folder = fit()
    best = load_checkpoint(folder / "checkpoints" / "best.pt")
    tuned = choices(best)[0].tuned
    held = WindowDataset(store, ["chrB"], WINDOWS, peaks, training=False)
    assert model.temperature == 1  # of training; who predicts sets it
    model.temperature = best["temperature"]
    metrics = measure(model, held, Evaluate(), VALIDATION, tuned).metrics
    for name in ("noisy", "gaussian", "denoised", "scale", "tuned"):
        assert result.metrics[name] == metrics[name]
    # Tuning anew on validation chooses what training chose there, up to a bin of the logits.
    again = tune(model, held, VALIDATION)
    assert again.gaussian_sigma_bp == tuned.gaussian_sigma_bp
    assert tuned.linear is not None  # of the training windows, which are not at hand here
    expected = {name: value for name, value in tuned.thresholds.items() if name != "linear"}
    assert again.thresholds == pytest.approx(expected, rel=1e-3)


def test_probabilities_are_calibrated_on_validation(fit, store, peaks):
    """Each checkpoint holds what its own weights' validation says, of logits as trained."""
    _, model, folder = fit()
    held = WindowDataset(store, ["chrB"], WINDOWS, peaks, training=False)
    for name in ("last", "best"):  # best's weights stay in the model
        kept = load_checkpoint(folder / "checkpoints" / f"{name}.pt")
        model.load_state_dict(kept["state_dict"])
        _, scores = validate(model, held, None, VALIDATION)
        expected = calibrate(scores)
        assert kept["temperature"] == expected.temperature
        assert kept["calibration"] == asdict(expected)
        points = kept["operating_points"]
        assert points == operating_points(scores, expected.temperature)
        best = points["threshold"][points["f1"].index(max(points["f1"]))]
        assert kept["peak_threshold"] == best
    assert expected.temperature != 1  # three epochs do not happen to be calibrated


def test_a_resumed_training_does_not_calibrate_twice(fit, make_model):
    _, _, first = fit("first", epochs=2)
    last = first / "checkpoints" / "last.pt"
    _, _, second = fit("second", resume=last, epochs=3, model=make_model(seed=9))
    _, _, whole = fit("whole", epochs=3)
    again, through = (
        load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (second, whole)
    )
    for name in ("temperature", "calibration", "operating_points", "thresholds"):
        assert again[name] == through[name]


def test_checkpoints_of_before_calibration_go_on(fit, make_model):
    _, _, folder = fit(epochs=1)
    old = load_checkpoint(folder / "checkpoints" / "last.pt")
    for name in ("temperature", "calibration", "operating_points"):
        del old[name]
    save_checkpoint(folder / "checkpoints" / "last.pt", old)
    save_checkpoint(folder / "checkpoints" / "best.pt", old)
    last = folder / "checkpoints" / "last.pt"
    for epochs in (1, 2):  # nothing left to do, and an epoch more
        result, _, _ = fit("again", resume=last, epochs=epochs, model=make_model(seed=9))
        assert result.metrics["denoised"]["auprc"] > 0


@pytest.mark.parametrize("monitor", ["loss", "mse", "log1p_pearson"])
def test_monitor_chooses_the_best_epoch(fit, monitor):
    result, _, _ = fit(monitor=monitor)
    values = [row[f"validation_{monitor}"] for row in result.history]
    best = max(values) if monitor == "log1p_pearson" else min(values)
    assert result.best["value"] == best


def test_no_true_peak_on_validation_goes_by_loss(fit, caplog):
    result, _, folder = fit(truth={})
    assert result.best["monitor"] == "loss"
    assert "chosen by loss" in caplog.text
    best = load_checkpoint(folder / "checkpoints" / "best.pt")
    assert math.isnan(best["peak_threshold"]) and math.isnan(best["thresholds"]["denoised"])
    assert best["calibration"] is None and not best["operating_points"]["threshold"]


def broken_at(at):
    calls = []

    def loss(pred, batch):
        calls.append(1)
        if len(calls) == at:
            pred.coverage.data[1, 7] = float("nan")
        return LOSS(pred, batch)

    return loss


def test_a_loss_that_is_not_finite_names_the_window(fit, store, peaks):
    data = WindowDataset(store, ["chrA", "chrC"], WINDOWS, peaks, training=True)
    batches = TileBatches(data, 4, 0).batches()
    tile = data.tiles[batches[2][1][1]]
    where = f"{tile.chrom}:{tile.start}-{tile.end}"
    with pytest.raises(ValueError, match=f"loss is nan at epoch 1, step 3 in window {where}"):
        fit(loss=broken_at(3))


def test_a_gradient_that_is_not_finite_stops_before_the_step(fit, make_model):
    def loss(pred, batch):
        total, parts = LOSS(pred, batch)
        return total + (pred.coverage * 0).sum().sqrt(), parts  # value 0, slope infinite

    model = make_model(seed=1)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="a gradient is not finite at epoch 1, step 1"):
        fit(loss=loss, model=model)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("change", [{"batch_size": 5}, {"seed": 3}])
def test_resume_refuses_other_settings(fit, change):
    _, _, folder = fit(epochs=1)
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=rf"{name} \d -> {value}\): resume with the settings"):
        fit("more", resume=folder / "checkpoints" / "last.pt", **change)


def test_resume_says_what_has_changed(fit, caplog):
    _, _, folder = fit(epochs=1)
    fit("more", resume=folder / "checkpoints" / "last.pt", epochs=1, lr=1.0)
    assert "resumed with other settings: optim.epochs 1 -> 1" not in caplog.text
    assert "last.pt is resumed with other settings: optim.lr 0.003 -> 1.0" in caplog.text


def test_resume_refuses_another_model_or_store(fit, make_model, tmp_path):
    _, _, folder = fit(epochs=1)
    last = folder / "checkpoints" / "last.pt"
    with pytest.raises(ValueError, match="weights of another model"):
        fit("more", resume=last, model=make_model(channels=5))
    payload = load_checkpoint(last)
    save_checkpoint(tmp_path / "other.pt", payload | {"fingerprint": "0"})
    with pytest.raises(ValueError, match="store prepared otherwise"):
        fit("more", resume=tmp_path / "other.pt")


def test_a_checkpoint_without_the_training_s_state_cannot_be_resumed(fit, tmp_path):
    _, _, folder = fit(epochs=1)
    payload = load_checkpoint(folder / "checkpoints" / "last.pt")
    save_checkpoint(tmp_path / "released.pt", payload | {"training_state": None})
    with pytest.raises(ValueError, match="released to predict with"):
        fit("more", resume=tmp_path / "released.pt")


def test_more_epochs_go_on_from_a_finished_run(fit):
    whole = fit("whole", epochs=3)
    _, _, folder = fit("first", epochs=2)
    more = fit("first", epochs=3, resume=folder / "checkpoints" / "last.pt")
    assert untimed(more[0].history) == untimed(whole[0].history)


def test_schedules():
    constant = Optim(epochs=10, lr=1.0)
    assert [learning_rate(constant, e) for e in (0, 5, 9.9)] == [1, 1, 1]
    cosine = Optim(epochs=10, lr=1.0, schedule="cosine", warmup_epochs=1)
    rates = [learning_rate(cosine, e) for e in (0, 0.5, 1, 5, 10)]
    assert rates[0] < 0.01
    assert rates[1] == pytest.approx(0.5, abs=0.01)
    assert rates[3] == pytest.approx(0.5)
    assert rates[4] == pytest.approx(0, abs=1e-12)


def test_the_rate_of_a_step_follows_the_schedule(fit):
    result, _, _ = fit(schedule="cosine")
    steps = [0, *(row["step"] for row in result.history)]
    for epoch, row in enumerate(result.history):
        last = epoch + 1 - 1 / (steps[epoch + 1] - steps[epoch])
        optim = Optim(epochs=SHORT["epochs"], lr=SHORT["lr"], schedule="cosine")
        assert row["lr"] == pytest.approx(learning_rate(optim, last), rel=1e-12)


def test_plateau_lowers_the_rate():
    optim = Optim(lr=1.0, schedule="plateau", plateau_epochs=2, plateau_factor=0.1, monitor="loss")
    losses = [3.0, 2.0, 2.5, math.nan, 2.4, 2.3, 1.0, 1.5]
    rates = [learning_rate(optim, n, losses[:n]) for n in range(len(losses) + 1)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_patience_ends_the_training(fit):
    result, _, folder = fit(epochs=30, patience=2, lr=3e-2, monitor="loss")
    best, last = result.best["epoch"], len(result.history)
    assert best + 2 == last < 30
    resumed = fit("run", epochs=30, patience=2, lr=3e-2, monitor="loss",
                  resume=folder / "checkpoints" / "last.pt")  # fmt: skip
    assert len(resumed[0].history) == last


def test_the_average_is_what_is_kept(fit):
    plain, averaged = fit("plain"), fit("averaged", ema_decay=0.9)
    last = [load_checkpoint(run[2] / "checkpoints" / "last.pt") for run in (plain, averaged)]
    assert last[0]["training_state"]["weights"] is None
    assert equal(last[1]["training_state"]["weights"], last[0]["state_dict"])
    assert not equal(last[1]["state_dict"], last[0]["state_dict"])
    assert plain[0].history[-1]["train_loss"] == averaged[0].history[-1]["train_loss"]
    assert plain[0].history[-1]["validation_loss"] != averaged[0].history[-1]["validation_loss"]


def test_average_of_a_line():
    model = torch.nn.Linear(1, 1)
    average = Average(model, 0.5)
    steps = [3.0, 5.0, 9.0]
    expected = model.weight.item()
    for step, value in enumerate(steps, 1):
        torch.nn.init.constant_(model.weight, value)
        average.follow(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.model.weight.item() == pytest.approx(expected)


def test_micro_batches_change_nothing_but_rounding(fit):
    whole, parts = fit("whole", lr=1e-3), fit("parts", lr=1e-3, micro_batch=3)
    for a, b in zip(whole[0].history, parts[0].history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["validation_auprc"] == pytest.approx(b["validation_auprc"], rel=1e-4)


def test_adamw_decays_weights_and_nothing_else(make_model):
    model = make_model(batch_norm=True, activation="prelu")
    groups = make_optimizer(model, Optim(name="adamw", weight_decay=0.1)).param_groups
    decayed = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert decayed[id(p)] == (0.1 if name.endswith("conv_layer.weight") else 0), name


def test_a_monitor_that_is_not_measured_is_a_sentence(fit):
    with pytest.raises(ValueError, match="monitor=loss_poisson is not measured"):
        fit(monitor="loss_poisson")


def test_a_killed_loader_is_one_sentence_and_loses_nothing(fit):
    whole = fit("whole")
    calls = []

    def loss(pred, batch):
        calls.append(1)
        if len(calls) == 3:
            for child in multiprocessing.active_children():
                child.kill()
        return LOSS(pred, batch)

    with pytest.raises(OSError, match=r"a process that loads windows failed .*go on with resume="):
        fit("cut", loss=loss, workers=1, epochs=30)
    last = whole[2].parent / "cut" / "checkpoints" / "last.pt"
    assert load_checkpoint(last)["step"] >= 3
    assert same_end(whole, fit("cut", resume=last))


# As torch raises again what a process that loads windows has raised, or that it died.
CAUGHT = "Caught {0} in DataLoader worker process 0.\nOriginal Traceback:\n  …\n{0}: x.h5 is torn"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError("DataLoader worker (pid(s) 7) exited"), OSError, r"\(DataLoader .*resume="),
        (OSError(CAUGHT.format("OSError")), OSError, r"\(OSError: x.h5 is torn\): go on"),
        (
            UserError(CAUGHT.format("denoiseq.errors.UserError")),
            UserError,
            r"failed \(x.h5 is torn",
        ),
        (RuntimeError(CAUGHT.format("RuntimeError")), RuntimeError, "^Caught"),
        (ValueError(CAUGHT.format("ValueError")), ValueError, "^Caught"),
    ],
)
def test_an_error_of_a_loader_is_the_users_only_where_it_was(
    store, peaks, make_model, train_settings, tmp_path, error, kind, words
):
    class Loader:
        def __iter__(self):
            raise error

    data = WindowDataset(store, ["chrA", "chrC"], WINDOWS, peaks, training=True)
    held = WindowDataset(store, ["chrB"], WINDOWS, peaks, training=False)
    settings = train_settings(tmp_path, workers=1, **SHORT)
    training = Training(make_model(seed=1), Splits(data, held), settings)
    training.loader = Loader()
    with pytest.raises(kind, match=words) as raised:
        training.train()
    assert type(raised.value) is kind


@pytest.mark.parametrize("wrong", [{"schedule": "linear"}, {"monitor": "f1"}])
def test_unknown_settings_are_sentences(wrong):
    (value,) = wrong.values()
    with pytest.raises(ValueError, match=f"is '{value}', expected one of"):
        Optim(**wrong)


def test_train_options_are_those_of_checkpoint_version_2():
    assert train_options(Train()) == {
        "epochs": 25,
        "batch_size": 8,
        "micro_batch": 0,
        "optimizer": "adam",
        "lr": 2e-4,
        "weight_decay": 0.01,
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "plateau_epochs": 3,
        "plateau_factor": 0.3,
        "gradient_clip": 0.0,
        "ema_decay": 0.0,
        "monitor": "auprc",
        "patience": 0,
        "checkpoint_minutes": 10.0,
        "workers": 0,
        "seed": 0,
        "progress": True,
        "tensorboard": True,
    }


def test_gradient_clip_bounds_the_step(fit, monkeypatch):
    limits = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, limit):
        limits.append(limit)
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    fit("clipped", epochs=1, gradient_clip=0.5)
    fit("free", epochs=1)
    assert set(limits) == {0.5, math.inf}


def test_tensorboard_forgets_what_a_resumed_run_does_over(fit, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Interrupted):
        fit("cut", loss=Killer(4), tensorboard=True)
    last, early = tmp_path / "cut" / "checkpoints" / "last.pt", tmp_path / "early.pt"
    shutil.copyfile(last, early)
    with pytest.raises(Interrupted):
        fit("cut", loss=Killer(10), tensorboard=True, resume=last)
    assert load_checkpoint(last)["step"] == 14
    shutil.copyfile(early, last)
    result, _, folder = fit("cut", tensorboard=True, resume=last)
    events = EventAccumulator(str(folder)).Reload()
    steps = [event.step for event in events.Scalars("step/loss")]
    assert steps == list(range(1, result.history[-1]["step"] + 1))
    auprc = [event.value for event in events.Scalars("validation/auprc")]
    assert auprc == pytest.approx([row["validation_auprc"] for row in result.history])


def test_off_a_terminal_there_is_a_line_an_epoch_and_no_bar(fit, capfd, caplog):
    with caplog.at_level(logging.INFO, logger="denoiseq"):
        fit(progress=True)
    lines = [m for m in caplog.messages if m.startswith("epoch ")]
    assert [m.split(":")[0] for m in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "segments/s" in lines[0]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
