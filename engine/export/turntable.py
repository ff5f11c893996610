"""The pictures by which people choose: a small animation of one turn and a thumbnail."""

import io

from engine.configs.export import ExportConfig
from engine.export.images import on_white, png
from engine.export.march import render
from engine.export.occupancy import Occupancy
from engine.export.subject import Subject
from engine.export.views import cameras_at, ring

_TURN_MS = 3000
_QUALITY = 90
_THUMB_AZIMUTH_DEG = 30.0
_THUMB_ELEVATION_DEG = 20.0


def turntable(scene: Subject, occupancy: Occupancy, config: ExportConfig) -> bytes:
    """Animated WebP on white: one turn in three seconds, endless.

    Half the views' samples: the frames are smaller and lossy.
    """
    cameras = ring(config.turntable_frames, config.turntable_size, config)
    num_samples = max(1, config.view_samples // 2)
    pictures = render(scene, occupancy, cameras, num_samples, with_normals=False)
    frames = [on_white(*frame) for frame in zip(pictures.albedo, pictures.alpha, strict=True)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=_TURN_MS // len(frames),
        loop=0,
        quality=_QUALITY,
    )
    return buffer.getvalue()


def thumb(scene: Subject, occupancy: Occupancy, config: ExportConfig) -> bytes:
    """PNG on white, three quarters from the front, as large as a view."""
    camera = cameras_at([_THUMB_AZIMUTH_DEG], [_THUMB_ELEVATION_DEG], config.view_size, config)
    picture = render(scene, occupancy, camera, config.view_samples, with_normals=False)
    return png(on_white(picture.albedo[0], picture.alpha[0]))
