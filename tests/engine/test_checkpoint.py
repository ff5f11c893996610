import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from engine import checkpoint, recipes
from engine.checkpoint import Checkpoint, SceneState
from engine.configs.background import BackgroundConfig
from engine.configs.distillation import DistillationConfig
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig, MipMlpConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.configs.shading import ShadingConfig
from engine.gang import FinishedScene, Gang, SceneRequest
from engine.recipe import Recipe
from engine.scene import Scene
from tests.engine import waits
from tests.engine.fakes import DiscGuidance, RecordingGuidance, schedule

DENSE = DenseGridConfig(resolutions=(4, 12))
HASH = HashGridConfig(num_levels=3, log2_size=9, base_resolution=3, finest_resolution=12, hidden=8)
MIP = MipMlpConfig(num_frequencies=3, num_blocks=2, width=8, bound=1.2)
STEPS, BREAK = 40, 20


def recipe(field: FieldConfig = DENSE, **changes: Any) -> Recipe:
    """Small; it makes a ball of the prompt's colour."""
    return replace(
        recipes.get("smoke"),
        iterations=STEPS,
        views=2,
        render_size=8,
        field=field,
        march=MarchConfig(num_samples=12, num_bins=24, grid_size=8, refresh=4),
        distillation=DistillationConfig(scale=2.0),
        losses=LossConfig(opacity=20.0, entropy=(0.0, 10.0)),
        optimiser=OptimiserConfig(lr=(0.04, 0.01)),
        **changes,
    )


RECIPES = {
    "dense": lambda: recipe(DENSE),
    "hash": lambda: recipe(HASH),
    "mip, lit, environment": lambda: recipe(
        MIP,
        shading=ShadingConfig(shaded=0.8, albedo_until=0.0),
        background=BackgroundConfig(kind="mlp", width=6, plain_chance=0.5),
    ),
}


def request(key: str = "a", **changes: Any) -> SceneRequest:
    return replace(SceneRequest(key=key, prompt="a red disc", seed=1234), **changes)


def neighbour(key: str) -> SceneRequest:
    return SceneRequest(key=key, prompt="a blue disc", seed=sum(key.encode()))


def advance(gang: Gang, num_steps: int) -> list[FinishedScene]:
    finished = []
    for _ in range(num_steps):
        gang.step()
        finished += gang.take_finished()
    return finished


def saved(gang: Gang, key: str = "a") -> bytes:
    data = gang.save(key).to_bytes()
    assert data is not None
    return data


def begun(r: Recipe, num_steps: int = BREAK) -> Gang:
    gang = Gang(r, DiscGuidance(), num_slots=1)
    gang.add(request())
    assert advance(gang, num_steps) == []
    return gang


def difference(one: Scene, other: Scene) -> float:
    """RMS at points of a lattice, of the opacity of a short way and of opacity times colour."""
    axis = torch.linspace(-0.6, 0.6, 9)
    x = torch.cartesian_prod(axis, axis, axis)
    looks = []
    for scene in (one, other):
        opacity = 1.0 - torch.exp(-0.2 * scene.density(x))
        looks.append(torch.cat([opacity, (opacity[:, None] * scene.albedo(x)).flatten()]))
    return (looks[0] - looks[1]).square().mean().sqrt().item()


@pytest.mark.parametrize("make", RECIPES.values(), ids=RECIPES)
def test_a_resumed_scene_ends_as_an_uninterrupted_one(make: Callable[[], Recipe]) -> None:
    r = make()
    first = begun(r)
    data = saved(first)
    half = Scene(r.field, {name: p.clone() for name, p in first._parameters.items()})
    (whole,) = advance(first, STEPS - BREAK)
    elsewhere = Gang(r, DiscGuidance(), num_slots=3)
    elsewhere.add(neighbour("b"))
    elsewhere.add(neighbour("c"))
    advance(elsewhere, 3)
    assert elsewhere.add(request(checkpoint=data)) == BREAK
    assert elsewhere.progress()["a"] == BREAK / STEPS
    (resumed,) = advance(elsewhere, STEPS - BREAK)
    assert (resumed.key, resumed.status, resumed.iterations) == ("a", "ok", STEPS)
    # Beside what the second half of the run changes, what the break changes is nothing.
    assert difference(half, whole.scene) > 0.03
    assert difference(resumed.scene, whole.scene) < 0.002
    for name, value in whole.losses.items():
        assert resumed.losses[name] == pytest.approx(value, rel=0.05, abs=1e-3), name


