import builtins
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import viser
from hypothesis import given
from hypothesis import strategies as st

from engine import fields
from engine.configs.fields import DenseGridConfig
from engine.scene import Scene
from pipeline import view
from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.store import Store
from tests.clusters import ROOT, driver_environment
from tests.pipeline.gallery.samples import CORNERS, commit, cube
from tests.pipeline.sample_assets import open_store, sample_asset, sample_view

ANGLES = st.floats(-3.2, 3.2)
PROMPT = "a [red](javascript:alert(1)) <b>ball</b>"


def rotation_about(axis: int, angle: float) -> np.ndarray:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turned = np.eye(3)
    turned[a, a] = turned[b, b] = np.cos(angle)
    turned[a, b], turned[b, a] = -np.sin(angle), np.sin(angle)
    return turned


def matrix_of(q: tuple[float, ...]) -> np.ndarray:
    """Rotation of a unit quaternion w, x, y, z: v -> q v q*, one basis vector at a time."""

    def product(p: tuple[float, ...], r: tuple[float, ...]) -> tuple[float, ...]:
        scalar = p[0] * r[0] - np.dot(p[1:], r[1:])
        vector = p[0] * np.array(r[1:]) + r[0] * np.array(p[1:]) + np.cross(p[1:], r[1:])
        return (float(scalar), *vector.tolist())

    conjugate = (q[0], -q[1], -q[2], -q[3])
    columns = [product(product(q, (0.0, *e)), conjugate)[1:] for e in np.eye(3).tolist()]
    return np.array(columns).T


