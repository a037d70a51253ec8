"""The task autoencoder, and fusing and generating in the latent space that it leaves."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from haarmony import Fuser, settings, weights
from haarmony.engine_torch import TorchAutoencoder
from haarmony.fusing_path import pad, to_latent
from haarmony.generator import Generator
from haarmony.nets import AutoencoderConfig, AutoencoderNet, FusionNet
from haarmony.support import span
from haarmony.training import train
from haarmony.training.algorithm import Algorithm1
from haarmony.training.autoencoder import (
    AutoencoderLoss,
    AutoencoderRecipe,
    AutoencoderTask,
    Reconstruction,
    load,
    psnr,
)
from haarmony.training.export import export
from haarmony.training.tasks import load_recipe

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.utils.tensorboard.*:DeprecationWarning", "ignore:.*distutils.*:DeprecationWarning"
)


def quiet(line):
    pass


def bytes_of(run):
    names = ("model", "average", "optimiser")
    return [(run / "checkpoint" / f"{name}.safetensors").read_bytes() for name in names]


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(autoencoder, tmp_path):
    unbroken = train(autoencoder.recipe, out=tmp_path / "unbroken", report=quiet)
    run = train(autoencoder.recipe, out=tmp_path / "run", max_time=1e-6, report=quiet)
    assert bytes_of(run) != bytes_of(unbroken)
    train(autoencoder.recipe, out=run, resume=True, report=quiet)
    assert bytes_of(run) == bytes_of(unbroken)


def test_what_a_run_and_an_export_leave(autoencoder):
    card, recipe = weights.load_autoencoder(autoencoder.model), load_recipe(autoencoder.recipe)
    assert (card.kind, card.name, card.channels) == ("autoencoder", "coder", 3)
    assert AutoencoderConfig.model_validate(card.net) == recipe.net
    assert card.scores == json.loads((autoencoder.run / "best" / "scores.json").read_text())
    assert {name: set(row) for name, row in card.scores.items()} == {
        "grey": {"PSNR", "max"},
        "uptake": {"PSNR", "max"},
    }
    assert sorted(card.sha256) == ["decoder.onnx", "encoder.onnx", "model.safetensors"]
    assert sorted(path.name for path in autoencoder.model.iterdir()) == ["card.toml", *sorted(card.sha256)]
    assert card.parameters == sum(p.numel() for p in AutoencoderNet(recipe.net).parameters())
    for path in autoencoder.model.glob("*.onnx"):
        assert b".py" not in path.read_bytes()


def test_the_kept_weights_standardise_the_training_pictures(autoencoder):
    recipe = load_recipe(autoencoder.recipe)
    codec = TorchAutoencoder.load(autoencoder.model, weights.load_autoencoder(autoencoder.model))
    pairs = [pair for one in recipe.data.sets for pair in load(recipe.data, one, "train")]
    z = np.concatenate([codec.encode(to_latent(pad(x, 4))) for ab in pairs for x in ab])
    np.testing.assert_allclose(z.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(z.std((0, 2, 3)), 1, atol=1e-3)


def test_the_loss_by_hand():
    torch.manual_seed(0)
    net = AutoencoderNet(AutoencoderConfig(latent_channels=2, width=8))
    x, eps = torch.rand(2, 1, 16, 16), torch.randn(2, 2, 4, 4)
    terms = Reconstruction(net, AutoencoderLoss(bands=0.5, kl=0.01))(x, eps)
    with torch.no_grad():
        mean, log_variance = (moment.numpy() for moment in net.encoder(2 * x - 1))
        z = mean + np.exp(0.5 * log_variance) * eps.numpy()
        d = net.decoder(torch.from_numpy(z)).numpy() - (2 * x - 1).numpy()
    details, pixels = [], np.abs(d).mean()
    for _ in range(2):  # two Haar levels, by sums and differences of 2×2 blocks
        p, q, r, s = d[..., ::2, ::2], d[..., ::2, 1::2], d[..., 1::2, ::2], d[..., 1::2, 1::2]
        details += [band.ravel() for band in (p - q + r - s, p + q - r - s, p - q - r + s)]
        d = (p + q + r + s) / 2
    expected = {
        "pixels": pixels,
        "bands": np.abs(np.concatenate(details) / 2).mean(),
        "kl": (mean**2 + np.exp(log_variance) - 1 - log_variance).mean() / 2,
    }
    expected["loss"] = expected["pixels"] + 0.5 * expected["bands"] + 0.01 * expected["kl"]
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_inputs_are_crops_of_sources_and_of_maxima(autoencoder, tmp_path):
    recipe = load_recipe(autoencoder.recipe)
    data = recipe.data.model_copy(update={"crop": 64})
    batch = recipe.optimiser.model_copy(update={"batch": 24})
    task = AutoencoderTask(recipe.model_copy(update={"data": data, "optimiser": batch}), tmp_path)
    x, eps = task.inputs(3, 0, torch.device("cpu"))
    assert x.shape == (24, 1, 64, 64)
    assert eps.shape == (24, 3, 16, 16)
    for known, again in zip((x, eps), task.inputs(3, 0, torch.device("cpu")), strict=True):
        assert torch.equal(known, again)
    assert not torch.equal(task.inputs(4, 0, torch.device("cpu"))[0], x)
    # A crop of the whole picture, turned: its sum says which picture it is.
    kinds = {"a": set(), "b": set(), "maximum": set()}
    for _, pairs in task.training:
        for a, b in pairs:
            for name, picture in (("a", a), ("b", b), ("maximum", np.maximum(a, b))):
                kinds[name].add(round(float(picture.sum(dtype=np.float64)), 3))
    sums = {round(float(one.sum(dtype=np.float64)), 3) for one in x.numpy()}
    assert sums <= set.union(*kinds.values())
    assert all(sums & kind for kind in kinds.values())


def test_training_lowers_the_loss(autoencoder, tmp_path):
    recipe = load_recipe(autoencoder.recipe)
    task = AutoencoderTask(recipe, tmp_path)
    optimiser = torch.optim.AdamW(task.net.parameters(), lr=5e-3)
    fixed = task.inputs(0, 0, torch.device("cpu"))
    before = task.module(*fixed)["loss"].item()
    for _ in range(30):
        task.module(*fixed)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
    assert task.module(*fixed)["loss"].item() < 0.6 * before


def test_psnr_is_its_definition():
    assert psnr(np.full((4, 4), 0.1)) == pytest.approx(20)
    assert psnr(np.zeros((2, 2))) == np.inf


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("crop = 32", "crop = 34", "data.crop = 34 is no multiple of 4"),
        ('name = "uptake"', 'name = "grey"', "data.sets: two sets are called 'grey'"),
        ("share = 0.5", "swap = 0.5", "data.sets.1.swap: Extra inputs are not permitted"),
        ("width = 8", "width = 8\n[loss]\nkl = -1.0", "loss.kl: Input should be greater than or equal to 0"),
        ("width = 8", "width = 8\n[loss]\nadversary = 1.0", "loss.adversary: Extra inputs"),
        ("latent_channels = 3", "latent_channels = 0", "net.latent_channels: Input should be greater"),
    ],
)
def test_what_does_not_fit_is_named(autoencoder, tmp_path, old, new, problem):
    text = autoencoder.recipe.read_text()
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"recipe\.toml: ") as caught:
        load_recipe(path)
    assert problem in str(caught.value)


def test_the_recipe_loads_and_survives_a_round_trip(tmp_path, pytestconfig):
    recipe = load_recipe(pytestconfig.rootpath / "recipes" / "autoencoder.toml")
    assert (recipe.name, recipe.channels) == ("autoencoder", 4)
    assert sum(p.numel() for p in AutoencoderNet(recipe.net).parameters()) < 1e6
    settings.dump(tmp_path / "resolved.toml", recipe)
    assert settings.load(tmp_path / "resolved.toml", AutoencoderRecipe) == recipe


def test_gradients_pass_the_codec_and_leave_it_as_it_is(autoencoder, recipe_path):
    codec = TorchAutoencoder.load(autoencoder.model, weights.load_autoencoder(autoencoder.model))
    recipe = load_recipe(recipe_path)
    net = FusionNet(recipe.net.model_copy(update={"latent_channels": 3}))
    diffusion = recipe.diffusion.model_copy(
        update={"codec": "autoencoder", "autoencoder": "coder", "autoencoder_channels": 3}
    )
    loss = recipe.loss.model_copy(update={"noise": 0.0})  # what is left acts on decoded pictures
    module = Algorithm1(net, diffusion, loss, recipe.data.sets, codec=codec)
    assert {name for name, _ in module.named_parameters() if name.startswith("codec")} != set()
    a, b = torch.rand(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    eps = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    of, t = torch.tensor([0]), torch.tensor([500])
    module(a, b, a, b, torch.maximum(a, b), of, t, eps)["loss"].backward()
    assert net.refiner.out.weight.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in codec.parameters())
    x = 2 * a - 1
    np.testing.assert_allclose(codec.encode(x).numpy(), codec.encode(x.numpy()), atol=1e-6)


CODEC_KEYS = {
    "identity": 'codec = "identity"',
    "autoencoder": 'codec = "autoencoder"\nautoencoder = "{model}"\nautoencoder_channels = 3',
}
CHANNELS = {"identity": 1, "autoencoder": 3}


def on(codec, recipe_path, model):
    """The tiny recipe of a fusing network in another space than Haar's, which `test_loop` trains in."""
    keys = CODEC_KEYS[codec].format(model=model)
    text = recipe_path.read_text().replace("[net]", f"[net]\nlatent_channels = {CHANNELS[codec]}", 1)
    recipe_path.write_text(f"{text}\n[diffusion]\n{keys}\n")
    return recipe_path


