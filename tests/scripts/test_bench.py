"""What the scripts share: how they end, rows that are kept, generated stores, aligned text."""

import numpy as np
import pytest
from bench.command import at_least, parser, script
from bench.stores import write_human_store
from results.rows import Record, read_csv, show


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (ValueError("no such layer"), 2, "error: no such layer\n"),
        (FileNotFoundError(2, "it is gone", "a.csv"), 2, "error: [Errno 2] it is gone: 'a.csv'\n"),
        (KeyboardInterrupt(), 130, "stopped: interrupted\n"),
        (KeyboardInterrupt("2 rows are kept"), 130, "stopped: 2 rows are kept\n"),
    ],
)
def test_mistakes_and_interruptions_are_one_line(raised, code, words, capsys):
    @script
    def main():
        raise raised

    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code and capsys.readouterr().err == words


def test_what_ends_well_or_is_a_bug_is_left_alone():
    assert script(lambda: 1)() == 1
    with pytest.raises(ZeroDivisionError):
        script(lambda: 1 // 0)()


def test_a_number_that_is_too_small_is_refused(capsys):
    made = parser("doc")
    made.add_argument("--rounds", type=at_least(2))
    assert made.parse_args(["--rounds", "2"]).rounds == 2
    with pytest.raises(SystemExit):
        made.parse_args(["--rounds", "1"])
    assert "give 2 or more, got 1" in capsys.readouterr().err


def test_a_record_is_whole_after_every_row_and_goes_on(tmp_path):
    path = tmp_path / "made" / "rows.csv"
    first = {"layer": "S=3", "threads": 1, "ms": 0.25, "commit": "1234567", "none": ""}
    Record(path, ("layer", "threads")).add([first])
    assert read_csv(path) == [first]  # numbers as numbers, a commit as text
    record = Record(path, ("layer", "threads"), resume=True)
    assert record.has({"layer": "S=3", "threads": 1}) and not record.has(first | {"threads": 2})
    with pytest.raises(KeyboardInterrupt, match=r"2 rows are in .*rows.csv"), record:
        record.add([first | {"threads": 2}])
        raise KeyboardInterrupt
    assert [row["threads"] for row in read_csv(path)] == [1, 2]


def test_a_record_without_a_file_cannot_go_on():
    with pytest.raises(ValueError, match="--resume needs --csv"):
        Record(None, resume=True)


def test_a_generated_store_has_its_fragments_and_peaks(tmp_path):
    chroms = {"chr1": 1_000_000, "chr2": 500_000}
    even, peaked = (
        write_human_store(tmp_path / f"{share}.h5", 3_000, chroms=chroms, in_peaks=share)
        for share in (0, 0.5)
    )
    assert even.n_fragments == peaked.n_fragments == 3_000
    assert even.chroms == chroms
    for store in (even, peaked):
        positions, fragments = store.cuts("chr1", 0, 1_000_000)
        assert len(positions) == 4_000 and (np.diff(positions.astype(int)) >= 0).all()
        assert (np.unique(fragments, return_counts=True)[1] == 2).all()
    busiest = [np.bincount(s.cuts("chr1", 0, 10**6)[0] // 500).max() for s in (even, peaked)]
    assert busiest[1] > 2 * busiest[0]


def test_rows_are_shown_aligned(capsys):
    rows = [{"what": "a", "of": 61_556_838, "ms": 0.12345}, {"what": "bcd", "of": 2, "ms": 1234.5}]
    show(rows, "what of ms")
    assert capsys.readouterr().out.splitlines() == [
        "what          of      ms",
        "a     61,556,838  0.1235",
        "bcd            2   1,234",
    ]
