import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from engine import cameras, occupancy, recipes, viewpoints
from engine.configs.background import BackgroundConfig
from engine.configs.distillation import DistillationConfig
from engine.configs.fields import DenseGridConfig, FieldConfig, HashGridConfig, MipMlpConfig
from engine.configs.losses import LossConfig
from engine.configs.march import MarchConfig
from engine.configs.optimiser import OptimiserConfig
from engine.configs.shading import ShadingConfig
from engine.fields import Parameters
from engine.gang import FinishedScene, Gang, SceneRequest
from engine.guidance.guidance import Guidance
from engine.guidance.prompts import texts_of
from engine.recipe import Recipe
from tests.engine import waits
from tests.engine.fakes import DiscGuidance, RecordingGuidance, schedule

DENSE = DenseGridConfig(resolutions=(4, 9))
HASH = HashGridConfig(num_levels=3, log2_size=9, base_resolution=3, finest_resolution=12, hidden=8)
MIP = MipMlpConfig(num_frequencies=3, num_blocks=2, width=8, bound=1.2)
ENVIRONMENT = BackgroundConfig(kind="mlp", width=6, plain_chance=0.5)
LIT = ShadingConfig(shaded=0.8, albedo_until=0.0)
ALL_LOSSES = LossConfig(
    opacity=2.0, entropy=(0.0, 3.0), total_variation=1.0, orientation=(1.0, 1.0)
)


def recipe(field: FieldConfig = DENSE, **changes) -> Recipe:
    """Small, with every regulariser and an enlargement from 8 to 16 pixels."""
    return replace(
        recipes.get("smoke"),
        iterations=5,
        views=2,
        render_size=8,
        field=field,
        march=MarchConfig(num_samples=8, num_bins=16, grid_size=8, refresh=4),
        distillation=DistillationConfig(scale=3.0),
        losses=ALL_LOSSES,
        **changes,
    )


def request(key: str, prompt: str | None = None) -> SceneRequest:
    """A request whose prompt and seed follow from its key."""
    colour = ("red", "green", "blue")[sum(key.encode()) % 3]
    return SceneRequest(key=key, prompt=prompt or f"{colour} disc", seed=sum(key.encode()) * 7919)


def run(
    r: Recipe,
    num_slots: int,
    arrivals: Mapping[int, Sequence[SceneRequest]],
    *,
    guidance: Guidance | None = None,
    ruin: Callable[[Gang, str], None] = lambda gang, key: None,
) -> dict[str, FinishedScene]:
    """Drives a gang until it is empty; requests arrive before the steps with their numbers.

    `ruin` may do something to a scene as soon as it is there.
    """
    gang = Gang(r, guidance or DiscGuidance(), num_slots=num_slots)
    finished: dict[str, FinishedScene] = {}
    for step in range(max(arrivals) + r.iterations):
        for arrival in arrivals.get(step, ()):
            gang.add(arrival)
            ruin(gang, arrival.key)
        gang.step()
        finished |= {scene.key: scene for scene in gang.take_finished()}
    assert gang.num_free == num_slots
    assert len(finished) == sum(len(requests) for requests in arrivals.values())
    return finished


def parameters_of(scene: FinishedScene) -> Parameters:
    return scene.scene._parameters


def assert_identical(actual: FinishedScene, expected: FinishedScene) -> None:
    """Equal to the last bit."""
    for name, p in parameters_of(expected).items():
        difference = (parameters_of(actual)[name] - p).abs().max()
        assert torch.equal(parameters_of(actual)[name], p), f"{name} differs by {difference}"
    assert actual.losses == expected.losses
    assert actual.status == expected.status


def densities(parameters: Parameters) -> Tensor:
    """A view of what is added to raw density everywhere: of the finest lattice, or of the last
    layer's biases."""
    if "grid9" in parameters:
        return parameters["grid9"][:, 0]
    return parameters["b_out" if "b_out" in parameters else "b1"][..., 0]


def _full(r: Recipe) -> Recipe:
    return replace(r, distillation=replace(r.distillation, gradient="full"))


