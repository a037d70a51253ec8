"""The anatomy of a head that does not exist, as functions of position: what lies at a point, for any point.

Positions are in mm: x to the picture's right, y to the front (up in the picture), z to the top, the origin
where the brain's commissures would lie. Every structure is a signed distance d (negative inside), which
becomes the share of a pixel that it covers, and is painted over what is there already::

    share(d) = clip(1/2 − d / h, 0, 1),      h a little over the pixel's width: partial volume.

The cortex folds because sulci are sheets: the zero set of a random wave n on the brain's hull, carried
inwards to a depth D. With s the depth below the hull and d_n = |n| / |∇n| the distance to the zero set, the
pia is at distance P = min(s, hypot(d_n, max(0, s − D)) − w); fluid lies at P < 0, grey matter at 0 < P <
thickness, white matter beyond. All places and sizes were written by hand from general knowledge of anatomy;
none was traced or fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32

Flat: TypeAlias = Any  # float32 values at the points of a plane
Points: TypeAlias = Sequence[Flat]  # their x, y and z
Real: TypeAlias = float | int  # spelled out, because run-time checks take `float` to the letter


class Tissue(IntEnum):
    """What a point of the head is made of: the first axis of the fractions, the values of the labels."""

    AIR = 0  # outside the head
    CAVITY = 1  # air inside it: sinuses, nose, mastoid cells
    SKIN = 2
    FAT = 3
    MUSCLE = 4
    BONE = 5  # the compact tables
    DIPLOE = 6  # the marrow between them
    DURA = 7  # falx and tentorium
    BLOOD = 8  # flowing, in the venous sinus
    CSF = 9
    GREY = 10  # cortex, cerebral and cerebellar
    WHITE = 11
    CAUDATE = 12
    PUTAMEN = 13
    PALLIDUM = 14
    THALAMUS = 15
    VITREOUS = 16
    LENS = 17


def smooth_min(a: Flat, b: Flat, k: Real) -> Flat:
    """The union of two distances, their seam rounded over `k` mm."""
    h = np.clip(0.5 + 0.5 / k * (b - a), 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def ellipsoid(p: Points, centre: Sequence[Real], semi: Sequence[Real], turn: float = 0.0) -> Flat:
    """Distance to an ellipsoid, to first order; `turn` radians about z swing its front outwards."""
    x, y, z = (v - c for v, c in zip(p, centre, strict=True))
    if turn:
        x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    x, y, z = x / semi[0], y / semi[1], z / semi[2]
    k = np.sqrt(x * x + y * y + z * z)
    gradient = np.sqrt((x / semi[0]) ** 2 + (y / semi[1]) ** 2 + (z / semi[2]) ** 2)
    return (k - 1) * (k + 1e-6) / (gradient + 1e-6 / min(semi))  # finite and negative at the centre


def tube(p: Points, *knots: tuple[Real, Real, Real, Real]) -> Flat:
    """Distance to a chain of segments; a knot is x, y, z and the radius there."""
    d = np.full_like(p[0], np.inf)
    for (ax, ay, az, ar), (bx, by, bz, br) in pairwise(knots):
        ux, uy, uz = bx - ax, by - ay, bz - az
        x, y, z = p[0] - ax, p[1] - ay, p[2] - az
        t = np.clip((x * ux + y * uy + z * uz) / (ux * ux + uy * uy + uz * uz), 0, 1)
        x, y, z = x - t * ux, y - t * uy, z - t * uz
        d = np.minimum(d, np.sqrt(x * x + y * y + z * z) - ar - t * (br - ar))
    return d


@dataclass(frozen=True)
class Wave:
    """A random wave n(p) = √(2/N) Σ cos(k_j·p + φ_j): variance 1, one wavelength, isotropic."""

    k: np.ndarray  # (N, 3), radians per mm
    phase: np.ndarray  # (N, 1)

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength: Real, count: int) -> Wave:
        """A wave of `count` components within 15 % of `wavelength` mm."""
        way = rng.normal(size=(count, 3))
        length = 2 * np.pi / wavelength * rng.uniform(0.85, 1.15, size=(count, 1))
        k = way / np.linalg.norm(way, axis=1, keepdims=True) * length
        return cls(k.astype(np.float32), rng.uniform(0, 2 * np.pi, size=(count, 1)).astype(np.float32))

    def __call__(self, p: Points) -> Flat:
        return np.cos(self.k @ np.stack(p) + self.phase).sum(0) * np.float32(np.sqrt(2 / len(self.k)))

    def zero_distance(self, p: Points) -> Flat:
        """Distance to the zero set, |n| / |∇n|, with the gradient kept from vanishing where sheets meet."""
        angles = self.k @ np.stack(p) + self.phase
        n, gradient = np.cos(angles).sum(0), self.k.T @ np.sin(angles)  # √(2/N) cancels
        least = 0.06 * np.square(self.k).sum()
        return np.abs(n) / np.sqrt(np.square(gradient).sum(0) + least)


@dataclass(frozen=True)
class Shape:
    """Everything random about one head: the waves that bend, fold and mottle it."""

    bend: tuple[Wave, ...]
    wiggle: tuple[Wave, ...]
    sulci: Wave
    furrows: Wave
    depth: Wave
    thickness: Wave
    marrow: Wave
    marbling: Wave
    regional: Wave

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, seed: int) -> Shape:
        """The shape that belongs to a seed."""
        rng = np.random.default_rng([seed, 0])
        bend = tuple(Wave.draw(rng, 110, 8) for _ in range(3))
        wiggle = tuple(Wave.draw(rng, 24, 10) for _ in range(3))
        lengths = ((20.5, 28), (13.5, 18), (30, 12), (14, 12), (4, 14), (13, 14), (36, 12))
        return cls(bend, wiggle, *(Wave.draw(rng, length, count) for length, count in lengths))


class _Paint:
    """Tissue fractions at a set of points, painted from the outside in."""

    def __init__(self, count: int, h: Real) -> None:
        self.fractions = np.zeros((count, len(Tissue)), np.float32)
        self.fractions[:, Tissue.AIR] = 1
        self.h = h

    def __call__(self, tissue: Tissue, *distances: Flat, share: float = 1.0) -> None:
        """Paint where every distance is negative."""
        d = distances[0]
        for other in distances[1:]:
            d = np.maximum(d, other)
        at = np.flatnonzero(d < 0.5 * self.h)
        alpha = np.minimum(0.5 - d[at] / self.h, 1) * share
        under = self.fractions[at] * (1 - alpha[:, None])
        under[:, tissue] += alpha
        self.fractions[at] = under


def fractions(shape: Shape, x: Flat, y: Flat, z: Real, *, h: Real) -> Float32[np.ndarray, "tissue point"]:
    """Tissue fractions at points of one axial plane.

    Args:
        shape: The head.
        x: mm to the right, (point,).
        y: mm to the front, (point,).
        z: The plane's height in mm.
        h: Width in mm over which an edge runs from 0 to 1.

    Returns:
        A fraction in [0, 1] for every `Tissue` and point; the tissues sum to 1.
    """
    whole, (hull, cavity, head) = _bent(shape, x, y, z)
    found = np.zeros((len(Tissue), x.size), np.float32)
    found[Tissue.AIR] = 1
    inside = np.flatnonzero(head < 0.5 * h)
    if inside.size:
        p = tuple(v[inside] for v in whole)
        found[:, inside] = _paint(shape, p, hull[inside], cavity[inside], head[inside], h)
    return found


def within(shape: Shape, x: Flat, y: Flat, z: Real, *, h: Real) -> Bool[np.ndarray, " point"]:
    """Where `fractions` would find anything but air outside the head, at a quarter of its cost."""
    return np.asarray(_bent(shape, x, y, z)[1][2] < 0.5 * h)


def _bent(shape: Shape, x: Flat, y: Flat, z: Real) -> tuple[tuple[Flat, ...], tuple[Flat, Flat, Flat]]:
    straight = (x, y, np.full_like(x, z))
    p = tuple(v + wave(straight) for v, wave in zip(straight, shape.bend, strict=True))
    return p, _envelopes(p)


def _envelopes(p: Points) -> tuple[Flat, Flat, Flat]:
    """Distances to the brain's hull, to the inside of the skull with its base, and to the skin."""
    x, y, z = p
    side = (np.abs(x), y, z)
    X = side[0]
    egg = np.clip(1 - 0.0013 * (y + 25), 0.8, 1.03)  # narrower in front
    f = (X / (66.5 * egg)) ** 2.25 + (np.abs(y + 16) / 87) ** 2.25 + (np.abs(z - 6) / 71) ** 2.25 + 1e-9
    hull = np.sqrt(x * x + (y + 16) ** 2 + (z - 6) ** 2) * (1 - f ** (-1 / 2.25)) * 0.97
    if z.min() > 15:  # above the base everything follows the hull
        cavity, low = hull, hull
    else:
        middle = ellipsoid(side, (37, -4, -26), (25, 31, 23))
        posterior = ellipsoid(p, (0, -60, -32), (56, 41, 36))
        roofs = 8 * np.exp(-((X - 30) ** 2) / 350 - (y - 48) ** 2 / 700)  # of the orbits
        vault = -smooth_min(-hull, 27 - roofs + z, 5)
        cavity = smooth_min(smooth_min(vault, middle, 5), posterior, 5)
        low = smooth_min(hull, posterior - 3.5, 6)
    temple = 4.5 * np.exp(-((y - 22) ** 2) / 700 - (z + 8) ** 2 / 900 - (X - 64) ** 2 / 500)
    back = 1.5 * np.exp(-((y + 105) ** 2) / 1500)
    head = low - 11 - temple - back
    if z.min() < 15:
        cheeks = ellipsoid(side, (36, 56, -44), (24, 20, 26))
        face = smooth_min(ellipsoid(p, (0, 30, -54), (66, 52, 54)), cheeks, 8)
        nose = tube(p, (0, 74, -24, 7), (0, 87, -54, 12))
        head = smooth_min(smooth_min(head, face, 10), nose, 5)
    return hull, cavity, head


