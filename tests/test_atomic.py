import errno
import json
import os
import subprocess

import pytest
from denoiseq.atomic import (
    atomic_path,
    check_writable,
    parts_folder,
    write_csv,
    write_json,
    write_text,
)


def test_the_final_name_appears_only_when_the_block_ends(tmp_path):
    final = tmp_path / "new" / "folder" / "x.h5"
    with atomic_path(final) as temporary:
        assert (temporary.parent, temporary.suffix) == (final.parent, ".h5")
        temporary.write_text("whole")
        assert not final.exists()
    assert final.read_text() == "whole"
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    final = tmp_path / "x.txt"
    write_text(final, "old")
    with pytest.raises(error), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise error
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_unwritable_places_are_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", "/proc/no-such-folder/x", tmp_path):
        with pytest.raises(OSError, match=r"cannot write .*choose another output path"):
            check_writable(path)
        with pytest.raises(OSError, match="cannot write"):
            write_text(path, "x")


def test_json_is_read_back_and_nan_is_refused(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, 2.5, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, 2.5, None]}


def test_a_full_disk_is_named(tmp_path):
    final = tmp_path / "out.txt"
    with (
        pytest.raises(OSError, match=r"no space left on the disk for .*out\.txt: free some"),
        atomic_path(final) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_disk_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "out.txt") as temporary:
        temporary.touch()
        raise PermissionError(errno.EACCES, "denied")


def test_write_csv_has_the_columns_of_all_rows(tmp_path):
    write_csv(tmp_path / "x.csv", [{"a": 1}, {"b": 2, "a": 3}])
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,\n3,2\n"


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_atomic_path_removes_what_a_killed_run_left_of_the_same_file(tmp_path, ended):
    final = tmp_path / "x[1].h5"
    with atomic_path(final) as temporary:
        temporary.touch()
        mine = f"-{os.getpid()}."
        left = temporary.with_name(temporary.name.replace(mine, f"-{ended}."))
        other_file = left.with_name(f"other{left.name}")
        other_machine = left.with_name(left.name.replace(".tmp-", ".tmp-0"))
        running = left.with_name(temporary.name.replace(mine, f"-{os.getppid()}."))
    kept = [other_file, other_machine, running]
    for path in (left, *kept):
        path.write_text("half")
    write_text(final, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([final, *kept])


def test_parts_folder_is_removed_also_where_a_killed_run_left_it(tmp_path, ended):
    final = tmp_path / "cuts.h5"
    with pytest.raises(KeyboardInterrupt), parts_folder(final) as folder:
        (folder / "chr1.0").write_text("part")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    left = folder.with_name(folder.name.replace(f"-{os.getpid()}", f"-{ended}"))
    left.mkdir()
    (left / "chr1.0").write_text("part")
    with parts_folder(final):
        assert list(tmp_path.iterdir()) == [folder]


def test_a_file_beyond_the_limit_of_the_shell_is_named(tmp_path):
    final = tmp_path / "out.txt"
    with (
        pytest.raises(OSError, match=r"out\.txt would be larger than .*ulimit -f"),
        atomic_path(final) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.EFBIG, "File too large")
    assert list(tmp_path.iterdir()) == []


def test_write_text_of_a_name_that_is_no_utf8(tmp_path):
    write_text(tmp_path / "page", os.fsdecode(b"lat\xfcn \xc3\xbc"))
    assert (tmp_path / "page").read_text(encoding="utf-8") == "lat\\udcfcn ü"
