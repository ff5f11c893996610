"""A scene depends on its neighbours not at all in float32 on a CPU, and by rounding alone in bf16.

In bf16 gangs of other sizes are other batches of the U-Net, for which its library may take other
kernels, whose sums are rounded at other places. Guidance multiplies that by its weight. So a
gradient is compared with the one that the scene has alone; where it is off by more than .001, by
what rounding does to the scene alone (`engine.bench.step_gate`): off by more than twice as much
is no rounding. With a U-Net in float32 there is no such excuse.
"""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import recipes
from engine.bench import step_gate
from engine.bench.subjects import Subject, subject
from engine.evaluation.manner import Manner
from engine.gang import Gang, SceneRequest
from engine.guidance.guidance import Guidance
from engine.guidance.pixel import PixelGuidance
from engine.recipe import Recipe
from tests.engine.fakes import DiscGuidance
from tests.engine.test_gang import VARIANTS, assert_identical, parameters_of, request, run

STEPS = 20

DISTILLED: dict[str, dict[str, Any]] = {
    "blended prompts": {"prompt_views": "interpolated"},
    "Perp-Neg": {"prompt_views": "interpolated", "perp_neg": True},
    "clamped": {"clamp": 0.01},
}
"""Changes of the distillation."""


class Sided(DiscGuidance):
    """Expects a disc of another tint from each side."""

    def encode(self, prompts: list[str]) -> torch.Tensor:
        text = super().encode(prompts)
        for k, prompt in enumerate(prompts):
            for channel, word in enumerate(("front", "side", "back")):
                text[k, 0, channel] += 0.5 * (f"{word} view" in prompt)
        return text


def distilled(name: str) -> Recipe:
    r = VARIANTS["dense"]()
    return replace(r, distillation=replace(r.distillation, **DISTILLED.get(name, {})))


@pytest.mark.parametrize("name", [*VARIANTS, *DISTILLED])
def test_twenty_steps_are_bit_identical_whatever_the_neighbours_do(name: str) -> None:
    """Neighbours come, diverge and leave, and are followed by others, while the scene goes on."""
    r = VARIANTS[name]() if name in VARIANTS else distilled(name)
    r = replace(r, iterations=STEPS)
    alone = run(r, 3, {0: [request("a")]}, guidance=Sided())["a"]
    assert (alone.status, alone.iterations) == ("ok", STEPS)
    arrivals = {
        0: [request("a"), request("b", "poison")],
        7: [request("c")],
        # The failure is seen after 16 steps.
        17: [request("d")],
    }
    company = run(r, 3, arrivals, guidance=Sided())
    assert (company["b"].status, company["b"].iterations) == ("diverged", 1)
    assert_identical(company["a"], alone)


def test_every_way_to_distil_makes_a_scene_of_its_own() -> None:
    """So that none of them is compared without being there."""
    scenes = [
        run(distilled(name), 1, {0: [request("a")]}, guidance=Sided())["a"]
        for name in ("plain", *DISTILLED)
    ]
    for one, other in combinations(scenes, 2):
        assert not torch.allclose(parameters_of(one)["grid9"], parameters_of(other)["grid9"])


def test_so_they_are_with_a_u_net(tiny_weights: Path) -> None:
    guidance = PixelGuidance.load(tiny_weights, device="cpu", dtype=torch.float32)
    r = replace(recipes.get("smoke"), iterations=STEPS)
    asked = [
        SceneRequest(key=key, prompt=prompt, seed=seed)
        for seed, (key, prompt) in enumerate([("a", "a red ball"), ("b", "a blue ball")])
    ]
    found = []
    for arrivals in ({0: asked[:1]}, {0: asked[:1], 5: asked[1:]}, {0: asked[::-1]}):
        gang = Gang(r, guidance, num_slots=2)
        for step in range(STEPS):
            for arrival in arrivals.get(step, ()):
                gang.add(arrival)
            gang.step()
        found += [scene for scene in gang.take_finished() if scene.key == "a"]
    assert len(found) == 3
    for other in found[1:]:
        assert_identical(other, found[0])


def offs(
    asked: Subject, recipe: Recipe, guidance: Guidance, number: int, steps: int
) -> list[dict[str, tuple[float, float]]]:
    """For each scene of a gang that is so many steps old: how far the gradient of each parameter
    is off, in the next step, from that of the scene alone; and how far that is off in float32."""
    gang = Gang(recipe, guidance, num_slots=number)
    for r in asked.requests:
        gang.add(r)
    for _ in range(steps):
        gang.step()
    exact_guidance = asked.parts.exact().guidance(guidance.device)
    before = {name: t.clone() for name, t in gang.state().items()}
    together = step_gate.stepped(gang)
    found = []
    for slot, r in enumerate(asked.requests):
        own = {name: t[slot : slot + 1] for name, t in before.items()}
        alone = _one_step(recipe, guidance, r, own)
        with Manner(is_exact=True).surroundings():
            exact = _one_step(recipe, exact_guidance, r, own)
        found.append(
            {
                name: (
                    step_gate.off(gradient[slot], alone[name]),
                    step_gate.off(alone[name], exact[name]),
                )
                for name, gradient in together.items()
            }
        )
    return found


