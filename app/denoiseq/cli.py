"""The command line, `denoiseq COMMAND key=value …`, and the only file that knows Hydra.

What the user can cause ends as one line, `error: …`, and exit code 2; anything else is a bug: one
line that names the log with its traceback, and exit code 1. DENOISEQ_DEBUG=1 raises both.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from denoiseq import __version__, errors
from denoiseq.doctor import bench
from denoiseq.errors import UserError
from denoiseq.logs import close_logging, log_bug, log_traceback, start_logging
from denoiseq.settings import COMMANDS as SCHEMAS
from denoiseq.settings import Train, help, keys, parse, unknown_key

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

HELP_FOOTER = """\
Values shown are those of this command line; ??? must be given, null is none or what is said.
{experiments}Hydra's own flags, as --cfg job (settings as YAML) or -m (sweeps): --hydra-help"""

DOCTOR = """\
What this machine and this installation can do, how fast they are, and what to mend.

  denoiseq doctor
  denoiseq doctor +experiment=yeast

  measure=true                false: only look, in a second or two
  KEY=VALUE                   settings of a training: how long it would take here"""

# command -> the room that does it
ROOMS = {
    "prepare": "prepare",
    "train": "training",
    "evaluate": "evaluation",
    "predict": "prediction",
}
COMMANDS = [*SCHEMAS, "doctor", "bench"]
HELP, COMPLETION = ("-h", "--help"), ("-sc", "--shell-completion")
# how what Hydra's own program handles begins: its flags, and settings of Hydra itself
HYDRAS, SWEEP = ("-", "hydra"), ("-m", "--multirun")
EXPECTED = (*errors.EXPECTED, HydraException, OmegaConfBaseException)


def config_dir() -> Path:
    """The checkout's `configs/` when run from one, else the copy inside the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "configs"
    if package.parent.name == "app" and (checkout / "train.yaml").is_file():
        return checkout
    return package / "configs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; a rank of several ends with it."""
    command, *arguments = list(sys.argv[1:] if argv is None else argv) or [""]
    # Idle OpenMP threads sleep soon instead of spinning: where cores are shared with other programs
    # a training is several times faster so. Read when torch loads its OpenMP runtime.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        code = _command(command, arguments)
    except (Exception, KeyboardInterrupt) as error:
        code = _failed(error, command)
    finally:
        close_logging()
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from denoiseq.distributed import leave

        leave(code)
    return code


def _command(command: str, arguments: list[str]) -> int:
    """Do what the command line says; errors come out as they are."""
    if command in ("", "help", *HELP):
        print(USAGE)
        return 0 if command else 2
    if "--version" in (command, *arguments[:1]):
        print(f"denoiseq {__version__}")
        return 0
    if command in COMPLETION:
        return _complete(arguments)
    if command not in COMMANDS:
        raise UserError(f"there is no command '{command}', choose from {', '.join(COMMANDS)}")
    if not set(HELP).isdisjoint(arguments):
        print(_help(command, [text for text in arguments if not text.startswith("-")]))
        return 0
    if command not in SCHEMAS:
        return _doctor(arguments) if command == "doctor" else bench.run(arguments)
    overrides = [text for text in arguments if not text.lstrip("+~").startswith(HYDRAS)]
    if overrides != arguments:
        flags = [text for text in arguments if text.startswith("-")]
        if flags and set(flags) <= set(SWEEP):  # others have values of their own
            _check_overrides(command, overrides)
        return _hydra_main(command, arguments)
    config = composed(command, arguments)
    node = HydraConfig.get()
    moves = node.run.dir != "." or node.job.chdir or node.output_subdir is not None
    if moves or node.mode == RunMode.MULTIRUN:  # as a config file can ask of Hydra
        return _hydra_main(command, arguments)
    work, settings = _work(command, config)
    typed, sys.argv = sys.argv, [f"denoiseq {command}", *arguments]  # as stores record it
    try:
        work(settings)
    finally:
        sys.argv = typed
    return 0


def composed(command: str, overrides: list[str]) -> DictConfig:
    """The config of a command line; Hydra's own part of it is left in `HydraConfig`."""
    _check_overrides(command, overrides)
    with _hydra_errors(), hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        whole = hydra.compose(command, overrides, return_hydra_config=True)
    config = copy.deepcopy(whole)
    with open_dict(config), open_dict(whole.hydra):
        del config["hydra"]
        whole.hydra.runtime.output_dir = str(Path(whole.hydra.run.dir).absolute())
    HydraConfig.instance().set_config(whole)  # for ${hydra:…} in the values
    return config


@contextmanager
def _hydra_errors() -> Iterator[None]:
    """Make whatever else Hydra, a launcher or a sweeper raises one sentence: no bug of ours."""
    try:
        yield
    except EXPECTED:
        raise
    except Exception as error:
        raise UserError(f"Hydra stopped with {type(error).__name__}: {error}") from error


def _check_overrides(command: str, overrides: list[str]) -> None:
    """Refuse a key, a choice of a config group or an experiment that does not exist."""
    known = {"experiment", *keys(SCHEMAS[command])}
    for override in OverridesParser.create().parse_overrides(overrides):
        key, value = override.key_or_group, override.value()
        if known.isdisjoint((key, key.rstrip("[].0123456789"))):  # data.test.0 is of a list
            raise UserError(unknown_key(key, SCHEMAS[command]))
        if key == "experiment" and not (override.is_add() or override.is_force_add()):
            raise UserError("experiments are added with a plus sign: +experiment=NAME")
        files = _choices(key)
        for choice in value if isinstance(value, list) else [value]:
            named = files and isinstance(choice, str | int | float)  # not null, not a sweep
            if named and str(choice).removesuffix(".yaml") not in files:
                raise UserError(
                    f"there is no config '{key}/{choice}', choose from {', '.join(files)}"
                )


