"""A setting: its default, what it does and what it may be, from which `help` generates `--help`,
docs/configuration.md and the comments in configs/; `check_settings` refuses what it does not allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from denoiseq.errors import UserError


@dataclass(frozen=True)
class Allowed:
    """`words` complete "expected …"; `holds` tells whether a value fits. Null always fits."""

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


ANYTHING = Allowed("", lambda value: True)
FRACTION = Allowed("more than 0 and at most 1", lambda value: 0 < value <= 1)
# What torch's and numpy's generators both take.
SEED = Allowed("0 or more, and below 2^63", lambda value: 0 <= value < 2**63)


def at_least(low: float) -> Allowed:
    """No less than `low`."""
    return Allowed(f"{low:,} or more", lambda value: value >= low)


def between(low: float, high: float) -> Allowed:
    """`low`, `high`, or anything between them."""
    return Allowed(f"{low:,} to {high:,}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Allowed:
    """One of the words."""
    return Allowed(f"one of {', '.join(choices)}", lambda value: value in choices, choices)


def setting(
    default: Any, doc: str, allowed: Allowed = ANYTHING, kind: str = "", **metadata: Any
) -> Any:
    """A field of a settings class; the user must give one whose default is MISSING.

    doc : what it does, in one line; explains null and 0 where they are special
    kind : the type in words, where its Python name says too little
    metadata : further facts about the field, for code that reads them
    """
    about = {"default": default, "doc": doc, "allowed": allowed, "kind": kind, **metadata}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def path(doc: str, default: str | None = None) -> Any:
    """A setting that is a path."""
    return setting(default, doc, kind="path")


def group(schema: type, doc: str) -> Any:
    """A field that holds another settings class."""
    return field(default_factory=schema, metadata={"doc": doc})


def check_settings(settings: Any, prefix: str = "") -> None:
    """Raise UserError, one sentence, for the first value that its field does not allow."""
    for item in fields(settings):
        value, allowed = getattr(settings, item.name), item.metadata.get("allowed", ANYTHING)
        if "path" in item.metadata.get("kind", ""):  # "" would be the working directory
            empty = "" in (value if isinstance(value, list) else [value])
            check(not empty, f"{prefix}{item.name} is empty: give a path, or leave it out")
        fits = value is None or value == MISSING or allowed.holds(value)
        check(fits, f"{prefix}{item.name} is {value!r}, expected {allowed.words}")


def check(condition: bool, sentence: str) -> None:
    """Raise UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)


def path_or_paths(name: str, value: Any) -> None:
    """Check that `value` is a path, a list of paths, or None."""
    listed = value if isinstance(value, list) else [value]
    fits = value is None or (len(listed) > 0 and all(isinstance(item, str) for item in listed))
    check(fits, f"{name} is {value!r}, expected one path, or several as in '{name}=[a.bam,b.bam]'")


def required(value: str | None, key: str, what: str) -> str:
    """`value`; UserError that names the missing key where there is none."""
    if not value:
        raise UserError(f"{key} is required: give {key}={what}")
    return value
