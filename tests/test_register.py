"""Alignment of a head that no one has: what was moved on purpose comes back, and what was not is let be."""

from __future__ import annotations

import json
import sys
import tracemalloc

import numpy as np
import pytest

from haarmony import cli, fuse, phantom, register
from haarmony.io import Picture, Volume, read, read_picture, to_unit, write
from haarmony.register import Transform, align, apply, find, look

sitk = pytest.importorskip("SimpleITK", reason="the extra 'register' is not installed")


def picture(pixels: np.ndarray) -> Picture:
    return Picture(pixels, (0, 255))


def pair(second: str = "CT", z: float = 20, size: int = 128) -> tuple[Picture, Picture]:
    first, other = phantom.head(7, size).pair(second, z)
    return picture(first), picture(other)


def moving(size: int, turn: float, *shift: float) -> Transform:
    centre = np.full(2, (size - 1) / 2)
    return Transform(register.turned(centre, float(turn), np.array(shift, float)), centre, "rigid", 1.0, 1.0)


def apart(matrix: np.ndarray, a: Picture) -> float:
    """Mean distance of the head's pixels from where they belong."""
    head = np.argwhere(a.pixels > 12)
    moved = head @ matrix[:2, :2].T + matrix[:2, 2]
    return float(np.linalg.norm(moved - head, axis=1).mean())


@pytest.mark.parametrize(
    ("second", "turn", "shift"),
    [
        ("CT", 8.0, (9.0, -12.0)),
        ("CT", -6.0, (-10.5, 3.3)),
        ("PET", 5.0, (6.0, 8.0)),
        ("SPECT", 0.0, (0.0, 9.5)),
    ],
)
def test_what_was_moved_comes_back(second, turn, shift):
    a, b = pair(second, size=256)
    by = moving(256, turn, *shift)
    found = find(a, apply(b, by))
    assert apart(by.matrix @ found.matrix, a) < 1.0
    assert found.after > found.before
    assert found.shift == pytest.approx(np.hypot(*shift), abs=1.5)
    assert found.turn == pytest.approx(abs(turn), abs=0.7)


def test_a_scaled_pair_needs_an_affine_transform():
    a, b = pair()
    centre = np.full(2, 63.5)
    matrix = np.eye(3)
    matrix[:2, :2] = np.diag([1.06, 0.96])
    matrix[:2, 2] = centre - matrix[:2, :2] @ centre
    moved = apply(b, Transform(matrix, centre, "affine", 1.0, 1.0))
    rigid, affine = (find(a, moved, kind) for kind in ("rigid", "affine"))
    assert apart(matrix @ affine.matrix, a) < 1.0 < apart(matrix @ rigid.matrix, a)
    assert affine.after > rigid.after


def test_a_shift_by_whole_pixels_is_undone_exactly():
    _, b = pair()
    by = moving(128, 0, 5, -3)
    for pixels in (b.pixels, to_unit(b.pixels), b.pixels.astype(np.uint16) * 257):
        moved = apply(picture(pixels), by).pixels
        assert moved.dtype == pixels.dtype
        np.testing.assert_allclose(moved[:-5, 3:], pixels[5:, :-3], atol=1e-6)
        back = apply(picture(moved), moving(128, 0, -5, 3)).pixels
        np.testing.assert_allclose(back[5:, :-3], pixels[5:, :-3], atol=1e-6)
        assert (moved[-5:] == 0).all()


def test_between_pixels_8_bit_is_rounded_to_8_bit():
    _, b = pair()
    by = moving(128, 3, 0.3, -0.7)
    exact = apply(picture(to_unit(b.pixels)), by).pixels
    np.testing.assert_array_equal(apply(b, by).pixels, np.rint(255.0 * exact))


def test_a_quarter_turn_puts_rows_in_the_place_of_columns():
    pixels = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    matrix = register.turned(np.full(2, 9.5), 90.0, np.zeros(2))
    moved = apply(picture(pixels), Transform(matrix, np.full(2, 9.5), "rigid", 1.0, 1.0)).pixels
    # Row r, column c of the result is looked up at row 19 − c, column r.
    np.testing.assert_allclose(moved[1:-1, 1:-1], np.rot90(pixels, -1)[1:-1, 1:-1], atol=1e-5)