VARIANTS = {
    "dense": lambda: recipe(DENSE),
    "dense, lit": lambda: recipe(DENSE, shading=LIT),
    "dense, full": lambda: _full(recipe(DENSE)),
    "hash": lambda: recipe(HASH),
    "hash, lit": lambda: recipe(HASH, shading=LIT),
    "hash, bands": lambda: recipe(replace(HASH, start_level=1, level_from=0.3, level_every=0.2)),
    "mip, lit": lambda: recipe(MIP, shading=LIT, background=ENVIRONMENT),
}


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request: pytest.FixtureRequest) -> Recipe:
    make: Callable[[], Recipe] = VARIANTS[request.param]
    return make()


def test_a_scene_is_bit_identical_whatever_its_neighbours_do(variant: Recipe) -> None:
    alone = run(variant, 3, {0: [request("a")]})["a"]
    assert alone.status == "ok"
    company = run(variant, 3, {0: [request("a"), request("b"), request("c")]})
    assert_identical(company["a"], alone)
    late = run(variant, 3, {0: [request("a")], 2: [request("b")], 4: [request("c")]})
    assert_identical(late["a"], alone)
    assert not torch.equal(*(next(iter(parameters_of(company[k]).values())) for k in "ab"))


def test_a_scene_is_bit_identical_in_every_slot(variant: Recipe) -> None:
    first = run(variant, 3, {0: [request("a"), request("b"), request("c")]})
    for order in ("bac", "cba"):
        other = run(variant, 3, {0: [request(key) for key in order]})
        for key in "abc":
            assert_identical(other[key], first[key])


def test_slots_that_fill_and_empty_at_different_times_change_nothing(variant: Recipe) -> None:
    arrivals = {
        0: [request("a")],
        1: [request("b")],
        3: [request("c")],
        5: [request("d")],
        6: [request("e")],
    }
    together = run(variant, 3, arrivals)
    for key in "abcde":
        assert_identical(together[key], run(variant, 3, {0: [request(key)]})[key])


def test_a_poisoned_neighbour_diverges_alone(variant: Recipe) -> None:
    healthy = run(variant, 3, {0: [request("a")], 1: [request("c")]})
    arrivals = {0: [request("a"), request("b", "poison")], 1: [request("c")]}
    poisoned = run(variant, 3, arrivals)
    assert poisoned["b"].status == "diverged"
    for key in "ac":
        assert_identical(poisoned[key], healthy[key])
    for p in parameters_of(poisoned["b"]).values():
        assert p.isfinite().all()


@pytest.mark.parametrize(("raw", "status"), [(-1e3, "empty"), (1e3, "saturated")])
def test_a_neighbour_that_fades_or_fills_fails_alone(
    variant: Recipe, raw: float, status: str
) -> None:
    """It starts with a raw density everywhere that no step could mend."""

    def ruin(gang: Gang, key: str) -> None:
        if key == "b":
            (slot,) = (k for k, r in enumerate(gang._residents) if r and r.request.key == key)
            densities(gang._parameters)[slot] = raw

    arrivals = {0: [request("a"), request("b")], 1: [request("c")]}
    healthy = run(variant, 3, arrivals)
    assert [healthy[key].status for key in "abc"] == ["ok"] * 3
    found = run(variant, 3, arrivals, ruin=ruin)
    assert (found["b"].status, found["b"].iterations) == (status, 1)
    for key in "ac":
        assert_identical(found[key], healthy[key])


@pytest.mark.gpu
def test_a_step_never_waits_for_the_device(variant: Recipe) -> None:
    device = torch.device("cuda")
    guidance = RecordingGuidance(device=device, alphas_cumprod=schedule().to(device))
    gang = Gang(variant, guidance, num_slots=2)
    gang.add(request("a"))
    gang.step()
    with waits.forbidden():
        gang.step()
    assert gang.progress() == {"a": 2 / variant.iterations}


