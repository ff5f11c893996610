"""`dreambatch card`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Card:
    """Write a dataset card into the output: statistics, and what the Hugging Face hub reads."""

    output: str
    """Directory of the dataset."""
    licence: str | None = None
    """As the hub names it. Default: that of what the diffusion model makes, if it is known."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline.card import card
        from pipeline.store import Store

        store = Store.open(self.output, create=False)
        print(printable(card.write(store, licence=self.licence)))
        return exit_codes.COMPLETE
