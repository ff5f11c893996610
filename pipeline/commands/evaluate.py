"""`dreambatch evaluate`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Evaluate(EvaluateSettings):
    """Let judges look at the assets and keep what they say; the same command again goes on."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        self.check()
        from pipeline.evaluation.evaluate import evaluate

        evaluate(self, lambda text: print(printable(text), flush=True))
        return exit_codes.COMPLETE
