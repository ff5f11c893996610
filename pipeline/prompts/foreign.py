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


class ForeignWords:
    """Counts, of rows that pass by, those whose prompt has each foreign word, or whose negative
    prompt has."""

    def __init__(self, vocabulary: Collection[str]) -> None:
        self._known = frozenset(vocabulary)
        self._counts: Counter[str] = Counter()
        self._num_prompts = 0
        self._last_row = -1

    def watched(self, rows: Iterator[Prompt | Rejection]) -> Iterator[Prompt | Rejection]:
        """The same rows."""
        for row in rows:
            # A row of several seeds comes as often, one right after the other.
            if isinstance(row, Prompt) and row.row != self._last_row:
                self._last_row = row.row
                self._look(f"{row.prompt} {row.negative_prompt}")
            yield row

    def told(self) -> str:
        """One sentence, the most frequent words first; empty where there are none."""
        if not self._counts:
            return ""
        # Ties by the alphabet, so that the sentence is the same whatever the rows' order.
        words = sorted(self._counts, key=lambda word: (-self._counts[word], word))
        shown = ", ".join(repr(word[:_LONGEST_SHOWN]) for word in words[:_MOST_SHOWN])
        more = " and others" if len(words) > _MOST_SHOWN else ""
        prompts = (
            "1 prompt has" if self._num_prompts == 1 else f"{self._num_prompts:,} prompts have"
        )
        return f"{prompts} words that say nothing to the embedded model: {shown}{more}"

    def _look(self, words: str) -> None:
        # Most are known as they stand between spaces.
        others = set(words.lower().split()) - self._known
        foreign = {word for other in others for word in _WORDS.findall(other)} - self._known
        if len(self._counts) >= _MOST_KEPT:
            self._counts.update(foreign & self._counts.keys())
        else:
            self._counts.update(foreign)
        self._num_prompts += bool(foreign)
