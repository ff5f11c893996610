"""The command `dreambatch`. Each command imports what it needs, when it is called."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pipeline import exit_codes
from pipeline.dashboards.request import Dashboards
from pipeline.errors import RunError, UserError
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.kubernetes.values import Values
from pipeline.plain_text import printable
from pipeline.settings import RunSettings
from pipeline.simulation.assumptions import Assumptions

if TYPE_CHECKING:
    from pipeline.engine_port import EngineFactory, TextFactory


_CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)


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
    seeds_per_prompt: int = 1
    """Assets of each prompt that says nothing of `num_seeds`."""
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


@dataclass(frozen=True, kw_only=True)
class Supervise:
    """Do a run, and start it again whenever its driver dies: `supervise -- run --manifest ...`."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """The run, behind `--`."""
    attempts: int = 10
    """Give up after so many failed attempts in a row that committed nothing."""
    strict: bool = False
    """Leave with 3, not 0, where prompts are quarantined."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Let quarantined prompts in again; the next run makes them."""

    output: str
    """Directory of the dataset."""
    kind: str | None = None
    """Only those given up for this kind of failure. Default: all."""


@dataclass(frozen=True, kw_only=True)
class Compact:
    """Pack assets into files of 256 to 512 MB, publish a snapshot of them, renew the catalog."""

    output: str
    """Directory of the dataset."""
    target_mb: int = 384
    """Size of a packed file; those of one partition have between 2/3 and 4/3 of it, if it fills."""
    partition_by: str | None = None
    """Column of the manifest by whose values the packed files lie. Default: by asset id."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Write a static page to look at a dataset: search, filters, every asset turning and in 3D."""

    output: str
    """Directory of the dataset."""
    to: str
    """Directory of the page, on a path or an fsspec URL; what it has already is not written again.
    """
    limit: int | None = None
    """Show no more than the newest assets. Default: all."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Open one asset in a browser: mesh, cameras with their pictures, field. Needs the extra
    `view`."""

    output: str
    """Directory of the dataset."""
    asset: str
    """Its asset_id, as in the catalog."""
    port: int = 8080
    """Port on this machine, or the next one that is free."""


@dataclass(frozen=True, kw_only=True)
class Gc:
    """Remove what is packed and lies elsewhere too, and what killed runs left."""

    output: str
    """Directory of the dataset."""
    older_than: float = 24.0
    """Hours for which readers of an older state, and clocks that differ, are waited for; at least
    two minutes are, whatever is said here."""
    dry_run: bool = False
    """Only tell what would be removed."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write assets to this machine as folders that nerfstudio and instant-ngp read."""

    output: str
    """Directory of the dataset."""
    to: str
    """Directory of this machine; what is there already is not written again."""
    asset: tuple[str, ...] = ()
    """Ids of assets, or their first digits."""
    all: bool = False
    """All assets."""
    where: str | None = None
    """Those for which an SQL condition over the catalog holds: "mesh_faces > 1000"."""
    layout: Annotated[Literal["folders", "webdataset"], tyro.conf.arg(name="as")] = "folders"
    """A folder for each, or WebDataset: tar shards of many."""
    format: tuple[str, ...] = ()
    """More formats in each folder: obj, ply, mp4."""
    shard_mb: int = 500
    """Size of a shard at most."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Write a dataset card into the output: statistics, and what the Hugging Face hub reads."""

    output: str
    """Directory of the dataset."""
    licence: str | None = None
    """As the hub names it. Default: that of what the diffusion model makes, if it is known."""


@dataclass(frozen=True, kw_only=True)
class Simulate(Assumptions):
    """Plan a cluster: the real driver on simulated machines that fail as assumed."""

    json: bool = False
    """As JSON."""


