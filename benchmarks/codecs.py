"""Haar, identity and a learnt autoencoder as the latent space of the same denoiser, in one table.

    python benchmarks/codecs.py RECIPE DATA -o RUNS [--autoencoder MODEL] [--minutes 15] [--only NAME,…]

RECIPE fuses in Haar's space (recipes/medical.toml). Every row is it with another codec, the same widths,
trained with its seed for the same time; the learning rate falls, and the phases begin, over as many steps as
fit, by a short trial. Identity has 16 times the positions, so it comes a second time, a quarter as wide.
MODEL is an exported autoencoder; without one, recipes/autoencoder.toml is trained first, for 20 minutes.
Reconstruction is that of all lumas of the validation split, encoded and decoded. Scores are means over that
split, set by set alike, `cddfuse` convention. Time and memory are those of a 256×256 pair after loading, one
thread, in a process of its own (Linux). What RUNS holds already is not trained again; targets in RUNS/prior
are used as they are. `--only` trains some rows; the command that finds all of them prints the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ablation import trained

from haarmony.cli import answer
from haarmony.codec import Codec
from haarmony.engine import load_codec
from haarmony.fusing_path import from_latent, pad, to_latent
from haarmony.training import train
from haarmony.training.autoencoder import load, psnr
from haarmony.training.export import export
from haarmony.training.recipe import Recipe
from haarmony.training.tasks import load_recipe
from haarmony.weights import load_autoencoder, load_card

AUTOENCODER = Path(__file__).parent.parent / "recipes" / "autoencoder.toml"
METRICS = ("VIF", "Qabf", "SSIM", "SCD", "function")
CODECS = {
    "Haar": "haar",
    "identity": "identity",
    "narrow identity": "identity",
    "autoencoder": "autoencoder",
}
NARROW = 4
"""What the widths of the third are divided by."""
PAIR = """
import sys, time
from haarmony import Fuser
from haarmony.phantom import head
a, b = head(seed=42, size=256).pair("PET", 16)
fuser = Fuser(sys.argv[1], threads=1)
fuser(a, b)
times = []
for _ in range(5):
    start = time.perf_counter()
    fuser(a, b)
    times.append(time.perf_counter() - start)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(sorted(times)[2], int(peak) / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--autoencoder", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*CODECS])
    options = parser.parse_args()

    if unknown := set(options.only) - set(CODECS):
        raise ValueError(f"no such row: {', '.join(unknown)}; choose among {', '.join(CODECS)}")
    recipe = load_recipe(options.recipe, data=options.data)
    if not isinstance(recipe, Recipe):
        raise ValueError(f"{options.recipe}: is of the task {recipe.task}; one of fusion is needed")
    options.out.mkdir(parents=True, exist_ok=True)
    folders = {name: options.out / name.replace(" ", "-") for name in CODECS}
    if options.autoencoder:
        load_autoencoder(options.autoencoder)  # else a mistyped one shows after the other rows
    for name in options.only:
        if not (folders[name] / "done.json").exists():
            model = options.autoencoder or options.out / "my-autoencoder"
            if name == "autoencoder" and not (model / "card.toml").exists():
                coder = options.out / "coder"
                resume = (coder / "checkpoint").exists()
                train(AUTOENCODER, data=options.data, out=coder, resume=resume, max_time=1200)
                export(coder, model)
            trained(changed(recipe, name, model), folders[name], options.out / "prior", 60 * options.minutes)
        if not (folders[name] / "model").exists():
            export(folders[name], folders[name] / "model")
    if missing := [name for name, folder in folders.items() if not (folder / "model").exists()]:
        raise ValueError(f"no table yet, {options.out} lacks: {', '.join(missing)}")
    heads = [
        "codec",
        "numbers of 256×256",
        "PSNR, dB",
        "largest error, levels",
        "steps",
        *METRICS,
        "s a pair",
        "MB",
    ]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, folder in folders.items():
        print(f"| {name} | " + " | ".join(row(recipe, folder)) + " |", flush=True)


def changed(recipe: Recipe, name: str, autoencoder: Path) -> Recipe:
    """The recipe with another codec, and what of the network that asks for."""
    codec: dict[str, Any] = {"codec": CODECS[name]}
    net: dict[str, Any] = {}
    if name == "autoencoder":
        channels = load_autoencoder(autoencoder).channels
        codec |= {"autoencoder": str(autoencoder), "autoencoder_channels": channels}
    if name.startswith("narrow"):
        sizes = {key: getattr(recipe.net, key) for key in ("width", "condition_channels", "step_width")}
        net |= {key: max(4, size // NARROW) for key, size in sizes.items()}
        net["heads"] = max(1, recipe.net.heads // NARROW)
    diffusion = type(recipe.diffusion).model_validate({**recipe.diffusion.model_dump(), **codec})
    net["latent_channels"] = diffusion.channels
    update = {
        "diffusion": diffusion,
        "net": type(recipe.net).model_validate({**recipe.net.model_dump(), **net}),
    }
    return type(recipe).model_validate(
        {**recipe.model_dump(), **{k: v.model_dump() for k, v in update.items()}}
    )


def row(recipe: Recipe, folder: Path) -> list[str]:
    """The cells of a trained codec."""
    card, done = load_card(folder / "model"), json.loads((folder / "done.json").read_text())
    codec = load_codec(folder / "model", card, threads=1)
    noise, largest = reconstruction(codec, recipe)
    shape = codec.channels, 256 // codec.factor, 256 // codec.factor
    means = [np.mean([scores[m] for scores in done["scores"].values() if m in scores]) for m in METRICS]
    command = [sys.executable, "-c", PAIR, str((folder / "model").resolve())]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [
        "×".join(map(str, shape)),
        "lossless" if largest < 0.5 else f"{noise:.1f}",
        f"{largest:.4f}" if largest < 0.5 else f"{largest:.0f}",
        str(done["steps"]),
        *(f"{value:.3f}" for value in means),
        f"{float(seconds):.3f}",
        f"{float(peak):.0f}",
    ]


def reconstruction(codec: Codec, recipe: Recipe) -> tuple[float, float]:
    """Mean PSNR of the validation split's lumas in dB, and the largest error of any pixel in 8-bit levels."""
    errors = []
    for one in recipe.data.sets:
        for x in (x for pair in load(recipe.data, one, "val") for x in pair):
            back = from_latent(codec.decode(codec.encode(to_latent(pad(x, codec.factor)))))
            errors.append(np.clip(back, 0, 1)[0, 0, : x.shape[0], : x.shape[1]] - x)
    return float(np.mean([psnr(error) for error in errors])), 255 * float(
        max(np.abs(e).max() for e in errors)
    )


if __name__ == "__main__":
    sys.exit(answer(main))
