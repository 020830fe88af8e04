"""Measurements of a network on many draws of fragments, each kept in a file of its own."""

import json
from dataclasses import replace

import numpy as np
from denoiseq import settings
from denoiseq.atomic import atomic_path
from denoiseq.evaluation import external_peaks
from denoiseq.evaluation.measure import measure
from denoiseq.models.checkpoint import open_checkpoint, trained_network
from denoiseq.windows.splits import held_out

FIRST_DRAW = 1000  # seeds of the draws: none that a training had
BOOTSTRAP = 1000


class Subject:
    """A trained network and the settings of its training."""

    def __init__(self, checkpoint):
        self.payload, trained = open_checkpoint(str(checkpoint))
        self.trained = replace(trained, trainer=settings.Trainer(progress=False))
        how = settings.Conv(), settings.Precision(), "auto"
        self.network = trained_network(self.payload, self.trained, *how)

    def measure(self, data, stores, draw, tuned):
        """Measure one draw on the test chromosomes, MACS3 beside it where it is installed."""
        split = held_out(data, stores, FIRST_DRAW + draw, "test")
        peaks = external_peaks.called(split, "auto")
        wanted = settings.Evaluate(bootstrap=BOOTSTRAP)
        return measure(self.network, split, wanted, self.trained, tuned, peaks)


def keep(file, measurement, metrics, **about):
    """One measurement as a file: of each score the value as it is, then the replicates.

    about : further values, each kept as JSON.

    "called_f1" is the F1 per base of the peaks that were called, by every track at the threshold
    that was chosen for it, and by MACS3.
    """
    scores, replicates = measurement.metrics, measurement.replicates
    arrays = {
        f"{track}/{metric}": np.append(scores[track][metric], values[metric])
        for track, values in replicates.items()
        for metric in metrics
        if metric in values
    }
    for track, values in replicates.items():
        union = np.append(float(scores[track]["peaks"]["iou_bp"]), values["peaks.iou_bp"])
        arrays[f"{track}/called_f1"] = 2 * union / (1 + union)
    texts = {name: json.dumps(value) for name, value in about.items()}
    with atomic_path(file) as temporary, temporary.open("wb") as raw:
        np.savez_compressed(raw, **texts, **arrays)


def mean(measurements, name):
    """A score and its replicates, the mean of all measurements; None unless all have it."""
    if not all(name in measurement for measurement in measurements):
        return None
    return np.mean([measurement[name] for measurement in measurements], axis=0)
