"""The threshold of a prediction: given, of a precision, or the best on validation."""

import pytest
from denoiseq.evaluation.thresholds import choices
from denoiseq.prediction.run import peak_threshold
from denoiseq.settings import Predict

POINTS = {
    "threshold": [0.9, 0.6, 0.3],
    "precision": [0.95, 0.9, 0.5],
    "recall": [0.2, 0.5, 0.9],
    "f1": [0.33, 0.64, 0.64],
}
NOTHING = {name: [] for name in POINTS}
NAN = float("nan")
PAYLOAD = {"peak_threshold": 0.4, "operating_points": POINTS}


def threshold(payload, task="both", **options):
    return peak_threshold(Predict(**options), choices(payload), 10.0, task)


def test_the_best_on_validation_unless_told():
    assert threshold(PAYLOAD) == 0.4
    assert threshold(PAYLOAD, peak_threshold=0.7) == 0.7
    assert threshold(PAYLOAD, peak_precision=0.9) == 0.6
    assert threshold(PAYLOAD, task="regression", peak_threshold=7.0) == 7.0


def test_checkpoints_of_older_versions_have_a_threshold():
    old = {"peak_threshold": 0.4}
    assert threshold(old) == 0.4
    with pytest.raises(ValueError, match="kept no operating points"):
        threshold(old, peak_precision=0.9)


@pytest.mark.parametrize(
    ("payload", "options", "sentence"),
    [
        (PAYLOAD, {"peak_precision": 0.97}, "highest was 0.95"),
        (PAYLOAD, {"peak_threshold": 0.5, "peak_precision": 0.9}, "give one"),
        (PAYLOAD, {"peak_precision": 0.0}, "peak_precision is 0.0"),
        (PAYLOAD, {"peak_precision": 90.0}, "peak_precision is 90.0"),
        (PAYLOAD, {"peak_threshold": 3.0}, "expected a probability below 1"),
        ({"peak_threshold": None}, {}, "no peak threshold"),
        ({"peak_threshold": NAN}, {}, "no peak threshold"),
        # As the first releases stored what no true peak had tuned.
        ({"peak_threshold": 0.5, "thresholds": {"noisy": NAN, "denoised": 0.5}}, {},
         r"no peak threshold: give peak_threshold=0\.5, say"),
        ({"peak_threshold": NAN, "operating_points": NOTHING}, {"peak_precision": 0.5},
         r"no peak threshold: give peak_threshold=0\.5, say"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(payload, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        threshold(payload, **options)


def test_an_untuned_checkpoint_calls_at_the_threshold_that_is_given():
    untuned = {"peak_threshold": NAN, "thresholds": {"noisy": NAN, "denoised": NAN}}
    assert threshold(untuned, peak_threshold=0.5) == 0.5
