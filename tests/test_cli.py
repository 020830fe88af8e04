"""The command line itself: usage, versions, the sentences for what hydra cannot read, the shims."""

import inspect
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import denoiseq as package
import pytest
from denoiseq import cli, settings
from denoiseq.settings import help

ROOT = Path(__file__).parents[1]


def test_no_arguments_print_the_usage(denoiseq):
    outcome = denoiseq()
    assert outcome.code == 2
    assert "prepare" in outcome.out


def test_help_and_version(denoiseq):
    assert denoiseq("--help").code == 0
    assert denoiseq("--version") == (0, f"denoiseq {package.__version__}\n", "")


@pytest.mark.parametrize("command", list(settings.COMMANDS))
def test_help_of_a_command_explains_each_of_its_settings_and_no_others(denoiseq, command):
    outcome = denoiseq(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    kind, shown = settings.COMMANDS[command], outcome.out
    for entry in help.entries(kind):
        assert f"  {help.flag_of(entry.name)} " in shown
    for group, (inner, _) in help.groups(kind).items():
        for entry in help.entries(inner):
            assert f"  {help.flag_of(f'{group}.{entry.name}')} " in shown
    for group in ("data", "model", "loss", "optim", "conv"):
        assert (f"\n{group}: " in shown) == (group in help.groups(kind))
    assert ("--data default" in shown) == (command == "train")
    assert ("--experiment " in shown) == (command == "train")
    assert "key=value" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert f"denoiseq {command} --" in shown


def test_help_shows_the_values_of_its_command_line(denoiseq):
    shown = denoiseq("train", "+experiment=smoke", "model=unet", "-h").out
    assert "  --name smoke" in shown and "  --stages train --stages evaluate" in shown
    assert "  --model.up-kernel-size 5" in shown and "model.blocks" not in shown
    assert "  --model.kernel-sizes 5,5,25,25,250" in shown and "  --resume PATH" in shown
    assert "  --name a b" in denoiseq("predict", "--name", "a b", "--help").out
    assert "unknown config key 'optim.lrr'" in denoiseq("train", "optim.lrr=1", "-h").err


@pytest.mark.parametrize("command", ["doctor", "bench"])
def test_help_of_the_others(denoiseq, command):
    outcome = denoiseq(command, "--help")
    assert outcome.code == 0 and f"denoiseq {command}" in outcome.out


def test_doctor_takes_settings_alone(fails):
    assert "'now'" in fails("doctor", "now")


def test_hydra_answers_for_itself(denoiseq):
    handlers = logging.getLogger().handlers[:]
    assert "--cfg" in denoiseq("train", "--hydra-help").out
    assert logging.getLogger().handlers == handlers  # a second command logs where it should
    assert "checkpoint: null" in denoiseq("predict", "--cfg", "job").out
    assert "name: a,b" in denoiseq("predict", "--name", "a,b", "--cfg=job").out
    assert "Config search path" in denoiseq("predict", "--info", "searchpath", "--seed=1").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["no command 'trian'", "train"]),
        (["predict", "--chekpoint", "x"], ["unknown flag --chekpoint", "--checkpoint?"]),
        (["prepare", "reads.bam"], ["--bam reads.bam or bam=reads.bam"]),
        (["prepare", "bma=a#1.bam"], ["unknown config key 'bma'", "'bam'"]),
        (["prepare", "workers=(1"], ["workers=(1", "key=value"]),
        (["prepare", "--workers=1,2"], ["workers", "1,2"]),
        (["train", "--experiment", "yaest"], ["experiment/yaest", "yeast"]),
        (["doctor", "-m"], ["doctor takes no -m"]),
        (["doctor", "--measure=maybe"], ["measure=maybe"]),
        (["bench", "--speed", "1"], ["unknown flag --speed"]),
        (["prepare", "bma=x.bam"], ["unknown config key 'bma'", "'bam'"]),
        (["prepare", "+bma=x.bam"], ["unknown config key 'bma'"]),
        (["train", "optim.lrr=1"], ["unknown config key 'optim.lrr'", "'optim.lr'"]),
        (["train", "-m", "optim.lrr=1,2"], ["unknown config key 'optim.lrr'", "'optim.lr'"]),
        (["train", "model.up_kernel_size=3"], ["is a setting of another model"]),
        (["prepare", "conv=torch"], ["unknown config key 'conv'"]),
        (["train", "seed=1,2"], ["seed", "--multirun"]),
        (["train", "conv=3"], ["conv/3", "dilconv, torch"]),
        (["train", "model=null"], ["Hydra", "group", "NoneType"]),
        (["train", "--cfg", "job", "-m"], ["--multirun", "--cfg"]),
        (["train", "conv=fast"], ["conv/fast", "dilconv, torch"]),
        (["train", "-m", "conv=fast", "seed=1,2"], ["conv/fast", "dilconv, torch"]),
        (["train", "+experiment=yaest"], ["experiment/yaest", "yeast"]),
        (["train", "experiment=yeast"], ["+experiment"]),
        (["train", "data.store"], ["data.store", "key=value"]),
        (["train", "+experiment=smoke", "optim.lr=fast"], ["optim.lr", "fast"]),
        (["train"], ["data.store is required"]),
        (["predict", "depth=deep"], ["depth", "deep"]),
    ],
)
def test_what_cannot_be_read_is_one_sentence(fails, arguments, words):
    text = fails(*arguments)
    for word in words:
        assert word in text


