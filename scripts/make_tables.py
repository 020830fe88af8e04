"""Write the results page and the README's speed tables from the benchmarks' CSV files.

    python scripts/make_tables.py                     # docs/results, and README.md
    python scripts/make_tables.py --folder outputs/results/full       # your own machine's page

The CSV files come from scripts/reproduce_tables.sh. The page is README.md in the folder, with its
figures. The tables in README.md and, of other people's models, in kernels/README.md lie between two
markers and are made from docs/results only.
"""

import re
from pathlib import Path

import jinja2
from bench.command import ROOT, parser, script, settle
from denoiseq.atomic import write_bytes
from results import figures, rows, tables

OWN = ROOT / "docs" / "results"
SPEED = "<!-- speed tables -->", "<!-- /speed tables -->"
MODELS = "<!-- models table -->", "<!-- /models table -->"
FIGURES = {"layers": "float32", "layers_bf16": "bfloat16"}


def rendered(template, measured, **names):
    """A template of scripts/results with the tables of what was measured."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "results"),
    )
    everything = dict.fromkeys((Path(name).stem for name in rows.FILES), ()) | measured
    return environment.get_template(template).render(vars(tables), found=everything, **names)


def replace_tables(path, made, markers):
    """The text of a page with `made` between the markers; a missing closing marker is added."""
    opening, closing = markers
    before, marker, after = path.read_text(encoding="utf-8").partition(opening)
    if not marker:
        raise ValueError(f"no line {opening} to put the tables behind")
    after = after.partition(closing)[2] if closing in after else after
    return f"{before}{opening}\n\n{made}\n\n{closing}\n\n{after.lstrip()}"


def others(arguments, measured):
    """{path: text} of the pages that hold tables between markers."""
    readme, models_page, texts = arguments.readme, arguments.models_page, {}
    if arguments.folder.resolve() == OWN:
        readme, models_page = readme or ROOT / "README.md", ROOT / "kernels" / "README.md"
    if readme:
        summary = re.sub(r"\n{3,}", "\n\n", rendered("summary.md.j2", measured)).strip()
        texts[readme] = replace_tables(readme, summary, SPEED)
    if models_page and "models" in measured:
        made = tables.models_table(measured["models"])
        texts[models_page] = replace_tables(models_page, made, MODELS)
    return texts


@script
def main():
    made = parser(__doc__)
    made.add_argument("--folder", type=Path, default=OWN, help="with the CSV files")
    made.add_argument("--readme", type=Path, help="default: README.md, for docs/results")
    made.add_argument("--models-page", type=Path, help="default: kernels/README.md, likewise")
    made.add_argument("--check", action="store_true", help="compare the text, write nothing")
    arguments = made.parse_args()
    folder = arguments.folder
    measured = rows.read(folder)
    facts = {"machine": tables.machine_words(rows.machine(folder), measured)}
    page = rendered("page.md.j2", measured, **facts)
    texts = {folder / "README.md": page, **others(arguments, measured)}
    code = settle(texts, arguments.check, f"{folder} gives")
    for name, dtype in FIGURES.items():
        if name in measured and not arguments.check:
            title = f"One letter at a time around the AtacWorks layer, one thread, {dtype}"
            write_bytes(folder / f"{name}.png", figures.efficiency(measured[name], title))
    return code
