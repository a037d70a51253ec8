"""From a training run to a model folder: safetensors, three ONNX graphs of any size, and the model card."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from pathlib import Path

import onnx
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.export import Dim

import haarmony
from haarmony import settings
from haarmony.nets import FusionNet
from haarmony.training import checkpoint
from haarmony.training.recipe import Recipe
from haarmony.training.validation import Scores
from haarmony.weights import ModelCard


def export(trained: Path, out: Path) -> ModelCard:
    """Write a model folder that `Fuser` loads, whole or not at all.

    Args:
        trained: A run directory of `haarmony train`, or its `best` folder.
        out: The model folder to write; it must not exist, or be empty.

    Returns:
        The card that was written.

    Raises:
        ValueError: `trained` holds no weights and recipe that belong together; `out` is not empty.
        OSError: A file cannot be read or written.
    """
    folder = trained / "best" if (trained / "best").is_dir() else trained
    if not (folder / "model.safetensors").is_file():
        raise ValueError(f"{trained}: no trained model here (a run directory, or its folder best)")
    empty = out.is_dir() and not out.is_symlink() and out.name and not any(out.iterdir())
    if os.path.lexists(out) and not empty:
        raise ValueError(f"{out}: exists already; name a folder that does not")
    recipe = settings.load(folder / "recipe.toml", Recipe)
    net = checkpoint.load_best(folder, recipe.net).eval()
    try:
        scores = TypeAdapter(Scores).validate_json((folder / "scores.json").read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{folder / 'scores.json'}: no table of scores ({error.errors()[0]['msg']})"
        ) from None

    with checkpoint.replacing_folder(out) as part:
        (part / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        _write_graphs(net, recipe, part)
        card = ModelCard(
            name=recipe.name,
            title=recipe.title,
            description=recipe.description,
            intended_use=recipe.intended_use,
            limits=recipe.limits,
            training_data=recipe.training_data,
            version=haarmony.__version__,
            parameters=sum(p.numel() for p in net.parameters()),
            coloured=recipe.coloured,
            diffusion=recipe.diffusion,
            net=recipe.net.model_dump(),
            scores=scores,
            sha256={
                path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(part.iterdir())
            },
        )
        settings.dump(part / "card.toml", card)
        if empty:
            out.rmdir()
    return card


def _write_graphs(net: FusionNet, recipe: Recipe, folder: Path) -> None:
    """One graph a network; batch, height and width are dynamic, the latter two multiples of the grid."""
    grid = recipe.diffusion.grid
    # Sizes that differ from one another and from 1, so that the exporter takes none of them for a constant.
    z = torch.zeros(2, recipe.net.latent_channels, 2 * grid, 3 * grid)
    t = torch.ones(2, dtype=torch.int64)
    with torch.inference_mode():
        condition = net.encoder(z, z, z)
    graphs: dict[str, tuple[nn.Module, dict[str, Tensor], str]] = {
        "encoder": (net.encoder, {"z_a": z, "z_b": z.clone(), "z_max": z.clone()}, "condition"),
        "denoiser": (net.denoiser, {"z": z, "condition": condition, "t": t}, "prediction"),
        "refiner": (net.refiner, {"z": z, "condition": condition, "t": t}, "x_0"),
    }
    batch, rows, columns = Dim("batch", max=1024), Dim("rows", max=4096), Dim("columns", max=4096)
    for name, (network, inputs, output) in graphs.items():
        shapes = tuple(
            {0: batch, 2: grid * rows, 3: grid * columns} if x.ndim == 4 else {0: batch}
            for x in inputs.values()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notices of its own deprecations
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # and of packages it could use
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(inputs),
                output_names=[output],
                verbose=False,
            )
        assert program is not None
        (folder / f"{name}.onnx").write_bytes(_without_traces(program.model_proto).SerializeToString())


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's notes on every node: tracebacks with local paths, and bulk."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
