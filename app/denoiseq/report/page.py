"""What a page consists of, and its HTML: one file that opens offline, figures inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from denoiseq.atomic import write_bytes, write_text
from denoiseq.errors import listed

Facts = Mapping[str, Mapping[str, Any]]
"""Group -> name -> value: settings, model, software and what else made a result."""
MOST_ROWS = 100  # of what there may be thousands of, as chromosomes: more are counted
PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page. name : of its file, without the suffix."""

    name: str
    title: str
    png: bytes
    caption: str = ""

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Cell:
    """A value of a table, a smaller note beneath it, and whether it is the best of its row."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of a name and cells beneath a head; a row of the name alone is a heading of others."""

    head: list[str]
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Section:
    """A part of the page; `folded` hides all but its heading until it is clicked."""

    heading: str
    text: str = ""
    table: Table | None = None
    pictures: list[Picture] = field(default_factory=list)
    folded: bool = False

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")


def filled(*sections: Section) -> list[Section]:
    """The sections in which there is something to show."""
    return [section for section in sections if section.table or section.pictures]


@dataclass(frozen=True)
class Page:
    """What `kind` of run it was, and what came out; the template escapes the text."""

    kind: str
    title: str
    lead: list[str]  # sentences
    sections: list[Section]
    facts: Facts
    tiles: list[tuple[str, str]] = field(default_factory=list)  # the numbers to see first
    warnings: list[str] = field(default_factory=list)

    def html(self) -> str:
        facts = {group: _texts(entries) for group, entries in self.facts.items() if entries}
        return PAGES.get_template("page.html").render(page=self, facts=facts)

    def files(self) -> dict[str, bytes]:
        """File name -> PNG of every figure."""
        pictures = [picture for section in self.sections for picture in section.pictures]
        return {f"{picture.name}.png": picture.png for picture in pictures}

    def write(self, folder: Path) -> None:
        """`report.html`, and its figures in `figures/`; loci of an earlier page there go."""
        figures = folder / "figures"
        for old in figures.glob("locus_*.png"):
            old.unlink()
        for name, png in self.files().items():
            write_bytes(figures / name, png)
        write_text(folder / "report.html", self.html())


def _texts(entries: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested dictionaries as one, with dotted keys, and the values as text."""
    texts: dict[str, str] = {}
    for key, value in entries.items():
        if isinstance(value, Mapping) and len(value) <= MOST_ROWS:
            texts |= _texts(value, f"{prefix}{key}.")
        else:
            texts[f"{prefix}{key}"] = _text(value)
    return texts


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple | Mapping):
        if len(value) > MOST_ROWS:
            return f"{len(value):,}: {listed([_text(item) for item in value])}"
        return ", ".join(_text(item) for item in value)
    return str(value)
