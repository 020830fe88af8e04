#!/usr/bin/env python
"""Write the results page and the README's speed tables from the benchmarks' CSV files.

    python scripts/make_tables.py                     # docs/results, and README.md
    python scripts/make_tables.py --check             # exit 1 if they are not what the CSV gives
    python scripts/make_tables.py --folder outputs/results/full       # your own machine's page

The CSV files come from scripts/reproduce_tables.sh. Nothing in a table is typed by hand. The page
is README.md in the folder, with its figures. The tables in README.md and, of other people's models,
in kernels/README.md lie between two markers and are made from docs/results only.
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
SPEED = "<!-- speed tables -->", "<!-- /speed tables -->"
MODELS = "<!-- models table -->", "<!-- /models table -->"
FIGURES = {"layers": "float32", "layers_bf16": "bfloat16"}


def page(folder, found):
    """The text of the results page."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    makers = {name: make for name, make in vars(tables).items() if callable(make)}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = dict.fromkeys((Path(name).stem for name in rows.FILES), ()) | found
    machine = tables.machine_words(rows.machine(folder), found)
    return template.render(makers, found=names, scale=scale, machine=machine)


def replace_tables(text, made, markers):
    """`text` with `made` between the markers; a missing closing marker is added.

    Raises
    ------
    ValueError
        If the opening marker is missing.
    """
    opening, closing = markers
    before, found, after = text.partition(opening)
    if not found:
        raise ValueError(f"no line {opening} to put the tables behind")
    after = after.partition(closing)[2] if closing in after else after
    return f"{before}{opening}\n\n{made}\n\n{closing}\n\n{after.lstrip()}"


def others(arguments, found):
    """{path: text} of the pages that hold tables between markers."""
    readme, models_page = arguments.readme, arguments.models_page
    if arguments.folder.resolve() == OWN:
        readme, models_page = readme or ROOT / "README.md", ROOT / "kernels" / "README.md"
    texts = {}
    if readme is not None:
        old = readme.read_text(encoding="utf-8")
        texts[readme] = replace_tables(old, tables.summary(found), SPEED)
    if models_page is not None and "models" in found:
        old = models_page.read_text(encoding="utf-8")
        texts[models_page] = replace_tables(old, tables.models_table(found["models"]), MODELS)
    return texts


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
    parser.add_argument("--models-page", type=Path, help="default: kernels/README.md, likewise")
    parser.add_argument("--check", action="store_true", help="compare the text, write nothing")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    folder = arguments.folder
    try:
        found = rows.read(folder)
        texts = {folder / "README.md": page(folder, found), **others(arguments, found)}
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
