"""Pipes among the data of a training are copied to its run folder, where later reads find them."""

import os
import threading
from pathlib import Path

import pytest
from denoiseq.distributed import ALONE
from denoiseq.settings import Data, Prepare
from denoiseq.training.run import _shared
from denoiseq.windows.splits import read_peaks


@pytest.fixture
def fifo(tmp_path):
    """`fifo(name, text)` is the path of a FIFO that gives a text once."""

    def make(name, text):
        os.mkfifo(tmp_path / name)
        threading.Thread(target=(tmp_path / name).write_text, args=(text,), daemon=True).start()
        return str(tmp_path / name)

    return make


def test_shared_settings_name_copies_of_pipes(fifo, tmp_path, train_settings, store):
    prepare = Prepare(blacklist=fifo("b", "chrA\t5\t9\n"), barcodes=str(tmp_path / "list.txt"))
    data = Data(
        "cuts.h5", labels=fifo("l", "chrA\t50\t90\n"), prepare=prepare, validation=["a"], test=[]
    )
    settings = _shared(train_settings(tmp_path / "run", data=data), ALONE)
    data = settings.data
    assert data.labels == str(tmp_path / "run" / "piped_labels.txt") and data.truth is None
    assert data.prepare.barcodes == str(tmp_path / "list.txt")
    assert Path(data.prepare.blacklist).read_text() == "chrA\t5\t9\n"
    for _ in range(2):
        assert read_peaks(data.labels, store, "data.labels")["chrA"].tolist() == [[50, 90]]