Command = (
    Annotated[RunSettings, tyro.conf.subcommand("run")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Recipes, tyro.conf.subcommand("recipes")]
    | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
    | Annotated[EvaluateSettings, tyro.conf.subcommand("evaluate")]
    | Annotated[Compact, tyro.conf.subcommand("compact")]
    | Annotated[Gallery, tyro.conf.subcommand("gallery")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Gc, tyro.conf.subcommand("gc")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Card, tyro.conf.subcommand("card")]
    | Annotated[Supervise, tyro.conf.subcommand("supervise")]
    | Annotated[Retry, tyro.conf.subcommand("retry")]
    | Annotated[Values, tyro.conf.subcommand("k8s")]
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

    0 complete, 1 a failure that the same command may outlive, 2 a mistake of the user's, 3 complete
    with quarantined prompts, 130 and 143 interrupted. `engine_factory` takes the engine's place,
    and `text_factory` that of its encode stage, which there is none of otherwise.
    """
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType]
        prog="dreambatch",
        description="Text prompts in, a dataset of 3D assets out.",
        args=arguments,
        config=_CONFIG,
    )
    try:
        if isinstance(command, RunSettings):
            return _run(command, engine_factory, text_factory)
        if isinstance(command, Status):
            return _status(command)
        if isinstance(command, Validate):
            return _validate(command)
        if isinstance(command, Benchmark):
            return _benchmark(command)
        if isinstance(command, EvaluateSettings):
            return _evaluate(command)
        if isinstance(command, Compact):
            return _compact(command)
        if isinstance(command, Gallery):
            return _gallery(command)
        if isinstance(command, View):
            return _view(command)
        if isinstance(command, Gc):
            return _gc(command)
        if isinstance(command, Export):
            return _export(command)
        if isinstance(command, Card):
            return _card(command)
        if isinstance(command, Supervise):
            return _supervise(command)
        if isinstance(command, Retry):
            return _retry(command)
        if isinstance(command, Values):
            return _kubernetes(command)
        if isinstance(command, Dashboards):
            return _dashboards(command)
        if isinstance(command, Simulate):
            return _simulate(command)
        return _recipes(command)
    except UserError as error:
        return _fail(str(error), exit_codes.USER)
    except RunError as error:
        return _fail(str(error), exit_codes.FAILURE)
    except OSError as error:
        return _fail_for_storage(error)
    except KeyboardInterrupt:
        return _fail("interrupted", exit_codes.INTERRUPTED)


def _run(
    settings: RunSettings,
    engine_factory: "EngineFactory | None",
    text_factory: "TextFactory | None",
) -> int:
    settings.check()
    from pipeline.driver import run

    try:
        if engine_factory is not None:
            return run(settings, engine_factory=engine_factory, text_factory=text_factory)
        return run(settings)
    except RunError as error:
        return _fail(
            f"{error}; what is committed stays, the same command goes on", exit_codes.FAILURE
        )


def _status(command: Status) -> int:
    from pipeline import status
    from pipeline.store import Store

    summary = status.summarise(Store.open(command.output, create=False))
    text = json.dumps(asdict(summary), indent=2) if command.json else status.render(summary)
    print(printable(text))
    return exit_codes.COMPLETE


def _validate(command: Validate) -> int:
    from pipeline import validation

    found = validation.check(
        command.manifest,
        recipe=command.recipe,
        guidance=command.guidance,
        limit=command.limit,
        seeds_per_prompt=command.seeds_per_prompt,
        strict=command.strict,
    )
    print(printable(found))
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


def _evaluate(settings: EvaluateSettings) -> int:
    settings.check()
    from pipeline.evaluation.evaluate import evaluate

    evaluate(settings, lambda text: print(printable(text), flush=True))
    return exit_codes.COMPLETE


def _supervise(command: Supervise) -> int:
    from pipeline import supervise

    if command.words[:1] != ("run",):
        raise UserError("supervise: expected a run behind it: `supervise -- run --manifest ...`")
    # Parsed here for its output, and so that a mistake in it is said before anything starts.
    settings = tyro.cli(
        RunSettings, prog="dreambatch supervise -- run", args=command.words[1:], config=_CONFIG
    )
    program, watch = supervise.own_program(), supervise.Watch()
    status = [*program, "status", "--output", settings.output, "--json"]
    with watch.listening():
        return supervise.supervise(
            [*program, *command.words],
            attempts=command.attempts,
            strict=command.strict,
            watch=watch,
            num_new=supervise.Census(status, watch).num_new,
        )


def _retry(command: Retry) -> int:
    from pipeline import pardons
    from pipeline.store import Store

    store = Store.open(command.output, create=False)
    print(printable(pardons.pardon(store, kind=command.kind)))
    return exit_codes.COMPLETE


def _kubernetes(values: Values) -> int:
    from pipeline.kubernetes import render

    text = render.render(values)
    if words := values.run_words():
        # Parsed here, so that a mistake is said before a cluster is built for it.
        tyro.cli(RunSettings, prog="dreambatch run", args=words, config=_CONFIG).check()
    print(text, end="")
    return exit_codes.COMPLETE


def _dashboards(command: Dashboards) -> int:
    print(printable(command.answer()))
    return exit_codes.COMPLETE


def _compact(command: Compact) -> int:
    if command.target_mb < 1:
        raise UserError(f"--target-mb {command.target_mb}: expected 1 or more")
    from pipeline import compact
    from pipeline.store import Store

    try:
        done = compact.compact(
            Store.open(command.output, create=False),
            target_bytes=command.target_mb * 1_000_000,
            partition_by=command.partition_by,
            say=print,
        )
    except RunError as error:
        return _fail(str(error), exit_codes.FAILURE)
    print(printable(compact.render(done)))
    return exit_codes.COMPLETE


def _gallery(command: Gallery) -> int:
    from pipeline import gallery
    from pipeline.store import Store

    store = Store.open(command.output, create=False)
    built = gallery.build(store, command.to, limit=command.limit, say=print)
    print(printable(gallery.render(built)))
    return exit_codes.COMPLETE


def _view(command: View) -> int:
    from pipeline import view
    from pipeline.store import Store

    store = Store.open(command.output, create=False)
    server = view.serve(store, command.asset, port=command.port)
    try:
        print(f"http://{view.HOST}:{server.get_port()} (Ctrl-C ends it)", flush=True)
        server.sleep_forever()
    finally:
        server.stop()
    return exit_codes.COMPLETE


def _gc(command: Gc) -> int:
    if not command.older_than >= 0:
        raise UserError(f"--older-than {command.older_than}: expected 0 or more hours")
    from pipeline import garbage
    from pipeline.store import Store

    try:
        removed = garbage.collect(
            Store.open(command.output, create=False),
            grace_seconds=command.older_than * 3600,
            is_dry=command.dry_run,
        )
    except RunError as error:
        return _fail(str(error), exit_codes.FAILURE)
    print(garbage.render(removed, is_dry=command.dry_run))
    return exit_codes.COMPLETE


def _export(command: Export) -> int:
    from pipeline import export

    request = export.Request(
        directory=command.to,
        prefixes=command.asset,
        is_all=command.all,
        condition=command.where,
        layout=command.layout,
        formats=command.format,
        shard_mb=command.shard_mb,
    )
    done = export.export(command.output, request, say=print)
    print(printable(export.render(done, command.to)))
    return exit_codes.QUARANTINE if done.num_damaged else exit_codes.COMPLETE


def _card(command: Card) -> int:
    from pipeline import dataset_card
    from pipeline.store import Store

    store = Store.open(command.output, create=False)
    print(printable(dataset_card.write(store, licence=command.licence)))
    return exit_codes.COMPLETE


def _simulate(command: Simulate) -> int:
    from pipeline import simulate

    assumptions = Assumptions(**{x.name: getattr(command, x.name) for x in fields(Assumptions)})
    try:
        report = simulate.simulate(assumptions)
    except RunError as error:
        return _fail(str(error), exit_codes.FAILURE)
    print(simulate.show(report, as_json=command.json))
    return exit_codes.COMPLETE if report.is_sound else exit_codes.FAILURE


def _fail_for_storage(error: OSError) -> int:
    """A file or a place that cannot be used, and that nobody who knows more has spoken of."""
    from pipeline import places

    where = [error.filename or "a file", *getattr(error, "__notes__", ())]
    said = places.one_line(f"cannot use {' '.join(where)}", error)
    return _fail(str(said), exit_codes.USER if isinstance(said, UserError) else exit_codes.FAILURE)


def _fail(message: str, code: int) -> int:
    print("dreambatch: error:", printable(" ".join(message.split())), file=sys.stderr)
    return code
