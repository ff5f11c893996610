"""`dreambatch gallery`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.plain_text import printable


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

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import gallery
        from pipeline.storage import places
        from pipeline.store import Store

        places.expect_apart("--to", self.to, self.output)
        store = Store.open(self.output, create=False)
        built = gallery.build(store, self.to, limit=self.limit, say=print)
        print(printable(gallery.render(built)))
        return exit_codes.COMPLETE
