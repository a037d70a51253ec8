"""From a training run to a model folder: safetensors, ONNX graphs of any size, and the model card."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from pathlib import Path

import onnx
import torch
from pydantic import TypeAdapter, ValidationError
from torch.export import Dim

import haarmony
from haarmony import settings
from haarmony.training import checkpoint
from haarmony.training.codec import copy_autoencoder
from haarmony.training.recipe import BaseRecipe
from haarmony.training.task import Graph, Scores
from haarmony.training.tasks import TASKS, load_recipe
from haarmony.weights import AUTOENCODER, AutoencoderCard, Card, load_autoencoder


def export(trained: Path, out: Path) -> Card:
    """Write a model folder that `Fuser`, or `Generator` after its task, loads; whole or not at all.

    A learnt codec goes with it; an autoencoder's own folder is what recipes name.

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
    recipe = load_recipe(folder / "recipe.toml")
    codec = _own_codec(recipe, folder)
    kind = TASKS[recipe.task]
    net = checkpoint.load_best(folder, kind.net(recipe)).eval()
    try:
        scores = TypeAdapter(Scores).validate_json((folder / "scores.json").read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{folder / 'scores.json'}: no table of scores ({error.errors()[0]['msg']})"
        ) from None

    with checkpoint.replacing_folder(out, overwrite=False) as part:
        (part / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        for name, graph in kind.graphs(net, recipe).items():
            (part / f"{name}.onnx").write_bytes(_onnx(graph))
        names = (path for path in sorted(part.iterdir()) if path.suffix)  # its mark has none
        sha256 = {path.name: _sha256(path) for path in names}
        if codec is not None:
            copy_autoencoder(folder / AUTOENCODER, part / AUTOENCODER)
            sha256[f"{AUTOENCODER}/card.toml"] = _sha256(part / AUTOENCODER / "card.toml")
            diffusion = recipe.diffusion.model_copy(update={"autoencoder": codec.name})
            recipe = recipe.model_copy(update={"diffusion": diffusion})
        own = {
            "version": haarmony.__version__,
            "kind": recipe.task,
            "parameters": sum(p.numel() for p in net.parameters()),
            "net": recipe.net.model_dump(mode="json", exclude_none=True),
            "scores": scores,
            "sha256": sha256,
        }
        shared = {name: getattr(recipe, name) for name in kind.card.model_fields if name not in own}
        card = kind.card.model_validate({**shared, **own})
        settings.dump(part / "card.toml", card)
    return card


def _own_codec(recipe: BaseRecipe, folder: Path) -> AutoencoderCard | None:
    """The card of the autoencoder that lies beside the weights, where the recipe names one."""
    diffusion = getattr(recipe, "diffusion", None)
    if diffusion is None or diffusion.autoencoder is None:
        return None
    return load_autoencoder(folder / AUTOENCODER)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _onnx(graph: Graph) -> bytes:
    batch, rows, columns = Dim("batch", max=1024), Dim("rows", max=4096), Dim("columns", max=4096)
    shapes = tuple(
        {0: batch, 2: graph.multiple * rows, 3: graph.multiple * columns} if x.ndim == 4 else {0: batch}
        for x in graph.inputs.values()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notices of its own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # and of packages it could use
        program = torch.onnx.export(
            graph.network,
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(graph.inputs),
            output_names=[graph.output],
            verbose=False,
        )
    assert program is not None
    return _without_traces(program.model_proto).SerializeToString()


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