def test_saving_disturbs_nobody() -> None:
    r = recipe()

    def run(*, with_saves: bool) -> list[FinishedScene]:
        gang = Gang(r, DiscGuidance(), num_slots=2)
        gang.add(request())
        gang.add(neighbour("b"))
        finished = []
        for _ in range(STEPS):
            gang.step()
            if with_saves:
                gang.save("a").to_bytes()
            finished += gang.take_finished()
        return finished

    for plain, watched in zip(run(with_saves=False), run(with_saves=True), strict=True):
        assert plain.key == watched.key
        assert plain.losses == watched.losses
        assert plain.scene.to_bytes() == watched.scene.to_bytes()


def test_a_checkpoint_is_of_its_moment_though_the_gang_goes_on() -> None:
    gang = begun(recipe())
    at_once = saved(gang)
    copy = gang.save("a")
    advance(gang, 5)
    later = copy.to_bytes()
    assert later == at_once
    assert saved(gang) != at_once


def test_what_is_drawn_goes_on_where_it_was() -> None:
    def times(gang: Gang, guidance: RecordingGuidance) -> list[torch.Tensor]:
        guidance.calls.clear()
        advance(gang, 4)
        return [t for _, t, _ in guidance.calls]

    guidance = RecordingGuidance(size=8)
    gang = Gang(recipe(), guidance, num_slots=1)
    gang.add(request())
    advance(gang, BREAK)
    data = saved(gang)
    expected = times(gang, guidance)
    again = Gang(recipe(), guidance, num_slots=1)
    again.add(request(checkpoint=data))
    found = times(again, guidance)
    assert len(found) == 4
    assert all(map(torch.equal, found, expected))
    beginning = Gang(recipe(), guidance, num_slots=1)
    beginning.add(request())
    assert not all(map(torch.equal, times(beginning, guidance), expected))


def test_time_spent_is_kept() -> None:
    gang = begun(recipe())
    copy = gang.save("a")
    assert copy.seconds == gang.seconds()["a"] > 0
    again = Gang(recipe(), DiscGuidance(), num_slots=1)
    data = copy.to_bytes()
    again.add(request(checkpoint=data))
    assert again.seconds() == {"a": copy.seconds}
    advance(again, 1)
    assert again.seconds()["a"] > copy.seconds


def test_suspicion_is_kept() -> None:
    """A scene that is empty for a twentieth of its run is given up at the same step."""
    thin = recipe(replace(DENSE, blob_density=-80.0, blob_radius=100.0))
    r = replace(thin, iterations=200)
    gang = begun(r, 6)
    again = Gang(r, DiscGuidance(), num_slots=2)
    again.add(request(checkpoint=saved(gang)))
    assert again._health.of(0).tolist() == [0, 6, 0]
    (scene,) = advance(again, 20)
    assert (scene.status, scene.iterations) == ("empty", 10)


def test_a_scene_that_has_failed_has_no_checkpoint() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=1)
    gang.add(request(prompt="poison"))
    gang.step()
    assert gang.save("a").to_bytes() is None


