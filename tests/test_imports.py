"""Who may import whom: engine knows no factory, pipeline no U-Net, and Ray is met in few places."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE_NEVER = {"ray", "fsspec", "gcsfs", "pandas", "prometheus_client", "pipeline", "tests"}
PIPELINE_NEVER = {"triton", "diffusers", "transformers", "tests"}
RAY_FILES = {
    "pipeline/actor.py",
    "pipeline/actors/encode_stage.py",
    "pipeline/fleet/cluster.py",
    "pipeline/fleet/pool.py",
    "pipeline/fleet/ray_fleet.py",
}
"""The driver's and the actors' side of the pipeline; everything else runs without Ray."""
TORCH_FREE = [
    "engine/__init__.py",
    *sorted(f"engine/configs/{path.name}" for path in (ROOT / "engine/configs").glob("*.py")),
    "engine/recipe.py",
    "engine/recipes/__init__.py",
    "engine/recipes/primitives.py",
    "engine/guidance/__init__.py",
    "engine/guidance/files.py",
    "engine/guidance/prompts.py",
]


def imported(source: str) -> set[str]:
    """Top-level packages that a file imports anywhere, functions and type checking included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this repository"
            assert node.module is not None
            found.add(node.module.split(".")[0])
    return found


def sources(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return [str(path.relative_to(ROOT)) for path in paths]


def test_every_kind_of_import_is_seen() -> None:
    source = """
import a.b, c as d
from e.f import g
if TYPE_CHECKING:
    import h
def lazily():
    from i import j
"""
    assert imported(source) == {"a", "c", "e", "h", "i"}


def test_both_packages_are_there() -> None:
    assert "engine/gang.py" in sources("engine")
    assert "pipeline/actor.py" in sources("pipeline")


@pytest.mark.parametrize("path", sources("engine"))
def test_the_engine_knows_nothing_of_the_factory(path: str) -> None:
    assert imported((ROOT / path).read_text()) & ENGINE_NEVER == set()


@pytest.mark.parametrize("path", sources("pipeline"))
def test_the_pipeline_knows_nothing_of_the_diffusion_model(path: str) -> None:
    assert imported((ROOT / path).read_text()) & PIPELINE_NEVER == set()


def test_ray_is_met_in_few_places() -> None:
    users = {path for path in sources("pipeline") if "ray" in imported((ROOT / path).read_text())}
    assert users == RAY_FILES


@pytest.mark.parametrize("path", TORCH_FREE)
def test_what_the_command_line_reads_names_no_torch(path: str) -> None:
    heavy = {"torch", "jaxtyping", "numpy", "diffusers", "transformers", "safetensors"}
    assert imported((ROOT / path).read_text()) & heavy == set()
