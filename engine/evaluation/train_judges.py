"""Train the judges: `python -m engine.evaluation.train_judges --out DIR`.

Renders pictures of all splits once, trains one judge after the other in equal shares of the time,
and leaves in DIR for each: its directory (see `judge`), with `card.json`, its figures on true
renders of scenes of the test split. `DIR/log.jsonl` says how it went.
"""

import argparse
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engine.directories import to_write
from engine.evaluation.judge import Judge
from engine.evaluation.judge_captions import CaptionTable, hard_negatives
from engine.evaluation.judge_card import Trials, card, geometry_rows, swap_accuracy
from engine.evaluation.judge_networks import JUDGES, JudgeConfig
from engine.evaluation.judge_training import Lessons, StepConfig, Trainer, learning_rate
from engine.hardware import usual_device
from engine.primitives.captions import colourless_forms, forms, vocabulary
from engine.primitives.grammar import geometries, specs
from engine.primitives.pictures import Pictures, render_in_batches
from engine.primitives.splits import Split

log = logging.getLogger("engine.evaluation.train_judges")

_RENDER_BATCH = 50_000
_SEEDS = {"j1": 101, "j2": 202}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run of one judge or both."""

    out: Path
    minutes: float = 6.0
    """Wall time of the whole command up to the last step: rendering counts, the card does not."""
    pictures: int = 150_000
    judges: tuple[str, ...] = ("j1", "j2")
    seed: int = 0
    device: str = "cuda"
    resume: bool = False
    """Start from the judges in `out`."""
    compile: bool = False
    """Compile the encoders of pictures: time spent for faster steps."""
    probes: int = 768
    """Pictures of the dev split on which progress is watched."""
    trials: int = 8000
    """Pictures of the test split behind the card."""
    log_every_s: float = 10.0
    save_every_s: float = 60.0
    sizes: Mapping[str, JudgeConfig] = field(default_factory=lambda: JUDGES)
    step: StepConfig = field(default_factory=StepConfig)

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.pictures < 1:
            raise ValueError(
                "expected minutes > 0 and at least one picture, got minutes "
                f"{self.minutes} and {self.pictures} pictures"
            )
        if len({self.sizes[name].size for name in self.judges}) != 1:
            raise ValueError(f"the judges {self.judges} must look at pictures of one size")

    @property
    def size(self) -> int:
        """Width of the pictures."""
        return self.sizes[self.judges[0]].size


def _render(config: TrainConfig, count: int, seed: int, split: Split | None) -> Pictures:
    started = time.monotonic()
    pictures = render_in_batches(count, _RENDER_BATCH, seed, config.device, split, config.size)
    log.info(
        "rendered %d pictures (%s) in %.1f s", count, split or "all", time.monotonic() - started
    )
    return pictures


def _prepare(config: TrainConfig) -> Lessons:
    """Everything that training reads, on the device."""
    pictures = _render(config, config.pictures, 1000 * config.seed + 31, None)
    coloured = [forms(spec) for spec in specs()]
    colourless = [colourless_forms(geometry) for geometry in geometries()]
    number = {spec: i for i, spec in enumerate(specs())}
    device = pictures.rgba.device
    return Lessons(
        rgba=pictures.rgba,
        scene=torch.tensor([number[spec] for spec in pictures.specs], device=device),
        geometry=geometry_rows(pictures.specs).to(device),
        is_textureless=pictures.is_textureless,
        captions=CaptionTable.of(coloured, vocabulary()).to(device),
        geometries=CaptionTable.of(colourless, vocabulary()).to(device),
        negatives=hard_negatives(specs(), config.seed).to(device),
    )


class _Run:
    """One judge in training, with its clock and what it leaves behind."""

    def __init__(self, name: str, config: TrainConfig, lessons: Lessons) -> None:
        self.name, self._config = name, config
        self._folder = config.out / name
        self._steps_before, self._seconds_before = 0, 0.0
        if config.resume:
            judge = Judge.load(self._folder)
            earlier = json.loads((self._folder / "card.json").read_text())
            self._steps_before, self._seconds_before = earlier["steps"], earlier["seconds"]
        else:
            judge = Judge.build(config.sizes[name], vocabulary(), config.seed + _SEEDS[name])
        torch.manual_seed(config.seed + _SEEDS[name] + self._steps_before)
        self._started = time.monotonic()
        self.trainer = Trainer(judge, lessons, config.step)
        if config.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile; a failure costs speed, never the run."""
        try:
            self.trainer.compile()
        except Exception:
            log.exception("FALLBACK: torch.compile failed; the run goes on without it")
            self.trainer.uncompile()
        log.info("%s: compiling took %.1f s", self.name, time.monotonic() - self._started)

    def optimise(self, end: float, probes: Trials) -> None:
        """Step until the time `end`, watching progress on the probes."""
        begin = said = saved = time.monotonic()
        done = done_then = 0
        while (now := time.monotonic()) < end:
            progress = (now - begin) / (end - begin)
            self.trainer.step(learning_rate(self._config.step, done, progress))
            done += 1
            # The host runs ahead of the device; without a wait now and then by far.
            if done % 20 == 0 and self.trainer.device.type == "cuda":
                torch.cuda.synchronize()
            now = time.monotonic()
            if now - said > self._config.log_every_s:
                self._report(done - done_then, now - said, probes)
                said, done_then = time.monotonic(), done
            if now - saved > self._config.save_every_s:
                self.save({})
                saved = time.monotonic()

    def _report(self, steps: int, seconds: float, probes: Trials) -> None:
        record = {
            "judge": self.name,
            "steps": self._steps_before + self.trainer.steps,
            "ms_a_step": round(1000.0 * seconds / max(steps, 1), 2),
            **self.trainer.take_losses(steps),
            "scale": round(self.trainer.mean.scale, 2),
            "dev_swap": round(swap_accuracy(self.trainer.mean, probes), 4),
        }
        line = json.dumps(record)
        log.info("%s", line)
        with (self._config.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def save(self, figures: Mapping[str, float]) -> None:
        """Write the judge and its card, with the figures there are."""
        self.trainer.mean.save(self._folder)
        device = self.trainer.device
        is_cuda = device.type == "cuda"
        said = {
            "judge": self.name,
            "steps": self._steps_before + self.trainer.steps,
            "seconds": round(self._seconds_before + time.monotonic() - self._started, 1),
            "batch": self._config.step.batch,
            "pictures": self._config.pictures,
            "device": torch.cuda.get_device_name(device) if is_cuda else str(device),
            "figures": {name: round(value, 4) for name, value in figures.items()},
        }
        (self._folder / "card.json").write_text(json.dumps(said, indent=1) + "\n")

    def finish(self, trials: Pictures) -> Mapping[str, float]:
        """Save, measure what was saved, and write its figures."""
        self.save({})
        judge = Judge.load(self._folder, self.trainer.device)
        torch.manual_seed(self._config.seed)
        figures = card(judge, trials, seed=self._config.seed)
        self.save(figures)
        log.info("%s: %s", self.name, json.dumps(figures))
        return figures


def train(config: TrainConfig) -> Mapping[str, Mapping[str, float]]:
    """Train the judges and write everything named on top; returns the figures of each."""
    started = time.monotonic()
    config.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    lessons = _prepare(config)
    probes = Trials.of(_render(config, config.probes, 7, "dev")).coloured(2)
    trials = _render(config, config.trials, 11, "test")
    end = started + 60.0 * config.minutes
    figures: dict[str, Mapping[str, float]] = {}
    for done, name in enumerate(config.judges):
        now = time.monotonic()
        run = _Run(name, config, lessons)
        run.optimise(now + (end - now) / (len(config.judges) - done), probes)
        figures[name] = run.finish(trials)
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.train_judges")
    parser.add_argument("--out", type=to_write, required=True, help="folder for everything written")
    parser.add_argument("--minutes", type=float, default=TrainConfig.minutes)
    parser.add_argument("--pictures", type=int, default=TrainConfig.pictures)
    parser.add_argument("--trials", type=int, default=TrainConfig.trials)
    parser.add_argument("--judge", choices=[*JUDGES, "both"], default="both")
    parser.add_argument("--batch", type=int, default=StepConfig.batch)
    parser.add_argument("--lr", type=float, default=StepConfig.lr)
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    parser.add_argument("--device", default=usual_device().type)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = vars(parser.parse_args(arguments))
    judge = options.pop("judge")
    options["judges"] = tuple(JUDGES) if judge == "both" else (judge,)
    options["step"] = StepConfig(batch=options.pop("batch"), lr=options.pop("lr"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(TrainConfig(**options))


if __name__ == "__main__":
    main()
