"""The command line, `denoiseq COMMAND key=value …`, and the only file that knows hydra.

Hydra composes `configs/`, `settings.parse` checks it, and a room's `run` does the work. Whatever
the user can cause ends as one line, `error: …`, and exit code 2; a traceback goes to the
run's log only (or to the terminal with DENOISEQ_DEBUG=1).
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from denoiseq import __version__, settings
from denoiseq.errors import UserError
from denoiseq.logs import close_logging, start_logging
from denoiseq.settings import help

USAGE = """\
denoiseq: denoise low-depth ATAC-seq and call its peaks, on CPUs.

usage: denoiseq COMMAND [key=value …]

  prepare   BAM + FASTA -> a store of Tn5 cut sites
  train     store -> checkpoint
  evaluate  checkpoint -> metrics and figures on held-out chromosomes
  predict   checkpoint + BAM -> bigWig, narrowPeak, report
  doctor    what this machine and this installation can do, and what to mend
  bench     measure the convolution layer on this machine

`denoiseq COMMAND --help` lists the command's settings and `--version` prints the version.
`eval "$(denoiseq -sc install=bash)"` switches on completion by the tab key in this shell."""

MORE = """\
Values shown are those of this command line; ??? must be given, null is none or what is said.
{experiments}Hydra's own flags, as --cfg job (settings as YAML) or -m (sweeps): --hydra-help"""

DOCTOR = """\
What this machine and this installation can do, how fast they are, and what to mend.

  denoiseq doctor
  denoiseq doctor +experiment=yeast

  measure=true                false: only look, in a second or two
  KEY=VALUE                   settings of a training: how long it would take here"""

BENCH = """\
Times of the AtacWorks layer on this machine, each result checked against a reference first.

  denoiseq bench threads=2 batch=8

  threads=1                   of dilconv and of torch
  batch=1                     items, of 60,000 bp each
  rounds=9                    that every contender is timed"""

# command -> the package that does it
ROOMS = {
    "prepare": "prepare",
    "train": "training",
    "evaluate": "evaluation",
    "predict": "prediction",
}
COMMANDS = [*settings.COMMANDS, "doctor", "bench"]
HELP, COMPLETION = ("-h", "--help"), ("-sc", "--shell-completion")
EXPECTED = (ValueError, OSError, HydraException, OmegaConfBaseException, FloatingPointError)
log = logging.getLogger("denoiseq")


def config_dir() -> Path:
    """The checkout's `configs/` when run from one, else the copy inside the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "configs"
    if package.parent.name == "app" and (checkout / "train.yaml").is_file():
        return checkout
    return package / "configs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; as one of several processes, end with it."""
    code = _main(argv)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from denoiseq.distributed import leave

        leave(code)
    return code


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Idle OpenMP threads sleep soon instead of spinning: where cores are shared with other programs
    # a training is several times faster so. Read when torch loads its OpenMP runtime.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if not arguments or arguments[0] in (*HELP, "help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"denoiseq {__version__}")
        return 0
    command, *overrides = arguments
    try:
        if command == "doctor":
            return _doctor(overrides)
        if command == "bench":
            return _bench(overrides)
        if command in COMPLETION:
            _complete(overrides)
            return 0
        if command not in settings.COMMANDS:
            raise UserError(f"there is no command '{command}', choose from {', '.join(COMMANDS)}")
        _run(command, overrides)
    except EXPECTED as error:
        return _fail(error, command)
    except KeyboardInterrupt as interrupt:
        print(f"stopped: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


def _run(command: str, overrides: list[str]) -> None:
    """Compose, check and execute `command` under hydra; its exceptions come out unchanged."""
    if overrides and overrides[0] == "--version":
        print(f"denoiseq {__version__}")
        return
    if not set(HELP).isdisjoint(overrides):
        print(_help(command, [text for text in overrides if not text.startswith("-")]))
        return
    # Without this hydra prints a shortened traceback of its own and exits.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    failure: list[BaseException] = []

    def task(config: DictConfig) -> None:
        try:
            _execute(command, config)
        except (*EXPECTED, KeyboardInterrupt) as error:
            log.debug("%s ended early", command, exc_info=True)  # to the run's file only
            failure.append(error)
            raise SystemExit(2) from error

    decorate = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=command)
    saved, root = sys.argv, logging.getLogger()
    root_handlers, root_level = root.handlers[:], root.level  # --hydra-help sets hydra's own
    completes = not set(COMPLETION).isdisjoint(overrides)
    sys.argv = [saved[0] if completes else f"denoiseq {command}", *overrides]
    try:
        decorate(task)()
    except SystemExit as stop:
        if failure:
            raise failure[0] from None
        if stop.code not in (None, 0):
            raise  # argparse has said which flag it does not know
    finally:
        sys.argv = saved
        root.handlers[:] = root_handlers
        root.setLevel(root_level)
        close_logging()


