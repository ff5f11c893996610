"""`dreambatch gc`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.errors import UserError


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

    def answer(self) -> int:
        """See `pipeline.commands`."""
        if not self.older_than >= 0:
            raise UserError(f"--older-than {self.older_than}: expected 0 or more hours")
        from pipeline.dataset import garbage, piles
        from pipeline.store import Store

        collected = garbage.collect(
            Store.open(self.output, create=False),
            grace_seconds=self.older_than * 3600,
            is_dry=self.dry_run,
        )
        print(piles.render(collected, is_dry=self.dry_run))
        return exit_codes.COMPLETE
