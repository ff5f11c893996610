"""The command `dreambatch`: its words go to a command of `pipeline.commands`, whose answer is the
exit code; what goes wrong is said in one line."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from pipeline import exit_codes
from pipeline.commands import run
from pipeline.commands.benchmark import Benchmark
from pipeline.commands.card import Card
from pipeline.commands.compact import Compact
from pipeline.commands.dashboards import Dashboards
from pipeline.commands.evaluate import Evaluate
from pipeline.commands.export import Export
from pipeline.commands.gallery import Gallery
from pipeline.commands.gc import Gc
from pipeline.commands.kubernetes import Kubernetes
from pipeline.commands.recipes import Recipes
from pipeline.commands.retry import Retry
from pipeline.commands.simulate import Simulate
from pipeline.commands.status import Status
from pipeline.commands.supervise import Supervise
from pipeline.commands.validate import Validate
from pipeline.commands.view import View
from pipeline.errors import RunError, UserError
from pipeline.plain_text import printable
from pipeline.settings import RunSettings

if TYPE_CHECKING:
    from pipeline.actors.engine_port import EngineFactory, TextFactory

Command = (
    Annotated[RunSettings, tyro.conf.subcommand("run")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Recipes, tyro.conf.subcommand("recipes")]
    | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compact, tyro.conf.subcommand("compact")]
    | Annotated[Gallery, tyro.conf.subcommand("gallery")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Gc, tyro.conf.subcommand("gc")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Card, tyro.conf.subcommand("card")]
    | Annotated[Supervise, tyro.conf.subcommand("supervise")]
    | Annotated[Retry, tyro.conf.subcommand("retry")]
    | Annotated[Kubernetes, tyro.conf.subcommand("k8s")]
    | Annotated[Dashboards, tyro.conf.subcommand("dashboards")]
    | Annotated[Simulate, tyro.conf.subcommand("simulate")]
)


def main(
    arguments: Sequence[str] | None = None,
    *,
    engine_factory: "EngineFactory | None" = None,
    text_factory: "TextFactory | None" = None,
) -> int:
    """Runs one command and returns its exit code.

    `pipeline.exit_codes` has them. `engine_factory` takes the engine's place, and `text_factory`
    that of its encode stage, which there is none of otherwise.
    """
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        prog="dreambatch",
        description="Text prompts in, a dataset of 3D assets out.",
        args=arguments,
        config=run.CONFIG,
    )
    try:
        if isinstance(command, RunSettings):
            return run.answer(command, engine_factory, text_factory)
        return command.answer()
    except UserError as error:
        return _fail(str(error), exit_codes.USER)
    except RunError as error:
        return _fail(str(error), exit_codes.FAILURE)
    except OSError as error:
        return _fail_for_storage(error)
    except KeyboardInterrupt:
        return _fail("interrupted", exit_codes.INTERRUPTED)


def _fail_for_storage(error: OSError) -> int:
    """A file or a place that cannot be used, and that nobody who knows more has spoken of."""
    from pipeline.storage import places

    where = [error.filename or "a file", *getattr(error, "__notes__", ())]
    said = places.one_line(f"cannot use {' '.join(where)}", error)
    return _fail(str(said), exit_codes.USER if isinstance(said, UserError) else exit_codes.FAILURE)


def _fail(message: str, code: int) -> int:
    print("dreambatch: error:", printable(" ".join(message.split())), file=sys.stderr)
    return code