def _paint(shape: Shape, p: Points, hull: Flat, cavity: Flat, head: Flat, h: Real) -> Flat:
    side = (np.abs(p[0]), p[1], p[2])  # what comes in pairs is described once
    X, y, z = side
    low = z.min() < 0
    paint = _Paint(X.size, h)
    marbling, marrow = shape.marbling(p), shape.marrow(p)
    paint(Tissue.SKIN, head)
    paint(Tissue.FAT, head + 1.7)
    paint(Tissue.MUSCLE, np.abs(head + 5.4 + 0.3 * marbling) - 0.35, share=0.6)  # the galea
    temporalis = ellipsoid(side, (67, 20, -8), (7, 30, 26))
    paint(Tissue.MUSCLE, temporalis, head + 3.2)
    paint(Tissue.MUSCLE, head + 5 + 0.8 * marbling, z + 12)
    paint(Tissue.FAT, head + 9, z + 20, np.abs(marbling) - 0.35, share=0.7)
    table = 6.4 + 0.5 * shape.regional(p) + np.clip((y - 40) * 0.03, 0, 1.5)
    paint(Tissue.BONE, cavity - table)
    spongy = np.abs(cavity - 0.5 * table) - 0.27 * table + 0.15 * marrow + 0.25 * marbling
    paint(Tissue.DIPLOE, spongy, np.clip((10 - z) * 0.12 - np.abs(y + 20) * 0.03, 0, 4) - 1)
    if low:
        _face(paint, shape, p, head, marrow)
    paint(Tissue.CSF, cavity)

    tent = -5 - 0.40 * X - 0.22 * np.maximum(0, -46 - y)  # the height of the tentorium
    behind = y + 8 + 0.62 * X  # its free edge
    below = np.maximum((z - tent) * 0.9, behind * 0.85)  # negative under it
    if low:
        paint(Tissue.DURA, np.abs(z - tent) - 0.35, cavity, behind, 16 - X - np.maximum(0, -44 - y))
    peduncles = tube(side, (13, -13, -4, 8), (9, -19, -18, 8))
    stem = smooth_min(peduncles, tube(side, (0, -27, -4, 10), (0, -29, -18, 9.5)), 7)
    stem = smooth_min(stem, ellipsoid(side, (0, -24, -31), (18, 12, 13)), 5)
    stem = smooth_min(stem, tube(side, (0, -32, -40, 10), (0, -42, -75, 7)), 4)
    suprasellar = ellipsoid(side, (0, 1, -20), (12, 11, 13))
    cistern = np.maximum(smooth_min(stem - 2.5, suprasellar, 4), z + 7)
    _cortex(paint, shape, p, hull, np.maximum(cavity, 0.4 - below), cistern)
    if z.max() > -25 and z.min() < 45:
        _deep(paint, side)
    if z.min() < 5:
        paint(Tissue.CSF, stem - 1.5, z + 7)
        _hind(paint, shape, side, np.maximum(below, cavity), np.maximum(stem, z + 4))
    return paint.fractions.T


