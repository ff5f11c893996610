"""The manifest of the demonstration: four prompts that the embedded world has never seen.

Their combinations of kind and colours belong to the `dev` split of `engine.primitives.grammar`: the
guidance model was trained without them. Each looks different from every side. `collection` is
there to show that other columns are carried into the dataset. After a change here:

    python -m pipeline.demo
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PATH = Path(__file__).parent / "examples" / "demo.parquet"
"""The manifest as the package brings it."""

_ROWS = (
    {"prompt_id": "car", "prompt": "a purple car", "collection": "vehicles"},
    {"prompt_id": "lamp", "prompt": "a yellow lamp", "collection": "furniture"},
    {"prompt_id": "chair", "prompt": "a blue chair with orange legs", "collection": "furniture"},
    {"prompt_id": "duck", "prompt": "a blue duck with orange beak", "collection": "animals"},
)


def table() -> pa.Table:
    """The manifest: prompt_id, prompt, collection."""
    return pa.Table.from_pylist(list(_ROWS))


if __name__ == "__main__":
    pq.write_table(table(), PATH)
