"""What a study is asked for: its flags, their mistakes, and what --help says of them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from engine import recipes
from engine.evaluation.manner import Manner
from engine.evaluation.variations import Variation
from engine.guidance.pixel import PixelGuidance
from engine.primitives.splits import choose
from engine.studies import (
    ablation,
    evaluations,
    fronts,
    full_gradient,
    optimisers,
    order,
    peers,
    precision,
)
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline

SMOKE = replace(recipes.get("smoke"), iterations=2)
OFFERED = [
    Variation(name="base", recipe=SMOKE),
    Variation(name="base, longer", recipe=replace(SMOKE, iterations=3)),
    Variation(name="other", recipe=replace(SMOKE, views=2)),
]
OF_VARIATIONS = (ablation, evaluations, fronts, optimisers, peers, precision)
MAINS = [module.main for module in (*OF_VARIATIONS, full_gradient)]
Main = Callable[[Sequence[str]], None]


def asked(*flags: str, usual: Sequence[str] | None = None) -> order.Order:
    parser = order.parser("tried", None, split="dev", judge="j1", prompts=2)
    order.add_choice(parser, [variation.name for variation in OFFERED], usual)
    return order.order(parser.parse_args(["--out", "o", *flags]), OFFERED)


def test_patterns_choose_in_the_study_s_order() -> None:
    assert order.chosen(OFFERED, None) == OFFERED
    assert order.chosen(OFFERED, ["other", "base*"]) == OFFERED
    assert order.chosen(OFFERED, ["base"]) == OFFERED[:1]
    with pytest.raises(ValueError, match=r"--only: expected one of 'base', .*, got 'bas'"):
        order.chosen(OFFERED, ["base", "bas"])


def test_flags_become_an_order() -> None:
    found = asked("--only", "other", "--part", "2/2", "--slots", "3", "--launched", "--seed", "8")
    assert (found.offered, found.wanted) == (OFFERED, OFFERED[2:])
    assert found.manner == Manner(slots=3, captured=False)
    assert (found.out, found.judge, found.split) == (Path("o"), "j1", "dev")
    assert found.part.span(2) == (1, 2)
    assert found.specs == choose("dev", 2, 8)
    assert found.model.samefile(Path(order.__file__).parents[1] / "primitives" / "weights")


def test_what_is_usual_is_made_unless_flags_say_otherwise() -> None:
    assert asked(usual=["base*"]).wanted == OFFERED[:2]
    assert asked("--only", "other", usual=["base*"]).wanted == OFFERED[2:]


def test_a_part_without_scenes_is_none() -> None:
    with pytest.raises(ValueError, match="--part: expected a share of 2 scenes, 1/3 is 0; give"):
        asked("--part", "1/3")


def test_a_study_works_in_pixels(tmp_path: Path) -> None:
    latent = write_tiny_latent_pipeline(tmp_path / "latent")
    with pytest.raises(ValueError, match="expected a pixel model, got a latent one"):
        asked("--guidance", str(latent))


@pytest.fixture
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(PixelGuidance, "load", refuse)


def told(main: Main, flags: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of a command that has to end as a user's mistake."""
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("_nothing_is_loaded")
@pytest.mark.parametrize("main", MAINS)
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--recipe", "nonsense"), "unknown recipe 'nonsense'"),
        (("--slots", "0"), "slots: expected 1 or more, got 0"),
        (("--prompts", "0"), "got 0"),
        (("--judge", "nonsense"), "nonsense holds no judge"),
        (("--guidance", "nonsense"), "guidance 'nonsense': no such directory"),
    ],
)
def test_a_mistake_is_one_line(
    main: Main,
    flags: tuple[str, str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = told(main, ["--out", str(tmp_path / "out"), *flags], capsys)
    assert ": error: " in line
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("_nothing_is_loaded")
@pytest.mark.parametrize("module", OF_VARIATIONS)
def test_so_are_those_of_variations(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    line = told(module.main, ["--out", "o", "--only", "nonsense"], capsys)
    assert "--only: expected one of '" in line
    assert "--part: expected k/n" in told(module.main, ["--out", "o", "--part", "3"], capsys)


@pytest.mark.usefixtures("_nothing_is_loaded")
@pytest.mark.parametrize("module", [evaluations, peers])
def test_so_is_a_strange_fast_recipe(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(module.main, ["--out", "o", "--fast", "nonsense"], capsys)
    assert "unknown recipe 'nonsense'" in line


@pytest.mark.usefixtures("_nothing_is_loaded")
def test_so_are_the_steps_of_the_full_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    assert "iterations" in told(full_gradient.main, ["--out", "o", "--steps", "0"], capsys)


def helped(main: Main, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "5000")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("module", [*OF_VARIATIONS, full_gradient])
def test_help_says_what_is_asked_and_what_holds_by_default(
    module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = helped(module.main, capsys, monkeypatch)
    assert (module.__doc__ or "").splitlines()[0] in said.splitlines()
    flags = re.split(r"\n  (?=--)", said)[1:]
    assert len(flags) >= 9
    # Behind a flag and its value stands a gap, and then what it means.
    assert all(re.match(r"--\S+( \S+)?\s{2,}\w", flag) for flag in flags)
    slots = "the recipe's number" if module is precision else "as many as there are prompts"
    assert f"(default: {slots})" in said
    assert "(default: primitives)" in said
    prompts = {full_gradient: 24, optimisers: 8, precision: 32}.get(module, 48)
    assert f"how many (default: {prompts})" in said


def test_help_names_the_variations(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {
        ablation: "'base', '+ view augmentation', ",
        evaluations: "'x 1/8', 'x 1/4', ",
        fronts: "'no view prompts', 'view prompts', ",
        optimisers: "'Adam, rate x 1', 'Adam, rate x 3', ",
        peers: "'ours', 'ours, fast', 'threestudio, dense grid, as many evaluations', ",
        precision: "'as shipped', 'as shipped, again', 'float32', 'alone' (default: all)",
    }
    for module, names in some.items():
        said = helped(module.main, capsys, monkeypatch)
        assert f"Of primitives there are {names}" in said
        assert ("(default: 'ours*' and 'threestudio, " in said) == (module is peers)
