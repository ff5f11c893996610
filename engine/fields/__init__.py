"""Fields: density and albedo at points, for S scenes at once."""

from engine.configs.fields import DenseGridConfig, FieldConfig
from engine.fields.dense_grid import DenseGrid
from engine.fields.field import Field, Parameters, Samples
from engine.fields.hash_grid import HashGrid

__all__ = ["DenseGrid", "Field", "HashGrid", "Parameters", "Samples", "build"]


def build(config: FieldConfig) -> Field:
    """The field that a recipe describes."""
    return DenseGrid(config) if isinstance(config, DenseGridConfig) else HashGrid(config)
