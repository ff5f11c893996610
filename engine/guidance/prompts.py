"""View-dependent prompts: the words that tell the guidance from where it looks.

Angles in degrees: azimuth 0 is the object's front, elevation 0 the horizon. Torch-free.
"""

VIEWS: tuple[str, ...] = ("front view", "side view", "back view", "overhead view")
"""The view words, in the order of the embeddings a prompt needs."""

OVERHEAD_ELEVATION_DEG = 60.0
"""Above this elevation a view is overhead, whatever its azimuth (DreamFusion 3.2)."""

FRONT_HALF_WIDTH_DEG = 45.0
"""Half the width of the front quadrant, and of the back quadrant opposite."""


def view_word(azimuth_deg: float, elevation_deg: float) -> str:
    """The view word of a camera: overhead above 60 degrees, else by quadrant of azimuth.

    Any azimuth is allowed; it is taken modulo 360.
    """
    if elevation_deg > OVERHEAD_ELEVATION_DEG:
        return "overhead view"
    from_front = abs((azimuth_deg + 180.0) % 360.0 - 180.0)
    if from_front < FRONT_HALF_WIDTH_DEG:
        return "front view"
    return "back view" if from_front > 180.0 - FRONT_HALF_WIDTH_DEG else "side view"


def with_view(prompt: str, view: str) -> str:
    """The prompt with its view words: "a red mushroom, front view"."""
    return f"{prompt}, {view}"


def texts_of(prompt: str, negative_prompt: str, *, is_viewed: bool = True) -> list[str]:
    """All that a scene's guidance is asked with: the negative prompt, then one text a view word.

    Without view words (`is_viewed` false) the prompt itself stands for each of them.
    """
    views = [with_view(prompt, view) if is_viewed else prompt for view in VIEWS]
    return [negative_prompt, *views]
