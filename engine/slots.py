"""How many scenes a GPU holds at once: measured with one and with two, and extrapolated.

Memory grows by the same amount with every scene, m(S) = m(0) + S g. The largest power of two is
taken for which it stays within the room: powers because a U-Net is compiled for few sizes, and what
is left over goes to exports, which run beside the gang.
"""

import gc
import logging
from collections.abc import Callable

import torch

from engine.gang import Gang, SceneRequest
from engine.guidance.latent import LatentGuidance
from engine.guidance.pixel import PixelGuidance
from engine.guidance.prompts import VIEWS
from engine.guidance.texts import MAX_TOKENS
from engine.recipe import Recipe
from engine.replay import WARM_UP

MOST = 16
"""Slots that `auto` goes up to: beyond, a scene gains next to nothing and a death costs more."""

ROOM = 0.85
"""Part of the device's memory that a gang may fill; exports and fragments have the rest."""

ENDLESS = 2**62
"""Bytes that are not there."""

_STEPS = WARM_UP + 1
"""The last is recorded: memory of its own, beside that of the steps before."""
Probe = Callable[[int], int]
"""Bytes that a gang of so many slots fills at its worst, the model included."""

_LOG = logging.getLogger(__name__)


def extrapolated(probe: Probe, *, room: int, most: int) -> int:
    """The largest power of two up to `most` of which the probe, asked for 1 and 2, lets expect that
    it fits into `room` bytes; at least 1, with which the gang has to make do."""
    if most < 2:
        return 1
    one, two = probe(1), probe(2)
    # An allocator may round so that a second scene seems to cost nothing.
    growth = max(two - one, 1)
    found = 1
    while 2 * found <= most and one + (2 * found - 1) * growth <= room:
        found *= 2
    _LOG.info(
        "slots: %d; one scene fills %.2f GiB, each further %.2f, there is room for %.2f",
        found,
        one / 2**30,
        growth / 2**30,
        room / 2**30,
    )
    return found


def fitting(recipe: Recipe, guidance: PixelGuidance | LatentGuidance, *, most: int) -> int:
    """Slots of this recipe that this device has the memory for, `most` at the most.

    On a CPU the recipe's own number, since there a larger gang saves no time.
    """
    if guidance.device.type != "cuda":
        return min(recipe.num_slots, most)
    free, _ = torch.cuda.mem_get_info(guidance.device)
    own = torch.cuda.memory_reserved(guidance.device)
    room = int(ROOM * (free + own))
    return extrapolated(lambda number: peak_bytes(recipe, guidance, number), room=room, most=most)


def peak_bytes(recipe: Recipe, guidance: PixelGuidance | LatentGuidance, number: int) -> int:
    """What a full gang's steps reach in this process; no memory at all counts as endless."""
    _clear()
    torch.cuda.reset_peak_memory_stats(guidance.device)
    try:
        _step(recipe, guidance, number)
    except torch.OutOfMemoryError:
        return ENDLESS
    finally:
        _clear()
    return torch.cuda.max_memory_reserved(guidance.device)


def _step(recipe: Recipe, guidance: PixelGuidance | LatentGuidance, number: int) -> None:
    text = torch.zeros(1 + len(VIEWS), MAX_TOKENS, guidance.text_width, device=guidance.device)
    gang = Gang(recipe, guidance, num_slots=number)
    for k in range(number):
        gang.add(SceneRequest(key=str(k), prompt="", seed=k, text=text))
    for _ in range(_STEPS):
        gang.step()
    torch.cuda.synchronize(guidance.device)


def _clear() -> None:
    gc.collect()
    torch.cuda.empty_cache()
