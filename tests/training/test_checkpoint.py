"""Checkpoints: all of a run's state comes back, and a crash while writing leaves the old one or the new."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save, save_file
from torch import nn

from haarmony.nets import FusionNet, NetConfig
from haarmony.training import checkpoint
from haarmony.training.checkpoint import State


def trained(seed, features=3):
    """A network, another in place of its average, and an optimiser that has made a step."""
    torch.manual_seed(seed)
    model, average = nn.Linear(features, 2), nn.Linear(features, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, features)).sum().backward()
    optimiser.step()
    return model, average, optimiser


def test_everything_comes_back(tmp_path):
    before, after = trained(0), trained(1)
    state = State(step=7, best_step=5, best_score=1.5, seconds=2.25)
    checkpoint.save(tmp_path / "c", *before, state)
    assert checkpoint.load(tmp_path / "c", *after) == state
    for old, new in zip(before[:2], after[:2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    for a, b in zip(
        before[2].state_dict()["state"].values(), after[2].state_dict()["state"].values(), strict=True
    ):
        assert a.keys() == b.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_another_network_is_refused(tmp_path):
    checkpoint.save(tmp_path / "c", *trained(0), State())
    with pytest.raises(ValueError, match="c: not a checkpoint of this recipe"):
        checkpoint.load(tmp_path / "c", *trained(0, features=4))


@pytest.mark.parametrize("state", ["{", "[]", '{"step": "x"}', '{"step": -1}', '{"pace": 1}'])
def test_a_damaged_state_is_refused(tmp_path, state):
    checkpoint.save(tmp_path / "c", *trained(0), State())
    (tmp_path / "c/state.json").write_text(state)
    with pytest.raises(ValueError, match="c: not a checkpoint of this recipe"):
        checkpoint.load(tmp_path / "c", *trained(0))


def test_what_is_wrong_with_the_state_is_said(tmp_path):
    checkpoint.save(tmp_path / "c", *trained(0), State(step=3))
    (tmp_path / "c/state.json").write_text('{"step": -1}')
    with pytest.raises(ValueError, match=r"\(state\.json: step: Input should be greater than or equal to 0"):
        checkpoint.load(tmp_path / "c", *trained(0))


def test_a_crash_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c", *trained(0), State(step=1))

    def crash(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path / "c", *trained(1), State(step=2))
    assert checkpoint.load(tmp_path / "c", *trained(2)).step == 1
    checkpoint.save(tmp_path / "c", *trained(1), State(step=2))
    assert checkpoint.load(tmp_path / "c", *trained(2)).step == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_a_full_disk_is_an_os_error_and_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c", *trained(0), State(step=1))

    def full(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"c: cannot be written \(I/O error: No space left"):
        checkpoint.save(tmp_path / "c", *trained(1), State(step=2))
    assert checkpoint.load(tmp_path / "c", *trained(2)).step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


@pytest.mark.parametrize(
    "moments",
    [
        {},
        {"0.step": torch.tensor(1.0), "0.exp_avg": torch.zeros(7)},
        {"0.step": torch.tensor(1.0), "0.exp_avg": torch.zeros(2, 3)},  # else a KeyError in the next step
    ],
)
def test_moments_of_another_network_are_refused(tmp_path, moments):
    checkpoint.save(tmp_path / "c", *trained(0), State())
    save_file(moments, tmp_path / "c" / "optimiser.safetensors")
    with pytest.raises(ValueError, match="c: not a checkpoint of this recipe"):
        checkpoint.load(tmp_path / "c", *trained(0))


def test_a_new_folder_leaves_what_is_called_old(tmp_path):
    (tmp_path / "c.old").mkdir()
    with checkpoint.replacing_folder(tmp_path / "c") as part:
        (part / "new").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["c", "c.old", "new"]


@pytest.mark.parametrize("name", ["c", "c.part", "c.old.part"])
def test_folders_of_other_files_are_neither_removed_nor_replaced(tmp_path, name):
    checkpoint.save(tmp_path / "c", *trained(0), State(step=1))
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"not Haarmony's"):
        checkpoint.recover(tmp_path / "c")
    with pytest.raises(FileExistsError, match=r"not Haarmony's"):
        checkpoint.save(tmp_path / "c", *trained(1), State(step=2))
    assert (tmp_path / name / "notes.txt").read_text() == "mine"
    assert checkpoint.load(tmp_path / "c", *trained(2)).step == 1


def test_what_appears_where_a_model_is_exported_stays(tmp_path):
    def write() -> None:
        with checkpoint.replacing_folder(tmp_path / "c", overwrite=False):
            (tmp_path / "c").mkdir()
            (tmp_path / "c" / "mine").touch()

    with pytest.raises(FileExistsError, match="c: exists already"):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["c", "mine"]


def fail(folder):
    with checkpoint.replacing_folder(folder):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_write_that_fails_names_the_folder(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught:
        fail(tmp_path / "c")
    assert (caught.value.filename, list(tmp_path.iterdir())) == (str(tmp_path / "c"), [])


def test_damaged_best_weights_are_named(tmp_path):
    net = FusionNet(NetConfig(width=8, heads=2, condition_channels=8, step_width=8))
    with pytest.raises(FileNotFoundError):
        checkpoint.load_best(tmp_path, net)
    for content in (b"", b"junk" * 10, save(checkpoint.tensors(nn.Linear(2, 2)))):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.safetensors: not the recipe's network"):
            checkpoint.load_best(tmp_path, net)


def test_a_crash_between_the_renames_is_undone(tmp_path):
    checkpoint.save(tmp_path / "c", *trained(0), State(step=1))
    (tmp_path / "c").rename(tmp_path / "c.old.part")
    checkpoint.recover(tmp_path / "c")
    assert checkpoint.load(tmp_path / "c", *trained(1)).step == 1
    (tmp_path / "c.old.part").mkdir()
    checkpoint.recover(tmp_path / "c")  # a new one is there: the old is not wanted
    assert checkpoint.load(tmp_path / "c", *trained(1)).step == 1