@pytest.mark.gpu
def test_a_refill_never_waits_for_the_device(variant: Recipe) -> None:
    device = torch.device("cuda")
    guidance = RecordingGuidance(device=device, alphas_cumprod=schedule().to(device))
    gang = Gang(variant, guidance, num_slots=4)
    text = RecordingGuidance().encode(texts_of("a cup", ""))

    def refill(key: str, checkpoint: bytes | None = None) -> None:
        # The key is the checkpoint's, too.
        gang.add(SceneRequest(key=key, prompt="", seed=3, text=text, checkpoint=checkpoint))

    refill("a")
    gang.step()
    saved = gang.save("a").to_bytes()
    other = Gang(variant, guidance, num_slots=2)
    # Kernels are loaded and memory is pinned, once each, while the device is waited for.
    other.add(SceneRequest(key="a", prompt="", seed=3, text=text, checkpoint=saved))
    refill("b")
    torch.cuda.synchronize()
    another = Gang(variant, guidance, num_slots=2)
    with waits.forbidden():
        torch.cuda._sleep(1_000_000_000)
        refill("c")
        another.add(SceneRequest(key="a", prompt="", seed=3, text=text, checkpoint=saved))
        queued = torch.cuda.Event()
        queued.record()
        assert not queued.query(), "the device was waited for"
    torch.cuda.synchronize()
    for name, p in another.state().items():
        assert torch.equal(p[0], other.state()[name][0]), name


def test_a_slot_is_clean_after_a_poisoned_scene() -> None:
    alone = run(recipe(), 1, {0: [request("a")]})["a"]
    after = run(recipe(), 1, {0: [request("b", "poison")], 5: [request("a")]})
    assert after["b"].status == "diverged"
    assert_identical(after["a"], alone)


def test_gangs_of_other_sizes_agree_closely() -> None:
    """Not to the bit: a matrix product of another batch may sum in another order."""
    one, five = (run(recipe(HASH), n, {0: [request("a")]})["a"] for n in (1, 5))
    for name, p in parameters_of(one).items():
        torch.testing.assert_close(parameters_of(five)[name], p, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("field", [DENSE, HASH, MIP], ids=lambda f: f.kind)
def test_a_gang_that_saves_memory_makes_the_same_scene(field: FieldConfig) -> None:
    # Adam divides by the gradient's size: without eps, rounding moves what hardly has a gradient.
    r = recipe(field, shading=LIT, optimiser=OptimiserConfig(eps=1e-2))
    whole = run(r, 1, {0: [request("a")]})["a"]
    # 128 rays a step.
    gang = Gang(r, DiscGuidance(), num_slots=1, ray_chunk=50)
    gang.add(request("a"))
    for _ in range(r.iterations):
        gang.step()
    (frugal,) = gang.take_finished()
    for name, p in parameters_of(whole).items():
        torch.testing.assert_close(parameters_of(frugal)[name], p, rtol=1e-3, atol=1e-3)


def test_seed_and_prompt_shape_the_scene() -> None:
    base = SceneRequest(key="a", prompt="red disc", seed=1)
    scenes = run(
        recipe(),
        3,
        {0: [base, replace(base, key="b", seed=2), replace(base, key="c", prompt="blue disc")]},
    )
    grids = [parameters_of(scenes[key])["grid9"] for key in "abc"]
    assert not torch.equal(grids[0], grids[1])
    assert not torch.equal(grids[0], grids[2])


def test_the_negative_prompt_shapes_the_scene() -> None:
    base = SceneRequest(key="a", prompt="red disc", seed=1)
    pair = {0: [base, replace(base, key="b", negative_prompt="blue disc")]}
    scenes = run(recipe(), 2, pair)
    assert not torch.equal(*(parameters_of(scenes[key])["grid9"] for key in "ab"))


def test_slots_progress_and_what_is_free() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=2)
    assert (gang.num_slots, gang.num_free, gang.progress()) == (2, 2, {})
    gang.step()
    assert gang.take_finished() == []
    gang.add(request("a"))
    gang.step()
    gang.add(request("b"))
    gang.step()
    assert gang.num_free == 0
    assert gang.progress() == {"a": 2 / 5, "b": 1 / 5}
    for _ in range(3):
        assert gang.take_finished() == []
        gang.step()
    (a,) = gang.take_finished()
    assert (a.key, a.iterations, gang.num_free) == ("a", 5, 1)
    assert gang.progress() == {"b": 4 / 5}
    gang.step()
    (b,) = gang.take_finished()
    assert (b.key, b.prompt, b.seed) == ("b", request("b").prompt, request("b").seed)
    assert gang.num_free == 2
    assert a.seconds > b.seconds * 0.2 > 0


