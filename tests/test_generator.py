"""Pictures out of noise: seeds, engines, codes that come back, great circles, grids, clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from haarmony import Fuser
from haarmony.diffusion.config import DiffusionConfig
from haarmony.diffusion.process import Process
from haarmony.generator import BATCH, Chain, Generator, grid

CONFIG = DiffusionConfig(codec="haar", prediction="x_0", steps=12)
SHAPE = (1, 8, 8)


def plain(z_t, t):
    """A denoiser of x_0 ~ N(0, 0.3²), which nothing has to be trained for."""
    a = Process(CONFIG.make_schedule()).schedule.at(t)[:, None, None, None]
    return (np.sqrt(a) * 0.09 / (a * 0.09 + 1 - a) * z_t).astype(np.float32)


@pytest.fixture(scope="module")
def chain():
    return Chain(plain, CONFIG, SHAPE)


@pytest.fixture(scope="module")
def generator(generation):
    return Generator(generation.model, threads=1)


def test_both_engines_make_the_same_pictures(generator, generation):
    other = Generator(generation.model, engine="torch", threads=1)
    for options in ({}, {"sampler": "ddpm", "steps": 20}, {"eta": 0.5, "steps": 5}):
        ours = generator.sample(2, seed=3, **options)
        assert ours.shape == (2, 1, 32, 32)
        assert ours.dtype == np.float32
        assert 0 <= ours.min() < ours.max() <= 1
        assert_allclose(ours, other.sample(2, seed=3, **options), atol=1e-3)
        assert_array_equal(ours, generator.sample(2, seed=3, **options))


def test_a_picture_depends_on_the_seed_and_its_number_alone(chain):
    for options in ({}, {"sampler": "ddpm"}):
        many = chain.sample(BATCH + 2, seed=5, **options)
        assert_allclose(many[:2], chain.sample(2, seed=5, **options), atol=1e-6)
        assert len({picture.tobytes() for picture in many}) == BATCH + 2
        assert np.abs(many[:2] - chain.sample(2, seed=6, **options)).max() > 0.05


def test_samples_are_distributed_like_the_data(chain):
    """Brightness ½ + ½ · N(0, 0.3²), whichever sampler draws."""
    for options in ({"steps": 100}, {"sampler": "ddpm", "steps": 200}):
        pictures = chain.sample(300, **options)
        assert pictures.mean() == pytest.approx(0.5, abs=0.005)
        assert pictures.std() == pytest.approx(0.15, rel=0.05)


def test_sampling_by_ddim_is_decoding_its_noise(chain):
    assert_array_equal(chain.sample(3, seed=7), chain.decode(chain.noise(3, seed=7)))


def test_a_picture_comes_back_from_its_code(generator, chain):
    smooth = 0.2 + 0.6 * np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
    code = chain.encode(smooth, steps=50)
    assert_allclose(chain.decode(code, steps=50), smooth, atol=1e-4)
    picture = generator.sample(1, seed=1)
    code = generator.encode(picture, steps=20, iterations=8)
    assert code.shape == (1, *generator.code_shape) == (1, 16, 8, 8)
    assert_allclose(generator.decode(code, steps=20), picture, atol=0.02)


def test_the_way_between_two_codes(chain):
    a, b = chain.noise(2, seed=1)
    way = chain.interpolate(a, b, 5)
    assert_allclose(way[[0, -1]], chain.decode(np.stack([a, b])), atol=1e-6)
    unit = np.eye(2, 64, dtype=np.float32).reshape(2, 16, 2, 2)
    seen = []
    linear = Chain(lambda x, t: seen.append(x) or 0 * x, CONFIG, SHAPE)
    linear.interpolate(unit[0], unit[1], 3, steps=1)
    assert_allclose(
        seen[0][:, :2, 0, 0][1], [0.5**0.5, 0], atol=1e-6
    )  # halfway on the circle, not on the chord
    assert_allclose(np.linalg.norm(seen[0].reshape(3, -1), axis=1), 1, atol=1e-6)


def test_every_step_is_shown(chain):
    steps = []
    pictures = chain.sample(BATCH + 1, steps=3, callback=lambda *step: steps.append(step))
    assert [(i, t, len(x)) for i, t, x, _ in steps] == [
        *((0, 667, 16), (1, 333, 16), (2, 0, 16)),
        *((0, 667, 1), (1, 333, 1), (2, 0, 1)),
    ]
    _, _, x_t, x_0 = steps[-1]
    assert_array_equal(x_t, x_0)
    assert_allclose(chain._codec.decode(x_t)[0], 2 * pictures[-1] - 1, atol=1e-6)


def test_estimates_stay_in_the_range_of_pictures():
    estimates = []
    Chain(lambda x, t: 100 * x, CONFIG, SHAPE).sample(callback=lambda i, t, x, x_0: estimates.append(x_0))
    for x_0 in estimates:
        assert np.abs(Chain(plain, CONFIG, SHAPE)._codec.decode(x_0)).max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("n", "height", "width", "size"),
    [(16, 8, 8, (32, 32)), (5, 8, 8, (16, 24)), (1, 8, 8, (8, 8)), (4, 4, 16, (16, 16)), (7, 8, 8, (24, 24))],
)
def test_a_grid_is_as_square_as_it_gets(n, height, width, size):
    pictures = np.random.default_rng(0).random((n, 1, height, width), dtype=np.float32)
    sheet = grid(pictures)
    assert sheet.shape == size
    columns = size[1] // width
    for k, picture in enumerate(pictures):
        y, x = k // columns * height, k % columns * width
        assert_array_equal(sheet[y : y + height, x : x + width], picture[0])
    assert sheet.sum() == pytest.approx(pictures.sum(), rel=1e-5)  # the rest is black


def test_a_grid_of_coloured_pictures():
    pictures = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)
    sheet = grid(pictures)
    assert sheet.shape == (4, 8, 3)
    assert_array_equal(sheet[:, 4:], pictures[1].transpose(1, 2, 0))
    with pytest.raises(ValueError, match="one channel or three can be shown, got 4"):
        grid(np.zeros((2, 4, 4, 4), np.float32))


def test_several_channels():
    four = Chain(plain, CONFIG, (4, 8, 8))
    assert four.sample(2).shape == (2, 4, 8, 8)
    x = 0.2 + 0.6 * np.random.default_rng(0).random((1, 4, 8, 8), dtype=np.float32)
    assert_allclose(four.decode(four.encode(x, steps=50), steps=50), x, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda chain: chain.sample(0), "n must be at least 1, got 0"),
        (lambda chain: chain.sample(steps=0), "steps must be in 1, …, 1000, got 0"),
        (lambda chain: chain.sample(sampler="euler"), "sampler must be one of ddim, ddpm, got 'euler'"),
        (lambda chain: chain.sample(eta=2.0), "eta must be in"),
        (lambda chain: chain.sample(seed=-1), "seed must be at least 0, got -1"),
        (lambda chain: chain.encode(np.zeros((1, 1, 8, 9))), "pictures of 1×8×8, got 1×8×9"),
        (lambda chain: chain.encode(np.full((1, 1, 8, 8), 200.0)), "they run from 200 to 200"),
        (lambda chain: chain.encode(np.full((1, 1, 8, 8), np.nan)), "not a finite number"),
        (lambda chain: chain.noise(0), "n must be at least 1, got 0"),
        (lambda chain: chain.decode(chain.noise(1)[:0]), "one at least"),
        (lambda chain: chain.decode(chain.noise(1)[:, :, :1]), "here, one at least, got"),
        (lambda chain: chain.decode(chain.noise(1) * np.float32(np.inf)), "not a finite number"),
        (lambda chain: chain.interpolate(*chain.noise(2), 0), "n must be at least 1, got 0"),
        (lambda chain: chain.interpolate(chain.noise(1)[0], 0 * chain.noise(1)[0], 3), "all zero"),
    ],
)
def test_bad_options_are_refused(chain, call, problem):
    with pytest.raises(ValueError, match=problem):
        call(chain)


def test_models_of_the_other_kind_are_refused(generation):
    with pytest.raises(
        ValueError, match="the model 'discs' is not for fusion: choose one of dif-fusion, infrared, medical"
    ):
        Fuser(generation.model)
    with pytest.raises(ValueError, match="the model 'medical' is not for generation: choose "):
        Generator("medical")
    with pytest.raises(ValueError, match="unknown model 'nonesuch': choose "):
        Generator("nonesuch")
    with pytest.raises(ValueError, match="unknown engine 'tpu'"):
        Generator(generation.model, engine="tpu")
