import numpy as np
import pytest
import torch
from denoiseq.errors import UserError
from denoiseq.models.checkpoint import load_checkpoint, save_checkpoint


def test_what_is_saved_comes_back(tmp_path):
    payload = {
        "state_dict": {"w": torch.arange(3.0)},
        "epoch": 3,
        "best": None,
        "history": [{"epoch": 1, "train_loss": float("nan")}],
        "config": {"data": {"test": ["chr1"]}},
    }
    save_checkpoint(tmp_path / "a" / "last.pt", payload)
    got = load_checkpoint(tmp_path / "a" / "last.pt")
    assert torch.equal(got["state_dict"]["w"], payload["state_dict"]["w"])
    assert got["config"] == payload["config"]
    assert (got["format"], got["version"], got["best"]) == ("denoiseq-checkpoint", 3, None)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["last.pt"]


def test_a_failed_save_leaves_the_old_one(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"epoch": 2, "open_file": (i for i in range(3))})
    assert load_checkpoint(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def text(path):
    path.write_text("chr1\t0\t10\n")


def empty(path):
    path.touch()


def foreign(path):
    torch.save({"state_dict": {}}, path)


def tensor(path):
    torch.save(torch.ones(3), path)


def code(path):
    torch.save({"format": "denoiseq-checkpoint", "version": 1, "x": Evil()}, path)


def truncated(path):
    save_checkpoint(path, {"state_dict": {"w": torch.ones(10_000)}})
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("make", [text, empty, foreign, tensor, code, truncated])
def test_anything_else_is_a_sentence(tmp_path, make):
    path = tmp_path / "x.pt"
    make(path)
    with pytest.raises(ValueError, match=rf"{path} is not a denoiseq checkpoint"):
        load_checkpoint(path)


def test_another_version_is_a_sentence(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"format": "denoiseq-checkpoint", "version": 99}, path)
    with pytest.raises(ValueError, match="version 99"):
        load_checkpoint(path)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_the_bytes_of_any_file_are_a_sentence(tmp_path, seed):
    """Random bytes, whose unpickling fails in many ways (IndexError, struct.error, …)."""
    path = tmp_path / "x.pt"
    path.write_bytes(np.random.default_rng(seed).bytes(500))
    with pytest.raises(UserError, match="is not a denoiseq checkpoint, or is damaged"):
        load_checkpoint(path)
