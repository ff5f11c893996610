"""The manifest of the demonstration: four prompts that the embedded world has never seen.

Their combinations of kind and colours belong to the `dev` split of `engine.primitives.splits`, on
which no guidance model of this world is trained. Each looks different from every side. `collection`
is there to show that other columns are carried into the dataset. After a change here:

    python -m pipeline.demo
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PATH = Path(__file__).parent / "examples" / "demo.parquet"
"""The manifest as the package brings it."""

_ROWS = (
    {"prompt_id": "car", "prompt": "a red car with blue wheels", "collection": "vehicles"},
    {"prompt_id": "lamp", "prompt": "a blue lamp with purple stand", "collection": "furniture"},
    {"prompt_id": "chair", "prompt": "a green chair with blue legs", "collection": "furniture"},
    {"prompt_id": "duck", "prompt": "a yellow duck with green beak", "collection": "animals"},
)


def table() -> pa.Table:
    """The manifest: prompt_id, prompt, collection."""
    return pa.Table.from_pylist(list(_ROWS))


if __name__ == "__main__":
    pq.write_table(table(), PATH)
