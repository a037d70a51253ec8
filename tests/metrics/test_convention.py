"""What goes in: shapes, types, ranges, conventions; the same value for every form of the same picture."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from haarmony.metrics import CONVENTIONS, METRICS, score, vif
from haarmony.metrics.convention import as_numpy, limits

GREY = [symbol for symbol, metric in METRICS.items() if "c" not in metric.inputs]  # needs no colour
FORMS = {
    "uint16": lambda x: x.astype(np.uint16) * 257,
    "float64": lambda x: x / 255,
    "float32": lambda x: (x / 255).astype(np.float32),
    "torch uint8": torch.tensor,
    "torch uint16": lambda x: torch.tensor(x.astype(np.uint16) * 257),
    "torch float32": lambda x: torch.tensor(x / 255, dtype=torch.float32),
    "torch with gradient": lambda x: torch.tensor(x / 255, dtype=torch.float32, requires_grad=True),
    "transposed view": lambda x: np.ascontiguousarray(x.T).T,
}
DIFFERENTIABLE = (
    "SD", "SF", "AG", "MSE", "PSNR", "CC", "SCD", "VIF", "Qabf", "SSIM",
    "RMSE", "SCC", "EI", "Nabf",  # and MS-SSIM, which needs larger pictures
    "VIFF", "UQI", "Q", "Qw", "Qe", "Qy", "Qcb", "Qcv",
)  # fmt: skip


def floats(values):
    return {symbol: float(as_numpy(value)) for symbol, value in values.items()}


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_form_does_not_matter(triple, convention, form):
    expected = score(*triple, convention=convention)
    values = score(*(FORMS[form](x) for x in triple), convention=convention)
    assert floats(values) == pytest.approx(expected, rel=2e-5, nan_ok=True)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_batches_give_one_value_per_image(triple, kind):
    f, a, b = triple
    batches = np.stack([f, a, b]), np.stack([a, b, f]), np.stack([b, f, a])
    expected = [score(*images) for images in zip(*batches, strict=True)]
    for shape in ((3, 52, 61), (3, 1, 52, 61)):
        values = score(*(kind(x.reshape(shape)) for x in batches))
        for i in range(3):
            assert floats({k: v[i] for k, v in values.items()}) == pytest.approx(
                expected[i], rel=1e-5, nan_ok=True
            )
        assert all(tuple(v.shape) == (3,) for v in values.values())
    assert all(np.ndim(v) == 0 for v in expected[0].values())


@pytest.mark.parametrize("symbol", GREY)
def test_score_is_the_functions(triple, large, symbol):
    metric = METRICS[symbol]
    if limits(metric.function).smallest > 52:
        triple = large
    pictures = dict(zip("fab", triple, strict=True))
    for convention in metric.conventions:
        alone = metric.function(*(pictures[x] for x in metric.inputs), convention=convention)
        assert score(*triple, convention=convention, metrics=[symbol]) == {symbol: alone}


def test_default_convention_is_ours(triple):
    f, a, b = triple
    assert vif(f, a, b) == vif(f, a, b, convention="haarmony") == score(f=f, a=a, b=b)["VIF"]
    for metric in METRICS.values():
        assert inspect.signature(metric.function).parameters["convention"].default == "haarmony"


@pytest.mark.parametrize("symbol", GREY)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_smallest_size(symbol, kind):
    metric = METRICS[symbol]
    n = limits(metric.function).smallest
    rng = np.random.default_rng(n)
    for shape in ((n, n), (n, n + 1), (n + 2, n)):
        pictures = [kind(rng.integers(0, 256, shape).astype(np.uint8)) for _ in metric.inputs]
        low, high = metric.range
        assert low <= float(metric.function(*pictures)) <= high
    if n > 1:
        small = [kind(rng.integers(0, 256, (n - 1, n + 9)).astype(np.uint8)) for _ in metric.inputs]
        with pytest.raises(ValueError, match=rf"needs at least {n}×{n} pixels, these are {n - 1}×{n + 9}"):
            metric.function(*small)


def test_units_of_conventions(triple):
    """A unit that is another goes with a value that is another by the units' ratio."""
    ratio = {"MI": ("cddfuse", 2 * np.log(2)), "SF": ("matlab", 1 / 255), "RMSE": ("matlab", 1 / 255)}
    for symbol, (convention, times) in (ratio | {"MSE": ("matlab", 1 / 255**2)}).items():
        ours, theirs = (
            float(score(*triple, convention=c, metrics=[symbol])[symbol]) for c in ("haarmony", convention)
        )
        assert theirs == pytest.approx(times * ours, rel=1e-5)
        assert (
            METRICS[symbol].unit_in(convention) != METRICS[symbol].unit == METRICS[symbol].unit_in("haarmony")
        )
    assert {s for s, m in METRICS.items() for c in CONVENTIONS if m.unit_in(c) != m.unit} == {*ratio, "MSE"}


