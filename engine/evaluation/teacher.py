"""How well a diffusion model draws the world: its pictures before a judge.

    python -m engine.evaluation.teacher --guidance DIR --judge j1 --out DIR [--split test]

Draws each prompt from the four view words by DDIM. A prompt's score is the mean logit over its four
pictures; single pictures are judged too, also for whether they show their view word (`view_words`).
Writes `teacher.json` and sheets of the best and of the worst prompts. Axes: N prompts, V views.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

from jaxtyping import Float
from torch import Tensor

from engine.directories import to_write
from engine.evaluation import view_words
from engine.evaluation.ddim import draw
from engine.evaluation.judge import Judge
from engine.evaluation.judging import verdicts_of_pictures
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.report import Row, grouped, table
from engine.evaluation.sheets import write_sheets
from engine.evaluation.verdict import Verdict, figures, share
from engine.guidance import files
from engine.guidance.guidance import Guidance
from engine.guidance.pixel import PixelGuidance
from engine.guidance.prompts import VIEWS, with_view
from engine.hardware import usual_device
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.primitives.splits import Split, choose

_SEED = 3


def draw_views(
    guidance: Guidance, specs: Sequence[Spec], *, seed: int, steps: int = 50, scale: float = 3.0
) -> Float[Tensor, "N V 3 h w"]:
    """Each scene from the four view words, in [0, 1]."""
    prompts = [with_view(caption(spec), view) for spec in specs for view in VIEWS]
    pictures = draw(guidance, prompts, seed=seed, steps=steps, scale=scale)
    return pictures.unflatten(0, (len(specs), len(VIEWS)))


def report(
    pictures: Float[Tensor, "N V 3 h w"], specs: Sequence[Spec], lexicon: Lexicon
) -> tuple[list[Verdict], dict[str, dict[str, Row]]]:
    """Verdicts on the prompts; figures by family and kind, of prompts and of single pictures."""
    of_prompts = verdicts_of_pictures(pictures, specs, lexicon)
    repeated = [spec for spec in specs for _ in VIEWS]
    singles = verdicts_of_pictures(pictures.flatten(0, 1)[:, None], repeated, lexicon)
    drawn = list(zip(singles, *view_words.judged(pictures, specs, lexicon), strict=True))
    return of_prompts, {
        "prompts": {
            name: asdict(figures(group))
            for name, group in grouped(of_prompts, lambda verdict: verdict.spec).items()
        },
        "pictures": {
            name: _of_pictures(group)
            for name, group in grouped(drawn, lambda single: single[0].spec).items()
        },
        "pictures by view": {
            view: _of_pictures(drawn[k :: len(VIEWS)]) for k, view in enumerate(VIEWS)
        },
    }


def _of_pictures(drawn: Sequence[tuple[Verdict, bool | None, bool | None]]) -> Row:
    """Figures of single pictures: a verdict, whether it shows its view word, whether truth does."""
    return asdict(figures([verdict for verdict, _, _ in drawn])) | {
        "view_word": share(right for _, right, _ in drawn if right is not None),
        "view_word_ceiling": share(right for _, _, right in drawn if right is not None),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.teacher")
    parser.add_argument("--guidance", default="primitives", help="primitives or a directory")
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--judge", default="j2", help="j1, j2 or a directory")
    parser.add_argument("--out", type=to_write, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--scale", type=float, default=3.0, help="guidance scale")
    parser.add_argument("--seed", type=int, default=_SEED)
    given = parser.parse_args(arguments)
    device = usual_device()
    path = files.resolve(given.guidance)
    guidance = PixelGuidance.load(path, device=device)
    specs = choose(given.split, given.prompts, given.seed)
    start = time.perf_counter()
    pictures = draw_views(guidance, specs, seed=given.seed, steps=given.steps, scale=given.scale)
    seconds = time.perf_counter() - start
    found, said = report(pictures, specs, Lexicon(Judge.load(given.judge, device)))
    given.out.mkdir(parents=True, exist_ok=True)
    facts = {
        **{k: v for k, v in vars(given).items() if k != "out"},
        "guidance_digest": files.digest(path),
        "seconds_of_drawing": round(seconds, 1),
        "figures": said,
        "rows": [verdict.as_row() for verdict in found],
    }
    (given.out / "teacher.json").write_text(json.dumps(facts, indent=1) + "\n")
    write_sheets(given.out, list(zip(found, pictures, strict=True)))
    print(f"{given.prompts} prompts of {given.split}, judge {given.judge}: mean of four pictures")
    print(table(said["prompts"]))
    print(f"single pictures, drawn in {seconds:.1f} s")
    print(table({"all": said["pictures"]["all"], **said["pictures by view"]}), flush=True)


if __name__ == "__main__":
    main()
