"""What a resumed training may change, and with which best epoch it goes on."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from denoiseq.distributed import ALONE, Ranks
from denoiseq.errors import UserError
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint, trained_settings
from denoiseq.settings import Data, Loss, Train, plain
from denoiseq.settings.model import DenoisingResNet, UNet
from denoiseq.training.loop import Training
from denoiseq.training.losses import atacworks_loss
from denoiseq.training.optimizer import learning_rate
from denoiseq.training.progress import Progress
from denoiseq.training.resume import (
    adopt_best,
    changed_settings,
    check_resumable,
)
from denoiseq.training.run import check_batch_norm
from denoiseq.training.state import State, checkpoint_path
from denoiseq.windows.dataset import WindowDataset
from denoiseq.windows.splits import Splits

OLD = Path(__file__).parents[1] / "models" / "data" / "version2.pt"
DATA = Data(store="toy.h5", validation=["chrB"], test=["chrC"], interval_bp=1_000, pad_bp=200,
            half_window_bp=75, thin_fraction=0.3)  # fmt: skip
PATH = Path("last.pt")


@pytest.fixture
def settings(train_settings, tmp_path) -> Train:
    return train_settings(tmp_path / "run", data=DATA, batch_size=4, progress=False)


@pytest.fixture
def data(store, peaks):
    """`data(truth=…)`: the windows of a training."""
    return partial(WindowDataset, store, ["chrA"], DATA, peaks, training=True)


@pytest.fixture
def payload(settings, data, make_model):
    """What a training of `settings` stores."""
    state = State(make_model(), settings.optim)
    return {"config": plain(settings)} | state.payload(settings, data())


def other(settings: Train, group: str, **values) -> Train:
    return replace(settings, **{group: replace(getattr(settings, group), **values)})


@pytest.mark.parametrize(
    ("group", "change", "words"),
    [
        ("model", {"dilation": 2}, "model.dilation 8 -> 2"),
        ("model", {"input_transform": "log1p"}, "model.input_transform none -> log1p"),
        ("model", {"add_input": True}, "model.add_input false -> true"),
        ("model", {"both_strands": True}, "model.both_strands false -> true"),
        ("model", {"task": "regression"}, "model.task both -> regression"),
        ("model", {"activation": "prelu"}, "model.activation relu -> prelu"),
        ("data", {"label_neglog10_p": 1.0}, "data.label_neglog10_p 3.0 -> 1.0"),
        ("data", {"label_min_length_bp": 1}, "data.label_min_length_bp 200 -> 1"),
        ("data", {"label_max_gap_bp": 1}, "data.label_max_gap_bp 30 -> 1"),
        ("data", {"thin_fraction": 0.2}, "data.thin_fraction 0.3 -> 0.2"),
        ("data", {"thin_range": [0.1, 0.5]}, "data.thin_range null -> [0.1,0.5]"),
        ("data", {"target": "complement"}, "data.target all -> complement"),
        ("data", {"interval_bp": 500}, "data.interval_bp 1000 -> 500"),
        ("data", {"pad_bp": 100}, "data.pad_bp 200 -> 100"),
        ("data", {"half_window_bp": 100}, "data.half_window_bp 75 -> 100"),
        ("data", {"reverse_complement": True}, "data.reverse_complement false -> true"),
        ("data", {"exclude": ["chrShort"]}, "data.exclude [] -> [chrShort]"),
        ("data", {"validation": ["chrC"], "test": ["chrB"]},
         "data.validation [chrB] -> [chrC], data.test [chrC] -> [chrB]"),
        ("optim", {"batch_size": 5}, "optim.batch_size 4 -> 5"),
        ("optim", {"ema_decay": 0.5}, "optim.ema_decay 0.0 -> 0.5"),
        ("optim", {"name": "adamw"}, "optim.name adam -> adamw"),
    ],
)  # fmt: skip
def test_check_resumable_refuses_another_function_or_other_data(
    payload, settings, data, group, change, words
):
    with pytest.raises(UserError) as refused:
        check_resumable(PATH, payload, other(settings, group, **change), data())
    expected = f"last.pt was trained with other settings ({words}): resume with the settings"
    assert str(refused.value).startswith(expected)


def test_check_resumable_names_another_network_and_all_changes_at_once(payload, settings, data):
    changed = replace(settings, model=UNet(), seed=3)
    with pytest.raises(UserError) as refused:
        check_resumable(PATH, payload, other(changed, "optim", batch_size=2), data())
    assert "(seed 0 -> 3, model.name denoising_resnet -> unet, optim.batch_size 4 -> 2)" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("group", "change", "words"),
    [
        ("loss", {"mse": 0.5, "bce": 0.0}, "loss.mse 0.0005 -> 0.5, loss.bce 1.0 -> 0.0"),
        ("loss", {"bce_positive_weight": "balanced"}, "loss.bce_positive_weight 1.0 -> balanced"),
        ("precision", {"name": "bf16"}, "precision.name fp32 -> bf16"),
        ("conv", {"backend": "torch"}, "conv.backend dilconv -> torch"),
        ("optim", {"monitor": "mse"}, "optim.monitor auprc -> mse"),
        ("optim", {"lr": 0.1, "epochs": 30}, "optim.lr 0.0002 -> 0.1, optim.epochs 25 -> 30"),
    ],
)
def test_check_resumable_warns_of_what_may_change(
    payload, settings, data, caplog, group, change, words
):
    check_resumable(PATH, payload, other(settings, group, **change), data())
    assert caplog.messages == [f"last.pt is resumed with other settings: {words}"]


def test_check_resumable_is_silent_where_nothing_matters(payload, settings, data, caplog):
    changed = replace(settings, out="elsewhere", name="x", resume="last.pt", stages=["train"])
    changed = other(changed, "optim", micro_batch=2)
    changed = other(changed, "trainer", workers=1, threads=3)
    changed = other(changed, "model", pretrained="best.pt")
    changed = other(changed, "data", store="moved.h5", fasta="genome.fa", synthetic=True)
    check_resumable(PATH, payload, changed, data())
    payload["config"]["data"]["exclude"] = ["chrX", "chrShort"]
    changed = other(changed, "data", exclude=["chrShort", "chrX"])
    check_resumable(PATH, payload, changed, data())
    assert not caplog.messages


def test_check_resumable_reads_checkpoints_that_lack_later_settings(payload, settings, data):
    for group, name in (("data", "reverse_complement"), ("model", "both_strands")):
        del payload["config"][group][name]
    del payload["peaks_fingerprint"]
    check_resumable(PATH, payload, settings, data())
    with pytest.raises(UserError, match=r"model\.both_strands false -> true"):
        check_resumable(PATH, payload, other(settings, "model", both_strands=True), data())


def test_changed_settings_of_a_released_checkpoint():
    payload = load_checkpoint(OLD)
    trained = trained_settings(payload, OLD)
    assert changed_settings(trained, trained) == {}
    wider = other(trained, "model", dilation=3)
    assert list(changed_settings(trained, wider)) == ["model.dilation"]


@pytest.mark.parametrize("earlier_release", [False, True])
def test_a_file_of_peaks_may_move_but_not_change(
    payload, settings, data, tmp_path, peaks, earlier_release
):
    before, moved, changed = (tmp_path / name for name in ("a.bed", "b.bed", "c.bed"))
    before.write_text("chrA\t600\t900\n")
    moved.write_text(before.read_text())
    changed.write_text("chrA\t600\t1200\n")
    truth = {"chrA": np.array([[600, 900]])}
    payload["config"]["data"]["truth"] = str(before)
    payload |= data(truth=truth).facts()
    if earlier_release:
        del payload["peaks_fingerprint"]
    check_resumable(PATH, payload, other(settings, "data", truth=str(moved)), data(truth=truth))
    now = data(truth={"chrA": np.array([[600, 1200]])})
    with pytest.raises(UserError, match=r"data.truth \S+a.bed -> \S+c.bed"):
        check_resumable(PATH, payload, other(settings, "data", truth=str(changed)), now)
    with pytest.raises(UserError, match=r"data.truth \S+a.bed -> null"):
        check_resumable(PATH, payload, settings, data())
    if not earlier_release:
        with pytest.raises(UserError, match=r"data.truth \S+a.bed -> \S+a.bed, with other peaks"):
            check_resumable(PATH, payload, other(settings, "data", truth=str(before)), now)
    before.unlink()
    if earlier_release:  # by its name, as the old file is gone
        with pytest.raises(UserError, match=r"data.truth \S+a.bed -> \S+b.bed"):
            check_resumable(PATH, payload, other(settings, "data", truth=str(moved)), now)


def test_check_resumable_refuses_called_labels_for_a_file(payload, settings, data, tmp_path):
    (tmp_path / "labels.bed").write_text("chrA\t600\t900\n")
    changed = other(settings, "data", labels=str(tmp_path / "labels.bed"))
    shifted = {chrom: rows + 1 for chrom, rows in data().peaks.items()}
    now = WindowDataset(data().store, ["chrA"], DATA, shifted, training=True)
    with pytest.raises(UserError, match=r"data.labels poisson -> \S+labels.bed"):
        check_resumable(PATH, payload, changed, now)


@pytest.mark.parametrize("change", ["depth", "labels"])
def test_check_resumable_refuses_other_reads_prepared_alike(payload, settings, data, change):
    if change == "depth":
        payload["trained_cuts_per_mb"] *= 1.001
    else:
        payload["peaks_fingerprint"]["labels"] = "0"
    with pytest.raises(UserError, match=r"last\.pt was trained on other reads than"):
        check_resumable(PATH, payload, settings, data())


# auprc and mse of four epochs: the best by auprc is the second, by mse the third, then the fourth.
AUPRC, MSE = (0.5, 0.9, 0.7, 0.6), (9.0, 8.0, 1.0, 3.0)
HISTORY = [
    {"epoch": n, "validation_auprc": a, "validation_mse": m, "validation_loss": 10.0 * m}
    for n, (a, m) in enumerate(zip(AUPRC, MSE, strict=True), start=1)
]


def best(monitor: str, epoch: int) -> dict:
    value = HISTORY[epoch - 1][f"validation_{monitor}"]
    return {"monitor": monitor, "value": value, "epoch": epoch}


@pytest.fixture
def adopted(tmp_path):
    """`adopted("mse", last=3, kept=2)`: `done.best` and best.pt of a training that kept the epoch
    `kept` by auprc and goes on from the end of epoch `last`, or from within the next.
    """

    def run(monitor, last, kept, batch=0, other_losses=0, foreign=False):
        chosen = best("auprc", kept or 2)
        for name, epoch, at in (("best", kept, 0), ("last", last, batch)):
            if epoch is not None:
                history = [row | {"seconds": math.nan} for row in HISTORY[:epoch]]
                if foreign and name == "best":
                    history[0]["validation_mse"] = 0.0
                about = {"epoch": epoch, "batch": at, "history": history, "best": chosen}
                save_checkpoint(tmp_path / "old" / f"{name}.pt", about | {"weights": epoch})
        done = Progress.from_payload(load_checkpoint(tmp_path / "old/last.pt"))
        done.other_losses = other_losses
        target = tmp_path / "new" / "best.pt"
        adopt_best(tmp_path / "old/last.pt", target, done, monitor)
        written = load_checkpoint(target) if target.is_file() else None
        if written is not None:
            assert written["best"] == done.best and written["weights"] == done.best["epoch"]
        return done.best, written

    return run


@pytest.mark.parametrize("last", [2, 3, 4])
def test_adopt_best_keeps_what_the_same_metric_chose(adopted, caplog, last):
    assert adopted("auprc", last, kept=2)[0] == best("auprc", 2)
    assert not caplog.messages


def test_adopt_best_by_another_metric_is_the_resumed_epoch(adopted, caplog):
    assert adopted("mse", 3, kept=2)[0] == best("mse", 3)
    assert not caplog.messages


def test_adopt_best_by_another_metric_is_the_kept_epoch(adopted, caplog):
    assert adopted("mse", 2, kept=2, batch=5)[0] == best("mse", 2)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("last", "batch", "kept", "then", "words"),
    [
        (4, 0, 2, 4, "best.pt begins with epoch 4"),
        (4, 3, 2, 2, "best.pt begins with epoch 2"),
        (4, 3, None, None, "best.pt is chosen from the epochs to come"),
    ],
)
def test_adopt_best_says_where_the_weights_are_gone(
    adopted, caplog, last, batch, kept, then, words
):
    now, written = adopted("mse", last, kept=kept, batch=batch)
    assert now == (then and best("mse", then)) and (written is None) == (then is None)
    lost = "epoch 3 was the best by mse so far, but its weights were not kept"
    assert caplog.messages == [f"{lost}: {words}"]


def test_adopt_best_takes_no_epoch_of_another_training(adopted, caplog):
    assert adopted("auprc", 4, kept=2, foreign=True)[0] == best("auprc", 4)
    assert "epoch 2 was the best by auprc so far" in caplog.text


def test_adopt_best_compares_no_loss_of_other_weights(adopted, caplog):
    assert adopted("loss", 4, kept=2, other_losses=4) == (None, None)
    expected = "no epoch before the resumed one has a comparable loss"
    assert caplog.messages == [f"{expected}: best.pt is chosen from the epochs to come"]
    assert adopted("loss", 4, kept=2, other_losses=3)[0] == best("loss", 4)
    assert adopted("mse", 3, kept=2, other_losses=3)[0] == best("mse", 3)


def test_adopt_best_by_what_was_not_measured_waits(adopted, caplog):
    assert adopted("loss_poisson", 4, kept=2) == (None, None)
    assert "no epoch before the resumed one has a comparable loss_poisson" in caplog.text


def test_learning_rate_counts_plateaus_of_comparable_values_apart():
    optim = other(Train(), "optim", lr=1.0, schedule="plateau", plateau_epochs=2,
                  plateau_factor=0.1, monitor="loss").optim  # fmt: skip
    losses = [3.0, 4.0, 4.0, 30.0, 20.0, 21.0, 22.0]
    assert learning_rate(optim, 7, losses) == pytest.approx(0.001)
    rates = [learning_rate(optim, n, losses[:n], 3) for n in (3, 5, 6, 7)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01])


@pytest.fixture
def fit(store, peaks, make_model, train_settings, tmp_path, monkeypatch):
    """Train on the toy store, from scratch or from a checkpoint; progress and folder."""
    monkeypatch.setattr("denoiseq.evaluation.baselines.SIGMAS_BP", (20,))

    def trained(name, resume=None, **more):
        windows = (
            WindowDataset(store, [chrom], DATA, peaks, training=chrom == "chrA")
            for chrom in ("chrA", "chrB")
        )
        short = {"batch_size": 4, "lr": 3e-3, "tensorboard": False, "progress": False}
        settings = train_settings(tmp_path / name, data=DATA, resume=resume, **(short | more))
        training = Training(make_model(seed=1), Splits(*windows), settings)
        training.loss = partial(atacworks_loss, weights=settings.loss)
        training.train()
        return training.state.done, tmp_path / name

    return trained


@pytest.mark.parametrize("monitor", ["mse", "pearson"])
def test_a_training_resumed_by_another_metric_keeps_the_best_by_that(fit, monitor):
    _, folder = fit("run", epochs=2, monitor="auprc")
    last = str(checkpoint_path(folder, "last"))
    done, folder = fit("run", resume=last, epochs=4, monitor=monitor)
    kept = load_checkpoint(checkpoint_path(folder, "best"))
    assert kept["best"] == done.best and kept["epoch"] == done.best["epoch"]
    assert done.best["monitor"] == monitor
    at_hand = [row for row in done.history if row["epoch"] > 1]
    values = [row[f"validation_{monitor}"] for row in at_hand]
    assert done.best["value"] == (min(values) if monitor == "mse" else max(values))


def test_a_training_resumed_with_other_weights_of_the_loss_chooses_anew(fit, caplog):
    _, folder = fit("run", epochs=2, monitor="loss")
    last = str(checkpoint_path(folder, "last"))
    heavier = Loss(mse=0.01, poisson=0.1)
    done, folder = fit("run", resume=last, epochs=3, monitor="loss", loss=heavier)
    assert done.best["epoch"] == 3 and done.other_losses == 2  # although the loss is far larger
    assert load_checkpoint(checkpoint_path(folder, "best"))["epoch"] == 3
    assert done.history[2]["validation_loss"] > done.history[1]["validation_loss"]
    assert "loss.mse 0.0005 -> 0.01, loss.poisson 0.0 -> 0.1" in caplog.text
    header, first, *_, third = (folder / "history.csv").read_text().splitlines()
    column = header.split(",").index("train_loss_poisson")
    assert first.split(",")[column] == ""
    assert float(third.split(",")[column]) > 0
    done, _ = fit("run", resume=last, epochs=5, monitor="loss", loss=heavier)
    values = [row["validation_loss"] for row in done.history[2:]]
    assert done.other_losses == 2 and done.best["value"] == min(values)


BATCH_NORM = replace(Train(), model=DenoisingResNet(batch_norm=True))  # 8 windows a batch


@pytest.mark.parametrize(("micro_batch", "world"), [(0, 1), (8, 1), (9, 1), (4, 2), (0, 2)])
def test_check_batch_norm_lets_whole_shares_pass(micro_batch, world, caplog):
    check_batch_norm(other(BATCH_NORM, "optim", micro_batch=micro_batch), Ranks(0, world))
    assert [text.partition(":")[0] for text in caplog.messages] == (
        ["model.batch_norm=true with 2 processes"] if world == 2 else []
    )


@pytest.mark.parametrize(("micro_batch", "world", "share"), [(1, 1, 8), (7, 1, 8), (3, 2, 4)])
def test_check_batch_norm_refuses_parts_of_a_share(micro_batch, world, share):
    changed = other(BATCH_NORM, "optim", micro_batch=micro_batch)
    words = rf"optim.micro_batch={micro_batch} would change .* the whole batch \({share} windows\)"
    with pytest.raises(UserError, match=words):
        check_batch_norm(changed, Ranks(0, world))
    check_batch_norm(replace(changed, model=DenoisingResNet()), ALONE)
