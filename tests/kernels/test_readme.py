"""The examples of kernels/README.md run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "kernels" / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def test_the_page_has_its_examples():
    assert len(EXAMPLES) == 3 and sum("bpnetlite" in example for example in EXAMPLES) == 1


def test_every_row_of_works_with_names_a_test_that_exists():
    page = README.read_text(encoding="utf-8")
    section = page.split("\n## Works with\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 12
    for row in rows:
        file, name = re.search(r"`(\w+\.py)::(\w+)`", row).groups()
        assert f"def {name}(" in (Path(__file__).parent / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_run(example):
    """Each in a process of its own: one changes the allocator for good."""
    if "bpnetlite" in example:
        pytest.importorskip("bpnetlite")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("estimated" in done.stdout) == ("dilconv.plan(" in example)
