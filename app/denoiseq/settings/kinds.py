"""How each setting is written: as text or not, one value or several, and where `~` is the home."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from denoiseq.settings.help import kind_of


@dataclass(frozen=True)
class Kind:
    """What the value of a setting may look like.

    words : the type in words, as the reference shows it
    text : keeps every character that was typed; a path is text too
    boolean, group : true or false; a group of further settings
    one, several : takes a single value; takes a list
    choices : the values, where they are listed
    """

    words: str
    text: bool = False
    boolean: bool = False
    group: bool = False
    one: bool = True
    several: bool = False
    choices: tuple[str, ...] = ()

    @property
    def path(self) -> bool:
        """Whether it names files or folders."""
        return "path" in self.words

    @property
    def region(self) -> bool:
        """Whether a comma between digits belongs to a number, as in chr1:1,000-2,000."""
        return "region" in self.words


def kinds(schema: type, prefix: str = "") -> dict[str, Kind]:
    """Every dotted key that `schema` accepts, those of its groups and of all models included."""
    known: dict[str, Kind] = {}
    for settings_class in (schema, *schema.__subclasses__()):
        hints = get_type_hints(settings_class)
        for item in fields(settings_class):
            key, hint = prefix + item.name, hints[item.name]
            kind = _kind(hint, item.metadata)
            before = known.get(key, kind)  # of another model
            one, several = before.one or kind.one, before.several or kind.several
            known[key] = replace(kind, one=one, several=several)
            if kind.group:
                known |= kinds(hint, f"{key}.")
    return known


def _kind(hint: Any, metadata: Any) -> Kind:
    if is_dataclass(hint):
        return Kind("group of settings", group=True)
    words = metadata.get("kind") or kind_of(hint)
    alternatives = [a for a in get_args(hint) if a is not type(None)]
    options = [hint] if get_origin(hint) is list or not alternatives else alternatives
    listed = [option for option in options if get_origin(option) is list]
    members = {get_args(option)[0] if option in listed else option for option in options}
    return Kind(
        words,
        text=members == {str} or "path" in words,
        boolean=members == {bool},
        one=not words.startswith("list of"),
        several=bool(listed) or "list of" in words,
        choices=metadata["allowed"].choices if "allowed" in metadata else (),
    )


def expand_home(settings: Any) -> None:
    """Replace `~` and `~user` at the beginning of each path of a settings object, in place."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            expand_home(value)
        elif "path" in item.metadata.get("kind", ""):
            expanded = [_expanded(path) for path in value] if isinstance(value, list) else value
            setattr(settings, item.name, _expanded(expanded))


def _expanded(path: Any) -> Any:
    """`path`, if it is one, without `~`; pathlib would also drop ./ and trailing slashes."""
    return os.path.expanduser(path) if isinstance(path, str) else path  # noqa: PTH111


def escape(values: Any) -> Any:
    """`values` with `${` escaped in every text, so that OmegaConf takes it literally."""
    if isinstance(values, dict):
        return {key: escape(value) for key, value in values.items()}
    if isinstance(values, list):
        return [escape(value) for value in values]
    if isinstance(values, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", values)
    return values
