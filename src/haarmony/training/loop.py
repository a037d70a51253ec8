"""The loop around a task: run directory, optimiser, moving average, validation, checkpoints, resume.

    RUN/recipe.toml    the recipe as resolved        RUN/prior/SET/     targets of the targeted search
    RUN/checkpoint/    all that a resume needs       RUN/best/          the moving average that scored best
    RUN/tensorboard/   loss terms, scores and sample pictures
    RUN/autoencoder/   the codec, where the recipe names a learnt one

What is learnt is the task's (`haarmony.training.task`); for fusion that is Algorithm 1. Step n draws its
batch, its t and its ε from NumPy's Generator seeded with (seed, n, process): a run that is stopped and
resumed equals an unbroken one.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from haarmony import settings
from haarmony.training import checkpoint
from haarmony.training.data import Report
from haarmony.training.recipe import BaseRecipe
from haarmony.training.task import Task
from haarmony.training.tasks import TASKS, load_recipe
from haarmony.weights import AUTOENCODER

LOG_EVERY = 50


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
        max_time: Seconds after which to stop with a checkpoint, or in the search for targets with those that
            are found, counting from this call.
        report: Given one line at a time.

    Returns:
        The run directory; its `best` is what `haarmony export` takes, once there is one.

    Raises:
        ValueError: The recipe, the data or the checkpoint is not usable; the run directory holds another run;
            training diverged.
        OSError: A file or folder cannot be read or written.
        MemoryError: The network or its batch is too large for the machine.
    """
    started = time.monotonic()
    recipe = load_recipe(recipe_path, data=data)
    kind = TASKS[recipe.task]
    run = out if out is not None else Path("runs") / recipe.name
    AcceleratorState._reset_state()  # else an earlier call in this process would fix the precision for good
    accelerator = Accelerator(mixed_precision=recipe.optimiser.precision, cpu=not torch.cuda.is_available())
    # The main process finds what training starts from, targets say; the others then read what it found.
    found = True
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            _open_run(run, recipe, resume=resume)
            until = None if max_time is None else started + max_time
            found = kind.prepare(recipe, run, report=report, until=until)
        else:
            report = _silent
    if _any(accelerator, not found):
        minutes = (time.monotonic() - started) / 60
        report(f"stopped after {minutes:.0f} minutes in the search for targets; the same command goes on")
        return run
    try:
        return _Run(recipe, run, kind.task(recipe, run), accelerator, report).go(resume, started, max_time)
    except RuntimeError as error:  # torch's word for no memory, on a GPU and on a CPU
        if "out of memory" in str(error) or "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


def _any(accelerator: Accelerator, flag: bool) -> bool:
    """Whether any process says so, so that all stop at the same place."""
    if accelerator.num_processes == 1:
        return flag
    flags = torch.tensor([float(flag)], device=accelerator.device)
    return bool(accelerator.reduce(flags, "sum") > 0)


def _silent(line: str) -> None:
    pass


def _open_run(run: Path, recipe: BaseRecipe, *, resume: bool) -> None:
    for name in ("checkpoint", "best"):
        checkpoint.recover(run / name)
    exists = (run / "checkpoint").exists()
    if resume and not exists:
        raise ValueError(f"{run}: no checkpoint to resume from; leave out --resume to begin")
    if exists and not resume:
        raise ValueError(
            f"{run}: holds a run already; go on with --resume, or name another folder with --out"
        )
    saved = run / "recipe.toml"
    if resume and load_recipe(saved) != recipe:
        raise ValueError(
            f"{saved}: differs from the recipe to resume; it takes the same recipe and data folder"
        )
    best = run / "best" / "recipe.toml"
    if not exists and best.exists() and load_recipe(best) != recipe:
        raise ValueError(f"{run / 'best'}: is of another recipe; name another folder with --out")
    run.mkdir(parents=True, exist_ok=True)
    settings.dump(saved, recipe)


