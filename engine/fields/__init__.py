"""Fields: density and albedo at points, for S scenes at once."""

from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig
from engine.fields.dense_grid import DenseGrid
from engine.fields.field import Field, Parameters, Samples
from engine.fields.hash_grid import HashGrid
from engine.fields.mip_mlp import MipMlp

__all__ = ["DenseGrid", "Field", "HashGrid", "MipMlp", "Parameters", "Samples", "build"]


def build(config: FieldConfig) -> Field:
    """The field that a recipe describes."""
    if isinstance(config, DenseGridConfig):
        return DenseGrid(config)
    return HashGrid(config) if isinstance(config, HashGridConfig) else MipMlp(config)
