"""`dreambatch status`."""

import json
from dataclasses import asdict, dataclass

from pipeline import exit_codes
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Status:
    """Tell what an output holds and what is still to do."""

    output: str
    """Directory of the dataset."""
    json: bool = False
    """As JSON."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import status
        from pipeline.store import Store

        summary = status.summarise(Store.open(self.output, create=False))
        text = json.dumps(asdict(summary), indent=2) if self.json else status.render(summary)
        print(printable(text))
        return exit_codes.COMPLETE
