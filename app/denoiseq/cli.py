"""The command line, `denoiseq COMMAND --key value …`, and the only file that knows Hydra.

What the user can cause ends as one line, `error: …`, and exit code 2; anything else is a bug: one
line that names the log with its traceback, and exit code 1. DENOISEQ_DEBUG=1 raises both.
"""

from __future__ import annotations

import copy
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
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

from denoiseq import __version__, errors, interrupt
from denoiseq.command_line import completion
from denoiseq.command_line.arguments import SWEEP, CommandLine, read
from denoiseq.command_line.usage import DOCTOR, HELP_FOOTER, USAGE
from denoiseq.doctor import bench
from denoiseq.errors import UserError
from denoiseq.interrupt import ANEW, Stop, several_ranks
from denoiseq.logs import close_logging, log_bug, log_traceback, start_logging
from denoiseq.settings import COMMANDS as SCHEMAS
from denoiseq.settings import (
    Kind,
    Train,
    escape,
    help,
    kinds,
    parse,
    read_text_as_written,
    unknown_key,
)

# command -> the room that does it
ROOMS = {
    "prepare": "prepare",
    "train": "training",
    "evaluate": "evaluation",
    "predict": "prediction",
}
COMMANDS = [*SCHEMAS, "doctor", "bench"]
HELP, COMPLETION = ("-h", "--help"), ("-sc", "--shell-completion")
EXPECTED = (*errors.EXPECTED, HydraException, OmegaConfBaseException)
# At import, because a job that a launcher starts elsewhere composes its config before it calls us.
read_text_as_written(SCHEMAS.values())


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
    if argv is None or arguments == sys.argv[1:]:  # else this is part of another program
        _restart_in_utf8()
        threading.excepthook = _thread_failed
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # what a terminal cannot show is a question mark
    # Idle OpenMP threads sleep soon instead of spinning: where cores are shared with other programs
    # a training is several times faster so. Read when torch loads its OpenMP runtime.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        code = _command(command, arguments)
    except (Exception, KeyboardInterrupt) as error:
        code = _failed(error, command)
    finally:
        close_logging()
    if several_ranks():
        from denoiseq.distributed import leave

        leave(code)
    return code


def _restart_in_utf8() -> None:
    """Begin anew in Python's UTF-8 mode under another locale, such as C with PYTHONUTF8=0.

    Names with other letters could be opened there, but not written to any report, log or store.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread hands a full disk on to the main one, which says so in a sentence."""
    if not isinstance(arguments.exc_value, EXPECTED):
        threading.__excepthook__(arguments)


def _command(command: str, arguments: list[str]) -> int:
    """Do what the command line says; errors come out as they are."""
    if command in ("", "help", *HELP):
        print(USAGE)
        return 0 if command else 2
    if "--version" in (command, *arguments):
        print(f"denoiseq {__version__}")
        return 0
    if not set(COMPLETION).isdisjoint((command, *arguments)):
        return _complete(command, arguments)
    if command not in COMMANDS:
        raise UserError(f"there is no command '{command}', choose from {', '.join(COMMANDS)}")
    line = read([text for text in arguments if text not in HELP], *_vocabulary(command))
    if not set(HELP).isdisjoint(arguments):
        print(_help(command, line.overrides))
        return 0
    if command not in SCHEMAS:
        if line.hydra:
            raise UserError(f"{command} takes no {line.hydra[0]}")
        if int(os.environ.get("RANK", 0)) > 0:  # of several processes the first does it
            return 0
        return (_doctor if command == "doctor" else bench.run)(line.overrides)
    typed, sys.argv = sys.argv, [f"denoiseq {command}", *arguments]  # as stores record it
    try:
        job = _job(command, line)
        if job is None:
            return _hydra_main(command, line)
        work, settings = job
        work(settings)
    finally:
        sys.argv = typed
    return 0


