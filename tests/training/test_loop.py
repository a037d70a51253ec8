"""A whole run: resume bit for bit, refusal to overwrite, several processes, frozen losses, export."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from haarmony import Fuser, settings
from haarmony.engine_torch import TorchEngine
from haarmony.training import fusion, loop, train, validation
from haarmony.training.data import find_targets
from haarmony.training.export import export
from haarmony.training.recipe import Recipe
from haarmony.weights import load_card

LOSSES = [-4.4752, -4.4571, -4.4034, -4.4949, -4.3217, -4.0759]  # at steps 1, 5, …, 17 and 20

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.utils.tensorboard.*:DeprecationWarning", "ignore:.*distutils.*:DeprecationWarning"
)


def whole(recipe_path, run, *, report=lambda line: None):
    return train(recipe_path, out=run, report=report)


def one_step(recipe_path, run, *, report=lambda line: None):
    """A run that stopped after its first step, its targets found before."""
    recipe = settings.load(recipe_path, Recipe)
    find_targets(recipe.data, recipe.prior, run / "prior", report=lambda line: None)
    return train(recipe_path, out=run, max_time=1e-6, report=report)


def bytes_of(run):
    names = ("model", "average", "optimiser")
    return [(run / "checkpoint" / f"{name}.safetensors").read_bytes() for name in names]


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(recipe_path, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(recipe_path, out=unbroken, report=lambda line: None)
    lines = []
    one_step(recipe_path, broken, report=lines.append)
    assert any("stopped after" in line and "at step 1" in line for line in lines)
    assert bytes_of(broken) != bytes_of(unbroken)
    train(recipe_path, out=broken, resume=True, report=lambda line: None)
    assert bytes_of(broken) == bytes_of(unbroken)
    assert json.loads((broken / "checkpoint" / "state.json").read_text())["step"] == 4


def test_run_directory_holds_what_rebuilds_the_model(recipe_path, tmp_path):
    lines = []
    run = train(recipe_path, out=tmp_path / "run", report=lines.append)
    assert settings.load(run / "recipe.toml", Recipe) == settings.load(recipe_path, Recipe)
    assert set(json.loads((run / "best" / "scores.json").read_text())["uptake"]) == {
        "MI", "SCD", "VIF", "Qabf", "SSIM", "function",
    }  # fmt: skip
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={IMAGES: 0}).Reload()
    assert {"validation/score", "grey/VIF", "uptake/function"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("validation/score")] == [2, 4]
    (_, picture) = events.Images("validation/a, b, fused")
    assert (picture.step, picture.width, picture.height) == (4, 3 * 64, 2 * 64)
    assert any(line.startswith("peak memory") for line in lines)
    weights = load_file(run / "best" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_time_that_is_up_in_the_search_stops_there_and_the_same_command_goes_on(recipe_path, tmp_path):
    run, lines = tmp_path / "run", []
    assert train(recipe_path, out=run, max_time=1e-6, report=lines.append) == run
    assert lines[-1].endswith("in the search for targets; the same command goes on")
    assert not (run / "checkpoint").exists()
    while not (run / "checkpoint").exists():
        train(recipe_path, out=run, max_time=1e-6, report=lines.append)
        assert len(lines) < 50
    assert any("stopped after" in line and "at step 1" in line for line in lines)


def test_an_existing_run_is_neither_overwritten_nor_resumed_with_another_recipe(recipe_path, tmp_path):
    run = one_step(recipe_path, tmp_path / "run")
    before = bytes_of(run)
    with pytest.raises(ValueError, match="holds a run already"):
        train(recipe_path, out=run)
    recipe_path.write_text(recipe_path.read_text().replace("batch = 2", "batch = 3"))
    with pytest.raises(ValueError, match="differs from the recipe"):
        train(recipe_path, out=run, resume=True)
    with pytest.raises(ValueError, match="no checkpoint to resume from; leave out --resume"):
        train(recipe_path, out=tmp_path / "elsewhere", resume=True)
    assert bytes_of(run) == before


def test_a_bad_validation_picture_shows_before_the_search(recipe_path, data, tmp_path):
    """All of the split: what `pairs` leaves out is scored at the end of a run, after hours."""
    (data / "splits.json").write_text('{"grey": {"train": ["0"], "val": ["1", "2", "3"]}}')
    path = data / "colour" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"colour/2\.png: is damaged"):
        train(recipe_path, out=tmp_path / "run", report=lambda line: None)
    assert not (tmp_path / "run" / "prior").exists()


def test_a_damaged_checkpoint_is_one_clear_line(recipe_path, tmp_path):
    run = one_step(recipe_path, tmp_path / "run")
    path = run / "checkpoint" / "average.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a checkpoint of this recipe"):
        train(recipe_path, out=run, resume=True, report=lambda line: None)


def test_twenty_steps_lose_what_they_lost_before(recipe_path, tmp_path, monkeypatch):
    """A refactoring changes no loss; what means to change them changes these numbers too."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe_path.write_text(
        recipe_path.read_text().replace("steps = 4", "steps = 20").replace("every = 2", "every = 20")
    )
    lines = []
    train(recipe_path, out=tmp_path / "run", report=lines.append)
    losses = [float(line.split()[3]) for line in lines if line.startswith("step ")]
    assert len(losses) == 20
    assert losses[::4] + losses[-1:] == pytest.approx(LOSSES, rel=2e-3)


