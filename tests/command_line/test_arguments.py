"""Flags and key=value reach the settings as they were typed, through Hydra and OmegaConf."""

import pytest
from denoiseq import cli, settings
from denoiseq.command_line.arguments import read
from denoiseq.errors import UserError
from denoiseq.settings.help import flag_of
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

ODD_NAMES = [
    "1_1",
    "1e3",
    "0x10",
    "1.10",
    "2024_01_15",
    "2024",
    "true",
    "yes",
    "on",
    "1:30",
    "-1",
    "inf",
]
ODD_PATHS = [
    *("Größe_样本.bam", "a#1.bam", "a&b.bam", "run1(a).bam", "run=1.bam", "a,b.bam", "a b.bam"),
    *("a[1].bam", "a{1}.bam", "a'b.bam", "a~1.bam", "a!b.bam", "a;b.bam", "2024", "a${b}.bam"),
    *(' "a', "a ", "\\", "a\\", "a\\'b", "$(x)", "[a", "a]", "~", "%s", "a.b:c@d|e?*"),
]
# No text of a file system or a genome; and OmegaConf's mark for a value that is missing.
TEXT = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), min_size=1)
TEXT = TEXT.filter(lambda text: text != "???")
LITERAL = TEXT.filter(
    lambda text: text.lower() != "null" and (text[0], text[-1]) not in {("'", "'"), ('"', '"')}
)


def composed(command, *arguments):
    return settings.parse(settings.COMMANDS[command], cli.composed(command, list(arguments)))


def parsed(command, *arguments):
    """As `composed`, without the files of configs/, which takes long."""
    config = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(overrides(command, *arguments)):
        OmegaConf.update(config, override.key_or_group, override.value())
    return settings.parse(settings.COMMANDS[command], config)


def overrides(command, *arguments):
    return read(arguments, *cli._vocabulary(command)).overrides


@pytest.mark.parametrize("text", [*ODD_NAMES, *ODD_PATHS])
def test_text_stays_what_was_typed(text, monkeypatch):
    monkeypatch.setenv("HOME", "~")  # so that ~ stays too
    flags = [f"--{name}={text}" for name in ("bam", "fasta", "name", "regions")]
    by_flags = composed("predict", *flags, "--bam=x")
    assert (by_flags.bam, by_flags.fasta, by_flags.name) == ([text, "x"], text, text)
    assert by_flags.regions == [text]
    by_keys = composed("predict", f"bam={text}", f"name={text}")
    assert (by_keys.bam, by_keys.name) == (text, text)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_in_lists_stay_what_was_typed(name):
    assert composed("prepare", f"include=[{name},chr1]").include == [name, "chr1"]


@given(TEXT)
@example("null")
@example("'a'")
@example("[a,b]")
@example("a\\${b}'")
def test_flags_take_any_text(text):
    values = parsed("predict", f"--name={text}", f"--regions={text}", f"--regions={text}")
    assert (values.name, values.regions) == (text, [text, text])


@given(LITERAL)
def test_keys_take_any_text_that_is_not_quoted(text):
    assert parsed("predict", f"name={text}").name == text
    quoted = text.replace("\\", "").replace('"', "")
    assert parsed("predict", f'name="{quoted}"').name == quoted


@pytest.mark.parametrize(
    ("argument", "key", "expected"),
    [
        ("bam=[a[1].bam,b.bam]", "bam", ["a[1].bam", "b.bam"]),
        ("bam=a[1].bam", "bam", "a[1].bam"),
        ("bam=[a.bam, b c.bam ]", "bam", ["a.bam", "b c.bam"]),
        ("bam=['a,b.bam',\"c'd.bam\"]", "bam", ["a,b.bam", "c'd.bam"]),
        ("bam=[a'b.bam,c'd.bam]", "bam", ["a'b.bam", "c'd.bam"]),
        ("bam=[a[.bam,b.bam]", "bam", ["a[.bam", "b.bam"]),
        ("bam=[a(1,2).bam,b.bam]", "bam", ["a(1,2).bam", "b.bam"]),
        ('out="a=b (c)"', "out", "a=b (c)"),
        (r"out='it\'s'", "out", "it's"),
        ("out='a\\\\'", "out", "a\\"),
        ("out=NULL", "out", None),
        ("+out=1.10", "out", "1.10"),
        ("++out=1.10", "out", "1.10"),
        ("include=[1,2]", "include", ["1", "2"]),
        ("include=[1_1,null,true,0x10,1e3]", "include", ["1_1", "null", "true", "0x10", "1e3"]),
        ("include=null", "include", None),
        ("exclude=[]", "exclude", []),
        ("max_fragment_bp=1_000", "max_fragment_bp", 1000),
        ("shift_check=False", "shift_check", False),
    ],
)
def test_keys_have_the_lists_and_quotes_of_hydra(argument, key, expected):
    assert getattr(composed("prepare", argument), key) == expected


