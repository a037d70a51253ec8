"""A procedural head in every modality: one anatomy, sensible contrasts, lesions that only one of them shows.

The anatomy (`haarmony.anatomy`) gives the fraction f_k of every tissue k at a point. What an instrument
measures follows from these and from one table of tissue properties::

    CT            Σ f_k HU_k                                        Hounsfield units
    T1, T2, PD    Σ f_k PD_k (1 − exp(−TR/T1_k)) exp(−TE/T2_k)      spin-echo signal, at most 1
    PET, SPECT    Gaussian point spread * Σ f_k uptake_k            relative to cortical grey matter

A lesion replaces the property it has one for (HU, relaxation or uptake) and leaves the others alone. Noise
comes from a generator seeded with the head's seed, the modality and the plane's height, so a plane is the
same whether it is asked for alone or among others::

    first, second = head(seed=42).pair("PET", 16)        # T1 (256, 256), PET (256, 256, 3): uint8
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, UInt8

from haarmony.anatomy import Flat, Real, Shape, Tissue, fractions, within

MODALITIES = ("T1", "T2", "PD", "CT", "PET", "SPECT")
LEVELS = tuple(float(z) for z in range(-40, 80, 3))
"""Heights in mm of the 40 planes that cover the brain."""


@dataclass(frozen=True)
class Properties:
    """What instruments see of a tissue.

    Attributes:
        hu: CT number in Hounsfield units.
        pd: Proton density, water = 1.
        t1: Longitudinal relaxation time in ms at 1.5 T.
        t2: Transverse relaxation time in ms.
        fdg: Uptake of glucose (PET), cortical grey matter = 1.
        flow: Uptake of a perfusion tracer (SPECT), cortical grey matter = 1.
    """

    hu: Real
    pd: Real
    t1: Real
    t2: Real
    fdg: Real
    flow: Real


PROPERTIES = {
    Tissue.AIR: Properties(-1000, 0, 1000, 50, 0, 0),
    Tissue.CAVITY: Properties(-1000, 0, 1000, 50, 0, 0),
    Tissue.SKIN: Properties(45, 0.60, 700, 45, 0.10, 0.14),
    Tissue.FAT: Properties(-95, 0.85, 260, 65, 0.04, 0.08),
    Tissue.MUSCLE: Properties(55, 0.75, 900, 45, 0.15, 0.22),
    Tissue.BONE: Properties(1300, 0.08, 700, 20, 0.04, 0.04),
    Tissue.DIPLOE: Properties(600, 0.35, 420, 50, 0.10, 0.12),
    Tissue.DURA: Properties(58, 0.45, 900, 40, 0.15, 0.25),
    Tissue.BLOOD: Properties(62, 0.10, 1400, 60, 0.30, 0.45),  # flowing: hardly any signal
    Tissue.CSF: Properties(6, 1.00, 4200, 1800, 0.03, 0.05),
    Tissue.GREY: Properties(38, 0.82, 1080, 95, 1.00, 1.00),
    Tissue.WHITE: Properties(29, 0.70, 540, 75, 0.26, 0.30),
    Tissue.CAUDATE: Properties(39, 0.80, 980, 88, 1.12, 1.10),
    Tissue.PUTAMEN: Properties(39, 0.79, 930, 84, 1.18, 1.14),
    Tissue.PALLIDUM: Properties(38, 0.74, 720, 66, 0.75, 0.75),
    Tissue.THALAMUS: Properties(37, 0.78, 780, 84, 1.05, 1.05),
    Tissue.VITREOUS: Properties(8, 1.00, 3600, 1000, 0.03, 0.03),
    Tissue.LENS: Properties(90, 0.65, 1000, 35, 0.05, 0.05),
}
"""The tissues as instruments see them: plausible round values at 1.5 T, not measurements."""

_ECHO = {"T1": (400.0, 12.0), "T2": (4000.0, 100.0), "PD": (3200.0, 20.0)}  # TR, TE in ms
_POINT_SPREAD = {"PET": 6.0, "SPECT": 9.0}  # full width at half maximum, mm
_NOISE = {"T1": 0.008, "T2": 0.008, "PD": 0.010, "CT": 2.6, "PET": 0.035, "SPECT": 0.05}  # one sigma
_WINDOW = {
    "T1": (0.02, 0.4),
    "T2": (0, 0.62),
    "PD": (0, 0.95),
    "CT": (0, 80),
    "PET": (0, 1.25),
    "SPECT": (0, 1.1),
}
_EDGE = 1.3  # pixels over which an edge is smeared
_TRACER_GRID = 2.0  # mm: tracers are imaged on a grid of their own, whatever the picture's size


@dataclass(frozen=True)
class Lesion:
    """A roundish lesion; it shows in the modalities that it has a property for, and in no other.

    Attributes:
        name: How `Head.lesion` finds it.
        centre: x, y, z in mm.
        radius: mm.
        hu: CT number, or None where CT does not see it.
        relaxation: (PD, T1, T2) in (water, ms, ms), or None where MRI does not see it.
        uptake: Relative uptake in PET and SPECT, or None where they do not see it.
    """

    name: str
    centre: tuple[Real, Real, Real]
    radius: Real
    hu: Real | None = None
    relaxation: tuple[Real, Real, Real] | None = None
    uptake: Real | None = None


LESIONS = (
    Lesion("plaque", (-28, 23, 16), 6.0, relaxation=(0.92, 1500, 190)),
    Lesion("focus", (34, -47, 16), 6.5, uptake=1.8),
    Lesion("calcification", (27, 25, 16), 3.5, hu=240),
)
"""The default lesions, in white matter at z = 16 mm: one for MRI, one for PET and SPECT, one for CT."""


@dataclass(frozen=True)
class Head:
    """One head; equal arguments give equal bytes.

    Attributes:
        seed: Non-negative; bends the skull, folds the cortex, seeds texture and noise.
        size: Height and width of every plane in pixels.
        fov: Field of view in mm along the longer side; pixels are square.
        lesions: What to plant.
    """

    seed: int = 42
    size: tuple[int, int] = (256, 256)
    fov: Real = 230
    lesions: tuple[Lesion, ...] = LESIONS

    @property
    def spacing(self) -> float:
        """The width of a pixel in mm."""
        return self.fov / max(self.size)

    def fractions(self, z: Real) -> Float32[np.ndarray, "tissue h w"]:
        """The truth: how much of every pixel each `Tissue` fills at `z` mm, adding up to 1; read-only."""
        plane: np.ndarray = _plane(self.seed, self.size, self.spacing, _height(z))
        return plane

    def labels(self, z: Real) -> UInt8[np.ndarray, "h w"]:
        """The truth: the `Tissue` that fills most of every pixel."""
        return np.asarray(self.fractions(z).argmax(0), np.uint8)

    def lesion(self, name: str, z: Real) -> Float32[np.ndarray, "h w"]:
        """The truth: the fraction of every pixel that the lesion called `name` fills.

        Raises:
            ValueError: The head has no lesion of this name.
        """
        for lesion in self.lesions:
            if lesion.name == name:
                x, y = _grid(self.size, self.spacing)
                share = _share(lesion, Shape.of(self.seed), x, y, _height(z), self.spacing).reshape(self.size)
                inside: np.ndarray = share * (1 - self.fractions(z)[Tissue.AIR])
                return inside
        raise ValueError(f"no lesion {name!r}; there are {', '.join(lesion.name for lesion in self.lesions)}")

    def image(self, modality: str, z: Real) -> Float32[np.ndarray, "h w"]:
        """What the instrument measures in the plane at `z` mm, with its blur and noise.

        Args:
            modality: One of `MODALITIES`.
            z: The plane's height in mm, 0 at the commissures, positive to the top.

        Returns:
            Hounsfield units (air is −1000), spin-echo signal, or uptake relative to cortical grey matter.
            Outside the head every value is exactly that of air.

        Raises:
            ValueError: An unknown modality, or a height that is not a finite number.
        """
        if modality not in MODALITIES:
            raise ValueError(f"no modality {modality!r}; there are {', '.join(MODALITIES)}")
        z = _height(z)
        rng = np.random.default_rng([self.seed, 2 + MODALITIES.index(modality), round(1000 * (z + 1000))])
        image: np.ndarray = (_tracer if modality in _POINT_SPREAD else _direct)(self, modality, z, rng)
        return image

    def picture(self, modality: str, z: Real) -> UInt8[np.ndarray, "h w *colour"]:
        """The image as a viewer shows it: CT in a brain window of 0 to 80 HU, tracers in false colour.

        Returns:
            uint8 (H, W) for CT and MRI, (H, W, 3) for PET and SPECT; air is exactly 0.

        Raises:
            ValueError: As for `image`.
        """
        values = self.image(modality, z)
        low, high = _WINDOW[modality]
        level = np.clip((values - low) / (high - low), 0, 1)
        if modality == "PET":
            return rainbow(level)
        if modality == "SPECT":
            return ember(level)
        return np.rint(255 * level).astype(np.uint8)

    def volume(self, modality: str, levels: Sequence[Real] = LEVELS) -> Float32[np.ndarray, "z h w"]:
        """`image` at every height of `levels`, stacked; raises as it does."""
        return np.stack([self.image(modality, z) for z in levels])

    def slices(self, modality: str, levels: Sequence[Real] = LEVELS) -> UInt8[np.ndarray, "z h w *colour"]:
        """`picture` at every height of `levels`, stacked; raises as it does."""
        return np.stack([self.picture(modality, z) for z in levels])

    def pair(self, second: str, z: Real, *, first: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """An MRI and its partner, the way they come to be fused: the same plane of the same head.

        Args:
            second: The partner's modality, usually "PET", "SPECT" or "CT".
            z: The plane's height in mm.
            first: The MRI's weighting; None takes T1 beside PET and T2 beside the others.

        Returns:
            The two pictures, as `picture` makes them.

        Raises:
            ValueError: As for `image`.
        """
        return self.picture(first or ("T1" if second == "PET" else "T2"), z), self.picture(second, z)


def head(
    seed: int = 42,
    size: int | tuple[int, int] = 256,
    *,
    fov: Real = 230,
    lesions: Sequence[Lesion] = LESIONS,
) -> Head:
    """A head that no one has.

    Args:
        seed: Non-negative; another seed is another person.
        size: Pixels of a plane, a side or (height, width), each from 16 to 2048.
        fov: Field of view in mm along the longer side; the default just holds the head.
        lesions: What to plant; the default three when left alone.

    Raises:
        ValueError: A value out of its range, or two lesions of one name.

    Example:
        >>> first, second = head(seed=1).pair("PET", 16)
        >>> first.shape, second.shape
        ((256, 256), (256, 256, 3))
    """
    height, width = (size, size) if isinstance(size, int) else size
    if seed < 0:
        raise ValueError(f"seed is {seed}, must not be negative")
    if not (16 <= height <= 2048 and 16 <= width <= 2048):
        raise ValueError(f"size is {height}×{width}, each side must lie in 16…2048")
    if not 20 <= fov <= 1000:  # also catches NaN
        raise ValueError(f"fov is {fov} mm, must lie in 20…1000")
    names = [lesion.name for lesion in lesions]
    if len(set(names)) < len(names):
        raise ValueError(f"lesion names repeat: {', '.join(names)}")
    for lesion in lesions:
        if not lesion.radius > 0:
            raise ValueError(f"lesion {lesion.name!r} has radius {lesion.radius} mm, must be positive")
    return Head(seed, (height, width), float(fov), tuple(lesions))


def rainbow(level: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "... rgb"]:
    """False colour for PET: black, blue, yellow, orange, red, magenta for levels from 0 to 1."""
    colours: np.ndarray = _palettes()[0][np.rint(255 * level).astype(np.intp)]
    return colours


def ember(level: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "... rgb"]:
    """False colour for SPECT: black, indigo, rose, orange, near white for levels from 0 to 1."""
    colours: np.ndarray = _palettes()[1][np.rint(255 * level).astype(np.intp)]
    return colours


@lru_cache(maxsize=1)
def _palettes() -> tuple[np.ndarray, np.ndarray]:
    """Both tables of 256 colours, from formulas of their own."""
    t = np.linspace(0, 1, 256)

    def step(start: Real, end: Real) -> Flat:
        s = np.clip((t - start) / (end - start), 0, 1)
        return s * s * (3 - 2 * s)

    degrees = 232 - 176 * step(0.30, 0.46) - 58 * step(0.46, 0.85) - 43 * step(0.82, 1)  # short of green
    pure = [np.clip(np.abs((degrees / 60 + turn) % 6 - 3) - 1, 0, 1) for turn in (0, 4, 2)]
    value, pale = np.minimum(1, t / 0.32) ** 1.3, 0.5 * step(0.28, 0.37) * (1 - step(0.37, 0.47))
    wheel = [value * (pale + (1 - pale) * channel) for channel in pure]
    red, blue = step(0.05, 0.75), 0.55 * step(0, 0.3) * (1 - step(0.38, 0.68)) + 0.85 * step(0.8, 1)
    green = 0.25 * step(0.02, 0.12) * (1 - step(0.1, 0.3)) + 0.95 * step(0.42, 1)
    warm, hot = (np.rint(255 * np.stack(c, -1)).astype(np.uint8) for c in (wheel, (red, green, blue)))
    return warm, hot


def _height(z: Real) -> float:
    if not abs(z) <= 1000:  # also catches NaN
        raise ValueError(f"z is {z} mm, must be a number within 1000 mm of the commissures")
    return float(z)


def _grid(size: tuple[int, int], spacing: float) -> tuple[Flat, Flat]:
    """Where the pixels lie, x and y in mm, flat; the head's middle is the picture's."""
    rows, columns = (spacing * (np.arange(n) - (n - 1) / 2) for n in size)
    x, y = np.meshgrid(columns, -14 - rows)
    return x.ravel().astype(np.float32), y.ravel().astype(np.float32)


@lru_cache(maxsize=2)  # a pair needs its plane twice
def _plane(seed: int, size: tuple[int, int], spacing: float, z: Real) -> Flat:
    x, y = _grid(size, spacing)
    plane = fractions(Shape.of(seed), x, y, z, h=_EDGE * spacing).reshape(-1, *size)
    plane.flags.writeable = False
    return plane


def _share(lesion: Lesion, shape: Shape, x: Flat, y: Flat, z: Real, spacing: float) -> Flat:
    """The fraction of every pixel that a lesion fills, its outline a little uneven."""
    cx, cy, cz = lesion.centre
    share = np.zeros(x.shape, np.float32)
    near = np.flatnonzero((x - cx) ** 2 + (y - cy) ** 2 < (1.5 * lesion.radius + 2 * spacing) ** 2)
    p = x[near], y[near], np.full(near.size, z, np.float32)
    distance = np.sqrt((p[0] - cx) ** 2 + (p[1] - cy) ** 2 + (z - cz) ** 2)
    uneven = 1 + 0.10 * np.clip(shape.thickness(p), -2, 2) + 0.05 * np.clip(shape.marrow(p), -2, 2)
    share[near] = np.clip(0.5 - (distance - lesion.radius * uneven) / (_EDGE * spacing), 0, 1)
    return share


def _property(modality: str, of: Properties | Lesion) -> Real | None:
    """What one modality sees of a tissue or a lesion, None where it sees nothing of it."""
    if modality in _ECHO:
        relaxation = of.relaxation if isinstance(of, Lesion) else (of.pd, of.t1, of.t2)
        if relaxation is None:
            return None
        (pd, t1, t2), (tr, te) = relaxation, _ECHO[modality]
        return float(pd * (1 - np.exp(-tr / t1)) * np.exp(-te / t2))
    if modality == "CT":
        return of.hu
    return of.uptake if isinstance(of, Lesion) else {"PET": of.fdg, "SPECT": of.flow}[modality]


def _mix(head: Head, modality: str, plane: Flat, x: Flat, y: Flat, z: Real, spacing: float) -> Flat:
    """Σ f_k property_k with the lesions put in, at the points of a plane."""
    value = np.array([_property(modality, PROPERTIES[tissue]) for tissue in Tissue], np.float32) @ plane
    for lesion in head.lesions:
        seen = _property(modality, lesion)
        if seen is not None:
            share = _share(lesion, Shape.of(head.seed), x, y, z, spacing) * (1 - plane[Tissue.AIR])
            value += share * (np.float32(seen) - value)
    return value


def _direct(head: Head, modality: str, z: Real, rng: np.random.Generator) -> Flat:
    """CT or MRI, on the picture's own grid."""
    from scipy.ndimage import gaussian_filter

    shape, size, spacing, noise = Shape.of(head.seed), head.size, head.spacing, _NOISE[modality]
    x, y = _grid(size, spacing)
    plane = head.fractions(z).reshape(len(Tissue), -1)
    value = _mix(head, modality, plane, x, y, z, spacing)
    outside = plane[Tissue.AIR] == 1
    if modality == "CT":
        grain = gaussian_filter(rng.standard_normal(size, np.float32), 0.9)
        image = gaussian_filter(value.reshape(size), 0.8 / spacing) + grain * (noise / grain.std())
        image[outside.reshape(size)] = -1000
        return image
    inside = np.flatnonzero(~outside)
    p = x[inside], y[inside], np.full(inside.size, z, np.float32)
    u, v = p[0] / 80, (p[1] + 14) / 100
    tilt = np.random.default_rng([head.seed, 1]).uniform(-0.05, 0.05, 2)
    coil = 0.94 + 0.1 * (u * u + v * v) + tilt[0] * u + tilt[1] * v
    value[inside] *= coil * (1 + 0.012 * shape.marrow(p) + 0.015 * shape.regional(p))
    real, imaginary = noise * rng.standard_normal((2, *size), np.float32)
    image = np.hypot(gaussian_filter(value.reshape(size), 0.5 / spacing) + real, imaginary)  # Rician
    image[outside.reshape(size)] = 0
    return image


