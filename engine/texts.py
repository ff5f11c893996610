"""The embedded texts of S slots: what each scene's guidance is asked with, view by view.

Axes: S slots, V views, K any number of texts, T tokens, D text features, N denied views.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.distillation import DistillationConfig
from engine.guidance import views as directions
from engine.guidance.guidance import Guidance
from engine.guidance.prompts import VIEWS, texts_of
from engine.sds import Denial
from engine.sending import sent
from engine.viewpoints import Viewpoints


class SlotTexts:
    """A negative text and one text a view word, for each slot."""

    def __init__(self, config: DistillationConfig, guidance: Guidance, num_slots: int) -> None:
        self._config = config
        self._guidance = guidance
        # How large texts are, the first of them says.
        self._text = torch.empty(num_slots, 1 + len(VIEWS), 0, 0, device=guidance.device)

    def embed(
        self, prompt: str, negative_prompt: str, text: Float[Tensor, "K T D"] | None
    ) -> Float[Tensor, "K T D"]:
        """A scene's texts on the device: `text` if they have been embedded elsewhere.

        Raises ValueError where they do not fit to those of the other slots.
        """
        if text is None:
            is_viewed = self._config.prompt_views != "none"
            text = self._guidance.encode(texts_of(prompt, negative_prompt, is_viewed=is_viewed))
        room = self._text.shape[1:] if self._text.numel() else (1 + len(VIEWS), *text.shape[1:])
        if text.shape != room:
            raise ValueError(
                f"embedded texts: expected the shape {tuple(room)}, got {tuple(text.shape)}; embed "
                "the prompt's texts with this model's own text encoder"
            )
        return sent(text, self._guidance.device).float()

    def put(self, slot: int, text: Float[Tensor, "K T D"]) -> None:
        """Gives a slot the texts that `embed` returned."""
        if not self._text.numel():
            self._text = text.new_zeros(len(self._text), *text.shape)
        self._text[slot] = text

    def negative(self, views: Viewpoints) -> Float[Tensor, "S V T D"]:
        """The negative text, for each view."""
        return self._text[:, :1].expand(-1, views.word.shape[1], -1, -1)

    def asked(self, views: Viewpoints) -> Float[Tensor, "S V T D"]:
        """Each view's text: that of its word, or a blend by where the camera stands."""
        if self._config.prompt_views != "interpolated":
            return self._of_words(views.word)
        shares = directions.shares(views.azimuth_deg, views.elevation_deg)[..., None, None]
        # One after the other: a product of matrices might round by how many scenes there are.
        first, *others = (shares[:, :, k] * self._text[:, None, 1 + k] for k in range(len(VIEWS)))
        return sum(others, first)

    def denial(self, views: Viewpoints) -> Denial | None:
        """What Perp-Neg denies each view, where the recipe has it."""
        if not self._config.perp_neg:
            return None
        words, weight = directions.denied(
            views.azimuth_deg, views.elevation_deg, self._config.perp_neg_weights
        )
        text = self._of_words(words.flatten(1)).unflatten(1, words.shape[1:])
        return Denial(text=text, weight=weight)

    def _of_words(self, words: Int[Tensor, "S K"]) -> Float[Tensor, "S K T D"]:
        index = words[..., None, None].expand(-1, -1, *self._text.shape[2:])
        return self._text[:, 1:].gather(1, index)
