"""`dreambatch supervise`."""

from dataclasses import dataclass

import tyro

from pipeline.commands import run
from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Supervise:
    """Do a run, and start it again whenever its driver dies: `supervise -- run --manifest ...`."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """The run, behind `--`."""
    attempts: int = 10
    """Give up after so many failed attempts in a row that committed nothing."""
    strict: bool = False
    """Leave with 3, not 0, where prompts are quarantined."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import supervise

        if self.words[:1] != ("run",):
            raise UserError(
                "supervise: expected a run behind it: `supervise -- run --manifest ...`"
            )
        # Parsed here for its output, and so that a mistake in it is said before anything starts.
        settings = run.parse(self.words[1:], prog="dreambatch supervise -- run")
        program, watch = supervise.own_program(), supervise.Watch()
        status = [*program, "status", "--output", settings.output, "--json"]
        with watch.listening():
            return supervise.supervise(
                [*program, *self.words],
                attempts=self.attempts,
                strict=self.strict,
                watch=watch,
                num_new=supervise.Census(status, watch).num_new,
            )