def _help(command: str, overrides: list[str]) -> str:
    """The settings of a command with the values that `overrides` give them."""
    loaded: Any = OmegaConf.load(config_dir() / f"{command}.yaml")
    chosen = [item for item in loaded.defaults if isinstance(item, DictConfig)]
    groups = [str(group) for item in chosen for group in item]
    files = {
        group: sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
        for group in [*groups, "experiment"]
    }
    experiments = f"Whole trainings: +experiment={' | '.join(files['experiment'])}\n"
    more = MORE.format(experiments=experiments if command == "train" else "")
    values: Any = OmegaConf.to_container(composed(command, overrides))
    return help.help_text(settings.COMMANDS[command], values, files, more)


def composed(command: str, overrides: list[str]) -> DictConfig:
    """The config of a command line, without the runtime of Hydra's main."""
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra.compose(command, overrides)


def _complete(arguments: list[str]) -> None:
    """Completion of `denoiseq …`: hydra does what stands behind the command's name."""
    if not arguments or not arguments[0].startswith("query="):
        _run("train", [COMPLETION[0], *arguments])  # install, uninstall: the same for all
        return
    program, _, rest = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    command, behind, rest = rest.lstrip().partition(" ")
    if not behind:
        print(" ".join(name for name in COMMANDS if name.startswith(command)))
    elif command in settings.COMMANDS:
        os.environ["COMP_LINE"] = f"{program} {rest}"
        _run(command, [COMPLETION[0], *arguments])


@contextmanager
def _memory_in_words() -> Iterator[None]:
    """One sentence where torch's allocator, or numpy's, gets no memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        raise OSError(
            "out of memory: lower optim.micro_batch or data.interval_bp (training), tile_bp or "
            "trainer.threads (prediction), or workers (prepare)"
        ) from error


def _execute(command: str, config: DictConfig) -> None:
    """One job of hydra: a plain run, or one of a sweep (`-m`), which names its own folder."""
    hydra_config = HydraConfig.get()
    if command == "train" and hydra_config.mode == RunMode.MULTIRUN:
        with open_dict(config):
            config.out = hydra_config.runtime.output_dir
    options: Any = settings.parse(settings.COMMANDS[command], config)
    start_logging()
    # torch and pysam take seconds: only once the config is good
    from dilconv.memory import keep_freed_memory

    if command != "prepare":
        keep_freed_memory()

    with _memory_in_words():
        import_module(f"denoiseq.{ROOMS[command]}.run").run(options)


def _fail(error: BaseException, command: str) -> int:
    if os.environ.get("DENOISEQ_DEBUG") == "1":
        raise error
    rank = int(os.environ.get("RANK", 0))  # of a training that torchrun started
    if rank < 2 or not isinstance(error, ConnectionError):  # not all tell of one that is lost
        who = f"process {rank}: " if rank else ""
        print(f"error: {who}{sentence(error, command)}", file=sys.stderr)
    return 2


def sentence(error: BaseException, command: str = "") -> str:
    """What went wrong, in one line that a user can act on."""
    if isinstance(error, HydraException):
        return _hydra_sentence(error, command)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _hydra_sentence(error: HydraException, command: str) -> str:
    text = str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"could not read the argument {error.override!r}: write key=value, "
            "and quote a value with special characters, as in 'key=\"a=b (c)\"'"
        )
    override = re.search(r"Could not (?:override|append to config) '\+*([^'=]+)", text)
    if override and override[1] == "experiment":
        return "experiments are added with a plus sign: +experiment=NAME"
    if override and command in settings.COMMANDS:
        return settings.unknown_key(override[1], settings.COMMANDS[command])
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing:
        options = re.search(r"Available options in '[^']*':\n((?:\t[^\n]+\n?)+)", text)
        choices = f", choose from {', '.join(options[1].split())}" if options else ""
        return f"there is no config '{missing[1]}'{choices}"
    return " ".join(text.split("See https")[0].split())


def _doctor(arguments: list[str]) -> int:
    """`denoiseq doctor [measure=false] [keys of a training, whose time is then foretold]`."""
    if arguments and arguments[0] in HELP:
        print(DOCTOR)
        return 0
    from denoiseq.doctor import machine, run

    measures = "measure=false" not in arguments
    overrides = [a for a in arguments if a not in ("measure=false", "measure=true")]
    options = None
    if overrides:  # the training that `denoiseq train` would do with these keys
        options = settings.parse(settings.Train, composed("train", [*overrides, "out=unused"]))
    facts = machine.examine()
    loaded = facts["dilconv"]["loaded"]
    with _memory_in_words():
        measured = run.measure(_say) if measures and loaded else None
        training = run.expected_training(options) if options else None
    print(run.report(facts, measured, training))
    return 0


def _say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def _bench(arguments: list[str]) -> int:
    """`denoiseq bench threads=1 batch=1 rounds=9`."""
    if arguments and arguments[0] in HELP:
        print(BENCH)
        return 0
    numbers = {"threads": 1, "batch": 1, "rounds": 9}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in numbers or not value.isdecimal() or int(value) < 1:
            raise UserError(
                f"could not read the argument '{argument}': bench takes "
                f"{', '.join(f'{name}=NUMBER' for name in numbers)}"
            )
        numbers[key] = int(value)
    from denoiseq.doctor import run

    print(run.render_bench(run.bench(**numbers)))
    return 0