@pytest.fixture
def settings_of(denoiseq, monkeypatch, tmp_path):
    """`settings_of(overrides…)`: what `prepare` is run with, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides):
        given = []

        def work(settings):
            given.append((settings, Path.cwd()))

        monkeypatch.setattr("denoiseq.prepare.run.run", work)
        outcome = denoiseq("prepare", *overrides)
        assert outcome == (0, "", "")
        return given[0]

    return run


def test_interpolations_of_hydra_are_filled_in(settings_of, monkeypatch, tmp_path):
    text = (cli.config_dir() / "prepare.yaml").read_text()
    of_hydra = "${hydra:job.name} ${hydra:runtime.output_dir} ${now:%Y}"
    (tmp_path / "prepare.yaml").write_text(text.replace("out: null", f"out: {of_hydra}"))
    monkeypatch.setattr(cli, "config_dir", lambda: tmp_path)
    settings, _ = settings_of()
    name, folder, year = settings.out.rsplit(" ", 2)
    assert (name, folder) == ("denoiseq prepare", str(tmp_path)) and int(year) > 2000


def test_what_is_typed_is_not_filled_in(settings_of):
    assert settings_of("out=a${fasta}.h5")[0].out == "a${fasta}.h5"
    assert settings_of("--out", "a${b}.h5")[0].out == "a${b}.h5"


def test_home_is_the_home_folder_in_every_path(settings_of, tmp_path):
    home = str(Path.home())
    settings, _ = settings_of("--fasta", "~/g.fa", "bam=[~/a.bam,b~.bam]", 'out="~/a.h5"')
    assert settings.fasta == f"{home}/g.fa" and settings.out == f"{home}/a.h5"
    assert settings.bam == [f"{home}/a.bam", "b~.bam"]
    assert settings_of("bam=~/a.bam")[0].bam == f"{home}/a.bam"
    assert settings_of("--include=~")[0].include == ["~"]


def test_an_experiment_of_ones_own_keeps_its_text(denoiseq, monkeypatch, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(MINE)
    ran = []
    monkeypatch.setattr("denoiseq.training.run.run", ran.append)
    arguments = ["--experiment", "mine", "--config-dir", tmp_path, "--data.store", "a${b}.h5"]
    assert denoiseq("train", *arguments) == (0, "", "")
    data, home = ran[0].data, str(Path.home())
    assert (ran[0].name, ran[0].out, ran[0].seed) == ("1.10", "runs/1.10 ${b}.h5", 1000)
    assert (data.validation, data.test, data.exclude) == (["1", "2"], ["1_1"], ["1e3", "yes"])
    assert (data.prepare.include, data.truth) == (None, f"{home}/peaks.bed")
    assert data.store == data.prepare.out == "a${b}.h5" and data.thin_range == [0.01, 0.5]


MINE = """# @package _global_
name: 1.10
seed: 1_000
out: runs/${name} \\${b}.h5
data:
  validation: [1, 2]
  test:
  - 1_1
  exclude: [1e3, yes]
  thin_range: [0.01, 0.5]
  truth: ~/peaks.bed
  prepare: {include: null}
