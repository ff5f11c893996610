"""The command `dreambatch`. Each command imports what it needs, when it is called."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pipeline import exit_codes
from pipeline.errors import UserError
from pipeline.settings import RunSettings

if TYPE_CHECKING:
    from pipeline.engine_port import EngineFactory


@dataclass(frozen=True, kw_only=True)
class Status:
    """Tell what an output holds and what is still to do."""

    output: str
    """Directory of the dataset."""
    json: bool = False
    """As JSON."""


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Check a manifest, a recipe and a diffusion model; nothing is made or written."""

    manifest: str
    """Table of prompts."""
    recipe: str | None = None
    """Name of a recipe, or a file with one."""
    guidance: str | None = None
    """Diffusion model. Default: the recipe's, if one is named."""
    limit: int | None = None
    """Look at no more than the first prompts of the manifest."""
    strict: bool = False
    """Fail at the first rejected row."""


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the named recipes, or show all settings of one."""

    action: tyro.conf.Positional[Literal["list", "show"]] = "list"
    """What to do."""
    recipe: tyro.conf.Positional[str] = ""
    """With show: name of a recipe, or a file with one."""
    json: bool = False
    """With show: as JSON, which `--recipe` reads once it is in a file."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Make assets of unseen prompts of the embedded world and measure them; no Ray, one device."""

    recipe: str
    """Name of a recipe, see `dreambatch recipes`, or a file with one."""
    out: str
    """Directory for figures, contact sheets and scenes; a broken run goes on there."""
    prompts: int = 153
    """Prompts, fixed for each number."""
    seeds: int = 2
    """Assets of each prompt."""
    split: Literal["dev", "test"] = "test"
    """Unseen prompts: `dev` to tune recipes on, `test` for figures that are reported."""
    judge: str = "j2"
    """`j1` to tune by, `j2` for figures that are reported, or a directory."""
    slots: int | None = None
    """Prompts optimised together. Default: the recipe's."""
    guidance: str | None = None
    """Diffusion model. Default: the recipe's."""


Command = (
    Annotated[RunSettings, tyro.conf.subcommand("run")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Recipes, tyro.conf.subcommand("recipes")]
    | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
)


def main(
    arguments: Sequence[str] | None = None, *, engine_factory: "EngineFactory | None" = None
) -> int:
    """Runs one command and returns its exit code.

    0 complete, 1 a failure that the same command may outlive, 2 a mistake of the user's, 3 complete
    with quarantined prompts, 130 and 143 interrupted. `engine_factory` takes the engine's place.
    """
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        prog="dreambatch",
        description="Text prompts in, a dataset of 3D assets out.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )
    try:
        if isinstance(command, RunSettings):
            return _run(command, engine_factory)
        if isinstance(command, Status):
            return _status(command)
        if isinstance(command, Validate):
            return _validate(command)
        if isinstance(command, Benchmark):
            return _benchmark(command)
        return _recipes(command)
    except UserError as error:
        return _fail(str(error), exit_codes.USER)
    except KeyboardInterrupt:
        return _fail("interrupted", exit_codes.INTERRUPTED)


def _run(settings: RunSettings, engine_factory: "EngineFactory | None") -> int:
    settings.check()
    from pipeline.cluster import RunError
    from pipeline.driver import run

    try:
        if engine_factory is not None:
            return run(settings, engine_factory=engine_factory, text_factory=None)
        return run(settings)
    except RunError as error:
        return _fail(
            f"{error}; what is committed stays, the same command goes on", exit_codes.FAILURE
        )


def _status(command: Status) -> int:
    from pipeline import status
    from pipeline.store import Store

    summary = status.summarise(Store.open(command.output, create=False))
    print(json.dumps(asdict(summary), indent=2) if command.json else status.render(summary))
    return exit_codes.COMPLETE


def _validate(command: Validate) -> int:
    from pipeline import validation

    print(
        validation.check(
            command.manifest,
            recipe=command.recipe,
            guidance=command.guidance,
            limit=command.limit,
            strict=command.strict,
        )
    )
    return exit_codes.COMPLETE


def _recipes(command: Recipes) -> int:
    if command.action == "show":
        return _show_recipe(command)
    if command.recipe or command.json:
        raise UserError("recipes list: expected nothing else; `recipes show NAME` shows one")
    from engine import recipes

    names = recipes.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {recipes.get(name).summary}")
    return exit_codes.COMPLETE


def _show_recipe(command: Recipes) -> int:
    from pipeline import recipe_files

    if not command.recipe:
        raise UserError("recipes show: expected the name of a recipe; `recipes` lists them")
    recipe = recipe_files.find(command.recipe)
    print(json.dumps(recipe.to_dict(), indent=2) if command.json else recipe_files.sheet(recipe))
    return exit_codes.COMPLETE


def _benchmark(command: Benchmark) -> int:
    from pipeline import benchmark

    print(benchmark.measure(**asdict(command)))
    return exit_codes.COMPLETE


def _fail(message: str, code: int) -> int:
    print("dreambatch: error:", " ".join(message.split()), file=sys.stderr)
    return code
