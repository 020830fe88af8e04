"""What a prediction takes of an input that is a pipe: its name, and what tells it from another."""

import os

from denoiseq.prediction.sample import _facts, name_of
from denoiseq.settings import Predict


def test_name_of_a_pipe_of_the_shell_is_that_of_the_setting():
    assert name_of(Predict(fragments="/dev/fd/63")) == "fragments"
    assert name_of(Predict(fragments="cells/63")) == "63"
    assert name_of(Predict(fragments="x.tsv.gz")) == "x"


def test_facts_of_two_pipes_differ(tmp_path):
    facts = []
    for _ in range(2):
        read, write = os.pipe()
        facts.append(_facts(f"/dev/fd/{read}"))
        os.close(read)
        os.close(write)
    assert facts[0] != facts[1]
    assert _facts(str(tmp_path / "none")) == [str(tmp_path / "none")]