def _choices(group: str) -> list[str]:
    """The files of a config group; empty where a key is none."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def _work(command: str, config: DictConfig) -> tuple[Callable[[Any], None], Any]:
    """The function that does a command, and its checked settings."""
    settings: Any = parse(SCHEMAS[command], config)
    start_logging()
    # torch and pysam take seconds: only once the settings are good
    if command != "prepare":
        with suppress(ImportError):  # conv=torch does without
            from dilconv.memory import keep_freed_memory

            keep_freed_memory()
    return import_module(f"denoiseq.{ROOMS[command]}.run").run, settings


def _hydra_main(command: str, arguments: list[str]) -> int:
    """Sweeps, --cfg, --info, --hydra-help, completion: Hydra's own program with our `job` in it."""

    def job(config: DictConfig) -> None:
        try:
            node = HydraConfig.get()
            if command == "train" and node.mode == RunMode.MULTIRUN:
                with open_dict(config):
                    config.out = node.runtime.output_dir
            work, settings = _work(command, config)
            work(settings)
        except (Exception, KeyboardInterrupt) as error:  # Hydra would print its own words
            raise SystemExit(_failed(error, command)) from error

    program = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=command)
    saved, root = sys.argv, logging.getLogger()
    root_handlers, root_level = root.handlers[:], root.level  # --hydra-help sets Hydra's own
    name = saved[0] if set(COMPLETION) & set(arguments) else f"denoiseq {command}"
    sys.argv = [name, *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else it prints a shortened traceback and exits
    try:
        with _hydra_errors():
            program(job)()
    except SystemExit as stop:  # of a job, or of argparse, which has said why
        return int(stop.code or 0)
    finally:
        sys.argv = saved
        root.handlers[:] = root_handlers
        root.setLevel(root_level)
    return 0


def _complete(arguments: list[str]) -> int:
    """Completion of `denoiseq …`: Hydra completes what follows the command's name."""
    if not arguments or not arguments[0].startswith("query="):
        return _hydra_main("train", [COMPLETION[0], *arguments])  # install: the same for all
    program, _, rest = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    command, space, rest = rest.lstrip().partition(" ")
    if not space:
        print(" ".join(name for name in COMMANDS if name.startswith(command)))
    elif command in SCHEMAS:
        os.environ["COMP_LINE"] = f"{program} {rest}"
        return _hydra_main(command, [COMPLETION[0], *arguments])
    return 0


def _failed(error: BaseException, command: str) -> int:
    """Say in one line what ended the command, keep the traceback in its log; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        log_traceback(error)
        print(f"stopped: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    if os.environ.get("DENOISEQ_DEBUG") == "1":
        raise error
    rank = int(os.environ.get("RANK", 0))  # of a training that torchrun started
    process = f"process {rank}: " if rank else ""
    if isinstance(error, EXPECTED) or errors.out_of_memory(error):
        log_traceback(error)
        if rank < 2 or not isinstance(error, ConnectionError):  # not all report a lost rank
            print(f"error: {process}{sentence(error, command)}", file=sys.stderr)
        return 2
    path = log_bug(error)
    print(
        f"error: {process}this is a bug in denoiseq, please report it "
        f"({type(error).__name__}: {sentence(error)}); the traceback is in {path}",
        file=sys.stderr,
    )
    return 1


def sentence(error: BaseException, command: str = "") -> str:
    """What went wrong, in one line that a user can act on."""
    if isinstance(error, OverrideParseException):
        return (
            f"could not read the argument {error.override!r}: write key=value, "
            "and quote a value with special characters, as in 'key=\"a=b (c)\"'"
        )
    if isinstance(error, HydraException):
        cause = error.__cause__
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and command in SCHEMAS:
            return unknown_key(cause.full_key or str(cause.key), SCHEMAS[command])
        return " ".join(str(error).split("See https")[0].split())
    return errors.sentence(error)


def _help(command: str, overrides: list[str]) -> str:
    """The settings of a command with the values that `overrides` give them."""
    if command not in SCHEMAS:
        return DOCTOR if command == "doctor" else bench.HELP
    values: Any = OmegaConf.to_container(composed(command, overrides))
    files = {group: _choices(group) for group in HydraConfig.get().runtime.choices}
    experiments = f"Whole trainings: +experiment={' | '.join(_choices('experiment'))}\n"
    footer = HELP_FOOTER.format(experiments=experiments if command == "train" else "")
    return help.help_text(SCHEMAS[command], values, files, footer)


def _doctor(arguments: list[str]) -> int:
    """`denoiseq doctor [measure=false] [settings of a training, whose time it then expects]`."""
    overrides = [text for text in arguments if text not in ("measure=false", "measure=true")]
    training = None
    if overrides:  # the training that `denoiseq train` would do with these settings
        training = parse(Train, composed("train", [*overrides, "out=unused"]))
    from denoiseq.doctor.run import run

    run("measure=false" not in arguments, training)
    return 0
