"""Measure what `haarmony fuse --explain` says, on phantoms, whose truth is known, and on real pairs.

    python benchmarks/explain.py [DATA] [--figures DIR]
    python benchmarks/explain.py --planted | --spread | --lesions | --time | --pairs | --fit

Markdown tables, all of them unless some are asked for; with `--figures` also a plot of each, SVG. `--fit` is
for whoever trains `medical` anew: it prints the tolerances that `haarmony.explain.unsupported` holds.

    planted    structures of 5 to 50 % contrast and 9 to 400 pixels in fused phantoms of held-out heads: one
               counts as flagged where a tenth of its pixels are, two at least; and what is flagged untouched
    spread     against noise in the sources, in and beside a patch that one of them lacks
    lesions    that one source alone shows: one survives where the fused picture has at least half of its
               contrast in that source; contrast is what it changes inside, less what it changes in a ring
    time       of `Fuser.explain`, against that of fusing
    pairs      phantoms, and validation pairs of DATA, the folders and the splits.json that the recipes name:
               what is flagged, the same structures planted, and how often each warning fires
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import explain_planted as structures
import explain_shown as shown
import numpy as np
from matplotlib.figure import Figure

from haarmony import Fuser
from haarmony.cli import answer
from haarmony.compare.style import INK, MUTED, PALETTE, svg
from haarmony.explain.unsupported import unsupported
from haarmony.io import replacing
from haarmony.phantom import head

PARTS = ("planted", "spread", "lesions", "time", "pairs", "fit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder of pairs with its splits.json")
    for part in PARTS:
        parser.add_argument(f"--{part}", action="store_true")
    parser.add_argument("-n", "--number", type=int, default=500, help="structures to plant")
    parser.add_argument("--most", type=int, default=20, help="pairs of each set of DATA, evenly chosen")
    parser.add_argument(
        "--heads", type=int, default=12, help="phantom heads; of lesions a third, of spread a sixth"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--figures", type=Path, help="folder for the plots")
    options = parser.parse_args()
    for name in ("number", "most", "heads"):
        if getattr(options, name) < 1:
            parser.error(f"argument --{name}: {getattr(options, name)} is not above 0")
    if options.data is not None:
        (options.data / "splits.json").stat()
    parts = [part for part in PARTS if getattr(options, part)] or [*PARTS]
    fuser = Fuser("medical")
    if options.figures is not None:
        options.figures.mkdir(parents=True, exist_ok=True)
    heads = structures.HELD_OUT[: options.heads]
    third, sixth = (heads[: max(1, options.heads // part)] for part in (3, 6))
    for number, part in enumerate(parts):
        if number:
            print()
        plot = None
        if part == "planted":
            pictures = [*structures.phantoms(fuser, heads, structures.HEIGHTS)]
            found = structures.planted(pictures, options.number, seed=options.seed)
            structures.print_planted(found)
            print()
            structures.print_soft(pictures, options.number // 2, seed=options.seed)
            print()
            structures.print_untouched(pictures)
            print()
            structures.print_classical(pictures)
            plot = drawn_planted(found)
        elif part == "spread":
            spreads = shown.spreads(fuser, sixth, seed=options.seed)
            shown.print_spreads(spreads)
            plot = drawn_spread(spreads)
        elif part == "lesions":
            lesions = shown.lesions(fuser, third, seed=options.seed)
            shown.print_lesions(lesions)
            plot = drawn_lesions(lesions)
        elif part == "time":
            timed(fuser)
        elif part == "pairs":
            shown.print_pairs(fuser, third, options.data, options.most, options.number)
        else:
            fitted = structures.phantoms(fuser, structures.FITTED, structures.FITTED_HEIGHTS)
            structures.print_fit(structures.fit(fitted))
        sys.stdout.flush()
        if plot is not None and options.figures is not None:
            with replacing(options.figures / f"explain-{part}.svg") as file:
                file.write(plot)


def timed(fuser: Fuser, *, repeats: int = 5) -> None:
    """The least of some, wall clock and CPU, of one 256×256 pair; one of each first, to warm up."""
    a, b = head(seed=structures.HELD_OUT[0]).pair("PET", 17)
    lumas = [structures.luma(x) for x in (fuser(a, b), a, b)]
    best = []
    for call, pictures in ((fuser, (a, b)), (fuser.explain, (a, b)), (unsupported, lumas)):
        call(*pictures)
        spent = []
        for _ in range(repeats):
            start = time.perf_counter(), time.process_time()
            call(*pictures)
            spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        best.append(np.min(spent, axis=0))
    print("| 256×256 | fusing | explaining | ratio | its score of unsupported structure |")
    print("|---|---:|---:|---:|---:|")
    for name, fusing, explaining, score in zip(("seconds", "seconds of CPU"), *best, strict=True):
        print(f"| {name} | {fusing:.3f} | {explaining:.3f} | {explaining / fusing:.1f} | {score:.3f} |")


@svg
def drawn_planted(found: list[structures.Structure]) -> Figure:
    """How many structures are flagged, by contrast and by area, a line a kind; dashed: untouched."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, of, bounds, label in zip(
        panels,
        ("contrast", "area"),
        (structures.CONTRASTS, structures.AREAS),
        ("contrast, % of full scale", "pixels"),
        strict=True,
    ):
        edges = np.geomspace(bounds[0], bounds[-1], 7)
        values = np.array([getattr(one, of) for one in found])
        places = np.clip(np.digitize(values, edges) - 1, 0, 5)
        middles = np.sqrt(edges[:-1] * edges[1:]) * (100 if of == "contrast" else 1)
        for colour, kind in zip(PALETTE, structures.KINDS, strict=False):
            axes.plot(middles, _rates(found, places, "found", kind), "o-", color=colour, label=kind)
        axes.plot(middles, _rates(found, places, "by_chance"), "--", color=MUTED, label="untouched")
        axes.set_xscale("log")
        axes.set_xticks(np.round(middles, 0), [f"{middle:.0f}" for middle in middles])
        axes.minorticks_off()
        axes.set_xlabel(label, color=INK)
        axes.set_ylim(0, 103)
    panels[0].set_ylabel("structures flagged, %", color=INK)
    panels[0].legend(frameon=False, loc="center right")
    return figure