def test_flags_of_the_trainer_do_without_its_name():
    settings_ = composed("predict", "--no-progress", "--threads", "3", "--workers", "2").trainer
    assert (settings_.progress, settings_.threads) == (False, 3)
    assert composed("predict", "--workers", "2").workers == 2  # predict's own


def test_an_element_of_a_list_keeps_its_text():
    assert composed("prepare", "exclude=[a,b]", "exclude.0=1_1").exclude == ["1_1", "b"]


def test_commas_within_regions_are_no_separators():
    typed = "chr1:1,000-2,000", "chr2:5-600", "chr1:1,000,000-1,000,200"
    assert composed("predict", f"regions=[{','.join(typed)}]").regions == list(typed)
    assert composed("predict", "--regions", typed[0]).regions == [typed[0]]
    pasted = (
        "chr1:1,000 - 2,000",
        "chr2:1,000\N{EN DASH}2,000",
        "chr3:1,000..2,000",
        "chr4 1,000 2,000",
    )
    for text in (",".join(pasted), f"[{','.join(pasted)}]"):
        assert composed("predict", f"regions={text}").regions == list(pasted)


@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        (["--min-mapq", "7", "--bam", "a.bam"], ["min_mapq=7", "bam=a.bam"]),
        (["--min-mapq=7", "bam=a.bam"], ["bam=a.bam", "min_mapq=7"]),
        (["--bam", "a.bam", "--bam", "b.bam"], ["bam=[a.bam,b.bam]"]),
        (["--include", "chr1", "--workers", "2", "--include", "chr2"],
         ["include=[chr1,chr2]", "workers=2"]),
        (["--exclude="], ["exclude=[]"]),
        (["--exclude", ""], ["exclude=[]"]),
        (["--no-progress", "--keep-duplicates"], ["progress=false", "keep_duplicates=true"]),
        (["--progress=false", "--keep-duplicates", "true"],
         ["progress=false", "keep_duplicates=true"]),
        (["--shift", "+4/-5"], ["shift=+4/-5"]),
        (["--out=-x"], ["out=-x"]),
        (["--out", "-1"], ["out=-1"]),
        (["--workers", "1", "workers=2"], ["workers=2"]),
        (["workers=2", "--workers", "1", "--workers", "3"], ["workers=3"]),
        (["include=[chr1]", "--include", "chr2"], ["include=[chr2]"]),
        (["--include", "chr2", "include=[chr1]"], ["include=[chr1]"]),
    ],
)  # fmt: skip
def test_flags_are_the_same_as_keys(flags, keys):
    assert cli.composed("prepare", flags) == cli.composed("prepare", keys)


@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        (["--experiment", "smoke"], ["+experiment=smoke"]),
        (["--model", "unet", "--optim=adamw"], ["model=unet", "optim=adamw"]),
        (
            ["--optim.lr", "5e-4", "--optim.micro-batch", "2"],
            ["optim.lr=5e-4", "optim.micro_batch=2"],
        ),
        (["--data.thin-range", "0.01,0.5"], ["data.thin_range=[0.01,0.5]"]),
        (["--data.thin-range", "0.01", "--data.thin-range=0.5"], ["data.thin_range=[0.01,0.5]"]),
        (["--model", "unet", "--model.channels", "[4,8]"], ["model=unet", "model.channels=[4,8]"]),
        (["--model.channels", "4"], ["model.channels=4"]),
        (["--no-trainer.progress"], ["trainer.progress=false"]),
        (["--loss.bce-positive-weight", "balanced"], ["loss.bce_positive_weight=balanced"]),
        (["--loss.bce-positive-weight", "2.5"], ["loss.bce_positive_weight=2.5"]),
        (["--optim.lr", "-1"], ["optim.lr=-1"]),
        (["--trainer.threads", "null"], ["trainer.threads=null"]),
    ],
)
def test_flags_of_groups_are_the_same_as_keys(flags, keys):
    assert overrides("train", *flags) == overrides("train", *keys)


