"""Whether an error is about bytes that are not what they were, or about reaching them."""

import pyarrow as pa

from pipeline.storage import places


def is_damage(error: Exception) -> bool:
    """Whether Arrow judged bytes that it was given: bad checksums are plain OSErrors to it."""
    is_storage = type(error) is not OSError or error.errno is not None or places.is_final(error)
    return isinstance(error, pa.ArrowException) or not is_storage