def test_undefined_in_matlab(triple):
    for symbol, metric in METRICS.items():
        if "matlab" not in metric.conventions:
            message = f"{metric.function.__name__} is not defined in the convention 'matlab'"
            with pytest.raises(ValueError, match=message):
                score(*triple, convention="matlab", metrics=[symbol])
            with pytest.raises(ValueError, match=message):
                metric.function(*triple[: len(metric.inputs)], convention="matlab")
    undefined = {symbol for symbol, metric in METRICS.items() if "matlab" not in metric.conventions}
    assert undefined == {"SD", "VIF", "SSIM", "MS-SSIM", "Nabf", "FMI"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:-1], r"shapes differ: f \(51, 61\), a \(52, 61\), b \(52, 61\)"),
        (lambda x: x.astype(np.int64), "f has type int64"),
        (lambda x: x > 9, "f has type bool"),
        (lambda x: x.astype(float), "f has values from 0 to 255"),
        (lambda x: x / 255 - 0.1, r"f has values from -0\.1 to"),
        (lambda x: np.where(x > 0, x / 255, np.nan), "f has values from nan to nan"),
        (lambda x: np.where(x > 0, x / 255, np.inf), "f has values from .* to inf"),
        (lambda x: torch.tensor(x).double(), "f has values from 0 to 255"),
    ],
)
def test_refused_pictures(triple, change, message):
    f, a, b = triple
    if isinstance(change(f), torch.Tensor):
        a, b = torch.tensor(a), torch.tensor(b)
    for metric in (vif, score):
        with pytest.raises(ValueError, match=message):
            metric(change(f), a, b)


@pytest.mark.parametrize("shape", [(), (52,), (0, 61), (2, 2, 52, 61), (1, 1, 1, 52, 61)])
def test_refused_shapes(shape):
    with pytest.raises(ValueError, match="metrics take"):
        score(*[np.zeros(shape, np.uint8)] * 3)


def test_refused_mixtures(triple):
    f, a, b = triple
    for call in (score, vif):
        with pytest.raises(ValueError, match="array libraries differ: f torch, a NumPy, b NumPy; convert"):
            call(torch.tensor(f), a, b)


def test_refused_names(triple):
    with pytest.raises(ValueError, match="unknown convention 'tno'; known are haarmony, cddfuse, matlab"):
        score(*triple, convention="tno")
    with pytest.raises(ValueError, match="unknown convention 'tno'"):
        vif(*triple, convention="tno")
    with pytest.raises(ValueError, match="unknown metric 'ssim'; known are EN, SD"):
        score(*triple, metrics=["ssim"])


def test_gradients_are_finite_and_right_on_flat_black(triple):
    """Against central differences in float64."""
    f, a, b = (torch.tensor(np.maximum(x, 0) / 255.0) for x in triple)
    rng = torch.Generator().manual_seed(0)
    step = torch.randn(f.shape, generator=rng, dtype=torch.float64) * (f > 0) * 1e-7
    f = torch.where(f > 0, 0.02 + 0.9 * f + 0.05 * torch.rand(f.shape, generator=rng, dtype=torch.float64), f)
    for convention in ("haarmony", "cddfuse"):
        for symbol in DIFFERENTIABLE:
            metric = METRICS[symbol].function
            pictures = (a, b) if METRICS[symbol].inputs == "fab" else ()
            g = f.clone().requires_grad_()
            value = metric(g, *pictures, convention=convention)
            (gradient,) = torch.autograd.grad(value, g)
            assert torch.isfinite(gradient).all(), symbol
            ahead, behind = (metric(f + s * step, *pictures, convention=convention) for s in (1, -1))
            assert float(ahead - behind) == pytest.approx(
                2 * float((gradient * step).sum()), rel=2e-2, abs=1e-9
            ), symbol


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_gradients_are_finite_on_constants(level):
    """Everything flat: no edge, no variance, no error."""
    x = torch.full((2, 1, 48, 48), level)
    for convention in ("haarmony", "cddfuse"):
        for symbol in DIFFERENTIABLE:
            metric, f = METRICS[symbol], x.clone().requires_grad_()
            value = metric.function(f, *([x, x] if metric.inputs == "fab" else []), convention=convention)
            (gradient,) = torch.autograd.grad(value.sum(), f)
            assert torch.isfinite(gradient).all(), (symbol, convention)


def test_autocast_leaves_values_alone(triple):
    f, a, b = (torch.tensor(x) for x in triple)
    expected = floats(score(f, a, b))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert floats(score(f, a, b)) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_metrics_import_neither_torch_nor_scipy():
    check = "import sys, haarmony.metrics; assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_overshoot_of_a_network_is_no_error(triple):
    f, a, b = (torch.tensor(x / 255.0) for x in triple)
    assert vif((1.1 * f).requires_grad_(), a, b) > vif(f, a, b)


WILD = {
    "black": lambda rng, y, x: 0 * x,
    "white": lambda rng, y, x: 0 * x + 255,
    "checks": lambda rng, y, x: (y + x) % 2 * 255,
    "blocks": lambda rng, y, x: (y // 4 + x // 4) % 2 * 255,
    "hot pixel": lambda rng, y, x: 255 * ((y == y.max() // 2) & (x == x.max() // 3)),
    "noise": lambda rng, y, x: rng.integers(0, 256, x.shape),
    "slope": lambda rng, y, x: x * 255 // max(x.max(), 1),
}


@pytest.mark.parametrize("f", WILD)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_wild_pictures_stay_in_range(f, convention):
    """In our convention all lie in the declared range but for rounding; in no convention is any undefined."""
    rng = np.random.default_rng(5)
    names = [(a, b) for a in WILD for b in WILD if a <= b][::3]
    for (h, w), (a, b) in zip(rng.integers(1, 60, (len(names), 2)), names, strict=True):
        y, x = np.mgrid[:h, :w]
        pictures = (WILD[name](rng, y, x).astype(np.uint8) for name in (f, a, b))
        for symbol, value in score(*pictures, convention=convention).items():
            low, high = METRICS[symbol].range if convention == "haarmony" else (-np.inf, np.inf)
            rounding = 1e-6 * max(abs(bound) for bound in (low, high, 1.0) if np.isfinite(bound))
            if symbol != "CIEDE2000":  # which has no coloured source here
                assert low - rounding <= value <= high + rounding, (symbol, a, b, h, w)