@pytest.mark.parametrize("command", settings.COMMANDS)
def test_every_setting_has_its_flag(command):
    """The same override, from an example value of each kind."""
    for key, kind in settings.kinds(settings.COMMANDS[command]).items():
        if kind.group:
            continue
        several = kind.several and not kind.one
        value = "true" if kind.boolean else "1_1" if kind.text else "5"
        by_key = overrides(command, f"{key}=[{value}]" if several else f"{key}={value}")
        assert overrides(command, flag_of(key), value) == by_key
        assert overrides(command, f"{flag_of(key)}={value}") == by_key


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("predict", ["--chekpoint", "x"], "unknown flag --chekpoint: did you mean --checkpoint?"),
        ("train", ["--lr", "1"], "unknown flag --lr: did you mean --optim.lr?"),
        ("train", ["--multi"], "unknown flag --multi: did you mean --multirun?"),
        ("prepare", ["-o", "x"], "unknown flag -o: did you mean --out?"),
        ("prepare", ["--experiment", "x"], "unknown flag --experiment: --help shows"),
        ("prepare", ["--hydra.run.dir=x"], "are written hydra.run.dir=VALUE"),
        ("prepare", ["--bam"], "--bam needs a value: --bam PATH"),
        ("prepare", ["--out", "--bam", "x"], "--out needs a value: --out PATH"),
        ("prepare", ["--out", "-x"], "is written --out=-x"),
        ("prepare", ["--no-progress=1"], "--no-progress takes no value"),
        ("prepare", ["--out", "a", "--out", "b"], "--out takes one path, but is given twice"),
        ("prepare", ["r.bam"], "write --key value or key=value, as in --bam r.bam or bam=r.bam"),
        ("prepare", ["--bam", "a", "b"], "repeat the flag, --bam a --bam b"),
        ("prepare", ["bam=[a,,b]"], "empty item"),
        ("train", ["data.store"], "write --data.store VALUE or key=value"),
        ("train", ["--data.prepare", "x"], "--data.prepare is a group of settings"),
        ("evaluate", ["--data", "yeast"], "--data is a group of settings"),
        ("train", ["data.prepare={include: [1_1]}"], "one by one, data.prepare.KEY=VALUE"),
        ("train", ["-m", "--seed", "1,2"], "a sweep is written seed=1,2"),
        ("train", ["--cfg"], "--cfg needs a value"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_sentence(command, arguments, sentence):
    with pytest.raises(UserError) as error:
        overrides(command, *arguments)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("argument", "override"),
    [
        ("name=a,1_1", "name='a','1_1'"),
        ("name=choice(1.10,'x,y')", "name=choice('1.10','x,y')"),
        ("name=sort(b,a,reverse=true)", "name=sort('b','a',reverse=true)"),
        ("name=tag(t,choice(1_1,b))", "name=tag(t,choice('1_1','b'))"),
        ("name=range(1,3)", "name=range(1,3)"),
        ("data.test=[1_1],[a,b]", "data.test=['1_1'],['a','b']"),
        ("seed=1,2", "seed=1,2"),
        ("--name=a,b", "name='a,b'"),
    ],
)
def test_sweeps_are_hydras_and_their_texts_literal(argument, override):
    assert overrides("train", "-m", argument) == [override]


def test_hydras_flags_come_first():
    line = read(["seed=1", "-c", "job", "--info", "-cd=x"], *cli._vocabulary("train"))
    assert line.hydra == ["-c", "job", "--info=all", "-cd=x"]
    assert line.overrides == ["seed=1"]


def test_what_is_hydras_own_is_handed_on():
    typed = ["hydra.run.dir=a,b c", "hydra/launcher=basic", "~data.truth", "~data.test=[1_1]"]
    assert overrides("train", *typed) == typed
