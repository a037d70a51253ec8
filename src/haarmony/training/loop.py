"""The training loop around Algorithm 1: run directory, optimiser, moving average, validation, checkpoints, resume.

    RUN/recipe.toml     the recipe as resolved          RUN/prior/SET/      targets of the targeted search
    RUN/checkpoint/     everything a resume needs       RUN/best/           the moving average that validated best
    RUN/tensorboard/    loss terms, scores and sample pictures

Step n draws its batch, its t and its ε from NumPy's Generator seeded with (seed, n, process): a run that is stopped and
resumed equals an unbroken one.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from haarmony import settings
from haarmony.nets import FusionNet
from haarmony.training import checkpoint, validation
from haarmony.training.algorithm import Algorithm1, draw_steps
from haarmony.training.data import Batch, Report, Training, draw, load_training
from haarmony.training.recipe import OptimiserConfig, Recipe


def train(
    recipe_path: Path,
    *,
    data: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    max_time: float | None = None,
    report: Report = print,
) -> Path:
    """Train a recipe.

    Args:
        recipe_path: The recipe (TOML).
        data: Data folder in place of the recipe's.
        out: Run directory; runs/NAME by default.
        resume: Go on from the run directory's checkpoint.
        max_time: Seconds after which to stop with a checkpoint, counting from this call.
        report: Given one line at a time.

    Returns:
        The run directory; its `best` is what `haarmony export` takes.

    Raises:
        ValueError: The recipe, the data or the checkpoint is not usable; the run directory holds another run.
        OSError: A file or folder cannot be read or written.
    """
    started = time.monotonic()
    recipe = settings.load(recipe_path, Recipe)
    if data is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(data)})})
    run = out if out is not None else Path("runs") / recipe.name
    accelerator = Accelerator(mixed_precision=recipe.optimiser.precision, cpu=not torch.cuda.is_available())
    if accelerator.is_main_process:
        _open_run(run, recipe, resume=resume)
        training = load_training(recipe.data, recipe.prior, run / "prior", report=report)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        training = load_training(recipe.data, recipe.prior, run / "prior", report=lambda line: None)
    return _Run(recipe, run, training, accelerator, report).go(resume=resume, started=started, max_time=max_time)


def _open_run(run: Path, recipe: Recipe, *, resume: bool) -> None:
    checkpoint.recover(run / "checkpoint")
    exists = (run / "checkpoint").exists()
    if resume and not exists:
        raise ValueError(f"{run}: no checkpoint to resume from")
    if exists and not resume:
        raise ValueError(f"{run}: holds a run already; resume it with --resume, or choose another folder with --out")
    if resume and settings.load(run / "recipe.toml", Recipe) != recipe:
        raise ValueError(f"{run / 'recipe.toml'}: differs from the recipe to resume; resume with the same recipe and data")
    run.mkdir(parents=True, exist_ok=True)
    settings.dump(run / "recipe.toml", recipe)


class _Run:
    """One process's part of a training run."""

    def __init__(
        self, recipe: Recipe, run: Path, training: list[Training], accelerator: Accelerator, report: Report
    ) -> None:
        torch.manual_seed(recipe.seed)  # the initial weights: the only draw that is not from an explicit generator
        self.recipe, self.folder, self.training = recipe, run, training
        self.accelerator, self.report = accelerator, report
        self.net = FusionNet(recipe.net)
        config = recipe.optimiser
        optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.algorithm = Algorithm1(self.net, recipe.diffusion, recipe.loss)
        self.wrapped, self.optimiser = accelerator.prepare(self.algorithm, optimiser)
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.state = checkpoint.State()
        self.validation = validation.load(recipe, pairs=recipe.validation.pairs) if accelerator.is_main_process else []

    def go(self, *, resume: bool, started: float, max_time: float | None) -> Path:
        """Lines 2 to 11 of Algorithm 1."""
        main, config, every = self.accelerator.is_main_process, self.recipe.optimiser, self.recipe.validation.every
        if resume:
            self.state = checkpoint.load(self.folder / "checkpoint", self.net, self.average, self.optimiser.optimizer)
        before = self.state.seconds
        log = SummaryWriter(self.folder / "tensorboard") if main else None
        while self.state.step < config.steps:
            step = self.state.step
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(config, step)
            terms = self.wrapped(*self._inputs(step))  # lines 3 to 9
            self.accelerator.backward(terms["loss"])  # line 10
            norm = self.accelerator.clip_grad_norm_(self.net.parameters(), config.clip)
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.average.update_parameters(self.net)

            self.state = replace(self.state, step=step + 1, seconds=before + time.monotonic() - started)
            if log is not None and (step + 1) % LOG_EVERY == 0:
                values = {name: value.item() for name, value in terms.items()} | {"norm": float(norm)}
                for name, value in values.items():
                    log.add_scalar(f"train/{name}", value, step + 1)
                self.report(f"step {step + 1}/{config.steps} " + " ".join(f"{k} {v:.4f}" for k, v in values.items()))
            out_of_time = max_time is not None and time.monotonic() - started >= max_time
            if (step + 1) % every == 0 or step + 1 == config.steps or self._any(out_of_time):
                if log is not None:
                    self._validate(log)
                    checkpoint.save(
                        self.folder / "checkpoint", self.net, self.average, self.optimiser.optimizer, self.state
                    )
                self.accelerator.wait_for_everyone()
            if self._any(out_of_time):
                self.report(f"stopped after {self.state.seconds / 60:.0f} minutes at step {step + 1}; --resume goes on")
                break
        if log is not None:
            log.close()
            self._score_best()
            self._say_memory()
        return self.folder

    def _inputs(self, step: int) -> list[torch.Tensor]:
        config, diffusion = self.recipe.optimiser, self.recipe.diffusion
        rng = np.random.default_rng([self.recipe.seed, step, self.accelerator.process_index])
        batch: Batch = draw(self.training, rng, batch=config.batch, crop=self.recipe.data.crop)
        codec, schedule = self.algorithm.codec, self.algorithm.process.schedule
        t = draw_steps(schedule, diffusion, rng, batch=config.batch, sampled=config.sampled_steps)
        grid = self.recipe.data.crop // codec.factor
        eps = rng.standard_normal((config.batch, codec.channels, grid, grid), dtype=np.float32)
        device = self.accelerator.device
        to_device = [torch.from_numpy(x).to(device) for x in (batch.a, batch.b, batch.target, batch.functional)]
        return [*to_device, torch.from_numpy(t), torch.from_numpy(eps).to(device)]

    def _validate(self, log: SummaryWriter) -> None:
        """Score the moving average; keep it as `best` when no earlier one scored higher."""
        step = self.state.step
        scores, sheet = validation.score(self.average.module, self.recipe, self.validation)
        total = validation.total(scores, self.recipe)
        for name, values in scores.items():
            for metric, value in values.items():
                log.add_scalar(f"{name}/{metric}", value, step)
            line = " ".join(f"{metric} {value:.3f}" for metric, value in values.items())
            self.report(f"validation {step} {name}: {line}")
        log.add_scalar("validation/score", total, step)
        log.add_image("validation/a, b, fused", sheet, step, dataformats="HW")
        self.report(f"validation {step} score {total:.4f} (best so far {max(total, self.state.best_score):.4f})")
        if total > self.state.best_score:
            self.state = replace(self.state, best_score=total, best_step=step)
            part = checkpoint.fresh(self.folder / "best")
            weights = {name: value.detach().cpu().contiguous() for name, value in self.average.module.state_dict().items()}
            save_file(weights, part / "model.safetensors")
            settings.dump(part / "recipe.toml", self.recipe)
            checkpoint.write_json(part / "scores.json", scores)
            checkpoint.replace(part, self.folder / "best")

    def _score_best(self) -> None:
        """Score the kept weights on the whole validation split: what the model card will say."""
        best = self.folder / "best"
        if not best.is_dir():
            return
        net = FusionNet(self.recipe.net)
        net.load_state_dict(load_file(best / "model.safetensors"))
        scores, _ = validation.score(net, self.recipe, validation.load(self.recipe))
        checkpoint.write_json(best / "scores.json", scores)
        self.report(f"best: step {self.state.best_step}, scored on the whole validation split in {best / 'scores.json'}")

    def _any(self, flag: bool) -> bool:
        """Whether any process says so, so that all leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, "sum") > 0)

    def _say_memory(self) -> None:
        if torch.cuda.is_available():
            self.report(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GB on the GPU")
        else:
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            self.report(f"peak memory {peak:.2f} GB")


LOG_EVERY = 50


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """Linear warm-up, then a cosine to 1 % of the peak at the last step."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = 0.505 + 0.495 * math.cos(math.pi * step / config.steps)
    return config.learning_rate * rise * fall