def _face(paint: _Paint, shape: Shape, p: Points, head: Flat, marrow: Flat) -> None:
    """The base of the skull, the orbits, the nose and the sinuses."""
    side = (np.abs(p[0]), p[1], p[2])
    X, y = side[:2]
    sphenoid = tube(side, (60, 22, -24, 3), (22, 26, -24, 4), (8, 18, -26, 6))
    petrous = tube(side, (58, -38, -40, 11), (34, -28, -34, 9), (13, -14, -34, 7))
    brow = ellipsoid(side, (10, 66, -17), (24, 9, 9))
    paint(Tissue.BONE, np.minimum(smooth_min(sphenoid, petrous, 2), brow))
    paint(Tissue.CAVITY, ellipsoid(side, (9, 67, -19), (11, 3.5, 6)), 1 - X)
    paint(Tissue.CAVITY, tube(side, (58, -42, -42, 8), (44, -34, -40, 5)), 0.8 * marrow - 0.1)

    paint(Tissue.MUSCLE, ellipsoid(side, (56, 24, -38), (10, 22, 26)), head + 4.5)
    orbit = tube(side, (33, 66, -36, 17), (30, 50, -36, 15), (13, 20, -32, 4))
    paint(Tissue.BONE, orbit - 2.4, y - 64 + 0.012 * (X - 33) ** 2, head + 2.4)
    paint(Tissue.FAT, orbit, head + 2.2)
    paint(Tissue.MUSCLE, tube(side, (20, 58, -37, 1.2), (18, 44, -36, 2.4), (12, 24, -33, 1.5)))
    paint(Tissue.MUSCLE, tube(side, (46, 56, -37, 1.2), (42, 44, -36, 2.4), (16, 24, -33, 1.5)))
    paint(Tissue.WHITE, tube(side, (32, 49, -36, 1.9), (24, 36, -34, 1.9), (11, 18, -30, 2.0)))
    globe = ellipsoid(side, (33, 59, -36), (12, 12, 12))
    paint(Tissue.MUSCLE, globe)
    paint(Tissue.VITREOUS, globe + 1.1)
    paint(Tissue.LENS, ellipsoid(side, (33, 67.5, -36), (4.6, 2.2, 4.6)))

    nasal = ellipsoid(side, (4, 46, -44), (12, 30, 24))
    septa = np.minimum(np.abs(p[0] - 0.6), np.abs(X - 6))
    walls = np.abs(shape.thickness([1.6 * v for v in p]))
    paint(Tissue.BONE, nasal - 1)
    paint(Tissue.CAVITY, nasal, 1.2 - 4 * walls, 0.7 - septa)
    paint(Tissue.MUSCLE, nasal, np.abs(X - 7.5) - 1.2 + 0.4 * marrow, share=0.8)
    paint(Tissue.BONE, ellipsoid(side, (7, 11, -38), (10, 12, 12)))
    paint(Tissue.CAVITY, ellipsoid(side, (7, 12, -38), (8, 9, 9)), 0.9 - X)