class _Run:
    """One process's part of a training run."""

    def __init__(
        self, recipe: BaseRecipe, run: Path, task: Task, accelerator: Accelerator, report: Report
    ) -> None:
        self.recipe, self.folder, self.task = recipe, run, task
        self.accelerator, self.report = accelerator, report
        config = recipe.optimiser
        # Channels last: a third faster on a CPU, and what tensor cores want.
        self.net = task.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.wrapped, self.optimiser = accelerator.prepare(task.module, optimiser)
        ema = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.net, multi_avg_fn=ema)
        self.state = checkpoint.State()

    def go(self, resume: bool, started: float, max_time: float | None) -> Path:
        """Train to the last step or until time is up (lines 2 to 11 of Algorithm 1)."""
        config, every = self.recipe.optimiser, self.recipe.validation.every
        if resume:
            self.state = checkpoint.load(self.folder / "checkpoint", *self._saved())
        spent = self.state.seconds
        main = _Main(self) if self.accelerator.is_main_process else None
        if main is not None and not (main.best / "model.safetensors").exists():  # or lost since
            self.state = replace(self.state, best_step=0)
            if self.state.step >= config.steps:
                main.validate()
        while self.state.step < config.steps:
            step = self.state.step
            for group in self.optimiser.param_groups:
                group["lr"] = self.recipe.learning_rate_at(step)
            self.task.at(step)
            inputs = self.task.inputs(step, self.accelerator.process_index, self.accelerator.device)
            terms = self.wrapped(*inputs)  # lines 3 to 9
            self.accelerator.backward(terms["loss"])  # line 10
            norm = self.accelerator.clip_grad_norm_(self.net.parameters(), config.clip)
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.average.update_parameters(self.net)

            self.state = replace(self.state, step=step + 1, seconds=spent + time.monotonic() - started)
            if main is not None and (step + 1) % LOG_EVERY == 0:
                main.log_terms({**terms, "norm": norm})
            late = max_time is not None and time.monotonic() - started >= max_time
            out_of_time = _any(self.accelerator, late)
            if main is not None and ((step + 1) % every == 0 or step + 1 == config.steps or out_of_time):
                main.validate()
                checkpoint.save(self.folder / "checkpoint", *self._saved(), self.state)
            if out_of_time:
                minutes = self.state.seconds / 60
                self.report(f"stopped after {minutes:.0f} minutes at step {step + 1}; --resume goes on")
                break
        if main is not None:
            main.finish()
        self.accelerator.wait_for_everyone()
        return self.folder

    def _saved(self) -> tuple[nn.Module, AveragedModel, torch.optim.Optimizer]:
        return self.net, self.average, self.optimiser.optimizer


class _Main:
    """What the main process does beside the others: log, validate, keep the best."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.best = run.folder / "best"
        self.log = SummaryWriter(run.folder / "tensorboard")
        run.task.load_validation()

    def log_terms(self, terms: dict[str, torch.Tensor]) -> None:
        step, of = self.run.state.step, self.run.recipe.optimiser.steps
        with self._logging():
            for name, value in terms.items():
                self.log.add_scalar(f"train/{name}", value.item(), step)
        said = " ".join(f"{name} {value.item():.4f}" for name, value in terms.items())
        self.run.report(f"step {step}/{of} {said}")

    def validate(self) -> None:
        """Score the moving average; keep it as `best` when no earlier one of this phase scored higher.

        Where the time was up between two validations of an unbroken run, it is kept for want of any other
        alone: a stop does not change what a run leaves.
        """
        run, step = self.run, self.run.state.step
        average = run.average.module
        scores, total, sheet = run.task.validate(average)
        if not math.isfinite(total):
            raise ValueError(
                f"training diverged, its score at step {step} is not finite: lower optimiser.learning_rate;"
                " what was saved before is as it was"
            )
        with self._logging():
            for name, row in scores.items():
                for metric, value in row.items():
                    self.log.add_scalar(f"{name}/{metric}", value, step)
            self.log.add_scalar("validation/score", total, step)
            kind = "HW" if sheet.ndim == 2 else "HWC"
            self.log.add_image(f"validation/{run.task.caption}", sheet, step, dataformats=kind)
        for name, row in scores.items():
            said = " ".join(f"{metric} {value:.3f}" for metric, value in row.items())
            run.report(f"validation {step} {name}: {said}")
        other_phase = run.state.best_step <= run.recipe.phase_before(step)  # wanted something else
        best = total if other_phase else max(total, run.state.best_score)
        run.report(f"validation {step} score {total:.4f} (best {best:.4f})")
        due = step % run.recipe.validation.every == 0 or step >= run.recipe.optimiser.steps
        if (due and (other_phase or total > run.state.best_score)) or not run.state.best_step:
            if due:
                run.state = replace(run.state, best_score=total, best_step=step)
            with checkpoint.replacing_folder(self.best) as part:
                save_file(checkpoint.tensors(average), part / "model.safetensors")
                settings.dump(part / "recipe.toml", run.recipe)
                checkpoint.write_json(part / "scores.json", scores)
                if (codec := run.folder / AUTOENCODER).is_dir():
                    shutil.copytree(codec, part / AUTOENCODER)

    def finish(self) -> None:
        """Score the kept weights on the whole validation split, for the model card; say the peak memory."""
        run = self.run
        with self._logging():
            self.log.close()
        net = checkpoint.load_best(self.best, run.average.module)  # the run's checkpoint is written already
        checkpoint.write_json(self.best / "scores.json", run.task.score(net))
        step = run.state.best_step or run.state.step
        run.report(f"best: step {step}; {self.best / 'scores.json'} scores the whole split")
        if torch.cuda.is_available():
            run.report(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GB on the GPU")
        elif sys.platform != "win32":
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            run.report(f"peak memory {peak:.2f} GB")

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Around what is written to the log: it fails on a full disk, and does not say where."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self.run.folder / "tensorboard")
            raise
