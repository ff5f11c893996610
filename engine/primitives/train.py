"""Train the teacher of the embedded world: `python -m engine.primitives.train --out DIR`.

Teaches the text encoder to read, renders its pictures, trains the U-Net for a given time, and
leaves in DIR: the checkpoint (see `checkpoint`), `log.jsonl`, `samples.png`, and `pipeline/`, which
loads wherever DeepFloyd IF does. On several GPUs of one machine:

    torchrun --standalone --nproc-per-node 4 -m engine.primitives.train --out DIR

Pictures and batch are then those of each GPU.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engine.directories import to_write
from engine.hardware import usual_device
from engine.primitives import checkpoint, reading
from engine.primitives.peers import Peers
from engine.primitives.pictures import Pictures, render_in_batches, render_pictures
from engine.primitives.reading import ReadingConfig
from engine.primitives.samples import binding, sheet_captions, write_sheet
from engine.primitives.teacher import Teacher, TeacherConfig, build, save, tokenize
from engine.primitives.training import StepConfig, Trainer, place
from engine.schedules import ramped_decay, warmed_cosine

log = logging.getLogger("engine.primitives.train")

_NUM_PROBES = 1024
_RENDER_BATCH = 60_000
_UNDERSTOOD = 0.99
"""Share of captions below which a text encoder is not fit to be frozen."""
_APART = 100_000
"""Between the seeds of peers, which draw other pictures."""
_AGREE_EVERY = 20
"""Steps between the peers' looks at the first one's clock."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    out: Path
    minutes: float = 9.0
    """Wall time of the whole command up to the last step: rendering and compiling count."""
    pictures: int = 300_000
    lr: float = 8e-4
    lr_end: float = 0.0
    """The rate falls from `lr` to `lr_end` on a half cosine over the time left."""
    warm_up: int = 300
    """Steps of linear warm-up."""
    seed: int = 0
    device: str = "cuda"
    resume: bool = False
    """Start from the checkpoint in `out`."""
    start: Path | None = None
    """Start from the weights of this pipeline directory, which has the sizes of `teacher`."""
    compile: bool = True
    graph: bool = True
    """Capture the step as two CUDA graphs; off on the CPU."""
    pipeline: bool = True
    """Write the pipeline directory at the end."""
    max_steps: int | None = None
    """Stop after this many steps of this command even if time is left."""
    log_every: int = 100
    checkpoint_every_s: float = 120.0
    num_sheet_rows: int = 16
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    step: StepConfig = field(default_factory=StepConfig)

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.pictures < self.step.batch or self.lr < self.lr_end:
            raise ValueError(
                "expected minutes > 0, pictures >= batch and lr >= lr_end, got minutes "
                f"{self.minutes}, pictures {self.pictures}, batch {self.step.batch}, "
                f"lr {self.lr}, lr_end {self.lr_end}"
            )
        if self.resume and self.start is not None:
            raise ValueError(
                "a run goes on from its own checkpoint or starts from a pipeline: "
                "expected resume or start, got both"
            )


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up over steps times a half cosine over the share of time that has gone."""
    return warmed_cosine(
        config.lr, config.lr_end, warm_up=config.warm_up, step=step, progress=progress
    )


def ema_decay(config: TrainConfig, step: int) -> float:
    """Decay of the running mean: ramped, (1 + n) / (10 + n), up to its final value."""
    return ramped_decay(config.step.ema_decay, step)


def _render(config: TrainConfig, seed: int) -> Pictures:
    started = time.monotonic()
    pictures = render_in_batches(
        config.pictures, _RENDER_BATCH, seed + 1000, config.device, size=config.teacher.size
    )
    seconds = time.monotonic() - started
    log.info("rendered %d pictures in %.1f s", config.pictures, seconds)
    return pictures


def _attempt(what: str, action: Callable[[], None]) -> bool:
    """Whether an optional acceleration works; a failure costs speed, never the run."""
    started = time.monotonic()
    try:
        action()
    except Exception:
        log.exception("FALLBACK: %s failed; the run goes on without it", what)
        return False
    log.info("%s ready after %.1f s", what, time.monotonic() - started)
    return True


def _accelerate(trainer: Trainer, config: TrainConfig) -> None:
    def compile_and_try() -> None:
        trainer.compile()
        trainer.differentiate()
        trainer.take_losses()

    if config.compile and not _attempt("torch.compile", compile_and_try):
        trainer.uncompile()
    if config.graph and trainer.device.type == "cuda":
        _attempt("CUDA graph", trainer.capture)
    trainer.align()
    trainer.take_losses()


def _earlier(config: TrainConfig) -> checkpoint.Checkpoint | None:
    """What the run goes on from; None: it starts untrained."""
    if config.resume:
        return checkpoint.read(config.out)
    if config.start is not None:
        return checkpoint.of_pipeline(config.start, config.teacher)
    return None


class _Run:
    """A run in progress: the trainer, its clock and what it leaves behind."""

    def __init__(self, config: TrainConfig, peers: Peers, started: float) -> None:
        self._config, self._peers, self._started = config, peers, started
        self._first, self._seconds_before = 0, 0.0
        earlier = _earlier(config)
        if earlier is None:
            self._sizes, teacher = config.teacher, build(config.teacher, config.seed)
        else:
            self._sizes, teacher = earlier.config, earlier.teacher
            self._first, self._seconds_before = earlier.steps, earlier.seconds
        place(teacher, torch.device(config.device))
        if earlier is None:
            self._teach(teacher)
        peers.align([*teacher.unet.parameters(), *teacher.text_encoder.parameters()])
        seed = config.seed + self._first + _APART * peers.rank
        torch.manual_seed(seed)
        pictures = _render(config, seed)
        tokens = tokenize(teacher.tokenizer, pictures.captions)
        self.trainer = Trainer(teacher, pictures.rgba, tokens, config.step, peers)
        self._probes = render_pictures(
            min(_NUM_PROBES, config.pictures), 7, config.device, "dev", config.teacher.size
        )
        _accelerate(self.trainer, config)

    def optimise(self) -> int:
        """Step until time is up; returns the number of steps of all runs so far."""
        config, trainer = self._config, self.trainer
        begin = time.monotonic()
        end = self._started + 60.0 * config.minutes
        saved, done, progress = begin, 0, 0.0
        while done != config.max_steps:
            if done % _AGREE_EVERY == 0:
                mine = (time.monotonic() - begin) / (end - begin) if end > begin else 1.0
                progress = self._peers.agree(mine, trainer.device)
            if progress >= 1.0:
                break
            decay = ema_decay(config, self._first + done)
            trainer.step(learning_rate(config, done, progress), decay)
            done += 1
            if done % config.log_every == 0:
                self._report(self._first + done, done, time.monotonic() - begin)
                if time.monotonic() - saved > config.checkpoint_every_s:
                    self.save(self._first + done)
                    saved = time.monotonic()
        return self._first + done

    def _teach(self, teacher: Teacher) -> None:
        heads = reading.teach(teacher, self._config.reading, self._config.seed)
        for split in ("train", "dev"):
            share = reading.understood(teacher, heads, split, _NUM_PROBES, seed=7)
            self._log({"captions_understood": share, "split": split})
            if share < _UNDERSTOOD:
                log.warning("the text encoder reads only %.1f %% of %s", 100.0 * share, split)

    def save(self, steps: int) -> None:
        """Write the checkpoint and measure how well colours are bound to parts.

        The first of several peers does it; the others go on, and wait for it at the next step.
        """
        if self._peers.rank:
            return
        seconds = self._seconds_before + time.monotonic() - self._started
        state = checkpoint.Checkpoint(
            teacher=self.trainer.mean, config=self._sizes, steps=steps, seconds=seconds
        )
        checkpoint.write(state, self._config.out)
        bound = binding(self.trainer.mean, self._probes, seed=1)
        self._log({"steps": steps, "binding": bound.float().mean().item(), "num": len(bound)})

    def _report(self, steps: int, done: int, seconds: float) -> None:
        losses = [round(loss, 6) for loss in self.trainer.take_losses()]
        per_step = 1000.0 * seconds / done
        self._log({"steps": steps, "mse_by_quarter_of_t": losses, "ms_a_step": round(per_step, 2)})

    def _log(self, record: dict[str, object]) -> None:
        if self._peers.rank:
            return
        line = json.dumps(record)
        log.info("%s", line)
        with (self._config.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")


def train(config: TrainConfig) -> Teacher:
    """Train a teacher; returns its running mean after writing everything named on top."""
    started = time.monotonic()
    peers = Peers.join(config.device)
    config.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    run = _Run(config, peers, started)
    steps = run.optimise()
    run.save(steps)
    mean = run.trainer.mean
    peers.leave()
    if peers.rank:
        return mean
    if config.num_sheet_rows:
        captions = sheet_captions("dev", config.num_sheet_rows, seed=3)
        write_sheet(mean, captions, config.out / "samples.png", seed=5)
        log.info("samples.png, from the top: %s", "; ".join(captions))
    if config.pipeline:
        save(mean, config.out / "pipeline")
    return mean


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m engine.primitives.train")
    parser.add_argument("--out", type=to_write, required=True, help="folder for everything written")
    parser.add_argument("--minutes", type=float, default=TrainConfig.minutes)
    parser.add_argument("--pictures", type=int, default=TrainConfig.pictures)
    parser.add_argument("--batch", type=int, default=StepConfig.batch)
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--lr-end", type=float, default=TrainConfig.lr_end)
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    parser.add_argument("--device", default=usual_device().type)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--start", type=Path, help="pipeline directory whose weights to start from")
    for flag in ("resume", "compile", "graph", "pipeline"):
        default = getattr(TrainConfig, flag)
        parser.add_argument(f"--{flag}", action=argparse.BooleanOptionalAction, default=default)
    options = vars(parser.parse_args(arguments))
    batch = options.pop("batch")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(TrainConfig(**options, step=StepConfig(batch=batch)))


if __name__ == "__main__":
    main()
