"""Text settings keep their text: in YAML, in checkpoints and in the YAML of a run folder."""

import dataclasses

import pytest
from denoiseq import settings
from denoiseq.errors import UserError
from denoiseq.settings.kinds import escape
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

ODD = ["1_1", "1.10", "a${b}.bam", "\\${a}", "${oc.env:HOME}", "true", "yes", "null", "1e3", "a: b"]
FOLDS = {"store": "x.h5", "validation": ["1"], "test": []}


def test_no_name_is_text_in_one_place_and_none_in_another():
    """YAML is read by the last part of a key."""
    text, other = set(), set()
    for schema in settings.COMMANDS.values():
        for key, kind in settings.kinds(schema).items():
            (text if kind.text else other).add(key.rpartition(".")[2])
    assert not text & other
    assert {"include", "bam", "name", "store", "regions"} <= text
    assert {"depth", "macs3", "bce_positive_weight", "seed"} <= other


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("include: [1_1, 0x10, 1.10, yes, 2]", {"include": ["1_1", "0x10", "1.10", "yes", "2"]}),
        ("out: 2024_01_15", {"out": "2024_01_15"}),
        ("data: {test: [1e3], name: on}", {"data": {"test": ["1e3"], "name": "on"}}),
        ("include: null\nout: ~\nname:", {"include": None, "out": None, "name": None}),
        ("name: '1'\nbam: a.bam", {"name": "1", "bam": "a.bam"}),
        ("seed: 1_0\nprogress: yes\ndepth: 1.50", {"seed": 10, "progress": True, "depth": 1.5}),
    ],
)  # fmt: skip
def test_yaml_of_text_settings_is_read_as_written(tmp_path, written, read):
    settings.read_text_as_written(settings.COMMANDS.values())
    (tmp_path / "a.yaml").write_text(written)
    assert OmegaConf.load(tmp_path / "a.yaml") == read


@pytest.mark.parametrize("text", ODD)
def test_checkpoints_and_run_folders_keep_text(text, tmp_path):
    values = {"name": text, "out": "x", "data": {**FOLDS, "exclude": [text], "fasta": text}}
    config = settings.parse(settings.Train, values)
    assert (config.name, config.data.exclude, config.data.fasta) == (text, [text], text)
    assert settings.plain(config)["data"]["exclude"] == [text]
    assert settings.parse(settings.Train, settings.plain(config)) == config
    settings.read_text_as_written(settings.COMMANDS.values())
    (tmp_path / "config.yaml").write_text(settings.to_yaml(config))
    assert settings.parse(settings.Train, OmegaConf.load(tmp_path / "config.yaml")) == config


@given(st.text(st.sampled_from("${}\\a:.'")))
def test_escaped_text_is_taken_literally(text):
    assert OmegaConf.to_container(OmegaConf.create([escape(text)]), resolve=True) == [text]


def test_home_is_expanded_in_paths_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = settings.parse(
        settings.Train,
        {"name": "~/a", "out": "~", "data": {**FOLDS, "more_stores": ["~/b", "./~/c", "d~"]}},
    )
    assert (config.name, config.out) == ("~/a", "/home/me")
    assert config.data.more_stores == ["/home/me/b", "./~/c", "d~"]
    assert settings.parse(settings.Prepare, {"bam": ["~/a", "b"]}).bam == ["/home/me/a", "b"]
    assert settings.parse(settings.Predict, {"blacklist": "none"}).blacklist == "none"


def test_kinds_of_settings():
    kinds = settings.kinds(settings.Train) | settings.kinds(settings.Predict)
    assert kinds["bam"] == settings.Kind("path, or list of paths", text=True, several=True)
    assert kinds["regions"].region and not kinds["regions"].one
    assert kinds["model.channels"].one and kinds["model.channels"].several  # of two networks
    assert kinds["depth"] == settings.Kind("number, or trained")
    assert kinds["model"].group and kinds["shift_check"].boolean
    assert {f.name for f in dataclasses.fields(settings.Train)} <= set(kinds)


@pytest.mark.parametrize(
    ("schema", "values", "key"),
    [
        (settings.Prepare, {"blacklist": ""}, "blacklist"),
        (settings.Predict, {"bam": ["a.bam", ""]}, "bam"),
        (settings.Train, {"data": FOLDS, "out": ""}, "out"),
        (settings.Train, {"data": FOLDS | {"truth": ""}, "out": "t"}, r"data\.truth"),
    ],
)
def test_an_empty_path_is_refused(schema, values, key):
    """As a shell gives for a variable that is not set."""
    with pytest.raises(UserError, match=f"^{key} is empty: give a path"):
        settings.parse(schema, values)
