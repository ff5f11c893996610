"""`dreambatch gc`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.errors import UserError

_MOST_HOURS = 1e6


@dataclass(frozen=True, kw_only=True)
class Gc:
    """Remove what is packed and lies elsewhere too, and what killed runs left."""

    output: str
    """Directory of the dataset."""
    older_than: float = 24.0
    """Hours for which readers of an older state, and clocks that differ, are waited for; at least
    two minutes are, whatever is said here."""
    dry_run: bool = False
    """Only tell what would be removed, and what waits."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        if not 0 <= self.older_than <= _MOST_HOURS:
            raise UserError(
                f"--older-than {self.older_than}: expected 0 to {_MOST_HOURS:.0f} hours"
            )
        from pipeline.dataset import garbage, piles
        from pipeline.store import Store

        collected = garbage.collect(
            Store.open(self.output, create=False),
            grace_seconds=self.older_than * 3600,
            is_dry=self.dry_run,
        )
        print(piles.render(collected, is_dry=self.dry_run))
        return exit_codes.COMPLETE
