"""`dreambatch validate`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Check a manifest, a recipe and a diffusion model; nothing is made or written."""

    manifest: str
    """Table of prompts."""
    recipe: str | None = None
    """Name of a recipe, or a .json file with one."""
    guidance: str | None = None
    """Diffusion model. Default: the recipe's, if one is named."""
    limit: int | None = None
    """Look at no more than the first prompts of the manifest."""
    seeds_per_prompt: int = 1
    """Assets of each prompt that says nothing of `num_seeds`."""
    strict: bool = False
    """Fail at the first rejected row."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import validation

        found = validation.check(
            self.manifest,
            recipe=self.recipe,
            guidance=self.guidance,
            limit=self.limit,
            seeds_per_prompt=self.seeds_per_prompt,
            strict=self.strict,
        )
        print(printable(found))
        return exit_codes.COMPLETE
