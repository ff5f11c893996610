import json

import pyarrow as pa
import pytest

from pipeline.dataset import huggingface
from tests.pipeline.dataset.test_asset_table import sample_table, stored


def test_pictures_are_images_and_views_a_list_of_structs() -> None:
    metadata = stored(sample_table()).schema_arrow.metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert list(features) == sample_table().column_names
    assert features["thumb"] == features["turntable"] == {"_type": "Image"}
    assert features["prompt"] == {"dtype": "string", "_type": "Value"}
    assert features["created_at"] == {"dtype": "timestamp[us, tz=UTC]", "_type": "Value"}
    assert features["mesh_glb"] == {"dtype": "binary", "_type": "Value"}
    views = features["views"]
    assert views["_type"] == "List"
    assert views["feature"]["depth"] == {"_type": "Image"}
    assert views["feature"]["c2w"] == {
        "feature": {"dtype": "float64", "_type": "Value"},
        "_type": "List",
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.float16(), "float16"),
        (pa.float32(), "float32"),
        (pa.float64(), "float64"),
        (pa.int8(), "int8"),
        (pa.uint64(), "uint64"),
        (pa.bool_(), "bool"),
        (pa.date32(), "date32"),
        (pa.date64(), "date64"),
        (pa.time64("us"), "time64[us]"),
        (pa.duration("ms"), "duration[ms]"),
        (pa.timestamp("s"), "timestamp[s]"),
        (pa.decimal128(10, 2), "decimal128(10, 2)"),
    ],
)
def test_values_have_the_names_that_datasets_gives_them(kind: pa.DataType, name: str) -> None:
    metadata = huggingface.metadata(pa.schema([("x", kind)]))
    assert metadata
    assert json.loads(metadata["huggingface"])["info"]["features"] == {
        "x": {"dtype": name, "_type": "Value"}
    }


def test_lists_of_fixed_size_keep_it() -> None:
    metadata = huggingface.metadata(pa.schema([("x", pa.list_(pa.int8(), 3))]))
    assert metadata
    feature = json.loads(metadata["huggingface"])["info"]["features"]["x"]
    assert feature == {"feature": {"dtype": "int8", "_type": "Value"}, "length": 3, "_type": "List"}


def test_a_type_that_datasets_cannot_name_leaves_the_entry_out() -> None:
    assert huggingface.metadata(pa.schema([("x", pa.map_(pa.string(), pa.int8()))])) is None
    table = sample_table(pa.schema([("x", pa.map_(pa.string(), pa.int8()))]))
    assert b"huggingface" not in (stored(table).schema_arrow.metadata or {})


def test_the_front_matter_of_a_card_says_the_same_in_fewer_words() -> None:
    inner = pa.struct([("x", pa.int8()), ("pictures", pa.list_(huggingface.IMAGE))])
    schema = pa.schema(
        [
            ("picture", huggingface.IMAGE),
            ("numbers", pa.list_(pa.float64())),
            ("three", pa.list_(pa.int8(), 3)),
            ("rows", pa.list_(inner)),
            ("row", inner),
            ("nested", pa.list_(pa.list_(pa.string()))),
        ]
    )
    fields = [{"name": "x", "dtype": "int8"}, {"name": "pictures", "list": "image"}]
    assert huggingface.yaml_features(schema) == [
        {"name": "picture", "dtype": "image"},
        {"name": "numbers", "list": "float64"},
        {"name": "three", "list": "int8", "length": 3},
        {"name": "rows", "list": fields},
        {"name": "row", "struct": fields},
        {"name": "nested", "list": {"list": "string"}},
    ]


def test_the_front_matter_names_no_map() -> None:
    with pytest.raises(NotImplementedError):
        huggingface.yaml_features(pa.schema([("x", pa.map_(pa.string(), pa.int8()))]))