def _cortex(paint: _Paint, shape: Shape, p: Points, hull: Flat, outer: Flat, cistern: Flat) -> None:
    """The cerebrum: hull, fissures and sulci give the distance to the pia, and that grey and white matter."""
    inside = np.flatnonzero(outer < 1)
    if not inside.size:
        return
    x, y, z = q = tuple(v[inside] for v in p)
    side = (np.abs(x), y, z)
    wx, wy, wz = w = tuple(v + 1.6 * wave(q) for v, wave in zip(q, shape.wiggle, strict=True))
    cover = outer[inside] + 1.3 + 0.35 * shape.depth(q)
    body = np.maximum(cover, -cistern[inside])
    core = 26 * (1 - np.sqrt(((y + 5) / 38) ** 2 + ((z - 4) / 23) ** 2))  # the fissure ends at the callosum
    fissure = np.hypot(0.75 * x + 0.25 * wx, np.maximum(0, core)) - 0.8
    s = smooth_min(-cover, fissure, 3)
    deep = -ellipsoid(side, (0, -14, 5), (33, 42, 18))
    quiet = np.maximum(0, np.maximum(np.minimum(core, 15 - side[0]), deep))  # no folds among the nuclei

    thickness = shape.thickness(w)
    half = np.sign(x)
    inward = (wx - 27 * half, 0.4 * wy + 8, 0.65 * wz - 4)  # from a spine inside each hemisphere
    reach = np.maximum(s, 0) / np.sqrt(inward[0] ** 2 + inward[1] ** 2 + inward[2] ** 2 + 1e-3)
    u = tuple(a + b * reach for a, b in zip(w, inward, strict=True))  # the point of the hull above
    u = (u[0] + 60 * half, u[1], u[2])  # the halves fold each in their own way
    opening = 0.35 + 0.9 * np.exp(-np.maximum(s, 0) / 4)
    floor = np.maximum(0, s - 14 - 4.5 * shape.depth(u)) + 2 * quiet
    P = np.minimum(s, np.hypot(shape.sulci.zero_distance(u), floor) - opening)
    floor = np.maximum(0, s - 6.5 - 2.5 * shape.depth(w)) + 2 * quiet
    P = np.minimum(P, np.hypot(shape.furrows.zero_distance(u), floor) - 0.6 * opening)
    island = 38 + 1.3 * thickness
    edge = np.hypot(np.maximum(0, np.abs(wy - 2) - 20), np.maximum(0, np.abs(wz - 6) - 13))
    P = np.minimum(P, np.hypot(np.abs(wx) - island, edge) - 0.9)  # the insula
    edge = np.hypot(np.maximum(0, island - np.abs(wx)), np.maximum(0, np.abs(wy + 2) - 26))
    P = np.minimum(P, np.hypot(0.95 * (wz - 1 + 0.3 * wy), edge) - 0.9)  # the lateral fissure
    P = np.minimum(P, np.where((side[0] > 14) & (z < -5), -body, P))
    ribbon = (3.1 + 0.3 * thickness) * np.clip(1 - quiet / 2.5, 0, 1)

    distances = np.full((3, hull.size), 9, np.float32)
    distances[:, inside] = np.maximum(-P, body), np.maximum(ribbon - P, body), core + 9
    paint(Tissue.GREY, distances[0])
    paint(Tissue.WHITE, distances[1])
    paint(Tissue.DURA, np.abs(p[0]) - 0.6, outer, distances[2])
    sinus = np.hypot(p[0], 0.8 * (hull + 2.6)) - 2.8
    paint(Tissue.BLOOD, sinus, np.minimum(p[1] - 30, 40 - p[2]))


