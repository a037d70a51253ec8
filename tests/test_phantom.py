"""The phantom: determinism, contrasts by label, lesions that one modality shows, air at zero."""

import numpy as np
import pytest

from haarmony.anatomy import Shape, Tissue, ellipsoid, fractions, smooth_min, tube
from haarmony.phantom import LESIONS, LEVELS, MODALITIES, PROPERTIES, Lesion, ember, head, rainbow

Z = 16.0  # crosses the three default lesions


@pytest.fixture(scope="module")
def whole():
    return head(seed=42)


def pure(person, z, *tissues):
    """Pixels that hold nothing else, one mask for the tissues together."""
    return person.fractions(z)[list(tissues)].sum(0) > 0.99


def contrast(person, modality, name, z=Z):
    """(inside − white matter around) of a lesion, in standard deviations of the white matter around it."""
    lesion = next(found for found in person.lesions if found.name == name)
    image, mask = person.image(modality, z), person.lesion(name, z)
    side = person.spacing * (np.arange(person.size[0]) - (person.size[0] - 1) / 2)
    x, y = np.meshgrid(side, -14 - side)
    away = np.hypot(x - lesion.centre[0], y - lesion.centre[1])
    around = (away > 1.4 * lesion.radius) & (away < 3 * lesion.radius) & pure(person, z, Tissue.WHITE)
    assert around.sum() > 60
    return (image[mask > 0.9].mean() - image[around].mean()) / image[around].std()


