import pytest
import torch
import torch.nn.functional as F

from engine import occupancy, regularisers, sds, viewpoints
from engine.gang import Gang
from engine.guidance.prompts import texts_of
from engine.objective import Objective
from engine.philox import Purpose, normal
from engine.render import render
from engine.texts import SlotTexts
from tests.engine.fakes import DiscGuidance
from tests.engine.test_gang import VARIANTS, recipe, request


def filled(laps: list[str]) -> tuple[Gang, Objective]:
    """A gang of two scenes a few steps old, and an objective of its own making for them."""
    r, guidance = recipe(), DiscGuidance()
    gang = Gang(r, guidance, num_slots=2)
    texts = SlotTexts(r.distillation, guidance, 2)
    for slot, key in enumerate("ab"):
        gang.add(request(key))
        texts.put(slot, texts.embed(request(key).prompt, "", None))
    for _ in range(2):
        gang.step()
    objective = Objective(
        recipe=r, field=gang._field, guidance=guidance, texts=texts, lap=laps.append
    )
    return gang, objective


def test_down_is_the_gradient_of_regularisers_and_of_the_noise_s_residual() -> None:
    gang, objective = filled([])
    state, r, guidance = gang.state(), gang.recipe, objective.guidance
    parameters = {n: p.clone() for n, p in gang._parameters.items()}
    seed, step, density = state["seed"], state["step"], state["density"]
    part = step / r.iterations
    found = objective.descend(parameters, density, seed, step, part)

    leaves = {n: p.clone().requires_grad_() for n, p in parameters.items()}
    views = viewpoints.sample(r, seed, step, part)
    is_occupied = occupancy.occupied(density, r.march)
    rendering = render(gang._field, leaves, is_occupied, views, seed, step, part, r)
    terms = regularisers.weighted(r.losses, gang._field, leaves, rendering, part)
    total = torch.stack(list(terms.values())).sum()
    for s, key in enumerate("ab"):
        z = 2.0 * F.interpolate(rendering.picture[s], size=(16, 16), mode="bilinear") - 1.0
        time = sds.draw_time(r.distillation, seed, step, part, r.views)[s]
        index = (time * 1000).long()
        a = guidance.alphas_cumprod[index][:, None, None, None]
        eps = normal(seed[s : s + 1], step[s : s + 1], Purpose.NOISE, (r.views, 3, 16, 16))[0]
        noised = (a.sqrt() * z + (1 - a).sqrt() * eps).detach()
        texts = guidance.encode(texts_of(request(key).prompt, ""))
        uncond = guidance.predict_noise(noised, index, texts[:1].expand(r.views, -1, -1))
        cond = guidance.predict_noise(noised, index, texts[1:][views.word[s]])
        eps_hat = uncond + r.distillation.scale * (cond - uncond)
        total = total + (((1 - a) * (eps_hat - eps)).detach() * z).sum() / r.views
    expected = torch.autograd.grad(total, list(leaves.values()))
    for (name, gradient), wanted in zip(found.gradients.items(), expected, strict=True):
        assert wanted.norm() > 0, name
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5, msg=name)
    assert set(found.terms) > {"sds"}
    torch.testing.assert_close(found.rendering.picture, rendering.picture)


def test_a_step_is_told_part_by_part() -> None:
    laps: list[str] = []
    gang, objective = filled(laps)
    state = gang.state()
    part = state["step"] / gang.recipe.iterations
    objective.descend(gang._parameters, state["density"], state["seed"], state["step"], part)
    # The diffusion model tells of itself, where a gang asks it.
    assert laps == ["other", "field", "other", "other", "field"]


@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_is_changed_by_looking_for_the_way_down(name: str) -> None:
    r = VARIANTS[name]()
    gang = Gang(r, DiscGuidance(), num_slots=1)
    gang.add(request("a"))
    before = {n: t.clone() for n, t in gang.state().items()}
    state = gang.state()
    part = state["step"] / r.iterations
    gang._objective.descend(gang._parameters, state["density"], state["seed"], state["step"], part)
    for n, t in gang.state().items():
        assert torch.equal(t, before[n]), n
