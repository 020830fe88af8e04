"""The settings classes in words, for `--help`, docs/configuration.md and comments in configs/."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from denoiseq.settings.model import MODELS, Model
from denoiseq.settings.setting import Allowed

WIDTH, COLUMN = 100, 30
PLAIN = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}


@dataclass(frozen=True)
class Entry:
    """One setting: its name within its group, its type in words, what it does, what it may be."""

    name: str
    kind: str
    default: Any
    allowed: Allowed
    doc: str

    def brief(self) -> str:
        """Choices and meaning in one line."""
        choices = " | ".join(self.allowed.choices)
        return f"{choices}: {self.doc}" if choices else self.doc


def entries(schema: type) -> list[Entry]:
    """The settings of `schema` itself, in order, without those of its groups."""
    hints = get_type_hints(schema)
    said = {item.name: item.metadata for item in fields(schema) if "allowed" in item.metadata}
    return [
        Entry(name, m["kind"] or kind_of(hints[name]), m["default"], m["allowed"], m["doc"])
        for name, m in said.items()
    ]


def groups(schema: type) -> dict[str, tuple[type, str]]:
    """The groups of `schema`: name -> its settings class and what it is."""
    hints = get_type_hints(schema)
    return {
        item.name: (hints[item.name], item.metadata["doc"])
        for item in fields(schema)
        if is_dataclass(hints[item.name])
    }


def about(schema: type) -> tuple[str, list[str]]:
    """What `schema` is, and the example commands of its docstring."""
    first, *others = inspect.cleandoc(schema.__doc__ or "").splitlines()
    return first, [line for line in others if line]


def kind_of(hint: Any) -> str:
    """A type in words: `list[str] | None` is "list of text"."""
    name = getattr(hint, "__name__", str(hint))
    arguments = [a for a in getattr(hint, "__args__", ()) if a is not type(None)]
    if name == "list":
        return f"list of {PLAIN[arguments[0].__name__]}s".replace("texts", "text")
    return kind_of(arguments[0]) if arguments else PLAIN[name]


def shown(value: Any) -> str:
    """A value as it is written in YAML and behind `key=`."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def flag_of(key: str) -> str:
    """The name of a setting's flag."""
    return f"--{key.replace('_', '-')}"


def placeholder(kind: str) -> str:
    """What stands for a value of that kind."""
    words = [word for word in ("number", "path", "region") if word in kind]
    return words[0].upper() if words else "TEXT"


def flag_with_value(key: str, value: Any, kind: str) -> str:
    """A setting as it is given by flags; a placeholder where it is null or empty."""
    name = flag_of(key)
    if value is None or value == []:
        return f"{name} {placeholder(kind)}"
    if not isinstance(value, list):
        return f"{name} {shown(value)}"
    if "number" in kind:
        return f"{name} {','.join(map(shown, value))}"
    return " ".join(f"{name} {shown(item)}" for item in value)


def help_text(
    schema: type, values: Mapping[str, Any], files: Mapping[str, list[str]], footer: str
) -> str:
    """What `denoiseq COMMAND --help` prints; `values` and `files` are of the composed config."""
    first, examples = about(schema)
    blocks = [first, "\n".join(f"  {line}" for line in examples)]
    blocks += _help_blocks(schema, values, files, "")
    return "\n\n".join([*blocks, footer])


def _help_blocks(
    schema: type, values: Mapping[str, Any], files: Mapping[str, list[str]], prefix: str
) -> list[str]:
    """The settings of `schema` itself, then a block for each group."""
    lines = [
        _help_line(
            flag_with_value(f"{prefix}{entry.name}", values[entry.name], entry.kind), entry.brief()
        )
        for entry in entries(schema)
    ]
    blocks = ["\n".join(lines)]
    for name, (kind, doc) in groups(schema).items():
        if prefix:  # a group within a group is that of a command, which has its own help
            blocks.append(f"{prefix}{name}: {doc}")
            continue
        if issubclass(kind, Model):
            kind = MODELS.get(values[name]["name"], kind)
        choices = f"; --{name} {' | '.join(files[name])}" if name in files else ""
        inner = _help_blocks(kind, values[name], files, f"{name}.")
        blocks += [f"{name}: {doc}{choices}\n{inner[0]}", *inner[1:]]
    return blocks


def _help_line(setting: str, text: str) -> str:
    head = "\n".join(textwrap.wrap(f"  {setting}", WIDTH, subsequent_indent="    "))
    if len(head) >= COLUMN:
        head += "\n" + " " * COLUMN
    lines = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False)
    return f"{head:<{COLUMN}}" + f"\n{' ' * COLUMN}".join(lines)
