"""The command `haarmony`: every command reads its options, calls the library and prints.

Start-up is part of what a command takes, so this package imports the library inside the commands alone. What
goes wrong ends here: a user's mistake in at most three plain lines and exit code 2, an interruption in one
and 130.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from haarmony import __version__
from haarmony.cli.app import serve
from haarmony.cli.benchmark import benchmark
from haarmony.cli.demo import demo
from haarmony.cli.evaluate import evaluate, metrics
from haarmony.cli.fuse import fuse
from haarmony.cli.generate import generate
from haarmony.cli.messages import describe, say
from haarmony.cli.models import models
from haarmony.cli.prior import prior
from haarmony.cli.train import export, train

REFUSED, INTERRUPTED = 2, 130
EXTRAS = {
    "app": ("python_multipart", "starlette", "uvicorn"),
    "cluster": ("ray",),
    "register": ("SimpleITK",),
    "report": ("jinja2", "matplotlib", "pandas"),
    "train": ("accelerate", "einops", "onnx", "onnxscript", "safetensors", "tensorboard", "tomli_w", "torch"),
}
"""What each extra installs, by import name."""
# The base of typer's usage errors: newer typers bring a click of their own, so it need not be click's.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
for command in (fuse, demo, generate, models, evaluate, benchmark, metrics, prior, train, export):
    app.command()(command)
app.command("app")(serve)


@app.callback(invoke_without_command=True)
def haarmony(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Fuse aligned pictures from different instruments with diffusion models."""
    if version:
        typer.echo(f"haarmony {__version__}")
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments after the command's name; None takes the process's.

    Returns:
        Exit code: 0 done, 1 some pairs failed, 2 a user's mistake, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    return answer(lambda: app(args=arguments, prog_name="haarmony", standalone_mode=False))


def answer(work: Callable[[], int | None]) -> int:
    """Do `work`, a script's say: what goes wrong is said in plain lines; returns `main`'s exit codes."""
    try:
        status = work() or 0
        if status != INTERRUPTED:  # typer's answer to Ctrl-C
            return status
    except (KeyboardInterrupt, typer.Abort):
        pass
    except USAGE_ERROR as error:
        return _refuse(*_usage(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                return _refuse(f'{package} is not installed: pip install "haarmony[{extra}]"')
        raise  # not a missing extra but a broken installation or program
    # The library's word for a user's mistake (ValueError, with the offending value) and the system's
    # (OSError, a full disk say). A mistake in the program is any other type, and keeps its traceback.
    except (ValueError, OSError) as error:
        return _refuse(describe(error))
    except MemoryError:
        return _refuse("not enough memory for pictures or settings of this size")
    say("haarmony: interrupted")
    return INTERRUPTED


def _usage(error: Any) -> list[str]:
    context = getattr(error, "ctx", None)
    hint = [f"Try '{context.command_path} --help'."] if context else []
    return [" ".join(error.format_message().replace("Value error, ", "").split()), *hint]


def _refuse(problem: str, *more: str) -> int:
    say(f"haarmony: {problem}", *more)
    return REFUSED
