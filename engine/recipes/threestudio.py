"""threestudio's DreamFusion (threestudio-project/threestudio at 28d9d80), as it publishes it.

Every number is from `configs/dreamfusion-if.yaml` or `dreamfusion-sd.yaml`, or from the defaults in
the code that these name. What cannot be the same here:

- Its orientation loss is divided by the rays that see something, ours by all rays.
- It shades a whole step alike and flips one coin for its elevations; with one view it is the same.
- It takes 512 even samples a ray and skips those in empty cells; ours tells as many stretches of a
  ray apart and spreads fewer samples over the occupied ones.
- Its environment map reads spherical harmonics, ours sines and cosines of the direction.
- It computes in half precision and sets gradients that are not numbers to zero.
"""

from dataclasses import replace

from engine.configs.background import BackgroundConfig
from engine.configs.cameras import CameraConfig
from engine.configs.distillation import DistillationConfig
from engine.configs.export import ExportConfig
from engine.configs.fields import HashGridConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.configs.shading import ShadingConfig
from engine.recipe import Recipe
from engine.recipes.dreamfusion import DEEPFLOYD_IF, STABLE_DIFFUSION

_FIELD = HashGridConfig(
    bound=2.0,
    num_levels=16,
    features=2,
    log2_size=19,
    base_resolution=16,
    finest_resolution=4096,
    hidden=64,
    activation="softplus",
    albedo="shifted",
    blob="linear",
    blob_density=10.0,
    blob_radius=0.5,
    start_level=8,
    level_from=2000 / 10_000,
    level_every=500 / 10_000,
    normals="analytic",
)

_CAMERA = CameraConfig(
    elevation_deg=(-10.0, 90.0),
    # Its draw by area maps degrees to parts of 180 first: asin(2 (e + 90) / 180 - 1).
    area_elevation_deg=(-6.3794, 90.0),
    stratified_azimuth=True,
    radius=(1.5, 2.0),
    lens="field_of_view",
    fov_y_deg=(40.0, 70.0),
    position_jitter=0.1,
    target_jitter=0.2,
    up_jitter=0.02,
)

_BACKGROUND = BackgroundConfig(
    kind="mlp",
    num_layers=3,  # two hidden layers
    width=16,
    activation="shifted",
    plain_chance=0.0,
)


def threestudio_if() -> Recipe:
    """`dreamfusion-if.yaml`."""
    return Recipe(
        name="threestudio_if",
        summary="threestudio's dreamfusion-if: hash grid, 1 view of 64x64, 10000 steps",
        guidance=DEEPFLOYD_IF,
        iterations=10_000,
        views=1,
        render_size=64,
        field=_FIELD,
        camera=_CAMERA,
        shading=ShadingConfig(
            albedo_until=2001 / 10_000,
            shaded=0.75,
            textureless=0.5,
            ambient=0.1,
            diffuse=0.9,
            soft=False,
            light_distance=(0.8, 1.5),
            light_spread=1.0,
        ),
        march=MarchConfig(num_samples=128, num_bins=512, grid_size=32, region="cube"),
        background=_BACKGROUND,
        distillation=DistillationConfig(
            scale=20.0,
            form="extrapolate",  # text + s (text - uncond)
            t_min=0.02,
            t_max=(0.98, 0.98),
            weighting="sigma_squared",
            prompt_views="nearest",
        ),
        losses=LossConfig(
            opacity=1.0,  # its sparsity
            orientation=(10.0, 1000.0),
            orientation_until=5000 / 10_000,
        ),
        optimiser=OptimiserConfig(
            lr=(0.01, 0.01), background_rate=0.1, betas=(0.9, 0.99), eps=1e-15
        ),
        # Its views: 512 pixels, radius 2, 70 degrees, elevation 15; sizes here are ours.
        export=ExportConfig(
            view_size=256,
            view_elevation_deg=15.0,
            view_radius=2.0,
            view_fov_deg=70.0,
            view_samples=256,
            grid_size=256,
            density_level=25.0,
            max_faces=50_000,
            texture_size=2048,
            turntable_size=256,
        ),
    )


def threestudio_sd() -> Recipe:
    """`dreamfusion-sd.yaml`."""
    base = threestudio_if()
    return replace(
        base,
        name="threestudio_sd",
        summary="threestudio's dreamfusion-sd: hash grid, 1 view of 64x64, 10000 steps",
        guidance=STABLE_DIFFUSION,
        field=replace(_FIELD, albedo="sigmoid"),
        camera=replace(_CAMERA, elevation_deg=(-10.0, 45.0), area_elevation_deg=(-6.3794, 30.0)),
        background=replace(_BACKGROUND, activation="sigmoid"),
        distillation=replace(base.distillation, scale=100.0),
    )