@pytest.mark.parametrize("modality", MODALITIES)
def test_same_seed_gives_the_same_bytes_and_another_seed_another_person(modality):
    first, again, other = (head(seed, 64).picture(modality, Z) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert np.mean(first != other) > 0.2


def test_fractions_add_up_and_the_outside_is_air(whole):
    for z in (-34.0, Z, 60.0):
        found = whole.fractions(z)
        assert found.min() >= 0
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
        assert (found[Tissue.AIR][[0, -1]] == 1).all()
        assert (found[Tissue.AIR][:, [0, -1]] == 1).all()
    assert (whole.fractions(200.0)[Tissue.AIR] == 1).all()


def test_anatomy_has_its_parts_at_their_levels(whole):
    def present(z):
        label, count = np.unique(whole.labels(z), return_counts=True)
        return {Tissue(k) for k, n in zip(label, count, strict=True) if n >= 8}

    skull = {Tissue.AIR, Tissue.SKIN, Tissue.FAT, Tissue.BONE}
    brain = {Tissue.CSF, Tissue.GREY, Tissue.WHITE}
    assert skull | brain | {Tissue.CAUDATE, Tissue.THALAMUS, Tissue.DIPLOE} <= present(8.0)
    assert {Tissue.PUTAMEN, Tissue.PALLIDUM} <= present(4.0)
    assert skull | brain | {Tissue.VITREOUS, Tissue.LENS, Tissue.CAVITY, Tissue.MUSCLE} <= present(-36.0)
    assert not {Tissue.VITREOUS, Tissue.CAUDATE} & present(60.0)


def test_cortex_is_a_folded_ribbon_along_white_matter(whole):
    label = whole.labels(40.0)
    grey, white = (label == Tissue.GREY), (label == Tissue.WHITE)
    edges = sum(np.count_nonzero(np.diff(white, axis=axis)) for axis in (0, 1)) * whole.spacing
    smooth = 2 * np.sqrt(np.pi * (grey | white).sum()) * whole.spacing  # the same area as a disc
    assert 0.7 < grey.sum() / white.sum() < 2.5
    assert edges > 2.5 * smooth


def test_halves_are_alike_but_not_mirrored(whole):
    label = whole.labels(Z)
    white, mirrored = label == Tissue.WHITE, label[:, ::-1] == Tissue.WHITE
    overlap = (white & mirrored).sum() / (white | mirrored).sum()
    assert 0.5 < overlap < 0.9


def test_skull_is_bright_in_ct_and_dark_in_mri(whole):
    bone, brain = pure(whole, Z, Tissue.BONE), pure(whole, Z, Tissue.GREY, Tissue.WHITE)
    ct = whole.image("CT", Z)
    assert np.median(ct[bone]) > 900
    assert 25 < np.median(ct[brain]) < 42
    assert np.median(whole.picture("CT", Z)[bone]) == 255
    assert 70 < np.median(whole.picture("CT", Z)[brain]) < 140
    for modality in ("T1", "T2", "PD"):
        image = whole.image(modality, Z)
        assert np.median(image[bone]) < 0.45 * np.median(image[brain])


def test_mri_orders_tissues_as_the_spin_echo_equation_does(whole):
    def medians(modality):
        image = whole.image(modality, Z)
        order = (Tissue.CSF, Tissue.GREY, Tissue.WHITE, Tissue.FAT)
        return [float(np.median(image[pure(whole, Z, tissue)])) for tissue in order]

    csf, grey, white, fat = medians("T1")
    assert csf < 0.6 * grey < grey < 0.85 * white < white < fat
    csf, grey, white, _ = medians("T2")
    assert csf > 1.4 * grey > 1.4 * 1.2 * white
    tissue = PROPERTIES[Tissue.WHITE]
    signal = tissue.pd * (1 - np.exp(-4000 / tissue.t1)) * np.exp(-100 / tissue.t2)
    np.testing.assert_allclose(white, signal, rtol=0.12)  # the coil's shading


def test_ct_measures_hounsfield_units(whole):
    ct = whole.image("CT", Z)
    assert (ct[whole.fractions(Z)[Tissue.AIR] == 1] == -1000).all()
    label, share = whole.labels(Z), whole.fractions(Z)
    for tissue, hu in ((Tissue.WHITE, 29), (Tissue.CAUDATE, 39)):
        assert abs(np.median(ct[(label == tissue) & (share[tissue] > 0.99)]) - hu) < 2.5


@pytest.mark.parametrize(("modality", "tracer"), [("PET", "fdg"), ("SPECT", "flow")])
def test_uptake_is_highest_in_grey_matter_by_the_physical_ratio(whole, modality, tracer):
    ratio = getattr(PROPERTIES[Tissue.GREY], tracer) / getattr(PROPERTIES[Tissue.WHITE], tracer)
    assert 3 < ratio < 4.5
    image = whole.image(modality, Z)
    means = [image[pure(whole, Z, tissue)].mean() for tissue in (Tissue.GREY, Tissue.WHITE, Tissue.CSF)]
    grey, white, csf = means
    assert grey > 1.35 * white > 1.35 * 1.1 * csf
    deep = Lesion("ball", (27, -45, 40), 30, uptake=1.0), Lesion("core", (-27, -45, 40), 30, uptake=1 / ratio)
    balls = head(seed=42, lesions=deep)  # larger than the point spread: there the ratio is seen whole
    image = balls.image(modality, 40.0)
    hot, cold = (image[balls.lesion(name, 40.0) == 1] for name in ("ball", "core"))
    assert np.median(hot) / np.median(cold) == pytest.approx(ratio, rel=0.2)


@pytest.mark.parametrize(("modality", "width"), [("PET", 6.0), ("SPECT", 9.0)])
def test_point_spread_of_the_tracers_is_as_wide_as_said(modality, width):
    quiet, point = Lesion("quiet", (0, -14, 30), 400, uptake=0), Lesion("point", (27, -45, 30), 3, uptake=9)
    person = head(seed=1, lesions=[quiet, point])
    image = person.image(modality, 30)
    side = person.spacing * (np.arange(256) - 127.5)
    near = np.hypot(side - 27, -14 - side[:, None] + 45) < 1.6 * width
    weight = np.where(near, image, 0) / image[near].sum()
    along = weight.sum(0)
    variance = (along * (side - (along * side).sum()) ** 2).sum() - 3**2 / 5  # a ball's own
    assert np.sqrt(8 * np.log(2) * variance) == pytest.approx(width, rel=0.12)
    assert not head(seed=1, lesions=[Lesion("far", (0, -14, 500), 9, uptake=1)]).image(modality, 500).any()


@pytest.mark.parametrize("seed", [42, 3])
@pytest.mark.parametrize(
    ("name", "seen"), [("plaque", {"T1", "T2", "PD"}), ("focus", {"PET", "SPECT"}), ("calcification", {"CT"})]
)
def test_lesion_shows_in_its_own_modalities_only(seed, name, seen):
    person = head(seed)
    without = head(seed, lesions=[lesion for lesion in LESIONS if lesion.name != name])
    mask = person.lesion(name, Z)
    assert np.pi * 3**2 < mask.sum() * person.spacing**2 < np.pi * 8**2
    for modality in MODALITIES:
        if modality in seen:
            assert abs(contrast(person, modality, name)) > 3, modality
        else:
            np.testing.assert_array_equal(person.image(modality, Z), without.image(modality, Z))


def test_lesions_are_seen_where_the_truth_says(whole):
    bare = head(seed=42, lesions=())
    for modality, name in (("T2", "plaque"), ("CT", "calcification"), ("PET", "focus")):
        difference = np.abs(whole.image(modality, Z) - bare.image(modality, Z))
        peak = np.unravel_index(difference.argmax(), difference.shape)
        assert whole.lesion(name, Z)[peak] > 0.5
    assert not whole.lesion("plaque", 60.0).any()


@pytest.mark.parametrize("modality", MODALITIES)
def test_air_is_exactly_zero_and_the_head_is_not(whole, modality):
    for z in (-34.0, Z):
        picture, air = whole.picture(modality, z), whole.fractions(z)[Tissue.AIR] == 1
        assert not picture[air].any()
        assert 0.3 < air.mean() < 0.8
        level = picture if picture.ndim == 2 else picture.max(-1)
        assert (level[pure(whole, z, Tissue.GREY, Tissue.WHITE)] > 0).mean() > 0.999


@pytest.mark.parametrize("modality", MODALITIES)
def test_slices_of_a_volume_equal_slices_asked_alone(modality):
    levels = (-30.0, 10.0, 13.0)
    volume, pictures = head(5, 48).volume(modality, levels), head(5, 48).slices(modality, levels)
    alone = head(5, 48)
    for i in (2, 0, 1):
        np.testing.assert_array_equal(volume[i], alone.image(modality, levels[i]))
        np.testing.assert_array_equal(pictures[i], alone.picture(modality, levels[i]))


def test_default_volume_covers_the_brain():
    person = head(2, 32)
    volume = person.volume("T1")
    assert volume.shape == (40, 32, 32)
    assert len(LEVELS) == 40
    assert all(plane.any() for plane in volume)
    assert not person.image("T1", 110.0).any()


@pytest.mark.parametrize("size", [(37, 53), (16, 16), (101, 64)])
def test_any_size(size):
    person = head(seed=1, size=size)
    for modality in MODALITIES:
        picture = person.picture(modality, Z)
        assert picture.shape == (size if modality in {"T1", "T2", "PD", "CT"} else (*size, 3))
        assert picture.dtype == np.uint8
        assert picture.any()


def test_a_finer_grid_shows_the_same_head():
    coarse, fine = head(9, 64).fractions(Z), head(9, 256).fractions(Z)
    pooled = fine.reshape(len(Tissue), 64, 4, 64, 4).mean((2, 4))
    assert np.abs(pooled - coarse).max(0).mean() < 0.06


def test_pair_puts_the_usual_mri_beside_its_partner(whole):
    for second, first in (("PET", "T1"), ("SPECT", "T2"), ("CT", "T2")):
        mri, partner = whole.pair(second, Z)
        np.testing.assert_array_equal(mri, whole.picture(first, Z))
        np.testing.assert_array_equal(partner, whole.picture(second, Z))
    np.testing.assert_array_equal(whole.pair("CT", Z, first="PD")[0], whole.picture("PD", Z))


def test_palettes_run_from_black_and_brighten():
    for palette in (rainbow, ember):
        colours = palette(np.linspace(0, 1, 256)).astype(int)
        assert not colours[0].any()
        assert (colours.max(-1)[100:] > 110).all()
        assert np.abs(np.diff(colours, axis=0)).max() < 32  # no seams
        assert len(np.unique(colours, axis=0)) > 200
        assert (np.diff(colours.max(-1)[:60]) >= -1).all()


def test_truth_is_read_only_and_planes_are_the_callers_own(whole):
    with pytest.raises(ValueError, match="read-only"):
        whole.fractions(Z)[0] = 0
    whole.picture("T1", Z)[:] = 0
    assert whole.picture("T1", Z).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "-1"),
        ({"size": 15}, "15×15"),
        ({"size": (64, 4000)}, "64×4000"),
        ({"fov": 0.0}, "0.0"),
        ({"fov": float("nan")}, "nan"),
        ({"lesions": [Lesion("a", (0, 0, 0), 1), Lesion("a", (0, 0, 0), 2)]}, "repeat"),
        ({"lesions": [Lesion("a", (0, 0, 0), 0)]}, "radius 0"),
    ],
)
def test_bad_heads_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        head(**arguments)


