#!/usr/bin/env python
"""Write the results page and the README's speed tables from the benchmarks' CSV files.

    python scripts/make_tables.py                     # docs/results, and README.md
    python scripts/make_tables.py --check             # exit 1 if they are not what the CSV gives
    python scripts/make_tables.py --folder outputs/results/full       # your own machine's page

The CSV files come from scripts/reproduce_tables.sh. Nothing in a table is typed by hand. The page
is README.md in the folder, with its figures; the README's tables lie between two markers and are
made from docs/results only.
"""

import argparse
import sys
from pathlib import Path

import jinja2
from denoiseq.atomic import atomic_path, write_text
from results import figures, rows, scale, tables

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / "docs" / "results"
TEMPLATE = Path(__file__).parent / "results" / "page.md.j2"
OPEN, CLOSE = "<!-- speed tables -->", "<!-- /speed tables -->"
FIGURES = {"layers": "float32", "layers_bf16": "bfloat16"}


def page(folder, found):
    """The text of the results page."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    makers = {name: make for name, make in vars(tables).items() if callable(make)}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = dict.fromkeys((Path(name).stem for name in rows.FILES), ()) | found
    machine = tables.machine_words(rows.machine(folder), found)
    return template.render(makers, found=names, scale=scale, machine=machine)


def replace_tables(text, made):
    """`text` with the tables between its markers; a missing closing marker is added.

    Raises
    ------
    ValueError
        If the opening marker is missing.
    """
    before, marker, after = text.partition(OPEN)
    if not marker:
        raise ValueError(f"no line {OPEN} to put the tables behind")
    after = after.partition(CLOSE)[2] if CLOSE in after else after
    inside = f"\n\n{made}\n\n" if made else "\n"
    return f"{before}{OPEN}{inside}{CLOSE}\n\n{after.lstrip()}"


def draw(folder, found):
    """The figures, beside the page."""
    for name, dtype in FIGURES.items():
        if name in found:
            title = f"One letter at a time around the AtacWorks layer, one thread, {dtype}"
            with atomic_path(folder / f"{name}.png") as temporary:
                temporary.write_bytes(figures.efficiency(found[name], title))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=OWN, help="with the CSV files")
    parser.add_argument("--readme", type=Path, help="default: README.md, for docs/results")
    parser.add_argument("--check", action="store_true", help="compare the text, write nothing")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    folder, readme = arguments.folder, arguments.readme
    if readme is None and folder.resolve() == OWN:
        readme = ROOT / "README.md"
    try:
        found = rows.read(folder)
        texts = {folder / "README.md": page(folder, found)}
        if readme is not None:
            old = readme.read_text(encoding="utf-8")
            texts[readme] = replace_tables(old, tables.summary(found))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.check:
        stale = [p for p, text in texts.items() if not p.is_file() or p.read_text("utf-8") != text]
        for path in stale:
            print(f"{path} is not what {folder} gives", file=sys.stderr)
        return int(bool(stale))
    for path, text in texts.items():
        write_text(path, text)
    draw(folder, found)
    print(f"{', '.join(map(str, texts))}: from {len(found)} file(s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
