"""Values in Hydra's grammar: text is quoted, so that Hydra does not type, split or fill it in."""

from __future__ import annotations

import re

from denoiseq.errors import UserError
from denoiseq.settings import Kind, escape

QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
# what Hydra reads as one value: numbers, true, null, names
WORD = re.compile(r"[\w.+-]+", re.ASCII)
SWEEPS = re.compile(r"(choice|shuffle|sort|tag|range|interval|glob)\((.*)\)", re.DOTALL)
# Sweeps of numbers or of file names, which hold no text to keep.
WITHOUT_TEXT = ("range", "interval", "glob")
# 1 and 000-2 and 000 of a region such as chr1:1,000-2,000, with whatever blanks, dash or dots
BEFORE_COMMA = re.compile(r".+[:,.\s\u2010-\u2015\u2212-]\d{1,3}")
AFTER_COMMA = re.compile(r"\d{3}((\s*([-\u2010-\u2015\u2212]|\.\.)\s*|\s+)\d{1,3})?")


def quoted(text: str) -> str:
    """`text` as a string of Hydra that it and OmegaConf take literally."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + m[2].replace("'", r"\'"), escape(text))
    return f"'{escaped}'"


def unquoted(text: str) -> str:
    """What stands between the quotes of a wholly quoted text; other text as it is."""
    if not QUOTED.fullmatch(text):
        return text
    return re.sub(rf"\\+({text[0]}|\Z)", lambda m: m[0][1::2], text[1:-1])


def word(text: str) -> str:
    """A number, a boolean or a name as it is; whatever else quoted, as a single value."""
    return text if WORD.fullmatch(text) else quoted(text)


def listed(items: list[str]) -> str:
    """Values of Hydra as a list."""
    return f"[{','.join(items)}]"


def text_value(value: str, kind: Kind, sweep: bool) -> str:
    """The value of `key=value` for a setting that is text: a null, a text, or a list of texts.

    sweep : whether commas and Hydra's functions ask for several runs
    """
    if not sweep:
        return _element(value, kind)
    function = SWEEPS.fullmatch(value)
    if function is None:
        values = split(value)
        return _element(value, kind) if len(values) == 1 else _elements(values, kind)
    name, arguments = function.groups()
    if name in WITHOUT_TEXT:
        return value
    return f"{name}({_arguments(name, split(arguments), kind)})"


def _arguments(name: str, values: list[str], kind: Kind) -> str:
    """Arguments of a sweep: tags, and flags such as reverse=true, are Hydra's."""
    texts = [
        value
        if re.fullmatch(r"\s*(shuffle|reverse)\s*=.*", value)
        or (name == "tag" and value != values[-1])
        else text_value(value.strip(), kind, sweep=True)
        for value in values
    ]
    return ",".join(texts)


def _elements(values: list[str], kind: Kind) -> str:
    return ",".join(_element(value.strip(), kind) for value in values)


def _element(value: str, kind: Kind) -> str:
    """One value: null, a list in brackets where the setting takes one, or text."""
    if value.lower() == "null":
        return value
    if kind.region and not value.startswith("["):
        value = f"[{value}]"  # as it is pasted
    if not kind.several or not re.fullmatch(r"\[.*\]", value, re.DOTALL):
        return quoted(unquoted(value))
    items = [item.strip() for item in split(value[1:-1])] if value[1:-1].strip() else []
    if "" in items:
        raise UserError(f"the list {value} has an empty item: remove one comma")
    return listed([quoted(unquoted(item)) for item in (join(items) if kind.region else items)])


def split(text: str) -> list[str]:
    """`text` at its commas, but for those inside quotes or brackets."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        string = QUOTED.match(text, at) if not text[start:at].strip() else None
        if string:  # only a whole item is quoted: the quote in a'b is a character
            at = string.end()
            continue
        depth += (text[at] in "[({") - (text[at] in "])}")
        if text[at] == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]] if depth == 0 else text.split(",")


def join(items: list[str]) -> list[str]:
    """Regions whose thousands were split at their commas, whole again."""
    regions: list[str] = []
    for item in items:
        if regions and BEFORE_COMMA.fullmatch(regions[-1]) and AFTER_COMMA.fullmatch(item):
            regions[-1] += f",{item}"
        else:
            regions.append(item)
    return regions