@pytest.mark.parametrize("codec", ["autoencoder", "identity"])
def test_the_denoiser_of_haars_space_trains_and_fuses_in_others(codec, autoencoder, recipe_path, tmp_path):
    named = tmp_path / "named"
    shutil.copytree(autoencoder.model, named)
    run, model = tmp_path / "run", tmp_path / "model"
    train(on(codec, recipe_path, named), out=run, report=quiet)
    shutil.rmtree(named)  # the run has its own copy, and so has what is exported from `best` alone
    export(run / "best", model)
    shutil.rmtree(run)
    card = weights.load_card(model)
    assert (card.diffusion.codec, card.diffusion.channels) == (codec, CHANNELS[codec])
    assert card.diffusion.autoencoder == ("coder" if codec == "autoencoder" else None)
    fuser, torch_fuser = Fuser(model, threads=1), Fuser(model, engine="torch")
    rng = np.random.default_rng(0)
    for shape in ((32, 64), (16, 16), (37, 50)):
        a, b = rng.random((2, *shape), dtype=np.float32)
        a[:6, :6] = b[:6, :6] = 0
        fused = fuser(a, b)
        assert fused.shape == shape
        np.testing.assert_allclose(fused, torch_fuser(a, b), atol=1e-3)
        np.testing.assert_array_equal(fused, fuser(a, b))
        assert not np.array_equal(fused, fuser(a, b, seed=1))
        assert not fused[:6, :6].any()
        lo, hi = span(a, b)
        assert (fused >= lo - 0.015 - 1e-6).all()
        assert (fused <= hi + 0.015 + 1e-6).all()
    if codec == "autoencoder":
        check_codecs_agree(fuser._codec, torch_fuser._codec)
        check_strips_give_the_whole(fuser._codec)
        check_what_is_not_the_models_is_refused(model)