def test_bad_requests_are_refused(whole):
    with pytest.raises(ValueError, match="'XRAY'"):
        whole.image("XRAY", 0.0)
    with pytest.raises(ValueError, match="nan"):
        whole.picture("CT", float("nan"))
    with pytest.raises(ValueError, match="inf"):
        whole.labels(float("inf"))
    with pytest.raises(ValueError, match="'tumour'"):
        whole.lesion("tumour", 0.0)


def test_distances_are_distances():
    x = np.linspace(-30, 30, 61, dtype=np.float32)
    p = (x, np.zeros_like(x), np.zeros_like(x))
    np.testing.assert_allclose(ellipsoid(p, (0, 0, 0), (10, 10, 10)), np.abs(x) - 10, atol=1e-3)
    np.testing.assert_allclose(
        tube(p, (-5, 0, 0, 2), (5, 0, 0, 2)), np.maximum(np.abs(x) - 5, 0) - 2, atol=1e-5
    )
    a, b = x - 1, 1 - x
    assert (smooth_min(a, b, 3.0) <= np.minimum(a, b) + 1e-6).all()
    np.testing.assert_array_equal(smooth_min(a, b, 3.0)[:20], a[:20])


def test_random_waves_have_unit_variance_and_their_zeros_where_said():
    shape = Shape.of(3)
    rng = np.random.default_rng(0)
    p = tuple(rng.uniform(-400, 400, (3, 20000)).astype(np.float32))
    for wave in (shape.sulci, shape.depth, shape.marrow):
        assert wave(p).std() == pytest.approx(1, abs=0.05)
    near = shape.sulci.zero_distance(p) < 0.05
    assert np.abs(shape.sulci(p))[near].max() < 0.1
    assert shape.sulci.zero_distance(p).min() >= 0


def test_fractions_depend_on_the_point_alone():
    shape = Shape.of(4)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-90, 90, (2, 500)).astype(np.float32)
    whole = fractions(shape, x, y, 12.0, h=1.0)
    np.testing.assert_allclose(fractions(shape, x[7:9], y[7:9], 12.0, h=1.0), whole[:, 7:9], atol=1e-5)
