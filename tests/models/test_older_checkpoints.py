"""Checkpoints of version 2 that earlier releases wrote still open, and give what they gave."""

import pickletools
import zipfile
from pathlib import Path

import torch
from denoiseq.models.checkpoint import VERSION, load_checkpoint, open_checkpoint, trained_network
from denoiseq.settings import Conv, Precision

# The yeast network of release 0.1.0.
OLD = Path(__file__).parent / "data" / "version2.pt"
# In the middle of a block of coverage 3, as release 0.1.0 answered.
COVERAGE, LOGIT = 29.176554, -0.667795


def test_its_settings_are_read():
    payload, trained = open_checkpoint(str(OLD))
    assert (payload["version"], VERSION) == (2, 3)
    assert (trained.model.name, trained.model.channels) == ("denoising_resnet", 15)
    assert (trained.data.sequence, trained.data.half_window_bp) == (True, 75)
    assert trained.optim.lr == payload["config"]["optim"]["lr"]
    assert round(payload["trained_cuts_per_mb"]) == 5024


def test_its_answer_is_what_it_was():
    payload, trained = open_checkpoint(str(OLD))
    network = trained_network(payload, trained, Conv("torch"), Precision(), "cpu")
    x = torch.zeros(1, 5, 3_000)
    x[0, 0, 1_400:1_600] = 3.0
    x[0, 1:, torch.arange(3_000)] = torch.eye(4)[torch.arange(3_000) % 4].T
    with torch.inference_mode():
        pred = network(x)
    torch.testing.assert_close(pred.coverage[0, 1_500].item(), COVERAGE, rtol=1e-4, atol=0)
    torch.testing.assert_close(pred.peak_logits[0, 1_500].item(), LOGIT, rtol=1e-4, atol=0)


def test_no_class_of_ours_is_named_in_a_checkpoint():
    """A name of ours in the pickle would tie the file to the layout of the code."""
    with zipfile.ZipFile(OLD) as archive:
        (name,) = [entry for entry in archive.namelist() if entry.endswith("data.pkl")]
        opcodes = list(pickletools.genops(archive.read(name)))
    named = {str(argument) for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
    assert named and not [text for text in named if "denoiseq" in text or "dilconv" in text]
    assert load_checkpoint(OLD)["state_dict"]