"""


def test_an_element_of_a_list_is_a_setting(settings_of):
    settings, _ = settings_of("exclude=[chr8,chr7]", "exclude.0=chr9", "out='a=b (c)'")
    assert settings.exclude == ["chr9", "chr7"] and settings.out == "a=b (c)"


def test_hydra_runs_in_a_folder_of_its_own_where_it_is_told_to(settings_of, tmp_path):
    _, folder = settings_of("hydra.run.dir=runs/one", "hydra.job.chdir=true")
    assert folder == tmp_path / "runs/one"


def test_a_config_that_changes_hydra_is_run_by_hydra(settings_of, monkeypatch, tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    text = (cli.config_dir() / "prepare.yaml").read_text()
    assert "run: {dir: .}" in text
    text = text.replace("out: null", "out: ${hydra:runtime.output_dir}")
    (configs / "prepare.yaml").write_text(text.replace("run: {dir: .}", "run: {dir: runs}"))
    monkeypatch.setattr(cli, "config_dir", lambda: configs)
    settings, _ = settings_of()
    assert settings.out == str(tmp_path / "runs") and (tmp_path / "runs").is_dir()


def test_few_frames_lie_between_the_command_and_its_work(denoiseq, monkeypatch):
    frames = []
    monkeypatch.setattr(
        "denoiseq.training.run.run", lambda _: frames.extend(f.filename for f in inspect.stack())
    )
    assert denoiseq("train", "+experiment=smoke").code == 0
    package_folder = str(Path(package.__file__).parent)
    assert sum(name.startswith(package_folder) for name in frames) <= 2  # and `run` itself


def test_a_wrong_config_leaves_no_folder(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails("train", "+experiment=smoke", "optim.lr=0")
    assert list(tmp_path.iterdir()) == []


def test_an_operating_system_error_names_the_file():
    assert cli.sentence(FileNotFoundError(2, "No such file or directory", "a.bam")) == (
        "a.bam: No such file or directory"
    )
    assert cli.sentence(ValueError("two\n  lines")) == "two lines"


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "predict"])
def test_the_shims_run_from_any_folder(command, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "app" / f"{command}.py"), "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"denoiseq {package.__version__}\n")


def test_the_citation_names_this_version():
    assert f"version: {package.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_doctor_says_what_the_machine_has(denoiseq):
    outcome = denoiseq("doctor", "--no-measure")
    assert outcome.code == 0
    for word in ("cores", "torch", "dilconv", package.__version__):
        assert word in outcome.out


def test_doctor_foretells_a_training(denoiseq, tmp_path):
    made = (f"data.store={tmp_path}/cuts.h5", f"data.prepare.bam={tmp_path}/reads.bam",
            f"data.prepare.fasta={tmp_path}/genome.fa", f"data.truth={tmp_path}/peaks.bed",
            f"data.prepare.blacklist={tmp_path}/blacklist.bed")  # fmt: skip
    outcome = denoiseq("doctor", "measure=false", "--experiment", "smoke", *made)
    assert outcome.code == 0
    assert "41 windows of 5,800 bp" in outcome.out and "for 4 epochs" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_doctor_foretells_a_training_from_read_only_files(denoiseq, genome, tmp_path, monkeypatch):
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    work.mkdir()
    for name in ("bam", "fasta", "peaks", "blacklist"):  # without the index of either
        shutil.copy(genome[name], data)
    data.chmod(0o500)
    monkeypatch.chdir(work)
    made = (f"data.prepare.bam={data / 'reads.bam'}", f"data.prepare.fasta={data / 'genome.fa'}",
            f"data.prepare.blacklist={data / 'blacklist.bed'}", f"data.truth={data / 'peaks.bed'}",
            "data.store=made/cuts.h5")  # fmt: skip
    outcome = denoiseq("doctor", "measure=false", "--experiment", "smoke", *made)
    data.chmod(0o700)
    assert "41 windows of 5,800 bp" in outcome.out, outcome
    assert list(work.iterdir()) == [] and len(list(data.iterdir())) == 4


def test_doctor_reads_an_existing_store(denoiseq, workplace, at):
    before = sorted(workplace.rglob("*"))
    outcome = denoiseq("doctor", "measure=false", "+experiment=smoke", *at(workplace))
    assert "41 windows of 5,800 bp" in outcome.out, outcome
    assert sorted(workplace.rglob("*")) == before


def test_doctor_needs_the_store_where_there_is_no_bam(fails, tmp_path):
    sentence = fails("doctor", "measure=false", f"data.store={tmp_path}/cuts.h5",
                     "data.validation=[chr2]", "data.test=[chr3]",
                     f"data.prepare.fragments={tmp_path}/fragments.tsv.gz")  # fmt: skip
    assert "cuts.h5 does not exist" in sentence and "denoiseq prepare" in sentence


def test_doctor_refuses_what_training_would(fails):
    assert "data.stroe" in fails("doctor", "data.stroe=x.h5")
    assert "data.validation" in fails("doctor", "data.store=x.h5", "data.test=[chr1]")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_fits_every_terminal(arguments, encoding):
    command = [sys.executable, "-c", "import sys; from denoiseq.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"denoiseq" in done.stdout


def test_debug_shows_the_traceback(denoiseq, monkeypatch):
    monkeypatch.setenv("DENOISEQ_DEBUG", "1")
    with pytest.raises(ValueError, match="no command"):
        denoiseq("trian")


def test_bench_refuses_what_it_does_not_know(fails):
    assert "threads=NUMBER" in fails("bench", "threads=many")
    assert "'speed=1'" in fails("bench", "speed=1")


def test_bench_prints_a_row_a_pass_and_contender(denoiseq):
    pytest.importorskip("dilconv")
    outcome = denoiseq("bench", "--rounds", "2")
    assert outcome.code == 0
    for word in ("forward", "backward_data", "backward_weight", "torch-padded", "direct"):
        assert word in outcome.out


@pytest.fixture
def trainings(denoiseq, monkeypatch, tmp_path):
    """`trainings(arguments…)`: settings and command of each training that they start."""
    ran = []

    def run(*arguments):
        ran.clear()
        sweep = f"hydra.sweep.dir={tmp_path}"
        assert denoiseq("train", "--experiment", "smoke", *arguments, sweep).code == 0
        return ran

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "denoiseq.training.run.run", lambda settings: ran.append((settings, list(sys.argv)))
    )
    return run


def test_sweeps_keep_text_and_take_flags_for_all_runs(trainings):
    typed = ["-m", "name=1_1,'a,${b}'", "--optim.epochs", "2", "--data.truth", "a,b's.bed"]
    runs = [settings for settings, _ in trainings(*typed, "data.test=[1_1],[a,1e3]")]
    _, first, second, _ = runs
    assert (first.name, first.data.test, second.name) == ("1_1", ["a", "1e3"], "a,${b}")
    assert {s.optim.epochs for s in (first, second)} == {2}
    assert {s.data.truth for s in (first, second)} == {"a,b's.bed"}


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_the_command_is_recorded_as_it_was_typed(trainings, sweep):
    typed = [*sweep, "--name", "1_1", "data.truth=a#1.bed"]
    ((_, command),) = trainings(*typed)
    assert command[:1] == ["denoiseq train"] and command[3:-1] == typed


def test_a_number_of_thousands_of_digits_is_a_sentence(fails):
    assert "digits" in fails("evaluate", f"loci={'9' * 5_000}")