def _tracer(head: Head, modality: str, z: Real, rng: np.random.Generator) -> Flat:
    """PET or SPECT: uptake blurred by a Gaussian in the plane, by Gauss–Hermite quadrature across planes."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    shape, step = Shape.of(head.seed), _TRACER_GRID
    sigma = _POINT_SPREAD[modality] / np.sqrt(8 * np.log(2))
    grid = [int(np.ceil(n * head.spacing / step)) + 4 for n in head.size]
    x, y = _grid((grid[0], grid[1]), step)
    activity = np.zeros(x.size, np.float32)
    for offset, weight in ((-np.sqrt(3), 1 / 6), (0, 2 / 3), (np.sqrt(3), 1 / 6)):
        height = z + float(offset * sigma)
        uptake = _mix(head, modality, fractions(shape, x, y, height, h=_EDGE * step), x, y, height, step)
        at = np.flatnonzero(uptake)
        regional = shape.regional((x[at], y[at], np.full(at.size, height, np.float32)))
        uptake[at] *= 1 + 0.15 * np.clip(regional, -2, 2)
        activity += np.float32(weight) * uptake
    blurred = gaussian_filter(activity.reshape(grid), sigma / step)
    grain = gaussian_filter(rng.standard_normal(grid, np.float32), 0.8 * sigma / step)
    grain *= _NOISE[modality] / grain.std() * np.sqrt(blurred)  # as counts fluctuate
    rows, columns = (
        (np.arange(n) - (n - 1) / 2) * head.spacing / step + (m - 1) / 2
        for n, m in zip(head.size, grid, strict=True)
    )
    where = np.meshgrid(rows, columns, indexing="ij")
    image = np.maximum(0, map_coordinates(np.maximum(0, blurred + grain), where, order=3))
    x, y = _grid(head.size, head.spacing)
    image[~within(shape, x, y, z, h=_EDGE * head.spacing).reshape(head.size)] = 0
    return image