def test_the_average_is_exponential(recipe_path, tmp_path):
    """After the second step it is ema · θ_1 + (1 − ema) · θ_2."""
    text = recipe_path.read_text().replace("steps = 4", "steps = 2").replace("warmup = 2", "ema = 0.75")
    recipe_path.write_text(text)
    run = one_step(recipe_path, tmp_path / "run")
    first = load_file(run / "checkpoint" / "model.safetensors")
    train(recipe_path, out=run, resume=True, report=lambda line: None)
    second, average = (load_file(run / "checkpoint" / f"{name}.safetensors") for name in ("model", "average"))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for name in first:
        torch.testing.assert_close(average[f"module.{name}"], 0.75 * first[name] + 0.25 * second[name])


def test_the_best_validation_is_kept_not_the_last(recipe_path, tmp_path, monkeypatch):
    totals = iter([2.0, 1.0])
    monkeypatch.setattr(validation, "total", lambda scores, maximum: next(totals))
    run = train(recipe_path, out=tmp_path / "run", report=lambda line: None)
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    assert (state["step"], state["best_step"], state["best_score"]) == (4, 2, 2.0)
    best = load_file(run / "best" / "model.safetensors")
    last = load_file(run / "checkpoint" / "average.safetensors")
    assert any(not torch.equal(best[name], last[f"module.{name}"]) for name in best)


def test_each_phase_has_a_best_of_its_own(recipe_path, tmp_path, monkeypatch):
    text = recipe_path.read_text(encoding="utf-8").replace("every = 2", "every = 1")
    recipe_path.write_text(text + "\n[[phases]]\nfrom_step = 2\nloss = { target = 2.0 }\n", encoding="utf-8")
    totals = iter([3.0, 2.0, 1.0, 0.5])
    monkeypatch.setattr(validation, "total", lambda scores, maximum: next(totals))
    run = train(recipe_path, out=tmp_path / "run", report=lambda line: None)
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    assert (state["best_step"], state["best_score"]) == (3, 1.0)


def test_a_stop_does_not_change_which_validation_is_kept(recipe_path, tmp_path, monkeypatch):
    totals = {"unbroken": iter([1.0, 2.0]), "broken": iter([9.0, 1.0, 2.0])}
    for name, each in totals.items():
        monkeypatch.setattr(validation, "total", lambda scores, maximum, each=each: next(each))
        run, begin = tmp_path / name, one_step if name == "broken" else whole
        begin(recipe_path, run)
        assert (run / "best" / "model.safetensors").is_file()  # exports, whenever it stopped
    train(recipe_path, out=tmp_path / "broken", resume=True, report=lambda line: None)
    unbroken, broken = (tmp_path / name / "best" / "model.safetensors" for name in totals)
    assert broken.read_bytes() == unbroken.read_bytes()