def test_it_is_small() -> None:
    """4 bytes an element and 2 a cell, and what was never touched costs next to nothing."""
    r = recipe(HashGridConfig(num_levels=8, log2_size=12, finest_resolution=256))
    r = replace(r, march=replace(r.march, grid_size=16))
    gang = begun(r, 6)
    num_elements = sum(p[0].numel() for p in gang._parameters.values())
    most = 4 * num_elements + 2 * 16**3 + 3000
    copy = gang.save("a")
    assert sum(t.nbytes for t in copy.tensors.values()) <= most
    table = gang._parameters["tables"][0]
    is_touched = gang._moments.second["tables"][0] > 0
    assert 0.2 < is_touched.float().mean() < 0.9
    assert torch.equal(copy.tensors["tables.change"] != 0, is_touched)
    assert len(saved(gang)) < 3.2 * is_touched.sum() + 0.25 * table.numel() + 2 * 16**3 + 9000


def shorter(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 255]) + data[-19:]


def unlike(**changes: Any) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        found = replace(Checkpoint.from_bytes(data), **changes).to_bytes()
        assert found is not None
        return found

    return change


def with_tensors(**changes: torch.Tensor | None) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        old = Checkpoint.from_bytes(data)
        tensors = {**old.tensors, **{k.replace("__", "."): t for k, t in changes.items()}}
        kept = {name: t for name, t in tensors.items() if t is not None}
        found = replace(old, tensors=kept).to_bytes()
        assert found is not None
        return found

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorter, "damaged, or not one of ours"),
        (flipped, "damaged, or not one of ours"),
        (lambda data: b"", "damaged, or not one of ours"),
        (lambda data: b"PAR1 what is this", "damaged, or not one of ours"),
        (lambda data: zlib.compress(b"no safetensors"), "damaged, or not one of ours"),
        (lambda data: zlib.compress(save({"x": torch.ones(2)})), "damaged, or not one of ours"),
        (
            lambda data: zlib.compress(
                save({"x": torch.ones(2)}, metadata={"checkpoint": '{"version": 1, "step": "2"}'})
            ),
            "describes itself as",
        ),
        (
            lambda data: zlib.compress(
                save({"x": torch.ones(2)}, metadata={"checkpoint": '{"version": 7}'})
            ),
            "another version",
        ),
        (
            lambda data: zlib.compress(save({"x": torch.ones(2)}, metadata={"checkpoint": "[]"})),
            "damaged, or not one of ours",
        ),
        (unlike(seed=4), "expected seed 1234, got 4"),
        (unlike(key="b"), "expected key a, got b"),
        (unlike(recipe_digest="0"), "expected recipe_digest .*, got 0"),
        (unlike(step=STEPS), "expected 0 to 39 steps, got 40"),
        (unlike(step=-1), "expected 0 to 39 steps, got -1"),
        (with_tensors(density=torch.zeros(9, dtype=torch.half)), "density: expected .*512.*9"),
        (with_tensors(grid4__pace=None), "grid4.pace: expected .*, got None"),
        (with_tensors(more=torch.zeros(2)), "more: expected None"),
        (with_tensors(grid4__scales=torch.tensor([1.0, math.nan])), "not all .* finite"),
    ],
)
def test_what_does_not_fit_is_refused_and_takes_no_slot(
    damage: Callable[[bytes], bytes], message: str
) -> None:
    data = damage(saved(begun(recipe())))
    gang = Gang(recipe(), DiscGuidance(), num_slots=1)
    before = {name: p.clone() for name, p in gang._parameters.items()}
    with pytest.raises(ValueError, match=message):
        gang.add(request(checkpoint=data))
    assert (gang.num_free, gang.progress()) == (1, {})
    assert all(torch.equal(p, before[name]) for name, p in gang._parameters.items())
    assert gang.add(request()) == 0


@pytest.fixture(scope="module")
def whole_bytes() -> bytes:
    return saved(begun(recipe(), 2))


