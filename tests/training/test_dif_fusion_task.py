"""The task dif-fusion: its losses by hand, what is frozen, resume bit for bit, what a run leaves."""

import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from haarmony import settings
from haarmony.codec import Haar, decode_channels, encode_channels
from haarmony.diffusion.process import Process
from haarmony.nets import DifFusionConfig, UNet
from haarmony.nets.unet import TABLES
from haarmony.training import train
from haarmony.training.dif_fusion import (
    WEIGHTS,
    ByFeatures,
    DifFusion,
    DifFusionLoss,
    DifFusionRecipe,
    build,
    colour,
    gradient,
    intensity,
    load_denoiser,
    of_channels,
    of_luma,
)
from haarmony.training.tasks import load_recipe
from haarmony.weights import DifFusionCard, GenerationCard, load_card

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.utils.tensorboard.*:DeprecationWarning", "ignore:.*distutils.*:DeprecationWarning"
)


@pytest.fixture
def recipe(dif_fusion):
    return load_recipe(dif_fusion.recipe)


def flat(*channels, size=(4, 6)):
    """Flat pictures (1, C, 4, 6)."""
    return torch.tensor(channels)[None, :, None, None].expand(1, len(channels), *size)


def test_intensity_by_hand():
    v, i = flat(0.2, 0.5, 0.9), flat(0.6)
    target = of_channels(v, i, 0.0)
    assert torch.equal(target, flat(0.6, 0.6, 0.9))
    assert intensity(v, target).item() == pytest.approx((0.4 + 0.1 + 0) / 3)
    assert intensity(flat(1.0, 0.3, 0.6), target).item() == pytest.approx((0.4 + 0.3 + 0.3) / 3)
    torch.testing.assert_close(of_channels(v, i, 0.25), flat(0.5, 0.575, 0.9))


def test_a_lifted_luma_keeps_the_chroma():
    v, i = flat(0.2, 0.5, 0.1), flat(0.6)  # the luma of v is 0.3647
    torch.testing.assert_close(of_luma(v, i, 0.0), v + 0.2353)
    torch.testing.assert_close(of_luma(v, i, 0.5), v + 0.2353 / 2)
    assert colour(of_luma(v, i, 0.5), v).item() == pytest.approx(0, abs=1e-7)
    assert torch.equal(of_luma(v, flat(0.3), 0.0), v)
    torch.testing.assert_close(of_luma(flat(0.2, 0.5, 0.9), flat(1.0), 0.0), flat(0.7441, 1.0, 1.0))


def test_gradient_by_hand():
    """A step of height s between two columns has a Sobel response of s in both: each half sums to 1."""
    v, i, f = flat(0.1, 0.2, 0.3).clone(), flat(0.4).clone(), flat(0.5, 0.5, 0.5).clone()
    v[:, 0, :, 3:] += 0.3  # red steps
    assert gradient(v, v, i).item() == pytest.approx(0, abs=1e-7)
    assert gradient(f, v, i).item() == pytest.approx(0.3 * 2 / 6 / 3)
    i[:, :, :, 1:] -= 0.2  # and infrared, elsewhere: every channel wants both
    assert gradient(f, v, i).item() == pytest.approx((0.3 * 2 / 6 + 3 * 0.2 * 2 / 6) / 3)
    f[:, :, :, 1:] += 0.2  # whichever way it goes
    assert gradient(f, v, i).item() == pytest.approx(0.3 * 2 / 6 / 3)
    i[:, :, 2:] += 0.1  # a row's step adds to a column's
    f = i.expand(1, 3, 4, 6)
    assert gradient(f, v.mean((2, 3), keepdim=True).expand_as(v), i).item() == pytest.approx(0, abs=1e-7)


def test_colour_by_hand():
    v = flat(1.0, 0.0, 0.0)
    assert colour(v * 0.5 + 0.2, v * 0.5).item() == pytest.approx(0, abs=1e-7)
    assert colour(flat(0.3, 0.3, 0.3), v).item() == pytest.approx((0.701 + 2 * 0.299) / 3)