def _one_step(
    recipe: Recipe, guidance: Guidance, asked: SceneRequest, state: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    gang = Gang(recipe, guidance, num_slots=1)
    gang.add(asked)
    for name, t in gang.state().items():
        t.copy_(state[name])
    return step_gate.stepped(gang)


def worst(found: list[dict[str, tuple[float, float]]]) -> str:
    """For people: the furthest off of each parameter, and its excuse."""
    words = []
    for name in found[0]:
        off, rounding = max(scene[name] for scene in found)
        words.append(f"{name} off by {off:.1e}, rounding {rounding:.1e}")
    return "; ".join(words)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_gradient_is_the_one_that_the_scene_has_alone(dtype: torch.dtype) -> None:
    """On a CPU, and small: what the GPU's test does."""
    device = torch.device("cpu")
    recipe = replace(recipes.get("primitives_cpu"), views=1)
    asked = subject("primitives", recipe, None, 2, device)
    asked.parts.unet.to(dtype)
    found = offs(asked, recipe, asked.parts.guidance(device), 2, 3)
    assert [set(scene) for scene in found] == [{"grid16", "grid48"}] * 2
    assert (max(r for scene in found for _, r in scene.values()) > 1e-7) == (
        dtype == torch.bfloat16
    ), "the exact gang is another"
    for scene in found:
        for name, (off, rounding) in scene.items():
            most = step_gate.ALWAYS_FINE
            if dtype == torch.bfloat16:
                most = step_gate.most_off(rounding)
            assert off <= most, f"{name}: {worst(found)}"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_gradient_in_a_gang_of_eight_is_the_one_that_the_scene_has_alone(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Convolutions of float32 in tf32 would be an excuse, too.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    device = torch.device("cuda")
    recipe = recipes.get("primitives")
    asked = subject("primitives", recipe, None, 8, device)
    asked.parts.unet.to(dtype)
    found = offs(asked, recipe, asked.parts.guidance(device), 8, 100)
    print(f"{dtype}: {worst(found)}")
    for scene in found:
        for name, (off, rounding) in scene.items():
            most = step_gate.ALWAYS_FINE
            if dtype == torch.bfloat16:
                most = step_gate.most_off(rounding)
            assert off <= most, f"{name}: {worst(found)}"


def in_other_company(
    asked: Subject, recipe: Recipe, guidance: Guidance, number: int, steps: int
) -> dict[str, tuple[float, float, float]]:
    """How far the gradient of each parameter of a scene among `number` is off, in the step after so
    many: among others in another slot, alone, and from a neighbour's own."""
    first, others = asked.requests[:number], asked.requests[number:]
    gangs = [Gang(recipe, guidance, num_slots=number) for _ in range(2)]
    for gang, requests in zip(gangs, (first, [*others, first[0]]), strict=True):
        for r in requests:
            gang.add(r)
        for _ in range(steps):
            gang.step()
    own = {name: t[:1].clone() for name, t in gangs[0].state().items()}
    for name, t in gangs[1].state().items():
        t[-1:].copy_(own[name])
    one, other = (step_gate.stepped(gang) for gang in gangs)
    alone = _one_step(recipe, guidance, first[0], own)
    assert all(gradient[0].any() for gradient in one.values())
    return {
        name: (
            step_gate.off(gradient[0], other[name][-1]),
            step_gate.off(gradient[0], alone[name]),
            step_gate.off(gradient[0], gradient[1]),
        )
        for name, gradient in one.items()
    }


def test_a_gradient_is_the_same_among_others() -> None:
    device = torch.device("cpu")
    recipe = replace(recipes.get("primitives_cpu"), views=1)
    asked = subject("primitives", recipe, None, 5, device)
    found = in_other_company(asked, recipe, asked.parts.guidance(device), 3, 2)
    assert set(found) == {"grid16", "grid48"}
    for among_others, alone, neighbour in found.values():
        assert abs(among_others) < 1e-10
        # Matrix products of another batch may sum in another order.
        assert abs(alone) < 1e-6
        assert neighbour > 0.1


@pytest.mark.gpu
def test_in_bf16_a_gradient_in_a_gang_of_eight_is_the_same_among_others() -> None:
    """Soon after their start scenes are so far from what is asked that rounding hides nothing: off
    by no more than .001, without an excuse."""
    device = torch.device("cuda")
    recipe = recipes.get("primitives")
    asked = subject("primitives", recipe, None, 15, device)
    found = in_other_company(asked, recipe, asked.parts.guidance(device), 8, 3)
    for name, (among_others, alone, neighbour) in found.items():
        print(f"{name} off by {among_others:.1e} among others, {alone:.1e} alone")
        assert among_others <= step_gate.ALWAYS_FINE, name
        assert alone <= step_gate.ALWAYS_FINE, name
        assert neighbour > 0.1, name
