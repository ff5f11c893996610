"""Recipes for the embedded world, whose diffusion model comes with the package."""

from engine.configs.distillation import DistillationConfig
from engine.configs.export import ExportConfig
from engine.configs.fields import DenseGridConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.recipe import Recipe


def primitives() -> Recipe:
    """An asset of the embedded world on a GPU."""
    return Recipe(
        name="primitives",
        summary="the embedded world on a GPU: dense grid, 4 views of 64x64, 400 steps",
        guidance="primitives",
        iterations=400,
        views=4,
        render_size=64,
        num_slots=8,
        field=DenseGridConfig(),
        march=MarchConfig(num_samples=48, num_bins=96),
        distillation=DistillationConfig(scale=20.0, t_max=(0.98, 0.12)),
        losses=LossConfig(entropy=(0.0, 40.0), opacity=20.0, total_variation=1.0),
        optimiser=OptimiserConfig(lr=(0.02, 0.004)),
        export=ExportConfig(density_level=5.0, max_faces=5000, texture_size=256),
    )


def primitives_cpu() -> Recipe:
    """An asset of the embedded world on two CPU cores."""
    return Recipe(
        name="primitives_cpu",
        summary="the embedded world on two CPU cores: dense grid, 2 views of 32x32, 300 steps",
        guidance="primitives",
        iterations=300,
        views=2,
        render_size=32,
        field=DenseGridConfig(resolutions=(16, 48)),
        march=MarchConfig(num_samples=32, num_bins=64),
        distillation=DistillationConfig(scale=20.0, t_max=(0.98, 0.2)),
        losses=LossConfig(entropy=(0.0, 40.0), total_variation=4.0),
        optimiser=OptimiserConfig(lr=(0.03, 0.01)),
        export=ExportConfig(density_level=5.0, max_faces=5000, texture_size=256),
    )


def smoke() -> Recipe:
    """A few steps that prove an installation; not an asset to keep."""
    return Recipe(
        name="smoke",
        summary="six steps at tiny sizes: proves an installation, makes no asset worth keeping",
        guidance="primitives",
        iterations=6,
        views=1,
        render_size=16,
        num_slots=2,
        field=DenseGridConfig(resolutions=(4, 16)),
        march=MarchConfig(num_samples=8, num_bins=16, grid_size=8, refresh=8),
        export=ExportConfig(
            num_views=4,
            view_size=32,
            view_samples=32,
            grid_size=24,
            density_level=2.0,
            max_faces=1000,
            texture_size=64,
            turntable_frames=4,
            turntable_size=32,
        ),
    )