@pytest.mark.parametrize(("of", "lifted"), [("channels", of_channels), ("luma", of_luma)])
def test_the_loss_is_of_what_the_network_makes_of_the_noised_pair(recipe, of, lifted):
    net = build(recipe)
    weights = DifFusionLoss(intensity=2.0, intensity_of=of, visible=0.5, gradient=3.0, colour=0.5)
    module = ByFeatures(net, recipe.diffusion, recipe.features_at, weights)
    rng = np.random.default_rng(0)
    x, eps = rng.random((2, 4, 32, 32), dtype=np.float32), rng.standard_normal((2, 192, 8, 8))
    eps = eps.astype(np.float32)
    process, x_0 = Process(recipe.diffusion.make_schedule()), encode_channels(Haar(), 2 * x - 1)
    x_t = np.concatenate(
        [process.diffuse(x_0, eps[:, 64 * k : 64 * k + 64], t) for k, t in enumerate((5, 50, 100))], axis=1
    )
    f = (decode_channels(Haar(), net(torch.from_numpy(x_t)).detach()) + 1) / 2
    v, i = torch.from_numpy(x[:, :3]), torch.from_numpy(x[:, 3:])
    expected = {
        "intensity": intensity(f, lifted(v, i, 0.5)),
        "gradient": gradient(f, v, i),
        "colour": colour(f, v),
    }
    terms = module(torch.from_numpy(x), torch.from_numpy(eps))
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-4)
    total = sum(getattr(weights, name) * value.item() for name, value in expected.items())
    assert terms["loss"].item() == pytest.approx(total, rel=1e-4)


def test_inputs_follow_from_seed_step_and_process(recipe, tmp_path):
    task = DifFusion(recipe, tmp_path)
    x, eps = task.inputs(3, 0, torch.device("cpu"))
    assert (x.shape, eps.shape) == ((2, 4, 32, 32), (2, 192, 8, 8))
    assert eps.std().item() == pytest.approx(1, abs=0.02)
    for step, process, same in ((3, 0, True), (4, 0, False), (3, 1, False)):
        again = task.inputs(step, process, torch.device("cpu"))
        assert [torch.equal(p, q) for p, q in zip((x, eps), again, strict=True)] == [same, same]


def test_the_denoiser_is_frozen_and_the_head_learns(dif_fusion, street, tmp_path, recipe):
    trained = load_file(dif_fusion.run / "best" / "model.safetensors")
    denoiser = load_file(street / "denoiser" / "best" / "model.safetensors")
    for name, x in denoiser.items():
        if name not in TABLES:
            torch.testing.assert_close(trained[f"observer.unet.{name}"], x, rtol=0, atol=0)
    assert trained["observer.unet.scale_in"].shape == (3, 64)
    torch.testing.assert_close(
        trained["observer.unet.scale_in"], denoiser["scale_in"][[5, 50, 100]], rtol=0, atol=0
    )
    before = DifFusion(recipe, tmp_path).net.state_dict()
    for name in ("into.weight", "out.weight", "linear.bias"):
        assert (trained[f"head.{name}"] - before[f"head.{name}"]).abs().max() > 1e-6


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(dif_fusion, tmp_path):
    def state(run):
        names = ("model", "average", "optimiser")
        return [(run / "checkpoint" / f"{name}.safetensors").read_bytes() for name in names]

    unbroken = train(dif_fusion.recipe, out=tmp_path / "unbroken", report=lambda line: None)
    run = train(dif_fusion.recipe, out=tmp_path / "run", max_time=1e-6, report=lambda line: None)
    assert state(run) != state(unbroken)
    train(dif_fusion.recipe, out=run, resume=True, report=lambda line: None)
    assert state(run) == state(unbroken)


def test_a_network_that_is_no_number_has_diverged(recipe, tmp_path):
    task = DifFusion(recipe, tmp_path)
    with torch.no_grad():
        next(task.net.head.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="training diverged, the network's picture of street, number 1"):
        task.validate(task.net)


def test_what_a_run_and_an_export_leave(dif_fusion, recipe):
    assert load_recipe(dif_fusion.run / "recipe.toml") == recipe
    card = load_card(dif_fusion.model)
    assert isinstance(card, DifFusionCard)
    assert (card.kind, card.coloured, card.features_at) == ("dif-fusion", "first", (5, 50, 100))
    assert card.diffusion == recipe.diffusion
    assert DifFusionConfig.model_validate(card.net) == recipe.net
    assert set(card.scores["street"]) == {"MI", "VIF", "SF", "Qabf", "SD", "CIEDE2000"}
    assert card.scores == json.loads((dif_fusion.run / "best" / "scores.json").read_text())
    assert sorted(card.sha256) == ["head.onnx", "model.safetensors", "observer.onnx"]
    assert card.parameters == sum(p.numel() for p in build(recipe).parameters())
    assert b".py" not in (dif_fusion.model / "observer.onnx").read_bytes()


