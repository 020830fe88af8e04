"""Arguments as they are typed, `--key value` and `key=value`, to overrides of Hydra.

`--key value` is literal for text. `key=value` has Hydra's lists, quotes and sweeps. Hydra's own
flags and settings are handed on as they are.
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from denoiseq.command_line.values import listed, quoted, text_value, word
from denoiseq.errors import UserError
from denoiseq.settings import Kind
from denoiseq.settings.help import flag_of, placeholder

SWEEP = ("-m", "--multirun")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# Hydra's flags: those alone, and those with a value. Of --info the value may be left out.
ALONE = (*SWEEP, "--hydra-help", "--resolve", "--run", "-r")
VALUED: tuple[str, ...] = (
    "--cfg",
    "--package",
    "--config-path",
    "--config-name",
    "--config-dir",
    "--info",
)
VALUED += ("-c", "-p", "-cp", "-cn", "-cd", "-i", "--experimental-rerun")
ASSIGNMENT = re.compile(r"(\+\+|\+|~|)([^=]+)=(.*)", re.DOTALL)
NUMBER = re.compile(r"-[\d.].*")  # a word that begins with a dash and is no flag


@dataclass
class CommandLine:
    """Arguments in Hydra's words: its own flags, and overrides whose text is quoted."""

    hydra: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)


def read(
    arguments: Sequence[str], kinds: Mapping[str, Kind], groups: Collection[str] = ()
) -> CommandLine:
    """Read `arguments`; UserError, one sentence, for the first that cannot be read.

    groups : the config groups, whose value is the name of one of their files
    """
    return _Reader(arguments, kinds, groups).read()


