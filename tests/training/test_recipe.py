"""Recipes: parts that do not fit together are one clear line, before any work."""

from pathlib import Path

import numpy as np
import pytest

from haarmony import settings, weights
from haarmony.nets import NetConfig
from haarmony.training.recipe import LossConfig, OptimiserConfig, Phase, Recipe
from haarmony.training.tasks import load_recipe

SHIPPED = Path(__file__).parents[2] / "recipes" / "medical.toml"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("crop = 128", "crop = 100", "data.crop = 100 is no multiple of 32"),
        ('codec = "haar"', 'codec = "identity"', "net.latent_channels = 16, but the codec 'identity' has 1"),
        ('codec = "haar"', 'codec = "haar"\ngrid = 4', "diffusion.grid = 4 is no multiple of 8"),
        ("heads = 4", "heads = 5", "net: heads = 5 does not divide width = 32"),
        ('prediction = "x_0"', 'prediction = "eps"', "diffusion: zero_terminal_snr leaves no signal"),
        ("steps = 2\n", "steps = 1001\n", "diffusion: steps = 1001 is more than timesteps = 1000"),
        ("noise = 1.0", "noises = 1.0", "loss.noises: Extra inputs are not permitted"),
        ("swap = 0.25", "swap = 2", "data.sets.0.swap: Input should be less than or equal to 1"),
        ("crop = 128", "crop = 32", "data.crop = 32 is too small for loss.vif, which needs 41"),
        ("scd = 0.0", "scd = -3.0", "loss.scd: Input should be greater than or equal to 0"),
        ('name = "medical"', 'name = "../medical"', "name: String should match pattern"),
        ('name = "MRI-CT"', 'name = ""', "data.sets.0.name: String should match pattern"),
        ('name = "MRI-CT"', 'name = "MRI-PET"', "data.sets: two sets are called 'MRI-PET'"),
        ("seed = 42", "seed = 9223372036854775808", "seed: Input should be less than"),
        ("noise = 1.0", "noise = inf", "loss.noise: Input should be a finite number"),
        ("from_step = 5000", "from_step = 1999", "phases: from_step = 1999 comes after 2000"),
        ("steps = 8000", "steps = 7000", "phases: from_step = 7300 is beyond optimiser.steps = 7000"),
        ("[prior.ascent]", "[prior.ascend]", "prior.ascend: Extra inputs are not permitted"),
        ('schedule = "cosine"', 'schedule = "linear"\nbeta_1 = 0.9', "diffusion: alpha_bar must fall"),
        ("share = ", "share = 1e308 #", "data.sets.0.share: Input should be less than or equal to 1000000"),
        ("candidates = [", "candidates = [] # ", "prior.candidates: no classical fuser"),
        ('"ratio"', '"ratios"', "prior.candidates: unknown classical fuser 'ratios'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, old, new, problem):
    path = tmp_path / "recipe.toml"
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"recipe\.toml: ") as caught:
        settings.load(path, Recipe)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_phase_changes_the_loss_from_its_step_on():
    first, second = (Phase(from_step=step, loss=LossConfig(qabf=step)) for step in (300, 400))
    recipe = settings.load(SHIPPED, Recipe).model_copy(update={"phases": (first, second)})
    assert recipe.loss_at(0) == recipe.loss_at(299) == recipe.loss
    assert recipe.loss_at(300) == recipe.loss_at(399) == first.loss
    assert recipe.loss_at(400) == recipe.loss_at(4799) == second.loss


def test_what_a_phase_leaves_out_stays_as_it_was(tmp_path):
    text = SHIPPED.read_text(encoding="utf-8").split("[[phases]]")[0]
    path = tmp_path / "recipe.toml"
    path.write_text(
        f"{text}[[phases]]\nfrom_step = 5\nloss = {{ qabf = 7.0 }}\n"
        "[[phases]]\nfrom_step = 7\nlearning_rate = 1e-4\n"
        "[[phases]]\nfrom_step = 9\nloss = { vif = 3.0 }\n[optimiser]\n",
        encoding="utf-8",
    )
    recipe = settings.load(path, Recipe)
    assert recipe.loss_at(5) == recipe.loss_at(7) == recipe.loss.model_copy(update={"qabf": 7.0})
    assert recipe.loss_at(9) == recipe.loss.model_copy(update={"qabf": 7.0, "vif": 3.0})
    for old, new, problem in (
        ("{ vif = 3.0 }", "{ vifs = 3.0 }", r"phases\.2\.loss\.vifs: Extra inputs"),
        ("{ vifs = 3.0 }", "3", r"phases\.2\.loss: Input should be a valid"),
    ):
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError, match=problem):
            settings.load(path, Recipe)
    path.write_text("phases = 5\n" + text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"phases: Input should be a valid tuple"):
        settings.load(path, Recipe)