@given(ANGLES, ANGLES, ANGLES)
def test_a_quaternion_is_its_rotation(x: float, y: float, z: float) -> None:
    rotation = rotation_about(0, x) @ rotation_about(1, y) @ rotation_about(2, z)
    found = view.quaternion(rotation)
    assert np.linalg.norm(found) == pytest.approx(1.0)
    np.testing.assert_allclose(matrix_of(found), rotation, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_a_turn_has_a_quaternion_too(axis: int) -> None:
    rotation = rotation_about(axis, np.pi)
    np.testing.assert_allclose(matrix_of(view.quaternion(rotation)), rotation, atol=1e-9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    """A dataset, the id of an asset with a cube, and the id of one with an empty mesh."""
    store = open_store(str(tmp_path_factory.mktemp("data")))
    config = DenseGridConfig(resolutions=(8,), density_gain=2.0, blob_density=40.0)
    scene = Scene(config, fields.build(config).initial(torch.tensor([1])))
    c2w = np.eye(4)
    c2w[:3, :3] = rotation_about(2, 0.7)
    c2w[:3, 3] = (1.0, 2.0, 3.0)
    posed = replace(sample_view(90.0), c2w=c2w.flatten().tolist())
    whole = replace(sample_asset(), mesh_glb=cube(), field=scene.to_bytes(), views=[posed])
    empty = replace(sample_asset(is_empty=True), field=scene.to_bytes(), views=[posed])
    return store, commit(store, 1, prompt=PROMPT, asset=whole), commit(store, 2, asset=empty)


@pytest.fixture
def server(dataset: tuple[Store, str, str]) -> Iterator[viser.ViserServer]:
    store, asset_id, _ = dataset
    running = view.serve(store, asset_id, port=0)
    try:
        yield running
    finally:
        running.stop()


def node(server: viser.ViserServer, name: str) -> Any:
    return server.scene._handle_from_node_name[name]


def inputs(server: viser.ViserServer) -> dict[str, Any]:
    """What one may set, or read, by its label."""
    return {x.label: x for x in server.gui._gui_input_handle_from_uuid.values()}


def test_it_answers_on_this_machine_until_it_is_stopped(dataset: tuple[Store, str, str]) -> None:
    store, asset_id, _ = dataset
    before = threading.active_count()
    running = view.serve(store, asset_id, port=0)
    address = f"http://{view.HOST}:{running.get_port()}"
    assert running.get_host() == "127.0.0.1"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read().lower()
    running.stop()
    with pytest.raises(OSError, match=r"refused|reset"):
        urllib.request.urlopen(address, timeout=2)
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_the_mesh_lies_where_the_world_is(server: viser.ViserServer) -> None:
    mesh = node(server, "/mesh")
    assert mesh.glb_data == cube()
    world = CORNERS * (0.1, 0.2, 0.3)
    in_file = world[:, [1, 2, 0]]  # what the export writes
    np.testing.assert_allclose(in_file @ matrix_of(tuple(mesh.wxyz)).T, world, atol=1e-9)


def test_cameras_stand_where_the_views_were_taken(server: viser.ViserServer) -> None:
    camera = node(server, "/cameras/0")
    turned = rotation_about(2, 0.7) @ np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(matrix_of(tuple(camera.wxyz)), turned, atol=1e-6)
    np.testing.assert_allclose(camera.position, (1.0, 2.0, 3.0))
    # fl_y = 20 and h = 16: half of the picture is 8 pixels high.
    assert np.tan(camera.fov / 2) == pytest.approx(8 / 20)


def test_the_field_is_a_cloud_from_the_density_that_is_chosen(server: viser.ViserServer) -> None:
    few = len(node(server, "/field/points").points)
    assert few > 100
    slider = inputs(server)["Field from density"]
    slider.value = 1.0
    deadline = time.monotonic() + 20
    while len(node(server, "/field/points").points) <= few and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(node(server, "/field/points").points) > few


def test_a_prompt_is_no_markup(server: viser.ViserServer) -> None:
    prompt = inputs(server)["Prompt"]
    assert prompt.value == PROMPT
    assert type(prompt).__name__ == "GuiTextHandle"


def test_an_empty_mesh_is_said_and_its_field_is_shown(dataset: tuple[Store, str, str]) -> None:
    store, _, empty = dataset
    running = view.serve(store, empty, port=0)
    try:
        assert node(running, "/field").visible
        assert "/mesh" not in running.scene._handle_from_node_name
    finally:
        running.stop()


def test_an_asset_is_shown_by_what_a_user_calls_it(dataset: tuple[Store, str, str]) -> None:
    store, asset_id, _ = dataset
    running = view.serve(store, asset_id[:6], port=0)
    try:
        assert inputs(running)["Asset"].value == asset_id
    finally:
        running.stop()


def test_an_asset_that_is_not_there_is_a_mistake(dataset: tuple[Store, str, str]) -> None:
    with pytest.raises(UserError, match="--asset 'nobody': no asset in"):
        view.serve(dataset[0], "nobody", port=0)


def test_a_damaged_field_is_said(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    asset_id = commit(store, 1, asset=replace(sample_asset(), mesh_glb=cube(), field=b"x"))
    with pytest.raises(UserError, match=f"asset {asset_id}: its field is damaged"):
        view.serve(store, asset_id, port=0)


def test_without_viser_it_says_what_to_install(
    dataset: tuple[Store, str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "viser":
            raise ImportError("No module named 'viser'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    store, asset_id, _ = dataset
    assert main(["view", "--output", store.url, "--asset", asset_id]) == 2
    said = capsys.readouterr().err
    assert said == "dreambatch: error: view needs viser: pip install 'dreambatch[view]'\n"


def test_to_end_the_viewer_is_no_failure(
    dataset: tuple[Store, str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(self: viser.ViserServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(viser.ViserServer, "sleep_forever", interrupted)
    store, asset_id, _ = dataset
    words = ["view", "--output", store.url, "--asset", asset_id, "--port", "0"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ \(Ctrl-C ends it\)\nclosed\n", said.out)
    assert said.err == ""


@pytest.mark.slow
def test_the_command_says_where_and_ends_with_ctrl_c(dataset: tuple[Store, str, str]) -> None:
    store, asset_id, _ = dataset
    command = [sys.executable, "-m", "pipeline", "view", "--output", store.url, "--asset", asset_id]
    with subprocess.Popen(
        [*command, "--port", "0"],
        env=driver_environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"(http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
            assert found is not None, line
            with urllib.request.urlopen(found[1], timeout=10) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGINT)
            last, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, last, said) == (0, "closed\n", "")
