"""One asset in a browser, on this machine: its mesh, its cameras with their pictures, its field.

The world is as everywhere: +Z up, front +X. A GLB is +Y up with its front to +Z, so it is turned by
a third of a turn about (1, 1, 1): glTF (x, y, z) is world (z, x, y). viser's cameras are OpenCV's,
ours OpenGL's: Y and Z point the other way.

viser is an extra; only this file knows it.
"""

import io
import math
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipeline.dataset import lookup
from pipeline.errors import UserError
from pipeline.store import Store

if TYPE_CHECKING:
    import viser

HOST = "127.0.0.1"
"""What is shown is shown to this machine alone; from elsewhere it is reached through a tunnel."""

_COLUMNS = ["asset_id", "prompt", "recipe", "seed_used", "mesh_glb", "field", "views"]
_GLTF_TO_WORLD = (0.5, 0.5, 0.5, 0.5)
"""Quaternion w, x, y, z."""
_GRID_SIZE = 96
_LEVEL = 10.0
_HIGHEST = 100.0
_FRUSTUM = 0.12


def serve(store: Store, name: str, *, port: int) -> "viser.ViserServer":
    """Start to show an asset; `get_port()` of the server says where, `stop` ends it.

    A busy port is passed over for the next one. UserError where there is no such asset, and where
    viser is not installed.
    """
    try:
        import viser
    except ImportError as error:
        raise UserError("view needs viser: pip install 'dreambatch[view]'") from error
    asset = _read(store, name)
    with redirect_stdout(io.StringIO()):  # it prints a table of addresses, whatever `verbose` says
        server = viser.ViserServer(host=HOST, port=port, label="dreambatch", verbose=False)
    try:
        server.scene.set_up_direction("+z")
        server.initial_camera.position = (3.4, 2.2, 2.0)
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        _say(server, asset)
        _add_mesh(server, asset)
        _add_cameras(server, asset)
        _add_field(server, asset)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: "viser.ViserServer") -> None:
    """End what `serve` began, without viser's own words on it."""
    with redirect_stdout(io.StringIO()):
        server.stop()


def _read(store: Store, name: str) -> dict[str, Any]:
    (table,) = store.read_assets(lookup.find(store, [name]), _COLUMNS)
    return table.to_pylist()[0]


def _say(server: "viser.ViserServer", asset: dict[str, Any]) -> None:
    """Plain text fields: a prompt is not to be taken for markup."""
    server.gui.add_text("Prompt", asset["prompt"], disabled=True, multiline=True)
    server.gui.add_text("Recipe", str(asset["recipe"]), disabled=True)
    server.gui.add_text("Seed used", str(asset["seed_used"]), disabled=True)
    server.gui.add_text("Asset", asset["asset_id"], disabled=True)


def _add_mesh(server: "viser.ViserServer", asset: dict[str, Any]) -> None:
    if asset["mesh_glb"] is None:
        server.gui.add_text("Mesh", "empty", disabled=True)
        return
    mesh = server.scene.add_glb("/mesh", asset["mesh_glb"], wxyz=_GLTF_TO_WORLD)
    _add_switch(server, "Mesh", mesh)


def _add_cameras(server: "viser.ViserServer", asset: dict[str, Any]) -> None:
    frame = server.scene.add_frame("/cameras", show_axes=False)
    for number, view in enumerate(asset["views"]):
        c2w = np.array(view["c2w"]).reshape(4, 4)
        server.scene.add_camera_frustum(
            f"/cameras/{number}",
            fov=2.0 * math.atan(0.5 * view["h"] / view["fl_y"]),
            aspect=view["w"] / view["h"],
            scale=_FRUSTUM,
            thickness=0.004,
            image=np.asarray(Image.open(io.BytesIO(view["image"]["bytes"])).convert("RGBA")),
            wxyz=quaternion(c2w[:3, :3] * (1.0, -1.0, -1.0)),
            position=c2w[:3, 3],
        )
    _add_switch(server, "Cameras", frame)


def _add_field(server: "viser.ViserServer", asset: dict[str, Any]) -> None:
    """The field as points, from a density on that one may choose."""
    from engine.export.cloud import cloud
    from engine.export.lattice import sample
    from engine.scene import Scene

    if asset["field"] is None:
        return
    try:
        scene = Scene.from_bytes(asset["field"])
    except ValueError as error:
        raise UserError(f"asset {asset['asset_id']}: its field is damaged: {error}") from None
    samples = sample(scene, _GRID_SIZE)
    frame = server.scene.add_frame("/field", show_axes=False, visible=asset["mesh_glb"] is None)
    _add_switch(server, "Field", frame)
    level = server.gui.add_slider("Field from density", 0.5, _HIGHEST, 0.5, _LEVEL)

    def draw(_: object = None) -> None:
        found = cloud(scene, samples, level=level.value)
        server.scene.add_point_cloud(
            "/field/points", found.points, found.colours, point_size=0.8 * samples.spacing
        )

    level.on_update(draw)
    draw()


def _add_switch(server: "viser.ViserServer", label: str, node: "viser.SceneNodeHandle") -> None:
    box = server.gui.add_checkbox(label, node.visible)

    @box.on_update
    def _(_: object) -> None:
        node.visible = box.value


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """The unit quaternion (w, x, y, z) of a rotation matrix.

    The eigenvector of the greatest eigenvalue of Bar-Itzhack's matrix: no case is special (Journal
    of Guidance, Control, and Dynamics 23 (6), 2000).
    """
    r = np.asarray(rotation, dtype=np.float64)
    a = np.zeros((4, 4))
    a[1:, 1:] = r + r.T - np.trace(r) * np.eye(3)
    a[0, 0] = np.trace(r)
    a[0, 1:] = a[1:, 0] = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
    w, x, y, z = np.linalg.eigh(a)[1][:, -1].tolist()
    return (w, x, y, z) if w >= 0 else (-w, -x, -y, -z)