def test_nmi_is_studholmes():
    x = np.repeat(np.arange(16), 16).reshape(16, 16)
    assert register._nmi(x, 15 - x) == pytest.approx(2.0)
    assert register._nmi(x, x.T) == pytest.approx(1.0)  # independent
    assert register._nmi(x, x // 2) == pytest.approx((4 + 3) / 4)


@pytest.mark.parametrize("second", ["CT", "PET", "SPECT"])
def test_only_what_is_misaligned_is_noticed(second):
    a, b = pair(second)
    assert look(a, b) is None
    seen = look(a, apply(b, moving(128, 5, 6, -4)))
    assert seen.shift == pytest.approx(np.hypot(6, 4), abs=2)
    assert seen.turn == pytest.approx(5, abs=3)


def test_auto_aligns_what_is_misaligned_and_leaves_the_rest(monkeypatch):
    a, b = pair()
    same, transform, said = align(a, b, "auto")
    assert (same is b, transform, said) == (True, None, "seems aligned, so it stays")
    by = moving(128, 4, 6, 5)
    moved, transform, said = align(a, apply(b, by), "auto")
    assert said.startswith("moved by ")
    assert apart(by.matrix @ transform.matrix, a) < 1
    off, was = (np.abs(x.pixels.astype(float) - b.pixels).mean() for x in (moved, apply(b, by)))
    assert off < was / 4
    same, transform, said = align(a, apply(b, by), "none")
    assert transform is None
    assert "seems misaligned, by " in said
    assert said.endswith("--register rigid aligns it")


def test_volumes_are_found_in_the_scanners_frame():
    levels = [float(z) for z in range(-40, 76, 4)]
    anatomy = phantom.head(7, 64)
    affine = np.diag([-anatomy.spacing, -anatomy.spacing, 4.0, 1.0])
    a, b = (
        Volume(anatomy.slices(kind, levels).transpose(2, 1, 0).copy(), (0.0, 255.0), affine)
        for kind in ("T1", "CT")
    )
    turn = np.radians(4)
    true = np.eye(4)
    true[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    true[:3, 3] = (5.0, -4.0, 2.0)
    moved = Volume(b.voxels, b.value_range, true @ b.affine)
    found = find(a, moved)
    assert found.unit == "mm"
    head = affine @ np.append(np.argwhere(a.voxels > 12), np.ones((np.sum(a.voxels > 12), 1)), axis=1).T
    off = np.linalg.norm(((found.matrix - true) @ head)[:3], axis=0)
    assert off.mean() < 0.7  # a voxel is 3.6 × 3.6 × 4 mm; it was moved by 7 mm and 4°
    np.testing.assert_allclose(
        apply(moved, Transform(true, np.zeros(3), "rigid", 1.0, 1.0)).affine, affine, atol=1e-9
    )


@pytest.mark.parametrize("shape", [(16, 4096), (4096, 16), (16, 16), (17, 300)])
def test_pictures_of_any_shape_are_looked_at(shape):
    ramp = picture(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert look(ramp, ramp) is None
    flat = picture(np.zeros(shape, np.uint8))
    assert look(flat, flat) is None
    assert look(ramp, flat) is None


def test_a_pair_that_lies_well_stays():
    a, b = pair()
    same, transform, said = align(a, b, "rigid")
    assert (same is b, transform) == (True, None)
    assert said.startswith("stays, since nothing better was found")


def test_the_same_pair_gives_the_same_transform_to_the_last_digit():
    pair = [Picture(x, (0.0, 255.0)) for x in phantom.head(seed=1).pair("CT", 16)]
    first, *others = (find(*pair).matrix for _ in range(5))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_a_transform_is_saved_and_read_again(tmp_path):
    by = moving(128, 3, 1, 2)
    by.save(tmp_path / "t.json")
    again = Transform.load(tmp_path / "t.json")
    np.testing.assert_array_equal(again.matrix, by.matrix)
    assert (again.described(), again.unit) == (by.described(), "px")


def test_words_tell_a_stretch_and_leave_out_whose_the_information_is(tmp_path):
    by = moving(128, 4, 3, 0)
    assert by.described() == "by 3.0 px and 4.0°, normalised mutual information 1.0000 → 1.0000"
    sheared = by.matrix @ np.array([[1.1, 0, 0], [0, 0.95, 0], [0, 0, 1]])
    # About the centre it is the same shift only where that stays; here the corner does.
    assert (
        Transform(sheared, np.zeros(2), "affine", 1.0, 1.0).moved().endswith(", stretched by 0.950 to 1.100")
    )
    a, b = pair()
    assert align(a, b, transform=by)[2] == "moved by 3.0 px and 4.0°, as saved"
    assert look(a, apply(b, moving(128, 5, 6, -4))).moved().startswith("by about ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unit": "inch"}, "'inch'"),
        ({"matrix": [[1, 0], [0, 1]]}, "another size"),
        ({"matrix": [[0, 0, 1], [0, 0, 1], [0, 0, 1]]}, "cannot be inverted"),
        ({"matrix": [[1, 0, 1], [0, 1, 1], [1, 0, 1]]}, "not affine"),
        ({"matrix": [[1, 0, "NaN"], [0, 1, 1], [0, 0, 1]]}, "leads beyond"),
        ({"matrix": [[1, 0, 10**400], [0, 1, 1], [0, 0, 1]]}, "too large"),
        ({"matrix": [[1e200, 0, 1], [0, 1e200, 1], [0, 0, 1]]}, "leads beyond"),
    ],
)
def test_a_damaged_transform_is_refused_by_name(tmp_path, change, says):
    path = tmp_path / "t.json"
    moving(128, 3, 1, 2).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"t\.json: is no transform that haarmony saved \(.*{says}"):
        Transform.load(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is no transform"):
        Transform.load(path)


def test_what_cannot_be_aligned_is_refused():
    a, b = pair()
    with pytest.raises(ValueError, match=r"different sizes \(128×128 and 128×100\)"):
        find(a, picture(b.pixels[:, :100]))
    with pytest.raises(ValueError, match="unknown registration 'elastic'"):
        find(a, b, "elastic")
    volume = Volume(np.zeros((16, 16, 4), np.uint8), (0.0, 255.0), np.eye(4))
    with pytest.raises(ValueError, match="for pictures, the second source is a volume"):
        apply(volume, moving(16, 0, 1, 1))
    with pytest.raises(ValueError, match="a volume, the other a picture"):
        find(a, volume)
    far = np.eye(4)
    far[0, 3] = 500
    with pytest.raises(ValueError, match="do not overlap by their affines"):
        find(Volume(volume.voxels, (0.0, 255.0), far), volume)


def test_the_command_saves_the_transform_and_takes_it_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    a, b = pair()
    write("a.png", a)
    write("b.png", apply(b, moving(128, 5, 6, -4)))
    assert cli.main(["fuse", "a.png", "b.png", "-o", "plain.png", "--steps", "1"]) == 0
    assert "b.png: the pair seems misaligned, by " in capsys.readouterr().err
    argv = ["fuse", "a.png", "b.png", "--steps", "1"]
    assert cli.main([*argv, "-o", "one.png", "--register", "rigid"]) == 0
    assert "b.png: moved by " in capsys.readouterr().err
    assert cli.main([*argv, "-o", "two.png", "--transform", "one.transform.json"]) == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert read("one.png").pixels.dtype == np.uint8  # as both sources are
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "plain.png").read_bytes()
    expected = fuse(a, apply(read_picture("b.png"), Transform.load("one.transform.json")), steps=1)
    np.testing.assert_array_equal(read("one.png").pixels, read_after(expected, tmp_path))
    for argv_more, says in (
        (["-o", "three.png", "--register", "rigid", "--transform", "one.transform.json"], "give one of them"),
        (["-o", "three.png", "--transform", "a.png"], "a.png: is no transform"),
        (["-o", "three.png", "--transform", "none.json"], "none.json"),
    ):
        assert cli.main([*argv, *argv_more]) == 2
        assert says in capsys.readouterr().err
    (tmp_path / "two.png").unlink()
    assert cli.main([*argv, "-o", "two.png", "--register", "auto"]) == 2  # two.transform.json is there
    assert "two.transform.json: exists already" in capsys.readouterr().err


