"""`dreambatch compact`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.errors import UserError
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Compact:
    """Pack assets into files of 256 to 512 MB, smaller where a partition has less; publish a
    snapshot of them, renew the catalog."""

    output: str
    """Directory of the dataset."""
    target_mb: int = 384
    """Size of a packed file; those of one partition have between 2/3 and 4/3 of it, if it fills."""
    partition_by: str | None = None
    """Column of the manifest by whose values the packed files lie. Default: by asset id."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        if self.target_mb < 1:
            raise UserError(f"--target-mb {self.target_mb}: expected 1 or more")
        from pipeline import compact
        from pipeline.store import Store

        done = compact.compact(
            Store.open(self.output, create=False),
            target_bytes=self.target_mb * 1_000_000,
            partition_by=self.partition_by,
            say=print,
        )
        print(printable(compact.render(done)))
        return exit_codes.COMPLETE
