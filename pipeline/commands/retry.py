"""`dreambatch retry`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Let quarantined prompts in again; the next run makes them."""

    output: str
    """Directory of the dataset."""
    kind: str | None = None
    """Only those given up for this kind of failure. Default: all."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline.dataset import pardons
        from pipeline.store import Store

        store = Store.open(self.output, create=False)
        print(printable(pardons.pardon(store, kind=self.kind)))
        return exit_codes.COMPLETE