class Clock:
    """CPU time of this process, and what it says that it waits: no neighbour takes any of it."""

    def __init__(self) -> None:
        self._waited = 0.0

    def perf_counter(self) -> float:
        return time.process_time() + self._waited

    def wait(self, seconds: float) -> None:
        self._waited += seconds


CLOCK = Clock()


class Slow(torch.autograd.Function):
    """The identity; its gradient takes a while."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        pass

    @staticmethod
    def backward(ctx: object, *grad_outputs: torch.Tensor) -> torch.Tensor:
        CLOCK.wait(BACKWARD_SECONDS)
        return grad_outputs[0]


FORWARD_SECONDS, BACKWARD_SECONDS = 0.05, 0.03


class SlowGuidance(DiscGuidance):
    """Takes its time in a forward, and in the gradient of it."""

    def predict_noise(self, z_t: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        CLOCK.wait(FORWARD_SECONDS)
        return super().predict_noise(Slow.apply(z_t), t, text)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("gradient", "least"),
    [("score", FORWARD_SECONDS), ("full", FORWARD_SECONDS + BACKWARD_SECONDS)],
)
def test_the_parts_of_a_step_are_the_step(
    gradient: Literal["score", "full"], least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.stopwatch.time", CLOCK)
    distillation = DistillationConfig(scale=3.0, gradient=gradient)
    gang = Gang(replace(recipe(), distillation=distillation), SlowGuidance(), num_slots=2)
    assert gang.part_seconds() == []
    gang.add(request("a"))
    took = []
    for _ in range(5):
        start = CLOCK.perf_counter()
        gang.step()
        took.append(CLOCK.perf_counter() - start)
    gang.take_finished()
    told = gang.part_seconds()
    assert gang.part_seconds() == []
    assert len(told) == 5
    for parts, seconds in zip(told, took, strict=True):
        assert set(parts) == {"unet", "field", "other"}
        assert all(part > 0 for part in parts.values())
        assert parts["unet"] >= least
        assert sum(parts.values()) <= seconds
    # At least once no garbage was collected between.
    assert max(sum(p.values()) / seconds for p, seconds in zip(told, took, strict=True)) > 0.97
    assert min(parts["unet"] for parts in told) < least + 0.02


def test_scenes_are_charged_with_their_steps_and_with_nothing_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.stopwatch.time", CLOCK)
    gang = Gang(recipe(), SlowGuidance(), num_slots=2)
    busy, charged = 0.0, {}
    for key in ("a", "b", None, None, None, None):
        CLOCK.wait(5.0)
        if key is not None:
            gang.add(request(key))
        CLOCK.wait(5.0)
        gang.step()
        CLOCK.wait(5.0)
        charged |= {scene.key: scene.seconds for scene in gang.take_finished()}
        busy += sum(sum(parts.values()) for parts in gang.part_seconds())
        assert sum({**gang.seconds(), **charged}.values()) == pytest.approx(busy)
    assert sorted(charged) == ["a", "b"]
    assert 6 * FORWARD_SECONDS < busy < 5.0
    # Of six steps the first and the last were of one scene alone, the others of both.
    assert min(charged.values()) >= (1 + 4 / 2) * FORWARD_SECONDS


def test_the_field_and_its_gradient_are_one_part() -> None:
    """A field of many samples takes most of a step whose model answers at once."""
    r = replace(recipe(MIP), march=MarchConfig(num_samples=64, num_bins=64, grid_size=8), views=8)
    gang = Gang(r, DiscGuidance(), num_slots=1)
    gang.add(request("a"))
    for _ in range(3):
        gang.step()
    best = min(gang.part_seconds(), key=lambda parts: sum(parts.values()))
    assert best["field"] > best["unet"] + best["other"]


class Forgetful:
    """An optimiser of its own, Adam without memory: p -= lr g / (|g| + 1)."""

    def __init__(self) -> None:
        self.admitted: list[int] = []
        self.rates: list[list[float]] = []

    def admit(self, slot: int) -> None:
        self.admitted.append(slot)

    def step(
        self, parameters: Parameters, gradients: Parameters, *, lr: Tensor, is_active: Tensor
    ) -> None:
        self.rates.append(lr.tolist())
        for name, p in parameters.items():
            rate = torch.where(is_active, lr, 0.0).view(-1, *[1] * (p.ndim - 1))
            p.sub_(rate * gradients[name] / (gradients[name].abs() + 1.0))


def test_another_optimiser_takes_adams_place() -> None:
    r = recipe(optimiser=OptimiserConfig(lr=(0.02, 0.004), betas=(0.0, 0.0), eps=1.0))
    given = Forgetful()
    gangs = [
        Gang(r, DiscGuidance(), num_slots=2),
        Gang(r, DiscGuidance(), num_slots=2, optimiser=given),
    ]
    found = []
    for gang in gangs:
        gang.add(request("a"))
        gang.step()
        gang.add(request("b"))
        while gang.num_free < 2:
            gang.step()
            found += gang.take_finished()
    for adam, sign in zip(found[:2], found[2:], strict=True):
        assert (adam.key, adam.iterations) == (sign.key, sign.iterations)
        for name, p in parameters_of(adam).items():
            torch.testing.assert_close(parameters_of(sign)[name], p, rtol=1e-4, atol=1e-5)
    assert given.admitted == [0, 1]
    # Each scene's rate is that of its own step.
    assert given.rates[1] == pytest.approx([0.016 * 0.904508 + 0.004, 0.02], rel=1e-4)


def test_a_full_gang_refuses() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=1)
    gang.add(request("a"))
    with pytest.raises(ValueError, match=r"gang: expected a free slot, all 1 are taken"):
        gang.add(request("b"))
    assert list(gang.progress()) == ["a"]


def test_a_key_is_in_the_gang_once() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=2)
    gang.add(request("a"))
    with pytest.raises(ValueError, match=r"gang: expected a key that no resident has, got 'a'"):
        gang.add(request("a"))
    assert gang.num_free == 1
    gang.step()
    assert gang.save("a").step == 1


def test_who_is_not_in_the_gang_is_not_saved() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=2)
    gang.add(request("a"))
    with pytest.raises(ValueError, match=r"gang: expected the key of a resident, got 'b'"):
        gang.save("b")


def test_a_gang_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match=r"slots: expected 1 or more, got 0"):
        Gang(recipe(), DiscGuidance(), num_slots=0)


def test_a_request_that_cannot_be_encoded_takes_no_slot() -> None:
    class Refusing(DiscGuidance):
        def encode(self, prompts: list[str]) -> torch.Tensor:
            if any("refuse" in prompt for prompt in prompts):
                raise ValueError("too long")
            return super().encode(prompts)

    gang = Gang(recipe(), Refusing(), num_slots=1)
    with pytest.raises(ValueError, match="too long"):
        gang.add(request("a", "refuse"))
    assert gang.num_free == 1
    assert gang.progress() == {}


@pytest.mark.parametrize(
    ("doomed", "status"),
    [
        (replace(DENSE, blob_density=-80.0, blob_radius=100.0), "empty"),
        (replace(DENSE, blob_density=400.0, blob_radius=100.0), "saturated"),
    ],
)
def test_a_scene_that_fails_leaves_its_slot_early(doomed: DenseGridConfig, status: str) -> None:
    """Both scenes fail after a twentieth of their run, wherever the gang then stands."""
    r = replace(recipe(doomed), iterations=200)
    gang = Gang(r, DiscGuidance(), num_slots=2)
    gang.add(request("a"))
    finished: list[FinishedScene] = []
    for step in range(10 + 3 + 16):
        if step == 3:
            gang.add(request("b"))
        gang.step()
        finished += gang.take_finished()
    assert [(scene.key, scene.status, scene.iterations) for scene in finished] == [
        ("a", status, 10),
        ("b", status, 10),
    ]
    assert gang.num_free == 2


def test_a_scene_that_diverges_leaves_early_and_its_slot_is_used_again() -> None:
    r = replace(recipe(), iterations=24)
    gang = Gang(r, DiscGuidance(), num_slots=2)
    gang.add(request("b", "poison"))
    gang.add(request("a"))
    finished: dict[str, FinishedScene] = {}
    for _ in range(50):
        gang.step()
        for scene in gang.take_finished():
            finished[scene.key] = scene
            if scene.key == "b":
                gang.add(request("c"))
    assert (finished["b"].status, finished["b"].iterations) == ("diverged", 1)
    assert list(finished) == ["b", "a", "c"]
    for key in "ac":
        assert_identical(finished[key], run(r, 2, {0: [request(key)]})[key])
        assert finished[key].iterations == 24


def test_parameters_that_overflow_are_seen() -> None:
    r = recipe(optimiser=OptimiserConfig(lr=(3e38, 3e38)))
    r = replace(r, losses=LossConfig(), field=replace(DENSE, density_gain=1e-30))
    scenes = run(r, 1, {0: [request("a")]})
    assert scenes["a"].status == "diverged"


def test_a_scene_of_which_nothing_is_left_is_empty() -> None:
    thin = replace(DENSE, blob_density=-80.0, blob_radius=100.0)
    scenes = run(recipe(thin), 2, {0: [request("a")]})
    assert scenes["a"].status == "empty"
    assert scenes["a"].losses["mean_opacity"] < 1e-6


def test_the_model_sees_views_in_their_words_and_at_its_size() -> None:
    guidance = RecordingGuidance(size=12)
    r = recipe()
    gang = Gang(r, guidance, num_slots=2)
    gang.add(SceneRequest(key="a", prompt="a cup", negative_prompt="ugly", seed=3))
    words = ["front view", "side view", "back view", "overhead view"]
    assert guidance.prompts == ["ugly", *(f"a cup, {word}" for word in words)]
    gang.step()
    ((z, t, text),) = guidance.calls
    assert z.shape == (2 * 2 * 2, 3, 12, 12)
    assert t.shape == (8,)
    seed, step = torch.tensor([3]), torch.tensor([0])
    views = viewpoints.sample(r, seed, step, torch.zeros(1))
    expected = guidance.encode([f"a cup, {words[k]}" for k in views.word[0].tolist()])
    assert torch.equal(text[4:6], expected)
    assert torch.equal(text[:2], guidance.encode(["ugly"]).repeat(2, 1, 1))


@pytest.mark.parametrize("gradient", ["score", "full"])
def test_the_pictures_receive_their_gradient_mean_over_views(
    gradient: Literal["score", "full"],
) -> None:
    """One step of plain distillation against a step with the gradient worked out by hand."""
    r = recipe(optimiser=OptimiserConfig(betas=(0.0, 0.0), eps=1e6, lr=(1e6, 1e6)))
    r = replace(r, losses=LossConfig(opacity=0.0, entropy=(0.0, 0.0)), iterations=1)
    r = _full(r) if gradient == "full" else r
    guidance = RecordingGuidance(size=8)
    gang = Gang(r, guidance, num_slots=1)
    gang.add(SceneRequest(key="a", prompt="a cup", seed=3))
    before = {name: p.clone() for name, p in gang._parameters.items()}
    gang.step()
    (scene,) = gang.take_finished()
    # A huge eps makes Adam plain descent with a step of lr / eps = 1.
    moved = {name: before[name] - p for name, p in parameters_of(scene).items()}
    expected = _distilled(r, guidance, before)
    for name, slope in expected.items():
        assert slope.abs().max() > 1e-3
        torch.testing.assert_close(moved[name], slope, rtol=1e-2, atol=2e-3)


def _distilled(r: Recipe, guidance: RecordingGuidance, parameters: Parameters) -> Parameters:
    """dL/dtheta = sum over pixels of dL/dx dx/dtheta, over the number of views."""
    from engine import fields, sds
    from engine.render import render

    field = fields.build(r.field)
    seed, step, part = torch.tensor([3]), torch.tensor([0]), torch.zeros(1)
    views = viewpoints.sample(r, seed, step, part)
    density = occupancy.initial(field, parameters, r.march.grid_size)
    is_occupied = occupancy.occupied(density, r.march)
    leaves = {name: p.requires_grad_() for name, p in parameters.items()}
    rendering = render(field, leaves, is_occupied, views, seed, step, part, r)
    x = 2 * rendering.picture - 1
    words = ("front view", "side view", "back view", "overhead view")
    text = guidance.encode([f"a cup, {words[k]}" for k in views.word[0].tolist()])[None]
    gradient = sds.picture_gradient(
        guidance,
        x.detach(),
        text,
        guidance.encode([""])[None].expand(-1, r.views, -1, -1),
        sds.draw_time(r.distillation, seed, step, part, r.views),
        seed,
        step,
        r.distillation,
    )
    gradients = torch.autograd.grad(x, list(leaves.values()), gradient / r.views)
    return dict(zip(leaves, gradients, strict=True))


def test_distillation_towards_a_disc_makes_a_ball_of_its_colour() -> None:
    r = replace(
        recipe(),
        iterations=80,
        render_size=16,
        distillation=DistillationConfig(scale=1.0),
        losses=LossConfig(opacity=20.0, entropy=(0.0, 10.0)),
        optimiser=OptimiserConfig(lr=(0.05, 0.02)),
    )
    colours = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0)}
    arrivals = [SceneRequest(key=c, prompt=f"a {c} disc", seed=5) for c in colours]
    gang = Gang(r, DiscGuidance(), num_slots=2)
    for arrival in arrivals:
        gang.add(arrival)
    distances = []
    for _ in range(r.iterations):
        gang.step()
        centre = gang._field.query(
            gang._parameters, torch.zeros(2, 1, 3), torch.ones(2), with_normal=False
        )
        target = torch.tensor(list(colours.values()))
        distances.append((centre.albedo[:, 0] - target).abs().mean().item())
    scenes = {scene.key: scene for scene in gang.take_finished()}
    assert distances[-1] < 0.3 * distances[0]
    for colour, scene in scenes.items():
        assert scene.status == "ok"
        picture, opacity = _front_view(scene)
        disc = DiscGuidance().disc.bool()
        assert opacity[disc].mean() > 0.8
        assert opacity[~disc].mean() < 0.2
        torch.testing.assert_close(
            picture[disc].mean(0), torch.tensor(colours[colour]), rtol=0, atol=0.2
        )


def _front_view(finished: FinishedScene) -> tuple[torch.Tensor, torch.Tensor]:
    """Albedo and opacity seen from the front, by 64 even steps along every ray."""
    azimuth, elevation, radius, fov = torch.tensor([0.0, 0.0, 2.2, 47.0])
    camera = cameras.orbit(azimuth, elevation, radius, fov, 16)
    origins, directions = (ray.reshape(-1, 3) for ray in cameras.rays(camera))
    distance = torch.linspace(1.2, 3.2, 64)
    x = origins[:, None] + distance[:, None] * directions[:, None]
    sigma = finished.scene.density(x.reshape(-1, 3)).view(x.shape[:2])
    albedo = finished.scene.albedo(x.reshape(-1, 3)).view(x.shape)
    clear, colour = torch.ones(len(x)), torch.zeros(len(x), 3)
    for n in range(64):
        alpha = 1 - torch.exp(-sigma[:, n] * 2 / 63)
        colour += (clear * alpha)[:, None] * albedo[:, n]
        clear = clear * (1 - alpha)
    opacity = 1 - clear
    return (colour / opacity.clamp(min=1e-3)[:, None]).view(16, 16, 3), opacity.view(16, 16)


def test_the_environment_is_trained_and_stays_behind() -> None:
    r = recipe(DENSE, background=ENVIRONMENT)
    gang = Gang(r, DiscGuidance(), num_slots=2)
    gang.add(request("a"))
    before = {name: p.clone() for name, p in gang._parameters.items()}
    around = [name for name in before if name.startswith("background.")]
    assert len(around) == 2 * ENVIRONMENT.num_layers
    for _ in range(r.iterations):
        gang.step()
    for name in around:
        assert not torch.equal(gang._parameters[name][0], before[name][0])
        assert torch.equal(gang._parameters[name][1], before[name][1])
    (finished,) = gang.take_finished()
    assert sorted(parameters_of(finished)) == ["grid4", "grid9"]
    # The next scene in the slot begins with its own.
    gang.add(request("a"))
    for name in around:
        assert torch.equal(gang._parameters[name], before[name])


def test_a_scene_is_as_large_as_its_recipe_says() -> None:
    r = recipe(replace(DENSE, bound=1.4))
    r = replace(r, march=replace(r.march, region="cube"))
    scene = run(r, 1, {0: [request("a")]})["a"].scene
    assert scene.bound == 1.4
    assert scene.radius == pytest.approx(1.4 * 3**0.5)
