"""What a judge says of the truth: the ceilings of its figures, and their chance levels.

    python -m engine.evaluation.ceilings --judge j2 [--split test] [--count 512] [--out FILE]

Shows the judge true shapes of sampled proportions, once under their own captions and once under
captions shuffled among them. Holds a true shape of every geometry against its own and against
another geometry (`chamfer`). Prints all of it and writes it as JSON.
"""

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import torch

from engine.evaluation.chamfer import NUM_DENSE_POINTS, Chamfer
from engine.evaluation.judge import Judge
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.report import Row, grouped, table
from engine.evaluation.stage import show_true_shapes
from engine.evaluation.surfaces import TrueShapes
from engine.evaluation.verdict import Verdict, figures
from engine.hardware import usual_device
from engine.primitives.grammar import Spec, geometries
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.splits import Split, choose

_SEED = 3
_OTHER = 7
"""How far apart two geometries stand in the list that are compared for being different."""


def ceilings(
    lexicon: Lexicon, specs: Sequence[Spec], device: torch.device
) -> tuple[list[Verdict], list[Verdict]]:
    """Verdicts on true shapes under their own captions, and under shuffled ones."""
    generator = torch.Generator().manual_seed(_SEED)
    proportions = torch.rand(len(specs), NUM_PROPORTIONS, generator=generator)
    staged = show_true_shapes(specs, proportions.to(device))
    shuffled = random.Random(_SEED).sample(specs, len(specs))
    return verdicts(staged, specs, lexicon), verdicts(staged, shuffled, lexicon)


def chamfer_ceiling(device: torch.device) -> dict[str, float]:
    """Median distances of a new true shape of each geometry to its own and to another one."""
    ruler, generator = Chamfer(device), torch.Generator().manual_seed(_SEED)
    own, other = [], []
    for number, geometry in enumerate(geometries()):
        u = torch.rand(1, NUM_PROPORTIONS, generator=generator).to(device)
        surface = TrueShapes(geometry, u).sample(NUM_DENSE_POINTS, _SEED)[0].cpu().numpy()
        own.append(ruler.distance(surface, geometry))
        other.append(ruler.distance(surface, geometries()[number - _OTHER]))
    return {"own": statistics.median(own), "other": statistics.median(other)}


def rows(found: Sequence[Verdict]) -> dict[str, Row]:
    """Figures of all verdicts, of each family and of each kind."""
    groups = grouped(found, lambda verdict: verdict.spec)
    return {name: asdict(figures(group)) for name, group in groups.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.ceilings")
    parser.add_argument("--judge", default="j2", help="j1, j2 or a directory")
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--out", type=Path, help="a file of JSON")
    given = parser.parse_args(arguments)
    device = usual_device()
    lexicon = Lexicon(Judge.load(given.judge, device))
    true, shuffled = ceilings(lexicon, choose(given.split, given.count, _SEED), device)
    said = {"truth": rows(true), "shuffled": {"all": rows(shuffled)["all"]}}
    for name, found in said.items():
        print(f"{name}: {given.count} scenes of {given.split}, judge {given.judge}")
        print(table(found), flush=True)
    chamfer = chamfer_ceiling(device)
    print("chamfer, median over geometries: own {own:.4f}, another {other:.4f}".format(**chamfer))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({**said, "chamfer": chamfer}, indent=1) + "\n")


if __name__ == "__main__":
    main()
