"""The task generation: its data, its loss by hand, resume bit for bit, what a run and an export leave."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from haarmony import settings
from haarmony.codec import Haar
from haarmony.diffusion.config import DiffusionConfig
from haarmony.io import write
from haarmony.nets import UNet, UNetConfig
from haarmony.training import train
from haarmony.training.generation import Generation, GenerationRecipe, Simple, load
from haarmony.training.tasks import load_recipe
from haarmony.weights import load_generation

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.utils.tensorboard.*:DeprecationWarning", "ignore:.*distutils.*:DeprecationWarning"
)


@pytest.fixture
def recipe(generation_recipe):
    return load_recipe(generation_recipe)


def bytes_of(run):
    names = ("model", "average", "optimiser")
    return [(run / "checkpoint" / f"{name}.safetensors").read_bytes() for name in names]


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(generation, tmp_path):
    unbroken = train(generation.recipe, out=tmp_path / "unbroken", report=lambda line: None)
    run = train(generation.recipe, out=tmp_path / "run", max_time=1e-6, report=lambda line: None)
    assert bytes_of(run) != bytes_of(unbroken)
    train(generation.recipe, out=run, resume=True, report=lambda line: None)
    assert bytes_of(run) == bytes_of(unbroken)


def test_what_a_run_and_an_export_leave(generation, recipe):
    assert load_recipe(generation.run / "recipe.toml") == recipe
    scores = json.loads((generation.run / "best" / "scores.json").read_text())
    assert set(scores["validation"]) == {"loss", "SWD"}
    card = load_generation(generation.model)
    assert (card.kind, card.name, card.shape) == ("generation", "discs", (1, 32, 32))
    assert card.diffusion == recipe.diffusion
    assert card.scores == scores
    assert UNetConfig.model_validate(card.net) == recipe.net
    assert sorted(card.sha256) == ["model.safetensors", "unet.onnx"]
    stored = load_file(generation.model / "model.safetensors")
    learnt = [name for name, _ in UNet(recipe.net).named_parameters()]
    assert card.parameters == sum(stored[name].numel() for name in learnt)
    assert b".py" not in (generation.model / "unet.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["eps", "x_0", "v"])
def test_the_loss_by_hand(kind):
    """An untrained network predicts zero: the loss is the mean square of its target."""
    config = DiffusionConfig(prediction=kind, zero_terminal_snr=False)
    net = UNet(UNetConfig(width=8, multipliers=(1, 2), heads=2))
    rng = np.random.default_rng(0)
    x, eps = rng.random((2, 1, 32, 32)), rng.standard_normal((2, 16, 8, 8))
    t = np.array([10, 900])
    a = config.make_schedule().alpha_bar[t][:, None, None, None]
    x_0 = Haar().encode(2 * x - 1)
    target = {"eps": eps, "x_0": x_0, "v": np.sqrt(a) * eps - np.sqrt(1 - a) * x_0}[kind]
    tensors = (torch.from_numpy(array).float() for array in (x, eps))
    x, eps = tensors
    loss = Simple(net, config)(x, torch.from_numpy(t), eps)["loss"]
    assert loss.item() == pytest.approx((target**2).mean(), rel=1e-5)


def test_inputs_are_pictures_of_the_split_and_steps_that_spread(recipe, tmp_path):
    batch = recipe.optimiser.model_copy(update={"batch": 20})
    task = Generation(recipe.model_copy(update={"optimiser": batch}), tmp_path)
    x, t, eps = task.inputs(3, 0, torch.device("cpu"))
    known = {np.ascontiguousarray(p).tobytes() for one, _ in task.training for p in (one, np.flip(one, 2))}
    seen = {picture.numpy().tobytes() for picture in x}
    assert len(known) == 10
    assert seen <= known
    assert len(seen) > 5
    counts = np.histogram(t, bins=20, range=(0.5, 1000.5))[0]
    assert counts.min() >= 0
    assert counts.max() <= 2
    assert 1 <= t.min() < 60
    assert 940 < t.max() <= 1000
    assert eps.shape == (20, 16, 8, 8)
    for other in (task.inputs(3, 0, torch.device("cpu")), task.inputs(3, 1, torch.device("cpu"))):
        same = [torch.equal(p, q) for p, q in zip((x, t, eps), other, strict=True)]
        assert same in ([True] * 3, [False] * 3)
    assert not torch.equal(task.inputs(3, 1, torch.device("cpu"))[2], eps)


def test_a_network_that_is_no_number_has_diverged(recipe, tmp_path):
    task = Generation(recipe, tmp_path)
    with torch.no_grad():
        next(task.net.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="training diverged, the network's picture of noise is not finite"):
        task.validate(task.net)


def test_the_network_is_preconditioned_by_the_training_pictures(recipe, tmp_path):
    task = Generation(recipe, tmp_path)
    z = Haar().encode(2 * np.stack([x for x, _ in task.training]) - 1)
    mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
    untrained = task.net(torch.zeros(1, 16, 8, 8), torch.tensor([1000]))[0, :, 0, 0]
    np.testing.assert_allclose(untrained.detach(), -mean, atol=1e-4)  # v at T, where only the mean is known
    np.testing.assert_allclose(task.net.scale[1000].numpy(), -std, rtol=1e-4, atol=1e-4)


def test_pictures_are_reduced_by_means(recipe, tmp_path):
    root = tmp_path / "data"
    (root / "discs").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (65, 66), dtype=np.uint8)
    write(root / "discs" / "a.png", pixels)
    (root / "splits.json").write_text('{"discs": {"train": ["a"], "val": ["a"]}}')
    data = recipe.data.model_copy(update={"root": str(root)})
    (picture,) = load(recipe.model_copy(update={"data": data}), data.sets[0], "train")
    assert picture.shape == (1, 32, 33)
    expected = pixels[:64].reshape(32, 2, 33, 2).mean((1, 3)) / 255
    np.testing.assert_allclose(picture[0], expected, rtol=1e-5)


def joined(recipe, root):
    """Colour and grey folders as one set of four channels."""
    rng = np.random.default_rng(0)
    for folder, shape in (("colour", (64, 64, 3)), ("grey", (64, 64))):
        (root / folder).mkdir(parents=True)
        for stem in "ab":
            write(root / folder / f"{stem}.png", rng.integers(0, 256, shape, dtype=np.uint8))
    (root / "splits.json").write_text('{"both": {"train": ["a"], "val": ["a", "b"]}}')
    one = recipe.data.sets[0].model_copy(update={"folders": ("colour", "grey"), "split": "both"})
    data = recipe.data.model_copy(update={"root": str(root), "sets": (one,)})
    net = recipe.net.model_copy(update={"latent_channels": 64})
    return recipe.model_copy(update={"data": data, "net": net})


def test_channels_of_several_folders_are_joined(recipe, tmp_path):
    four = joined(recipe, tmp_path / "data")
    assert four.shape == (4, 32, 32)
    task = Generation(four, tmp_path)
    x, t, eps = task.inputs(0, 0, torch.device("cpu"))
    assert x.shape == (2, 4, 32, 32)
    assert task.module(x, t, eps)["loss"].item() > 0.1
    scores, total, sheet = task.validate(task.net)
    assert total == -scores["validation"]["loss"]
    assert sheet.shape == (128, 128, 3)  # the colours alone


def test_pictures_that_do_not_fit_are_named(recipe, tmp_path):
    root = tmp_path / "data"
    four = joined(recipe, root)
    one = four.data.sets[0]
    grey = four.data.sets[0].model_copy(update={"folders": ("grey",)})
    with pytest.raises(ValueError, match=r"a\.png: 1 channels, but net\.latent_channels is for 4"):
        load(four, grey, "train")
    write(root / "grey" / "a.png", np.zeros((64, 60), np.uint8))
    with pytest.raises(ValueError, match="its size is not that of"):
        load(four, one, "train")
    write(root / "grey" / "a.png", np.zeros((50, 64), np.uint8))
    with pytest.raises(ValueError, match=r"32×25 pixels after reduction, less than data\.crop = 32"):
        load(four, grey, "train")
    (root / "splits.json").write_text('{"both": {"train": ["b"], "val": ["b"]}}')
    with pytest.raises(ValueError, match="at least 2 validation pictures must be scored, got 1"):
        Generation(four, tmp_path).load_validation()
    shutil.rmtree(root / "grey")
    (root / "grey").mkdir()
    with pytest.raises(ValueError, match=r"'both': no picture b in .*grey"):
        load(four, one, "train")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            'task = "generation"',
            'task = "painting"',
            "unknown task 'painting': choose one of fusion, dif-fusion, generation",
        ),
        ("crop = 32", "crop = 36", "data.crop = 36 is no multiple of 8"),
        ("width = 8", "width = 8\nlatent_channels = 24", "latent_channels = 24 is no multiple of the 16"),
        ("width = 8", "width = 8\ntimesteps = 500", "timesteps = 500, but diffusion.timesteps = 1000"),
        ("flip = true", "flip = true, scored = false", "data.sets: none is scored"),
        ("sets = [", 'sets = [{ name = "discs", folders = ["b"], split = "discs" }, ', "two sets are called"),
        ("flip = true", "swap = 0.5", "data.sets.0.swap: Extra inputs are not permitted"),
        ('prediction = "v"', 'prediction = "eps"', "diffusion: zero_terminal_snr leaves no signal"),
        ("heads = 2", "heads = 3", "net: heads = 3 does not divide"),
    ],
)
def test_what_does_not_fit_is_named(generation_recipe, tmp_path, old, new, problem):
    text = generation_recipe.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"recipe\.toml: ") as caught:
        load_recipe(path)
    assert problem in str(caught.value)


def test_the_shipped_recipe_loads_and_survives_a_round_trip(tmp_path, pytestconfig):
    recipe = load_recipe(pytestconfig.rootpath / "recipes" / "ddpm-mri.toml")
    assert (recipe.name, recipe.shape) == ("ddpm-mri", (1, 128, 128))
    settings.dump(tmp_path / "resolved.toml", recipe)
    assert settings.load(tmp_path / "resolved.toml", GenerationRecipe) == recipe