@given(data=st.data())
def test_damage_anywhere_is_seen(whole_bytes: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(whole_bytes) - 1))
    mask = data.draw(st.integers(0, 255))
    end = whole_bytes[place:] if mask else b""
    damaged = whole_bytes[:place] + bytes(x ^ (mask if k == 0 else 0) for k, x in enumerate(end))
    assert damaged != whole_bytes
    if place < 2 and is_readable(damaged):
        # The header's remark on the compressor's effort is of no consequence.
        assert Checkpoint.from_bytes(damaged).to_bytes() == whole_bytes
        return
    with pytest.raises(ValueError, match="checkpoint: damaged"):
        Checkpoint.from_bytes(damaged)


def is_readable(data: bytes) -> bool:
    try:
        return bool(zlib.decompress(data))
    except zlib.error:
        return False


@pytest.mark.parametrize(
    "document", ["{", "[]", "7", '"x"', "null", '{"version": 1}', '{"version": [1]}']
)
def test_foreign_descriptions_are_damage(document: str) -> None:
    data = zlib.compress(save({"x": torch.ones(2)}, metadata={"checkpoint": document}))
    with pytest.raises(ValueError, match=r"^checkpoint: "):
        Checkpoint.from_bytes(data)


numbers = st.floats(-1e4, 1e4, width=32)


@given(
    st.lists(
        st.tuples(numbers, numbers, st.floats(-3, 3), st.sampled_from([0.0, 1e-9, 1e-4, 1.0, 7e3])),
        min_size=1,
        max_size=20,
    )
)
def test_packing_is_as_exact_as_it_says(rows: list[tuple[float, float, float, float]]) -> None:
    """Against numbers one by one: start, change, step over its root, root of the square."""
    start, change, step, root = (
        torch.tensor(c, dtype=torch.float32) for c in zip(*rows, strict=True)
    )
    state = SceneState(
        parameters={"p": start + change},
        first={"p": step * root},
        second={"p": root.square()},
        density=torch.tensor([0.0, 1.0, 3e6]),
        health=torch.tensor([0, 2, 5]),
    )
    tensors = checkpoint.pack(state, {"p": start})
    found = checkpoint.unpack(tensors, {"p": start}, 3)
    top = max(abs(r) for *_, r in rows)
    widest = max([abs(s) for _, _, s, r in rows if r > 0], default=0.0)
    for k, (p0, _, s, r) in enumerate(rows):
        moved = float(state.parameters["p"][k]) - p0
        error = float(found.parameters["p"][k]) - p0 - moved
        # Half precision of the change, and rounding of the sum to single precision.
        assert abs(error) <= abs(moved) * 2**-11 + 3e-8 + 2e-7 * max(abs(p0), abs(moved))
        kept = float(found.second["p"][k]) ** 0.5
        assert (kept == 0) == (r == 0)
        if r >= top * 2.0**-31:
            assert kept == pytest.approx(r, rel=0.045)
        tolerance = widest * 1.05 * 1.05 / 254 * r + 1e-6 * abs(s * r)
        if r >= top * 2.0**-31:
            assert float(found.first["p"][k]) == pytest.approx(s * r, abs=tolerance)
    assert found.density.tolist() == [0.0, 1.0, 65504.0]
    assert found.health.tolist() == [0, 2, 5]


@pytest.mark.gpu
def test_saving_never_waits_for_the_device_and_any_other_can_go_on() -> None:
    device = torch.device("cuda")
    guidance = RecordingGuidance(device=device, alphas_cumprod=schedule().to(device))
    gang = Gang(recipe(), guidance, num_slots=2)
    gang.add(request())
    gang.step()
    gang.save("a")
    with waits.forbidden():
        copy = gang.save("a")
    on_cpu = Gang(recipe(), RecordingGuidance(), num_slots=1)
    assert on_cpu.add(request(checkpoint=copy.to_bytes())) == 1
    for name, p in on_cpu._parameters.items():
        torch.testing.assert_close(p[0], gang._parameters[name][0].cpu(), rtol=1e-3, atol=1e-5)
