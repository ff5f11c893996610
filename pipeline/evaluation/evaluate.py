"""An evaluation from its settings to its report: one device, one judge after the other."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.dataset import catalog
from pipeline.dataset.scores import Metric, Scores
from pipeline.errors import UserError
from pipeline.evaluation import judges, page, pool, tables
from pipeline.evaluation.desk import Desk, Say
from pipeline.evaluation.judges import JudgeChoice
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.evaluation.tables import Measured
from pipeline.metrics import JobMetrics
from pipeline.store import Store

if TYPE_CHECKING:
    from engine.evaluation.examiners import Examiner


@dataclass(frozen=True, kw_only=True)
class Census:
    """The assets of a dataset: how many, a sample of their prompts, and whether all are of the
    diffusion model that comes with the package."""

    num_assets: int
    captions: list[str]
    is_embedded: bool


def evaluate(settings: EvaluateSettings, say: Say = print) -> None:
    """Score what is not scored, join it into the catalog, tell the figures.

    UserError for a judge, a table of captions or a page that cannot be used, and for an output
    without assets.
    """
    settings.check()
    store = Store.open(settings.output, create=False)
    captions = None if settings.captions is None else pool.read(settings.captions)
    chosen = [judges.find(name) for name in settings.judge]
    _check_page(settings.report)
    found = census(store)
    if not found.num_assets:
        raise UserError(f"{store.url} holds no assets yet: nothing to evaluate")
    chosen = chosen or [_usual(found, store.url)]
    scores = Scores(store.objects)
    _check_labels(chosen, [metric.label for metric in scores.published()])
    with closing(JobMetrics()) as metrics:
        metrics.expose(settings.metrics_port, say)
        done = [_measure(store, scores, choice, found, captions, metrics, say) for choice in chosen]
        scores.choose_best_by(done[0].metric.label)
        address = catalog.write(store)
        for measured in done:
            say(tables.render(tables.summarise(scores, measured)))
        say(f"the scores are columns of {address}, where is_best follows {scores.best_by()}")
        if settings.report is not None:
            Path(settings.report).write_text(page.render_page(store, scores, done), "utf-8")
            say(f"report: {settings.report}")
        metrics.see_out(say)


def census(store: Store) -> Census:
    """Looks at all rows of the catalog."""
    from engine.guidance import files

    ours = files.digest(files.resolve(files.PRIMITIVES))
    sample, num_assets, is_embedded = pool.Sample(), 0, True
    for rows in catalog.rows(store, with_scores=False):
        sample.add(rows["prompt"].to_pylist())
        num_assets += len(rows)
        models = zip(rows["guidance"].to_pylist(), rows["guidance_digest"].to_pylist(), strict=True)
        is_embedded &= all(n == files.PRIMITIVES or digest == ours for n, digest in models)
    return Census(num_assets=num_assets, captions=sample.captions(), is_embedded=is_embedded)


def _usual(found: Census, url: str) -> JudgeChoice:
    if not found.is_embedded:
        raise UserError(
            f"--judge: {url} holds assets of another diffusion model than the packaged one; name a "
            "CLIP, such as clip:openai/clip-vit-large-patch14"
        )
    return judges.find("j2")


def _check_labels(chosen: list[JudgeChoice], published: list[str]) -> None:
    """UserError where two judges would write columns of one name."""
    labels = Counter(choice.label for choice in chosen)
    for label, number in labels.items():
        if number > 1:
            names = ", ".join(repr(choice.name) for choice in chosen if choice.label == label)
            raise UserError(
                "--judge: expected judges that differ in the last part of their names, got "
                f"{names}: both would write score_{label}_...; evaluate outputs of their own"
            )
    there = {*labels, *published}
    for label in sorted(there):
        if f"{label}_geometry" in there and {label, f"{label}_geometry"} & labels.keys():
            raise UserError(
                f"--judge: the judges {label!r} and {label + '_geometry'!r} would both write "
                f"score_{label}_geometry_...; rename one of their directories"
            )


def _measure(
    store: Store,
    scores: Scores,
    choice: JudgeChoice,
    found: Census,
    captions: list[str] | None,
    metrics: JobMetrics,
    say: Say,
) -> Measured:
    examiner = choice.load()
    metric = scores.claim(_metric(choice, examiner, found, captions, scores.metrics()))
    desk = Desk(store, scores, metric, examiner, metrics, say)
    num_before = len(desk.scored)
    num_again = desk.judge_again()
    desk.look()
    scores.publish(metric)
    return Measured(
        metric=metric,
        pool_size=examiner.pool_size(metric.captions),
        num_new=desk.num_new,
        num_again=num_again,
        num_before=num_before,
        num_foreign=desk.num_foreign,
        first_foreign=desk.first_foreign,
        num_unreadable=desk.num_wanted - desk.num_new,
    )


def _metric(
    choice: JudgeChoice,
    examiner: "Examiner",
    found: Census,
    captions: list[str] | None,
    known: list[Metric],
) -> Metric:
    """What is measured: in the pool that the user gives, else in that of the dataset."""
    if captions is None:
        metric = choice.metric([text for text in found.captions if examiner.takes(text)])
        return replace(metric, captions=pool.settled(metric, known))
    foreign = [text for text in captions if not examiner.takes(text)]
    if foreign:
        raise UserError(
            f"--captions: the judge {choice.name!r} does not understand {foreign[0]!r}; expected "
            "captions of the embedded world, or a CLIP as the judge"
        )
    return replace(choice.metric(captions), is_given=True)


def _check_page(path: str | None) -> None:
    """UserError where no page can be written, before hours are spent on it."""
    if path is not None and not Path(path).parent.is_dir():
        raise UserError(f"--report {path}: no such directory; make it, or name another file")
