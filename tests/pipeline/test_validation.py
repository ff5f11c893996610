"""What `dreambatch validate` finds; its exit codes are in test_cli."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.validation import check
from tests.pipeline.runs import write_hollow_weights, write_manifest


def look(manifest: Path, **changes: object) -> str:
    options = {"recipe": None, "guidance": None, "limit": None, "strict": False} | changes
    return check(str(manifest), **options)  # pyright: ignore[reportArgumentType]


def test_a_manifest_alone(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", "a cube"])
    assert look(manifest) == f"{manifest}: 2 prompts, 0 rejected"


def test_long_lists_of_rejections_are_cut(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a ball", *[""] * 30])
    lines = look(manifest).splitlines()
    assert lines[0].endswith("1 prompts, 30 rejected")
    assert len(lines) == 22
    assert lines[-1] == "... and 10 more"


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


def test_a_recipe_that_only_a_row_names(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "b"], recipe=["smoke", "unheard"])
    with pytest.raises(UserError, match="unknown recipe 'unheard'"):
        look(manifest)


def test_a_limit_must_be_positive(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ["a", "b"])
    assert "1 prompts" in look(manifest, limit=1)
    with pytest.raises(UserError, match="--limit"):
        look(manifest, limit=0)