def read_after(fused: Picture, folder) -> np.ndarray:
    write(folder / "expected.png", fused)
    return read(folder / "expected.png").pixels


def test_folders_are_aligned_pair_by_pair(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for stem, by in (("p", moving(128, 5, 6, -4)), ("q", moving(128, -4, 0, 8))):
        a, b = pair()
        write(tmp_path / "a" / f"{stem}.png", a)
        write(tmp_path / "b" / f"{stem}.png", apply(b, by))
    argv = ["fuse", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out"), "--steps", "1"]
    assert cli.main([*argv, "--register", "rigid", "--quiet"]) == 0
    found = [Transform.load(tmp_path / "out" / f"{stem}.transform.json").turn for stem in "pq"]
    assert found == [pytest.approx(5, abs=1), pytest.approx(4, abs=1)]
    assert "rigid" in (tmp_path / "out" / "manifest.csv").read_text()


def test_without_simpleitk_the_extra_is_named_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    monkeypatch.chdir(tmp_path)
    a, b = pair()
    write("a.png", a)
    write("b.png", b)
    assert cli.main(["fuse", "a.png", "b.png", "-o", "out.png", "--register", "rigid"]) == 2
    assert 'pip install "haarmony[register]"' in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_of_volumes_the_slice_that_was_looked_at_is_said():
    anatomy = phantom.head(7, 128)
    affine = np.diag([1.8, -1.8, 4.0, 1.0])
    a, b = (
        Volume(anatomy.slices(kind, [16, 20, 24, 28]).transpose(2, 1, 0), (0.0, 255.0), affine)
        for kind in ("T1", "CT")
    )
    shifted = affine.copy()
    shifted[:2, 3] += 12
    said = align(a, Volume(b.voxels, b.value_range, shifted), "none")[2]
    assert said.startswith("the pair seems misaligned in the slice looked at, by about ")


def test_volumes_that_share_a_few_slices_are_looked_at_there():
    voxels = np.random.default_rng(0).integers(0, 256, (32, 32, 22), dtype=np.uint8)
    a = Volume(voxels, (0.0, 255.0), np.eye(4))
    shift = np.eye(4)
    shift[2, 3] = 18
    b = Volume(voxels[:, :, 18:], (0.0, 255.0), shift)
    assert look(a, b) is None
    shift[2, 3] = 500
    assert look(a, Volume(b.voxels, b.value_range, shift)) is None


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_volumes_of_too_few_slices_are_refused_in_one_line(slices):
    voxels = np.random.default_rng(0).integers(0, 256, (32, 32, slices), dtype=np.uint8)
    volume = Volume(voxels, (0.0, 255.0), np.eye(4))
    with pytest.raises(ValueError, match="cannot be registered; it takes 4 along each axis") as refused:
        find(volume, volume)
    assert "\n" not in str(refused.value)


def test_looking_holds_no_picture_in_floats():
    small = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    a = picture(np.repeat(np.repeat(small, 100, axis=0), 100, axis=1))
    tracemalloc.start()
    look(a, a)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < a.pixels.nbytes  # a megapixel in floats; both pictures take eight times as much


def test_small_pictures_are_the_same_in_parts(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (307, 205, 3), dtype=np.uint8)
    whole = register._small(pixels, 5)
    luma = (to_unit(pixels)[:305] @ np.array([0.299, 0.587, 0.114])).reshape(61, 5, 41, 5)
    np.testing.assert_allclose(whole, luma.mean((1, 3)), atol=1e-6)
    monkeypatch.setattr(register, "BLOCK", 3000)
    np.testing.assert_allclose(register._small(pixels, 5), whole, atol=1e-6)
