"""How far a long work is, for whoever waits for it."""

import sys
import time

LINE_SECONDS = 30.0


class Progress:
    """Counts steps; says on stderr how many are done, at most once in `LINE_SECONDS`."""

    def __init__(self, name: str, num_steps: int) -> None:
        self._name, self._num_steps, self._num_done = name, num_steps, 0
        self._said = time.monotonic()

    def stepped(self) -> None:
        """One more step is done."""
        self._num_done += 1
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            line = f"{self._name}: step {self._num_done} of {self._num_steps}"
            print(line, file=sys.stderr, flush=True)