def _job(command: str, line: CommandLine) -> tuple[Callable[[Any], None], Any] | None:
    """What does a command, and its settings; None where Hydra is to do more than compose them."""
    hydras = [text for text in line.overrides if text.lstrip("+~").startswith("hydra")]
    if line.hydra or hydras:
        elsewhere = any("hydra.searchpath" in text for text in hydras)  # further config files
        if line.hydra and set(line.hydra) <= set(SWEEP) and not elsewhere:
            _check_overrides(command, [text for text in line.overrides if text not in hydras])
        return None
    config = _composed(command, line.overrides)
    node = HydraConfig.get()
    moves = node.run.dir != "." or node.job.chdir or node.output_subdir is not None
    if moves or node.mode == RunMode.MULTIRUN:  # as a config file can ask of Hydra
        return None
    return _work(command, config)


def composed(command: str, arguments: list[str]) -> DictConfig:
    """The config of a command line; Hydra's own part of it is left in `HydraConfig`."""
    return _composed(command, read(arguments, *_vocabulary(command)).overrides)


def _composed(command: str, overrides: list[str]) -> DictConfig:
    _check_overrides(command, overrides)
    configs = hydra.initialize_config_dir(str(config_dir()), version_base="1.3")
    with _hydra_errors(), configs:
        whole = hydra.compose(command, overrides, return_hydra_config=True)
    config = copy.deepcopy(whole)
    with open_dict(config), open_dict(whole.hydra):
        del config["hydra"]
        whole.hydra.runtime.output_dir = escape(str(Path(whole.hydra.run.dir).absolute()))
    HydraConfig.instance().set_config(whole)  # for ${hydra:…} in the values
    return config


def _vocabulary(command: str) -> tuple[dict[str, Kind], dict[str, list[str]]]:
    """The settings of a command, and the files of its config groups."""
    if command == "bench":
        return dict.fromkeys(bench.NUMBERS, Kind("whole number")), {}
    schema, trained = SCHEMAS.get(command, Train), help.groups(Train)
    known = kinds(schema)
    names = [key for key, (kind, _) in help.groups(schema).items() if kind is trained[key][0]]
    groups = {key: _choices(key) for key in names}
    if command in ("train", "doctor"):
        groups["experiment"] = _choices("experiment")
    if command == "doctor":
        known["measure"] = Kind("true or false", boolean=True)
    return known, groups


@contextmanager
def _hydra_errors() -> Iterator[None]:
    """Make whatever else Hydra, a launcher or a sweeper raises one sentence: no bug of ours."""
    try:
        yield
    except EXPECTED:
        raise
    except Exception as error:
        raise UserError(f"Hydra stopped with {type(error).__name__}: {error}") from error


@_hydra_errors()
def _check_overrides(command: str, overrides: list[str]) -> None:
    """Refuse a key, a choice of a config group or an experiment that does not exist."""
    known = {"experiment", *kinds(SCHEMAS[command])}
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
    run = import_module(f"denoiseq.{ROOMS[command]}.run").run
    return partial(_prepare, run) if command == "prepare" else run, settings


def _prepare(run: Callable[[Any], None], settings: Any) -> None:
    """Prepare, of several ranks in the first: here, because the room `prepare` knows no torch."""
    with Stop("Preparation", lambda: ANEW):
        if several_ranks():
            from denoiseq.distributed import first_alone

            first_alone(run, settings)
        else:
            run(settings)


