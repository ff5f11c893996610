import dataclasses
import io

import numpy as np
from PIL import Image

from engine.configs.export import ExportConfig
from engine.evaluation import stage
from engine.export import lattice, views
from engine.export.asset import View
from engine.export.textureless import AMBIENT, DIFFUSE, textureless
from engine.primitives.truth import SHADED

from .subjects import decode, figure, nothing

CONFIG = ExportConfig(view_size=64, grid_size=64)


def drawn(view: View) -> bytes:
    camera = {key: getattr(view, key) for key in ("c2w", "fl_x", "fl_y", "cx", "cy")}
    return textureless(view.image, view.normal, **camera)


def test_it_is_what_the_judges_are_shown():
    """From an eight-bit normal, what `engine.evaluation` draws from the field itself."""
    assert (AMBIENT, DIFFUSE) == SHADED
    scene = figure()
    config = dataclasses.replace(
        CONFIG,
        view_elevation_deg=stage.ELEVATION_DEG,
        view_radius=2.2,
        view_samples=128,
        grid_size=96,
    )
    samples = lattice.sample(scene, 96)
    shown = stage.show_scenes([scene]).geometry[0]
    for view, expected in zip(
        views.render_views(scene, config, samples=samples), shown, strict=True
    ):
        picture = decode(drawn(view))
        opaque = picture[..., 3] == 255
        off = picture[opaque][:, :3] / 255.0 - expected.movedim(0, -1).numpy()[opaque]
        assert opaque.sum() > 200
        assert np.abs(off).max() < 0.02


def test_colours_play_no_part_and_alpha_is_the_view_s():
    (view, *_) = views.render_views(figure(), CONFIG)
    picture = decode(drawn(view))
    assert (picture[..., :3] == picture[..., :1]).all()
    assert (picture[..., 3] == decode(view.image)[..., 3]).all()
    colours = set(map(tuple, decode(view.image)[picture[..., 3] == 255][:, :3]))
    assert len(colours) > 3
    pale = dataclasses.replace(view, image=_without_colours(view.image))
    assert drawn(pale) == drawn(view)


def _without_colours(image: bytes) -> bytes:
    pixels = decode(image).copy()
    pixels[..., :3] = 7
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_face_towards_the_camera_is_white_and_a_sidelong_one_darker():
    (front, *_) = views.render_views(figure(), dataclasses.replace(CONFIG, view_elevation_deg=0.0))
    grey = decode(drawn(front))[..., 0]
    opaque = decode(front.image)[..., 3] == 255
    assert grey[opaque].max() > 250
    assert grey[opaque].min() < 200


def test_where_nothing_is_it_is_the_ambient_light_alone_and_transparent():
    for view in views.render_views(nothing(), dataclasses.replace(CONFIG, view_size=8)):
        picture = decode(drawn(view))
        assert (picture[..., 3] == 0).all()
        assert (picture[..., 0] == round(255 * AMBIENT)).all()
