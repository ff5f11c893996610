"""What diffusers and transformers say of every model they load, and what is no news to anybody.

Progress bars over files of this machine; and the warning of diffusers' `to(dtype)` for parts that
should stay in float32, which it gives even where it names none ("[]"). All else is let through.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

# Their stubs know too little of them.
_LIBRARIES: tuple[Any, ...] = (diffusers_logging, transformers_logging)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a warning says something: not where it lists nothing."""
    return "should be kept in float32: []" not in record.getMessage()


# Guidance is made of loaded parts in several places, and cast whenever it is.
logging.getLogger("diffusers.models.modeling_utils").addFilter(is_news)


@contextmanager
def no_bars() -> Iterator[None]:
    """Also a decorator. Within, neither library draws a bar; behind it, whatever did does again."""
    drawing = [library for library in _LIBRARIES if library.is_progress_bar_enabled()]
    for library in drawing:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in drawing:
            library.enable_progress_bar()