def _rates(found: list[structures.Structure], places: np.ndarray, of: str, kind: str = "") -> list[float]:
    """Percent in each of six places."""
    some = [(place, getattr(one, of)) for place, one in zip(places, found, strict=True) if kind in one.kind]
    each = [[hit for at, hit in some if at == place] for place in range(6)]
    return [100 * float(np.mean(hits)) if hits else np.nan for hits in each]


@svg
def drawn_spread(of: shown.Spreads) -> Figure:
    """Mean spread against the noise in the sources: every picture, and the mean."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    noise = 100 * np.array(shown.NOISES)
    axes.plot(noise, 100 * of.noise.T, color=MUTED, linewidth=0.5)
    axes.plot(noise, 100 * of.noise.mean(axis=0), "o-", color=PALETTE[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("noise in both sources, % of full scale", color=INK)
    axes.set_ylabel("mean spread, % of full scale", color=INK)
    return figure


@svg
def drawn_lesions(found: list[shown.Shown]) -> Figure:
    """Surviving lesions against contrast, a line a method, ours on top."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    methods = [*dict.fromkeys(one.method for one in found)]
    colours = [PALETTE[0], *(4 * PALETTE[1:])]
    for i in reversed(range(len(methods))):
        rates = [
            100 * np.mean([x.survives for x in found if (x.method, x.contrast) == (methods[i], contrast)])
            for contrast in shown.LESIONS
        ]
        style = "o-" if i == 0 else ("-", "--", ":")[(i - 1) // 4]
        axes.plot(100 * np.array(shown.LESIONS), rates, style, color=colours[i], label=methods[i])
    axes.set_ylim(0, 103)
    axes.set_xlabel("contrast, % of full scale", color=INK)
    axes.set_ylabel("lesions that survive, %", color=INK)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    sys.exit(answer(main))