@pytest.mark.parametrize("begin", [one_step, whole], ids=["on the way", "at the end"])
def test_a_best_that_was_lost_is_made_anew(recipe_path, tmp_path, begin):
    run = begin(recipe_path, tmp_path / "run")
    shutil.rmtree(run / "best")
    state = run / "checkpoint" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "best_step": 2, "best_score": 99.0}))
    lines = []
    train(recipe_path, out=run, resume=True, report=lines.append)
    assert any(line.startswith("best: step 4;") for line in lines)
    best = load_file(run / "best" / "model.safetensors")
    last = load_file(run / "checkpoint" / "average.safetensors")
    assert all(torch.equal(best[name], last[f"module.{name}"]) for name in best)


def test_a_run_that_diverges_says_so_and_keeps_its_checkpoint(recipe_path, tmp_path):
    run = one_step(recipe_path, tmp_path / "run")
    for path in (recipe_path, run / "recipe.toml"):
        path.write_text(re.sub(r"learning_rate = \S+", "learning_rate = 1e30", path.read_text()))
    before = bytes_of(run)
    with pytest.raises(ValueError, match=r"training diverged.* grey 3 is not finite"):
        train(recipe_path, out=run, resume=True, report=lambda line: None)
    assert bytes_of(run) == before


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_that_fills_the_disk_is_named(recipe_path, tmp_path):
    run = tmp_path / "run"

    def fill(line):
        if line.startswith("validation 2 score"):
            (path,) = (run / "tensorboard").iterdir()
            (run / "full").symlink_to("/dev/full")
            (run / "full").replace(path)  # at once: the log's thread makes a file anew that is gone

    with pytest.raises(OSError, match="No space left on device") as caught:
        train(recipe_path, out=run, report=fill)
    assert caught.value.filename == str(run / "tensorboard")
    assert json.loads((run / "checkpoint" / "state.json").read_text())["step"] >= 2


def test_a_network_that_no_memory_holds_is_no_mistake_of_the_program(recipe_path, tmp_path, monkeypatch):
    monkeypatch.setattr(fusion, "FusionNet", lambda config: torch.empty(2**48))  # 1 PB, which torch refuses
    with pytest.raises(MemoryError):
        train(recipe_path, out=tmp_path / "run", report=lambda line: None)