def test_the_best_has_most_of_what_is_weighed(recipe, tmp_path):
    task = DifFusion(recipe, tmp_path)
    scores, total, sheet = task.validate(task.net)
    row = scores["street"]
    assert total == pytest.approx(sum(weight * row[name] for name, weight in WEIGHTS.items()))
    assert (sheet.shape, sheet.dtype) == ((72, 3 * 64, 3), np.uint8)
    visible = np.moveaxis(task.pictures["street"][1][:3], 0, 2)
    np.testing.assert_array_equal(sheet[:, :64], np.rint(255 * visible))
    assert np.ptp(sheet[:, 64:128], axis=2).max() == 0
    # Untrained it shows the visible picture as estimated, which is near to it in colour.
    assert np.abs(sheet[:, 128:].astype(int) - sheet[:, :64]).mean() < 8
    assert row["CIEDE2000"] < 5


def with_(recipe, **changes):
    return DifFusionRecipe.model_validate({**recipe.model_dump(), **changes})


def test_the_denoiser_is_a_run_its_best_or_an_export(recipe, street, tmp_path):
    expected = load_denoiser(recipe).state_dict()
    stage = load_recipe(street / "denoiser.toml")
    model = tmp_path / "model"
    shutil.copytree(street / "denoiser" / "best", model)
    content = (model / "model.safetensors").read_bytes()
    shared = {name: getattr(stage, name) for name in GenerationCard.model_fields if hasattr(stage, name)}
    own = {"version": "0", "kind": "generation", "parameters": 1, "net": stage.net.model_dump(mode="json")}
    sha256 = {"model.safetensors": hashlib.sha256(content).hexdigest()}
    settings.dump(
        model / "card.toml", GenerationCard.model_validate({**shared, **own, "sha256": sha256, "scores": {}})
    )
    for folder in (street / "denoiser" / "best", model):
        unet = load_denoiser(with_(recipe, denoiser=str(folder)))
        assert isinstance(unet, UNet)
        for name, x in unet.state_dict().items():
            assert torch.equal(x, expected[name])
    (model / "model.safetensors").write_bytes(content[:-1] + b"?")
    with pytest.raises(ValueError, match="sha256 differs from the model card's"):
        load_denoiser(with_(recipe, denoiser=str(model)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"denoiser": "nowhere"}, "denoiser: nowhere: no trained model here"),
        ({"net": {"width": 16}}, r"net\.width = 16, but 8 in .*denoiser"),
        ({"net": {"window": 2}}, r"net\.window = 2, but 4 in .*denoiser"),
        ({"diffusion": {"schedule": "linear"}}, r"diffusion\.schedule = linear, but cosine in "),
        ({"diffusion": {"prediction": "x_0"}}, r"diffusion\.prediction = x_0, but v in "),
    ],
)
def test_another_denoiser_than_the_recipes_is_refused(recipe, change, problem):
    old = recipe.model_dump()
    for key, value in change.items():
        old[key] = {**old[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=problem) as caught:
        load_denoiser(DifFusionRecipe.model_validate(old))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("latent_channels = 64", "latent_channels = 48", "latent_channels = 48 is not for four channels"),
        ("grid = 8", "grid = 4", "diffusion.grid = 4 is no multiple of 8, what the network needs"),
        ("grid = 8", "grid = 8\nborder = 8", "diffusion.border is for fused lumas"),
        ("grid = 8", "grid = 8\ndiagonal = true", "diffusion.diagonal is for fused lumas"),
        ("denoiser =", "features_at = [5, 1001]\ndenoiser =", "features_at: 1001 is more than diffusion"),
        ("denoiser =", "features_at = []\ndenoiser =", "features_at: Tuple should have at least 1 item"),
        ("denoiser =", "nurse =", "denoiser: Field required"),
        ("colour = 0.5", "hue = 0.5", "loss.hue: Extra inputs are not permitted"),
        ("window = 4", "window = 3", "data.crop = 32 is no multiple of"),
    ],
)
def test_what_does_not_fit_is_named(dif_fusion, tmp_path, old, new, problem):
    text = dif_fusion.recipe.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"recipe\.toml: ") as caught:
        load_recipe(path)
    assert problem in str(caught.value)


def test_the_shipped_recipes_fit_each_other(tmp_path, pytestconfig):
    first, second = (
        load_recipe(pytestconfig.rootpath / "recipes" / f"{name}.toml")
        for name in ("dif-fusion-ddpm", "dif-fusion")
    )
    assert (first.shape, second.shape) == ((4, 128, 128), (4, 128, 128))
    assert second.denoiser == f"runs/{first.name}"
    net = {name: getattr(second.net, name) for name in type(first.net).model_fields}
    assert net == first.net.model_dump()
    alpha_bar = [one.diffusion.make_schedule().alpha_bar for one in (first, second)]
    np.testing.assert_array_equal(*alpha_bar)
    assert second.diffusion.prediction == first.diffusion.prediction
    assert second.net.factor == second.diffusion.grid == 32
    settings.dump(tmp_path / "resolved.toml", second)
    assert load_recipe(tmp_path / "resolved.toml") == second