class _Reader:
    """Arguments that are still to be read, and what those read so far ask for."""

    def __init__(
        self, arguments: Sequence[str], kinds: Mapping[str, Kind], groups: Collection[str]
    ) -> None:
        self.words, self.kinds, self.groups = deque(arguments), kinds, groups
        self.sweep = any(a in (*SWEEP, "hydra.mode=MULTIRUN") for a in arguments)
        self.hydra: list[str] = []
        self.overrides: dict[object, str] = {}  # of a flag by its key, so that the last one counts
        self.typed: dict[str, list[str]] = {}  # values of each flag, in order
        self.last = ""  # the flag that was read last

    def read(self) -> CommandLine:
        while self.words:
            argument = self.words.popleft()
            if argument.partition("=")[0] in (*ALONE, *VALUED):
                self._hydras_flag(argument)
            elif argument.startswith("-"):
                self._flag(argument)
            else:
                self._assignment(argument)
        return CommandLine(self.hydra, list(self.overrides.values()))

    def _hydras_flag(self, argument: str) -> None:
        flag, equals, _ = argument.partition("=")
        self.hydra.append(argument)
        if flag in ("--info", "-i") and not equals:
            following = self.words[0] if self.words else ""
            self.hydra[-1] = f"--info={self.words.popleft() if following in INFO else 'all'}"
        elif flag in VALUED and not equals:
            self.hydra.append(self._value(flag, "VALUE"))

    def _assignment(self, argument: str) -> None:
        match = ASSIGNMENT.fullmatch(argument)
        if match is None and not argument.startswith("~"):
            raise UserError(self._unread(argument))
        override = argument
        if match is not None and match[1] != "~":
            sign, key, value = match.groups()
            kind = self.kinds.get(key) or self.kinds.get(re.sub(r"\.\d+$", "", key))
            if kind and kind.text:
                override = f"{sign}{key}={text_value(value, kind, self.sweep)}"
            if kind and kind.group and value.lstrip().startswith("{"):
                raise UserError(f"{key} is a group: give its settings one by one, {key}.KEY=VALUE")
        self.overrides[len(self.overrides), argument] = override

    def _unread(self, argument: str) -> str:
        sentence = f"could not read the argument '{argument}'"
        if argument in self.kinds:
            flag = flag_of(argument)
            return f"{sentence}: write {flag} VALUE or key=value, as in {argument}=VALUE"
        if self.last in self.kinds and self.kinds[self.last].several:
            flag, before = flag_of(self.last), self.typed[self.last][-1]
            return (
                f"{sentence}: for several values repeat the flag, {flag} {before} {flag} {argument}"
            )
        key = next(key for key, kind in self.kinds.items() if not kind.group)
        example = f"{flag_of(key)} {argument} or {key}={argument}"
        return f"{sentence}: write --key value or key=value, as in {example}"

    def _flag(self, argument: str) -> None:
        name, equals, value = argument.partition("=")
        key = self._key_of(name[2:].replace("-", "_"))
        kind, negated = self.kinds.get(key), self.kinds.get(key.removeprefix("no_"))
        if not name.startswith("--"):
            raise UserError(self._unknown(name))
        if key in self.groups:
            choice = self._single(key, value if equals else self._value(name, "NAME"))
            self._give(key, f"{'+' if key == 'experiment' else ''}{key}={choice}")
        elif kind is None and negated is not None and negated.boolean:
            if equals:
                raise UserError(f"{name} takes no value: leave out '={value}'")
            self._give(key[3:], f"{key[3:]}=false")
        elif kind is None:
            raise UserError(self._unknown(name))
        elif kind.group:
            raise UserError(
                f"{name} is a group of settings: give them one by one, {name}.KEY VALUE"
            )
        elif kind.boolean:
            following = self.words[0].lower() if self.words else ""
            if not equals:
                value = self.words.popleft() if following in ("true", "false") else "true"
            self._give(key, f"{key}={word(value)}")
        else:
            self._setting(
                key, kind, value if equals else self._value(name, placeholder(kind.words))
            )

    def _key_of(self, typed: str) -> str:
        """The key that a flag names; of the trainer's, --no-progress and --threads 4 do as well."""
        plain = typed.removeprefix("no_")
        if {typed, plain}.isdisjoint(self.kinds) and f"trainer.{plain}" in self.kinds:
            return f"{'no_' * (typed != plain)}trainer.{plain}"
        return typed

    def _setting(self, key: str, kind: Kind, value: str) -> None:
        """A flag with a value: a list collects them, of others the last one counts."""
        before = self.typed.setdefault(key, [])
        if before and kind.path and not kind.several:
            raise UserError(f"{flag_of(key)} takes one path, but is given twice")
        before.append(value)
        values = before
        if kind.several and not kind.text:
            values = [part for text in before for part in text.strip("[]").split(",")]
        if kind.several and not (kind.one and len(values) == 1):
            items = [quoted(text) if kind.text else word(text) for text in values if text]
            self._give(key, f"{key}={listed(items)}")
        else:
            last = values[-1]
            self._give(key, f"{key}={quoted(last) if kind.text else self._single(key, last)}")

    def _single(self, key: str, value: str) -> str:
        """One value that is no text."""
        if self.sweep and "," in value:
            raise UserError(f"{flag_of(key)} takes one value: a sweep is written {key}={value}")
        return word(value)

    def _give(self, key: str, override: str) -> None:
        self.last = key
        self.overrides.pop(key, None)  # to come after what was given in between
        self.overrides[key] = override

    def _value(self, flag: str, what: str) -> str:
        """The word behind a flag."""
        if not self.words:
            raise UserError(f"{flag} needs a value: {flag} {what}")
        following = self.words[0]
        if re.match(r"-.", following) and not NUMBER.fullmatch(following):
            raise UserError(
                f"{flag} needs a value: {flag} {what}; one that begins with a dash is written "
                f"{flag}={following}"
            )
        return self.words.popleft()

    def _unknown(self, flag: str) -> str:
        if flag.startswith("--hydra."):
            return f"unknown flag {flag}: Hydra's own settings are written {flag[2:]}=VALUE"
        known = [flag_of(key) for key in (*self.kinds, *self.groups)] + [*ALONE, *VALUED]
        known.remove("--experimental-rerun")  # which is nobody's --experiment
        known += [f"--no-{flag_of(key)[2:]}" for key, kind in self.kinds.items() if kind.boolean]
        wanted = f"--{flag.lstrip('-').replace('_', '-')}"
        inner = [name for name in known if name.endswith(f".{wanted[2:]}")]
        near = [*inner, *difflib.get_close_matches(wanted, known, n=1, cutoff=0.7)]
        if near:
            return f"unknown flag {flag}: did you mean {near[0]}?"
        return f"unknown flag {flag}: --help shows the flags of the command"
