import pyarrow.parquet as pq

from engine.primitives.captions import parse
from engine.primitives.splits import split
from pipeline import demo, manifest
from pipeline.records import Prompt


def test_the_packaged_manifest_is_the_one_in_the_source() -> None:
    assert pq.read_table(demo.PATH).equals(demo.table())


def test_all_of_it_is_accepted() -> None:
    items = list(manifest.read(str(demo.PATH)))
    assert [item.prompt_id for item in items if isinstance(item, Prompt)] == [
        "car",
        "lamp",
        "chair",
        "duck",
    ]
    assert len(items) == 4
    assert manifest.schema(str(demo.PATH)).names == ["collection"]


def test_the_guidance_model_has_not_seen_its_prompts() -> None:
    for row in demo.table().to_pylist():
        spec = parse(row["prompt"])
        assert split(spec) == "dev"


def test_the_readme_shows_its_rows() -> None:
    readme = (demo.PATH.parent / "README.md").read_text()
    for row in demo.table().to_pylist():
        assert f"| {row['prompt_id']} | {row['prompt']} | {row['collection']} |" in readme
