"""`dreambatch benchmark`."""

from dataclasses import asdict, dataclass
from typing import Literal

from pipeline import exit_codes


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Make assets of unseen prompts of the embedded world and measure them; no Ray, one device."""

    recipe: str
    """Name of a recipe, see `dreambatch recipes`, or a .json file with one."""
    out: str
    """Directory for figures, contact sheets and scenes; a broken run goes on there."""
    prompts: int = 153
    """Prompts, fixed for each number."""
    seeds: int = 2
    """Assets of each prompt."""
    split: Literal["dev", "test"] = "test"
    """Unseen prompts: `dev` to tune recipes on, `test` for figures that are reported."""
    judge: str = "j2"
    """`j1` to tune by, `j2` for figures that are reported, or a directory."""
    slots: int | None = None
    """Prompts optimised together. Default: the recipe's."""
    guidance: str | None = None
    """Diffusion model. Default: the recipe's."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import benchmark

        print(benchmark.measure(**asdict(self)))
        return exit_codes.COMPLETE