def test_two_processes_train_one_model(recipe_path, tmp_path):
    """The documented launch line; each process draws its own batches, so the model is another one."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "haarmony",
        "train",
    ]
    run = tmp_path / "two"
    done = subprocess.run(
        [*command, str(recipe_path), "--out", str(run)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((run / "checkpoint" / "state.json").read_text())["step"] == 4
    assert done.stdout.count("peak memory") == 1
    one = train(recipe_path, out=tmp_path / "one", report=lambda line: None)
    assert bytes_of(run) != bytes_of(one)


def test_exported_graphs_agree_with_torch_at_any_size(recipe_path, tmp_path):
    model = tmp_path / "model"
    for folder in ("model", "model.old"):  # an empty one in its place, an earlier one beside it
        (tmp_path / folder).mkdir()
    export(train(recipe_path, out=tmp_path / "run", report=lambda line: None), model)
    assert (tmp_path / "model.old").exists()
    card = load_card(model)
    fuser, torch_fuser = Fuser(model), Fuser(model, engine="torch")
    assert isinstance(torch_fuser._engine, TorchEngine)
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (16, 16), (37, 90)):
        a, b = rng.random((2, *shape))
        np.testing.assert_allclose(fuser(a, b), torch_fuser(a, b), atol=1e-3)
        np.testing.assert_array_equal(fuser(a, b), fuser(a, b))
    assert card.name == "tiny"
    assert card.parameters == sum(value.numel() for value in load_file(model / "model.safetensors").values())
    assert card.scores["grey"]["VIF"] > 0
    assert sorted(card.sha256) == ["denoiser.onnx", "encoder.onnx", "model.safetensors", "refiner.onnx"]

    for path in model.glob("*.onnx"):
        assert b".py" not in path.read_bytes(), f"{path.name} holds a traceback, with this machine's paths"

    for name in ("refiner.onnx", "model.safetensors"):
        content = bytearray((model / name).read_bytes())
        content[len(content) // 2] ^= 1
        (model / name).write_bytes(bytes(content))
        with pytest.raises(ValueError, match=f"{name}: sha256 differs"):
            Fuser(model, engine="torch" if name.endswith("safetensors") else "onnx")


def test_diff_ifs_net_trains_and_fuses_through_the_same_code(recipe_path, tmp_path):
    text = recipe_path.read_text(encoding="utf-8")
    text = text.replace("[net]", "[net]\nlatent_channels = 1\nencoder = false\nunet = UNET\n")
    text = text.replace("UNET", "{ latent_channels = 1, width = 4, multipliers = [1, 2], heads = 1 }")
    text = text.replace(
        "[loss]",
        '[diffusion]\ncodec = "identity"\nschedule = "linear"\nzero_terminal_snr = false\nprediction = "eps"'
        "\nsteps = 4\neta = 1.0\nmargin = 1.0\n\n[loss]",
    )
    recipe_path.write_text(text, encoding="utf-8")
    model = tmp_path / "diff-if"
    card = export(train(recipe_path, out=tmp_path / "run", report=lambda line: None), model)
    assert card.net["unet"]["width"] == 4
    a, b = np.random.default_rng(1).random((2, 37, 150))
    fuser = Fuser(model)
    fused = fuser(a, b)
    np.testing.assert_allclose(fused, Fuser(model, engine="torch")(a, b), atol=1e-3)
    assert fused.std() > 0
    z = np.random.default_rng(2).standard_normal((1, 1, 40, 152)).astype(np.float32)
    condition = fuser._engine.encode(z, -z, np.abs(z))
    np.testing.assert_array_equal(condition, np.concatenate([z, -z], axis=1))
    inputs = {"z": z, "condition": condition, "t": np.array([7])}
    np.testing.assert_array_equal(
        fuser._engine.denoise(z, condition, np.array([7])), fuser._engine._denoiser.run(None, inputs)[0]
    )


def test_export_refuses_what_is_no_run_and_what_exists(tmp_path):
    with pytest.raises(ValueError, match="no trained model here"):
        export(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for out in (tmp_path / "model", tmp_path / "model" / "notes.txt", tmp_path / "link"):
        with pytest.raises(ValueError, match=f"{out.name}: exists already"):
            export(tmp_path, out)


@pytest.mark.parametrize("scores", ["{", "[1]", '{"grey": {"VIF": "high"}}', 100_000 * "["])
def test_scores_that_are_none_are_named(recipe_path, tmp_path, scores):
    run = one_step(recipe_path, tmp_path / "run")
    (run / "best" / "scores.json").write_text(scores)
    with pytest.raises(ValueError, match=r"scores\.json: no table of scores") as caught:
        export(run, tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_bf16_trains_the_same_run_to_within_its_precision(recipe_path, tmp_path):
    exact = train(recipe_path, out=tmp_path / "exact", report=lambda line: None)
    recipe_path.write_text(recipe_path.read_text().replace("batch = 2", 'batch = 2\nprecision = "bf16"'))
    half = train(recipe_path, out=tmp_path / "half", report=lambda line: None)
    exact, half = (load_file(run / "checkpoint" / "model.safetensors") for run in (exact, half))
    assert all(value.dtype == torch.float32 for value in half.values())
    moved = max(float((exact[name] - half[name]).abs().max()) for name in exact)
    # Four steps of at most 1e-3 each: signs of near-zero gradients may differ, nothing else.
    assert 0 < moved < 8e-3


def test_nothing_of_anothers_is_removed(recipe_path, tmp_path):
    """Neither a run called autoencoder in a folder of runs, nor the best network of another recipe."""
    run = tmp_path / "runs"
    (run / "autoencoder" / "best").mkdir(parents=True)
    (run / "autoencoder" / "best" / "model.safetensors").write_bytes(b"weights")
    one_step(recipe_path, run)
    assert (run / "autoencoder" / "best" / "model.safetensors").read_bytes() == b"weights"
    other = tmp_path / "other"
    (other / "best").mkdir(parents=True)
    text = recipe_path.read_text(encoding="utf-8")
    (other / "best" / "recipe.toml").write_text(
        text.replace('name = "tiny"', 'name = "theirs"'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="best: is of another recipe; name another folder with --out"):
        train(recipe_path, out=other, report=lambda line: None)
    assert [path.name for path in other.iterdir()] == ["best"]