def test_learning_rate_rises_falls_and_begins_anew():
    recipe = settings.load(SHIPPED, Recipe)
    phases = (
        Phase(from_step=500, loss=LossConfig()),
        Phase(from_step=1000, learning_rate=0.5, loss=LossConfig()),
    )
    optimiser = OptimiserConfig(steps=1200, warmup=10, learning_rate=1.0)
    recipe = recipe.model_copy(update={"optimiser": optimiser, "phases": phases})
    rates = [recipe.learning_rate_at(step) for step in range(1200)]
    assert rates[0] == pytest.approx(0.1)
    assert np.argmax(rates) == 9
    assert rates[500] == pytest.approx(0.505)
    assert rates[999] == pytest.approx(0.01, abs=1e-4)
    assert rates[1000] == pytest.approx(0.05)
    assert rates[1100] == pytest.approx(0.505 / 2)
    assert rates[1199] == pytest.approx(0.005, abs=1e-3)
    constant = recipe.model_copy(update={"optimiser": optimiser.model_copy(update={"final_rate": 1.0})})
    assert [constant.learning_rate_at(step) for step in (9, 499, 1199)] == pytest.approx([1.0, 1.0, 0.5])


@pytest.mark.parametrize("name", ["medical", "infrared"])
def test_a_shipped_recipe_survives_a_round_trip_and_is_its_cards(tmp_path, name):
    recipe, card = settings.load(SHIPPED.with_name(f"{name}.toml"), Recipe), weights.cards()[name]
    settings.dump(tmp_path / "resolved.toml", recipe)
    assert settings.load(tmp_path / "resolved.toml", Recipe) == recipe
    assert [path.name for path in tmp_path.iterdir()] == ["resolved.toml"]
    for key in (
        "name",
        "title",
        "description",
        "intended_use",
        "limits",
        "training_data",
        "coloured",
        "diffusion",
    ):
        assert getattr(recipe, key) == getattr(card, key), key
    assert recipe.net == NetConfig.model_validate(card.net)
    assert {pair_set.name for pair_set in recipe.data.sets} == set(card.scores)


@pytest.mark.parametrize("name", ["diff-if", "diff-if-small", "thesis"])
def test_the_methods_compared_with_have_their_published_configuration(name, pytestconfig):
    recipe = load_recipe(pytestconfig.rootpath / "recipes" / f"{name}.toml")
    diffusion, loss = recipe.diffusion, recipe.loss
    assert (diffusion.schedule, diffusion.beta_1, diffusion.beta_T) == ("linear", 1e-6, 1e-2)
    assert (diffusion.timesteps, diffusion.prediction, diffusion.steps) == (1000, "eps", 4)
    assert (diffusion.sampler, diffusion.zero_terminal_snr) == ("ddim", False)
    assert recipe.optimiser.sampled_steps == 0  # t is uniform, one for an image
    assert recipe.prior.weights == {"SSIM": 2, "VIF": 1, "Qabf": 3}
    assert (loss.noise, loss.noise_norm, loss.target, loss.maximum, loss.ssim) == (8, "l1", 4, 8, 1)
    assert (loss.vif, loss.qabf, loss.scd, loss.rank, loss.span) == (0, 0, 0, 0, 0)
    assert recipe.seed == 42
    if name == "thesis":
        assert (recipe.data.crop, recipe.optimiser.batch, recipe.optimiser.learning_rate) == (256, 2, 1e-4)
        assert recipe.optimiser.final_rate == 1
        assert (recipe.net.wavelet, recipe.net.attention, recipe.net.cross_attention) == (True, True, True)
    else:
        assert (diffusion.codec, diffusion.eta, recipe.net.encoder) == ("identity", 1, False)
    if name == "diff-if":
        assert (recipe.net.step_width, recipe.net.unet.multipliers) == (48, (1, 2, 4, 6))
        assert loss.gradient == 80
