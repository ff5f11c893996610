"""Words of prompts that a model of a closed language has never met, and which say nothing to it."""

import re
from collections import Counter
from collections.abc import Collection, Iterator

from pipeline.records import Prompt, Rejection

_WORDS = re.compile(r"\w+|[^\w\s]")
"""As the embedded model's tokenizer cuts: at spaces, and every mark by itself."""
_MOST_SHOWN = 5
_LONGEST_SHOWN = 40
_MOST_KEPT = 10_000
"""Words that are counted: a million rows may each have a number of its own."""

_Found = tuple[str, str]
"""A word and the column that it stands in: the same word counts in each."""


class ForeignWords:
    """Counts, of rows that pass by, those that have each foreign word in the prompt or in the
    negative prompt, and keeps the first of them."""

    def __init__(self, vocabulary: Collection[str]) -> None:
        self._known = frozenset(vocabulary)
        self._counts: Counter[_Found] = Counter()
        self._first: dict[_Found, int] = {}
        self._num_rows = 0
        self._last_row = -1

    def watched(self, rows: Iterator[Prompt | Rejection]) -> Iterator[Prompt | Rejection]:
        """The same rows."""
        for row in rows:
            # A row of several seeds comes as often, one right after the other.
            if isinstance(row, Prompt) and row.row != self._last_row:
                self._last_row = row.row
                self._look(row)
            yield row

    def told(self) -> str:
        """One sentence, the most frequent words first; empty where there are none."""
        if not self._counts:
            return ""
        # Of equals prompts come first, then by the alphabet, whatever the rows' order.
        found = sorted(self._counts, key=lambda x: (-self._counts[x], x[1] != "prompt", x))
        shown = ", ".join(map(self._place, found[:_MOST_SHOWN]))
        more = " and others" if len(found) > _MOST_SHOWN else ""
        rows = "1 row has" if self._num_rows == 1 else f"{self._num_rows:,} rows have"
        return f"{rows} words that say nothing to the embedded model: {shown}{more}"

    def _place(self, key: _Found) -> str:
        word, column = key
        first = "first in row" if self._counts[key] > 1 else "row"
        return f"{word[:_LONGEST_SHOWN]!r} ({column}, {first} {self._first[key]})"

    def _look(self, prompt: Prompt) -> None:
        found = self._foreign(prompt.prompt, "prompt")
        if prompt.negative_prompt:
            found += self._foreign(prompt.negative_prompt, "negative_prompt")
        self._num_rows += bool(found)
        for key in found:
            if key in self._first or len(self._first) < _MOST_KEPT:
                self._first.setdefault(key, prompt.row)
                self._counts[key] += 1

    def _foreign(self, text: str, column: str) -> list[_Found]:
        # Most are known as they stand between spaces.
        others = set(text.lower().split()) - self._known
        words = {word for other in others for word in _WORDS.findall(other)} - self._known
        return [(word, column) for word in sorted(words)]
