"""Loss terms on cases that can be worked by hand, and Algorithm 1 against its lines written out."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from haarmony import metrics
from haarmony.codec import CODECS
from haarmony.diffusion.config import DiffusionConfig
from haarmony.nets import FusionNet, NetConfig
from haarmony.training.algorithm import Algorithm1, draw_steps
from haarmony.training.losses import fusion_terms, mutual_information, sobel, stronger
from haarmony.training.recipe import LossConfig, PairSet

NET = NetConfig(width=8, heads=2, condition_channels=8, step_width=8, denoiser_depth=1, refiner_depth=1)
LOSS = LossConfig(vif=0.0)
SET = PairSet(name="pairs", a="a", b="b", split="pairs")


def test_sobel_equals_scipy():
    x = np.random.default_rng(0).random((9, 11))
    horizontal, vertical = sobel(torch.from_numpy(x)[None, None])[0]
    np.testing.assert_allclose(horizontal, ndimage.sobel(x, axis=1, mode="nearest") / 4, atol=1e-12)
    np.testing.assert_allclose(vertical, ndimage.sobel(x, axis=0, mode="nearest") / 4, atol=1e-12)


def test_stronger_keeps_the_sign():
    assert stronger(torch.tensor([-3.0, 1.0, 2.0]), torch.tensor([2.0, -1.5, -2.0])).tolist() == [
        -3.0,
        -1.5,
        2.0,
    ]


def test_terms_by_hand():
    a = torch.full((2, 1, 32, 32), 0.2)
    b = torch.full((2, 1, 32, 32), 0.6)
    f = torch.full((2, 1, 32, 32), 0.5)
    terms = fusion_terms(
        *(f, f + 0.1, a, b, torch.full_like(f, 0.4)),
        config=LossConfig(vif=0, ssim=0, qabf=0, scd=0),
        sets=[SET, SET],
    )
    assert set(terms) == {"target", "maximum", "gradient", "span"}
    for name, expected in {"target": 0.1, "maximum": 0.1, "gradient": 0.0, "span": 0.1}.items():
        torch.testing.assert_close(terms[name], torch.full((2,), expected), rtol=1e-5, atol=1e-6)


def test_diff_ifs_terms_are_absolute_and_in_full_scale():
    rng = np.random.default_rng(6)
    a, b, f = (torch.from_numpy(rng.random((2, 1, 32, 32))) for _ in range(3))
    config = LossConfig(
        target=0,
        maximum=0,
        gradient=1,
        gradient_signed=False,
        vif=0,
        qabf=0,
        scd=0,
        span=0,
        ssim_range="full",
    )
    terms = fusion_terms(f, f, a, b, f, config=config, sets=[SET, SET])
    of_f, of_a, of_b = (sobel(x).abs().numpy() for x in (f, a, b))
    expected = np.abs(of_f - np.maximum(of_a, of_b)).mean((1, 2, 3))
    np.testing.assert_allclose(terms["gradient"].numpy(), expected, rtol=1e-6)
    for i in range(2):
        pictures = [255 * x[i, 0].numpy() for x in (f, a, b)]
        both = [structural_similarity(pictures[0], other, data_range=255) for other in pictures[1:]]
        assert terms["ssim"][i].item() == pytest.approx(-sum(both), abs=1e-5)


def test_a_set_has_margins_of_its_own_and_trusts_its_targets_less():
    rng = np.random.default_rng(1)
    a, b = (torch.from_numpy(rng.random((2, 1, 32, 32))).float() for _ in range(2))
    config = LossConfig(vif=0, ssim=0, qabf=0, scd=0, qabf_floor=1, qabf_margin=0.1, rank=1, rank_margin=0.1)
    own = SET.model_copy(update={"margins": {"qabf_margin": 0.3, "rank_margin": -0.5}, "target": 0.25})
    maximum = torch.maximum(a, b)
    terms = fusion_terms(maximum, maximum, a, b, 1 - maximum, config=config, sets=[SET, own])
    torch.testing.assert_close(terms["qabf_floor"], torch.tensor([0.1, 0.3]))
    torch.testing.assert_close(terms["rank"], torch.tensor([0.1, 0.0]))
    distance = (2 * maximum - 1).abs().mean((1, 2, 3))
    torch.testing.assert_close(terms["target"], distance * torch.tensor([1, 0.25]))


def test_rank_a_holds_the_first_source():
    rng = np.random.default_rng(1)
    a, b = (torch.from_numpy(rng.random((1, 1, 32, 32)) * 0.8 + 0.2).float() for _ in range(2))
    config = LossConfig(vif=0, ssim=0, qabf=0, scd=0, rank_a=1, rank_margin=0)
    assert fusion_terms(a, a, a, b, a, config=config, sets=[SET])["rank_a"].item() == 0
    at_b = fusion_terms(b, b, a, b, a, config=config, sets=[SET])["rank_a"].item()
    assert at_b == pytest.approx(float(metrics.function(torch.maximum(a, b), a) - metrics.function(b, a)))
    assert at_b > 0.3


@pytest.mark.parametrize("name", ["scd", "qabf", "vif", "ssim"])
def test_a_floor_asks_only_for_what_is_missing_to_the_maximum(name):
    rng = np.random.default_rng(3)
    a, b = (torch.from_numpy(rng.random((2, 1, 48, 48))).float() for _ in range(2))
    others = {"vif": 0, "ssim": 0, "qabf": 0, "scd": 0}
    config = LossConfig(**others, **{f"{name}_floor": 1.0, f"{name}_margin": 0.1})
    metric = getattr(metrics, name)
    maximum, mean = torch.maximum(a, b), (a + b) / 2

    def floor(f):
        return fusion_terms(f, f, a, b, f, config=config, sets=[SET, SET])[f"{name}_floor"]

    torch.testing.assert_close(floor(maximum), torch.full((2,), 0.1))
    maximum_s, mean_s = (metric(x, a, b, convention="cddfuse") for x in (maximum, mean))
    expected = maximum_s + 0.1 - mean_s
    torch.testing.assert_close(floor(mean), expected.clamp(min=0))


def entropy(x):
    _, counts = np.unique(np.atleast_2d(x), axis=1, return_counts=True)
    return -np.sum(counts / counts.sum() * np.log2(counts / counts.sum()))


def test_soft_mutual_information_of_levels_on_its_bins_is_the_exact_one():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 12, (2, 1, 16, 16)).repeat(2, axis=2).repeat(2, axis=3)
    y = np.where(rng.random(x.shape) < 0.5, x, rng.integers(0, 12, x.shape))
    for one, two in ((x, y), (x, x)):
        got = mutual_information(*(torch.from_numpy(z / 47).float() for z in (one, two)))
        for i in range(2):
            shown = [z[i, 0, ::2, ::2].ravel() for z in (one, two)]
            assert got[i] == pytest.approx(sum(map(entropy, shown)) - entropy(shown), abs=1e-4)


def test_mi_floor_asks_for_a_share_of_the_maximum():
    rng = np.random.default_rng(6)
    a, b = (torch.from_numpy(rng.random((1, 1, 96, 96))).float() for _ in range(2))
    config = LossConfig(vif=0, ssim=0, qabf=0, scd=0, mi_floor=1, mi_margin=-0.1)
    maximum = torch.maximum(a, b)
    held = sum(mutual_information(maximum, x) for x in (a, b))
    noise = torch.from_numpy(rng.random((1, 1, 96, 96))).float()
    of_noise = sum(mutual_information(noise, x) for x in (a, b))
    for f, expected in ((maximum, 0.0), (noise, float(0.9 * held - of_noise))):
        assert fusion_terms(f, f, a, b, f, config=config, sets=[SET])["mi_floor"].item() == pytest.approx(
            expected, rel=1e-4
        )
    assert float(held) > 1.5 * float(of_noise)


def test_algorithm_1_line_by_line():
    torch.manual_seed(0)
    diffusion = DiffusionConfig(timesteps=100, prediction="v")
    net = FusionNet(NET)
    algorithm = Algorithm1(net, diffusion, LOSS, [SET])
    rng = np.random.default_rng(2)
    a, b, target = (torch.from_numpy(rng.random((2, 1, 32, 32), dtype=np.float32)) for _ in range(3))
    t, eps = torch.tensor([100, 30]), torch.from_numpy(rng.standard_normal((2, 16, 8, 8), dtype=np.float32))
    terms = algorithm(a, b, a, b, target, torch.zeros(2, dtype=torch.int64), t, eps)

    codec = CODECS["haar"]()
    alpha_bar = torch.from_numpy(diffusion.make_schedule().alpha_bar[t.numpy()]).float()[:, None, None, None]
    x_0 = codec.encode(2 * target - 1)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    v = net.denoiser(x_t, net.encoder(*(codec.encode(2 * x - 1) for x in (a, b, torch.maximum(a, b)))), t)
    expected = (v - (alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0)).square().mean()
    torch.testing.assert_close(terms["noise"], expected)
    weighted = sum(getattr(LOSS, name) * value for name, value in terms.items() if name != "loss")
    torch.testing.assert_close(terms["loss"], weighted)
    terms["loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_the_noise_term_is_an_absolute_error_where_asked():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 32, 32)
    inputs = (*[x] * 5, torch.zeros(1, dtype=torch.int64), torch.tensor([70]), torch.randn(1, 16, 8, 8))
    net, diffusion = FusionNet(NET), DiffusionConfig(timesteps=100)
    terms = Algorithm1(net, diffusion, LOSS.model_copy(update={"noise_norm": "l1"}), [SET])(*inputs)
    codec = CODECS["haar"]()
    x_0 = codec.encode(2 * x - 1)  # an untrained denoiser answers with the maximum, here the target too
    torch.testing.assert_close(
        terms["noise"], (x_0 - codec.encode(2 * x - 1)).abs().mean(), atol=1e-6, rtol=0
    )
    with torch.no_grad():
        net.denoiser.linear.weight *= 0
    terms = Algorithm1(net, diffusion, LOSS.model_copy(update={"noise_norm": "l1"}), [SET])(*inputs)
    torch.testing.assert_close(terms["noise"], x_0.abs().mean())


@pytest.mark.parametrize("sampled", [0.0, 1.0])
def test_steps_are_uniform_or_those_that_sampling_visits(sampled):
    diffusion = DiffusionConfig(timesteps=10, steps=2)
    schedule = diffusion.make_schedule()
    t = draw_steps(schedule, diffusion, np.random.default_rng(0), batch=4000, sampled=sampled)
    counts = np.bincount(t, minlength=11)
    if sampled:
        assert set(np.flatnonzero(counts)) == {5, 10}
    else:
        np.testing.assert_allclose(counts[1:], 400, atol=80)
        assert counts[0] == 0


def test_rank_and_sf_terms_ask_only_for_what_is_missing():
    rng = np.random.default_rng(7)
    a, b = (torch.from_numpy(rng.random((1, 1, 32, 32))).float() for _ in range(2))
    config = LossConfig(vif=0, ssim=0, qabf=0, scd=0, rank=1, rank_margin=0.1, sf_floor=1, sf_margin=0.05)
    maximum = torch.maximum(a, b)
    at_maximum = fusion_terms(maximum, maximum, a, b, b, config=config, sets=[SET])
    assert at_maximum["rank"].item() == pytest.approx(0.1, abs=1e-6)
    assert at_maximum["sf_floor"].item() == pytest.approx(0.05 * float(metrics.sf(maximum)) / 255, rel=1e-4)
    assert fusion_terms(b, b, a, b, b, config=config, sets=[SET])["rank"].item() == 0
    noisy = fusion_terms(torch.round(b), b, a, b, b, config=config, sets=[SET])
    assert noisy["sf_floor"].item() == 0
