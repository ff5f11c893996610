"""`dreambatch run`, and its words where they stand inside other commands."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tyro

from pipeline.errors import RunError
from pipeline.settings import RunSettings

if TYPE_CHECKING:
    from pipeline.actors.engine_port import EngineFactory, TextFactory

CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
"""How flags are spelled."""


def answer(
    settings: RunSettings,
    engine_factory: "EngineFactory | None",
    text_factory: "TextFactory | None",
) -> int:
    """Runs, with the engine of the factories if there are any; returns the exit code."""
    settings.check()
    from pipeline.driver import run

    try:
        if engine_factory is not None:
            return run(settings, engine_factory=engine_factory, text_factory=text_factory)
        return run(settings)
    except RunError as error:
        raise RunError(f"{error}; what is committed stays, the same command goes on") from error


def parse(words: Sequence[str], *, prog: str) -> RunSettings:
    """The settings of a run from the words of its command; ends the process for a mistake, as the
    command itself does."""
    return tyro.cli(RunSettings, prog=prog, args=words, config=CONFIG)