def check_strips_give_the_whole(codec):
    x = np.random.default_rng(0).uniform(-1, 1, (1, 1, 256, 32)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        z = codec.encode(x)
        back = codec.decode(z)
        patched.setattr("haarmony.engine.STRIP", 9 * 8)
        np.testing.assert_allclose(codec.encode(x), z, atol=1e-5)
        np.testing.assert_allclose(codec.decode(z), back, atol=1e-5)


def check_codecs_agree(onnx, of_torch):
    """Both engines' autoencoder, at sizes of all kinds."""
    for seed, shape in enumerate(((1, 1, 32, 32), (3, 1, 4, 64), (1, 1, 100, 36))):
        x = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
        z = onnx.encode(x)
        assert z.shape == (shape[0], 3, shape[2] // 4, shape[3] // 4)
        np.testing.assert_allclose(z, of_torch.encode(x), atol=1e-3)
        np.testing.assert_allclose(onnx.decode(z), of_torch.decode(z), atol=1e-3)
        np.testing.assert_array_equal(onnx.decode(z), onnx.decode(z))
        with pytest.raises(ValueError, match="must be multiples of 4"):
            onnx.encode(x[..., :-1])


def check_what_is_not_the_models_is_refused(model):
    """Damage anywhere on the way from the model's card to the autoencoder's files is one clear line."""
    card, own = model / "card.toml", model / "autoencoder"
    for path, old, new, problem in (
        (
            card,
            'autoencoder = "coder"',
            'autoencoder = "other"',
            "is of 'coder' with 3 channels, but the model",
        ),
        (card, "autoencoder_channels = 3", "autoencoder_channels = 4", "but the model needs 'coder' with 4"),
        (card, '"autoencoder/card.toml"', '"autoencoder/cards.toml"', "lists no file autoencoder/card.toml"),
        (own / "card.toml", "Tests.", "Texts.", "autoencoder/card.toml: sha256 differs"),
        (own / "encoder.onnx", "", "", "encoder.onnx: sha256 differs"),
        (own / "decoder.onnx", "", "", "decoder.onnx: sha256 differs"),
    ):
        before = path.read_bytes()
        assert old.encode() in before
        path.write_bytes(before.replace(old.encode(), new.encode()) if old else before[:-1])
        with pytest.raises(ValueError, match=problem) as caught:
            Fuser(model, threads=1)
        assert "\n" not in str(caught.value)
        path.write_bytes(before)
    (own / "card.toml").rename(model / "card")
    with pytest.raises(FileNotFoundError, match="autoencoder"):
        Fuser(model, threads=1)


def test_an_autoencoder_that_is_not_the_recipes_is_refused_before_any_step(
    autoencoder, recipe_path, tmp_path
):
    path = on("autoencoder", recipe_path, autoencoder.model)
    text = path.read_text()
    for old, new, problem in (
        ("channels = 3", "channels = 5", r"autoencoder_channels = 5, but the autoencoder '.*' has 3"),
        (f'"{autoencoder.model}"', '"medical"', "the model 'medical' is not for encoding: choose a folder"),
        (
            f'"{autoencoder.model}"',
            '"nowhere"',
            "diffusion.autoencoder: unknown model 'nowhere': choose a folder that holds",
        ),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=problem):
            train(path, out=tmp_path / "run", report=quiet)
        assert not (tmp_path / "run" / "autoencoder").exists()
    path.write_text(text.replace("latent_channels = 3", "latent_channels = 16"))
    with pytest.raises(ValueError, match="latent_channels = 16, but the codec 'autoencoder' has 3"):
        load_recipe(path)
    with pytest.raises(ValueError, match="the model 'coder' is not for fusion: choose one of"):
        Fuser(autoencoder.model)


def test_a_run_keeps_the_autoencoder_that_it_began_with(autoencoder, recipe_path, tmp_path):
    named = tmp_path / "named"
    shutil.copytree(autoencoder.model, named)
    run = tmp_path / "run"
    on("autoencoder", recipe_path, named)
    while not (run / "checkpoint").exists():  # the search for targets stops, too
        train(recipe_path, out=run, max_time=1e-6, report=quiet)
    before = (run / "autoencoder" / "card.toml").read_bytes()
    (named / "card.toml").write_text((named / "card.toml").read_text().replace("Coder", "Newer"))
    train(recipe_path, out=run, resume=True, report=quiet)
    for folder in (run, run / "best"):
        assert (folder / "autoencoder" / "card.toml").read_bytes() == before


def test_generating_in_a_learnt_space(autoencoder, generation_recipe, tmp_path):
    text = generation_recipe.read_text()
    keys = CODEC_KEYS["autoencoder"].format(model=autoencoder.model)
    path = tmp_path / "recipe.toml"
    path.write_text(
        text.replace("[diffusion]", f"[diffusion]\n{keys}").replace("[net]", "[net]\nlatent_channels = 3")
    )
    assert load_recipe(path).shape == (1, 32, 32)
    model = tmp_path / "model"
    export(train(path, out=tmp_path / "run", report=quiet), model)
    generator = Generator(model, threads=1)
    assert generator.code_shape == (3, 8, 8)
    pictures = generator.sample(2, steps=3)
    assert pictures.shape == (2, 1, 32, 32)
    np.testing.assert_allclose(pictures, Generator(model, engine="torch").sample(2, steps=3), atol=1e-3)
    assert pictures.std() > 0
    stored = load_file(model / "autoencoder" / "model.safetensors")
    assert (stored["scale"] > 0).all()