def _deep(paint: _Paint, side: Points) -> None:
    """The nuclei, the lateral ventricles and the third."""
    X, y, z = side
    third = np.maximum(ellipsoid(side, (0, -13, -1), (1.9, 15, 11)), X - 1.9)
    horn = ((13, 34, 9, 2.5), (8, 24, 10, 5), (7, 10, 13, 4.5), (9.5, 0, 19, 5))
    body = ((12.5, -18, 21, 5.4), (16, -29, 19.5, 6.2), (22, -39, 16, 7), (26, -50, 9, 5.5))
    tip = (24, -68, 6, 1.5)
    temporal = ((26, -44, 6, 5), (33, -32, -8, 3), (34, -18, -16, 2))
    lateral = smooth_min(tube((1.15 * X, y, z), *horn, *body, tip), tube(side, *temporal), 3)
    paint(Tissue.THALAMUS, ellipsoid(side, (11, -18, 7), (8.5, 15.5, 9), -0.35))
    paint(Tissue.PUTAMEN, ellipsoid(side, (25.5, 2, 2), (5.2, 17.5, 11), -0.22))
    paint(Tissue.PALLIDUM, ellipsoid(side, (18.5, -3, 0), (4, 9.5, 7), -0.4))
    paint(Tissue.CSF, np.minimum(lateral, third))
    caudate = ((14.5, 20, 2, 6.5), (14, 10, 11, 5.8), (18, -6, 21, 3.4), (24, -26, 20, 1.8))
    paint(Tissue.CAUDATE, tube(side, *caudate))
    paint(Tissue.WHITE, X - 0.7, lateral - 6, -third)  # the septum


def _hind(paint: _Paint, shape: Shape, side: Points, below: Flat, stem: Flat) -> None:
    """The cerebellum with its folia, the brain stem, the aqueduct and the fourth ventricle."""
    X, y, z = side
    vermis = ellipsoid(side, (0, -65, -25), (16, 31, 25))
    lobes = np.maximum(smooth_min(ellipsoid(side, (24, -64, -36), (32, 35, 27)), vermis, 9), below + 0.5)
    ring = np.sqrt((0.6 * X) ** 2 + (y + 34) ** 2 + (z + 30) ** 2) + 1.2 * shape.thickness(side)
    arbor = ellipsoid(side, (18, -56, -34), (16, 10, 9), 0.2)
    arbor = smooth_min(arbor, ellipsoid(side, (0, -50, -30), (8, 6, 8)), 4)
    paint(Tissue.GREY, lobes)
    paint(Tissue.WHITE, np.minimum(arbor, np.maximum(arbor - 9, np.abs(ring % 9.2 - 4.6) - 1.3)), lobes + 3)
    paint(Tissue.CSF, np.abs(ring % 4.6 - 2.3) - 0.45, lobes, 3 - arbor, share=0.35)
    paint(Tissue.WHITE, stem)
    aqueduct = tube(side, (0, -33, -2, 1.3), (0, -35, -22, 1.5))
    paint(Tissue.CSF, np.minimum(aqueduct, ellipsoid(side, (0, -42, -33), (7, 5, 9))))