def _hydra_main(command: str, line: CommandLine) -> int:
    """Sweeps, --cfg, --info, --hydra-help: Hydra's own program with our `job` in it."""
    typed = sys.argv

    def job(config: DictConfig) -> None:
        try:
            node = HydraConfig.get()
            if command == "train" and node.mode == RunMode.MULTIRUN:
                with open_dict(config):
                    config.out = escape(node.runtime.output_dir)
            work, settings = _work(command, config)
            sys.argv = typed  # as stores record it
            work(settings)
        except (Exception, KeyboardInterrupt) as error:  # Hydra would print its own words
            code = _failed(error, command)
            _hand_on(error)
            raise SystemExit(code) from error

    program = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=command)
    root = logging.getLogger()
    root_handlers, root_level = root.handlers[:], root.level  # --hydra-help sets Hydra's own
    sys.argv = [typed[0], *line.hydra, *line.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else it prints a shortened traceback and exits
    try:
        with _hydra_errors():
            program(job)()
    except SystemExit as stop:  # of a job, or of argparse, which has said why
        return int(stop.code or 0)
    finally:
        sys.argv = typed
        root.handlers[:] = root_handlers
        root.setLevel(root_level)
    return 0


def _hand_on(error: BaseException) -> None:
    """Let a launcher requeue the job that its signal has stopped; UserError where it does not."""
    try:
        interrupt.hand_on(error)
    except Exception as refusal:
        raise UserError(f"{error} {refusal}") from refusal


def _complete(command: str, arguments: list[str]) -> int:
    """Answer a shell: the script that installs completion, or what may follow on COMP_LINE."""
    request = next((text for text in arguments if text not in COMPLETION), "")
    if request in ("install=bash", "install=zsh"):
        program = Path(sys.argv[0]).name
        print(completion.SCRIPT, "python" if program.endswith(".py") else program)
        return 0
    if not request.startswith("query="):
        return _hydra_main("train", CommandLine([COMPLETION[0]], [request]))
    words = completion.words_of(os.environ.get("COMP_LINE", ""))[1:] or [""]
    if command in COMPLETION:  # else it is `python app/train.py` that is completed
        command = words[0]
    known = _vocabulary(command) if command in COMMANDS else ({}, {})
    candidates = completion.completions(words[1:], *known)
    if len(words) == 1:
        candidates = [name for name in COMMANDS if name.startswith(command)]
    if request == "query=fish":  # which completes no file names beside ours
        candidates = candidates or completion.files(words[-1])
    print(*candidates, sep="\n")
    return 0


def _failed(error: BaseException, command: str) -> int:
    """Say in one line what ended the command, keep the traceback in its log; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        log_traceback(error)
        if not errors.is_reported(error):
            print(f"stopped: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    if os.environ.get("DENOISEQ_DEBUG") == "1":
        raise error
    rank = int(os.environ.get("RANK", 0))  # of a training that torchrun started
    process = f"process {rank}: " if rank else ""
    if isinstance(error, EXPECTED) or errors.out_of_memory(error):
        log_traceback(error)
        if not errors.is_reported(error):
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
        key = error.override.lstrip("+~").partition("=")[0]
        if command in SCHEMAS and "." not in key and key not in kinds(SCHEMAS[command]):
            return errors.sentence(UserError(unknown_key(key, SCHEMAS[command])))
        return (
            f"could not read the argument {error.override!r}: write key=value, "
            "and quote a value with special characters, as in 'key=\"a=b (c)\"'"
        )
    if isinstance(error, HydraException):
        cause = error.__cause__
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and command in SCHEMAS:
            unknown = unknown_key(cause.full_key or str(cause.key), SCHEMAS[command])
            return errors.sentence(UserError(unknown))
        return " ".join(str(error).split("See https")[0].split())
    return errors.sentence(error)


def _help(command: str, overrides: list[str]) -> str:
    """The settings of a command with the values that `overrides` give them."""
    if command not in SCHEMAS:
        return DOCTOR if command == "doctor" else bench.HELP
    values: Any = OmegaConf.to_container(_composed(command, overrides))
    files = {group: _choices(group) for group in HydraConfig.get().runtime.choices}
    experiments = f"Whole trainings: --experiment {' | '.join(_choices('experiment'))}\n"
    footer = HELP_FOOTER.format(experiments=experiments if command == "train" else "")
    return help.help_text(SCHEMAS[command], values, files, footer)


def _doctor(overrides: list[str]) -> int:
    """`denoiseq doctor [--no-measure] [settings of a training, whose time it then expects]`."""
    asked = [text.lower() for text in overrides if text.startswith("measure=")]
    if not {*asked} <= {"measure=true", "measure=false"}:
        raise UserError(f"{asked[-1]}: expected true or false")
    others = [text for text in overrides if not text.startswith("measure=")]
    training = None
    if others:  # the training that `denoiseq train` would do with these settings
        training = parse(Train, _composed("train", [*others, "out=unused"]))
    from denoiseq.doctor.run import run

    run(asked[-1:] != ["measure=false"], training)
    return 0
