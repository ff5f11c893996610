"""Fixtures of the tests of judging."""

import pytest

from engine.evaluation.lexicon import Lexicon
from tests.engine.evaluation.oracles import Oracle


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    """All captions as the oracle reads them."""
    return Lexicon(Oracle())
