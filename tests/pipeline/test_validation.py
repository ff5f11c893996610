"""What `dreambatch validate` finds; its exit codes are in test_cli."""

from pathlib import Path

import pytest

from engine import recipes as library
from pipeline.errors import UserError
from pipeline.validation import check
from tests.pipeline.runs import write_hollow_weights, write_manifest


def look(manifest: Path, **changes: object) -> str:
    options = {"recipe": None, "guidance": None, "limit": None, "strict": False} | changes
    return check(str(manifest), **options)  # pyright: ignore[reportArgumentType]


def test_a_manifest_alone(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"])
    assert look(manifest) == f"{manifest}: 2 assets to make, 0 rows rejected"


def test_each_seed_of_a_prompt_is_an_asset(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"], num_seeds=[2, None])
    assert look(manifest).endswith("3 assets to make, 0 rows rejected")
    assert look(manifest, seeds_per_prompt=2).endswith("4 assets to make, 0 rows rejected")


def test_long_lists_of_rejections_are_cut(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", *[""] * 30])
    lines = look(manifest).splitlines()
    assert lines[0].endswith("1 asset to make, 30 rows rejected")
    assert len(lines) == 22
    assert lines[-1] == "... and 10 more"


def test_words_that_the_embedded_model_does_not_know(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "a unicorn", ""])
    lines = look(manifest).splitlines()
    assert lines[0].endswith("2 assets to make, 1 row rejected")
    assert lines[-1] == (
        "1 row has words that say nothing to the embedded model: 'unicorn' (prompt, row 1)"
    )
    weights = write_hollow_weights(tmp_path / "weights")
    assert "unicorn" not in look(manifest, guidance=str(weights))


def test_recipe_and_weights(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball"])
    weights = write_hollow_weights(tmp_path / "weights")
    lines = look(manifest, recipe="smoke", guidance=str(weights)).splitlines()
    assert lines[1].startswith("recipe smoke: six steps")
    assert lines[2] == f"guidance {weights}: complete, in {weights}"
    with pytest.raises(UserError, match="no such directory"):
        look(manifest, guidance=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        look(manifest, recipe="smokes")


def test_a_row_is_judged_as_a_run_would(tmp_path: Path) -> None:
    recipes = ["smoke", "unheard", "dreamfusion_if", None]
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "b", "c", "d"], recipe=recipes)
    lines = look(manifest).splitlines()
    assert lines[0].endswith("2 assets to make, 2 rows rejected")
    listed = ", ".join(library.names())
    assert lines[1] == f"row 1: unknown recipe 'unheard': expected one of {listed}"
    assert lines[2].startswith("row 2: recipe 'dreamfusion_if' is for the model ")
    with pytest.raises(UserError, match="row 1 of the manifest is rejected: unknown recipe"):
        look(manifest, strict=True)


def test_rows_that_ask_for_one_asset_under_the_named_recipe(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "a"], recipe=["smoke", None])
    assert look(manifest).endswith("2 assets to make, 0 rows rejected")
    assert "row 1: asks for the asset of row 0 again" in look(manifest, recipe="smoke")


def test_a_limit_must_be_positive(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "b"])
    assert "1 asset to make" in look(manifest, limit=1)
    with pytest.raises(UserError, match="--limit"):
        look(manifest, limit=0)
