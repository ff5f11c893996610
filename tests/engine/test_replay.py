"""Steps that are recorded and replayed: by a stand-in on the CPU, by CUDA graphs on a GPU."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from engine.gang import FinishedScene, Gang, SceneRequest
from engine.guidance.latent import LatentGuidance
from engine.guidance.prompts import texts_of
from engine.recipe import Recipe
from engine.replay import WARM_UP, Replay
from engine.stopwatch import Stopwatch
from tests.engine.fakes import DiscGuidance, RecordingGuidance, schedule
from tests.engine.tape import TapeRecorder
from tests.engine.test_gang import VARIANTS, assert_identical, recipe, request
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline


def drive(gang: Gang, arrivals: dict[int, list[SceneRequest]]) -> dict[str, FinishedScene]:
    """Steps until the gang is empty; requests arrive before the steps with their numbers."""
    finished: dict[str, FinishedScene] = {}
    for step in range(max(arrivals) + gang.recipe.iterations):
        for arrival in arrivals.get(step, ()):
            gang.add(arrival)
        gang.step()
        finished |= {scene.key: scene for scene in gang.take_finished()}
    assert gang.num_free == gang.num_slots
    return finished


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Recipe:
    make: Callable[[], Recipe] = VARIANTS[request.param]
    return replace(make(), iterations=7)


def test_replayed_steps_are_those_that_would_have_been(variant: Recipe) -> None:
    """Scenes come, end, diverge and follow each other in a slot while the steps are replayed."""
    arrivals = {
        0: [request("a")],
        2: [request("b", "poison")],
        5: [SceneRequest(key="c", prompt="blue disc", negative_prompt="red disc", seed=5)],
        8: [request("d")],
        10: [request("e")],
    }
    recorder = TapeRecorder()
    replayed = drive(Gang(variant, DiscGuidance(), num_slots=3, recorder=recorder), arrivals)
    assert recorder.num_recordings == 1
    # One at each lap: before the U-Net, behind it, ...
    assert 5 <= len(recorder.tapes) <= 9
    plain = drive(Gang(variant, DiscGuidance(), num_slots=3), arrivals)
    assert replayed.keys() == plain.keys()
    for key, scene in plain.items():
        if key != "b":  # whose loss is no number, and so not equal to itself
            assert_identical(replayed[key], scene)
        assert replayed[key].iterations == scene.iterations
    assert replayed["b"].status == plain["b"].status == "diverged"
    assert plain["d"].status == "ok"


def test_a_checkpoint_of_replayed_steps_goes_on_exactly() -> None:
    r = replace(recipe(), iterations=12)
    saved = []
    for recorder in (TapeRecorder(), None):
        gang = Gang(r, DiscGuidance(), num_slots=2, recorder=recorder)
        gang.add(request("a"))
        for _ in range(WARM_UP + 4):
            gang.step()
        saved.append(gang.save("a"))
    assert saved[0].step == saved[1].step == WARM_UP + 4
    for name, tensor in saved[1].tensors.items():
        assert torch.equal(saved[0].tensors[name], tensor), name
    resumed = []
    for recorder in (TapeRecorder(), None):
        # It enters a gang that replays already.
        gang = Gang(r, DiscGuidance(), num_slots=2, recorder=recorder)
        gang.add(request("b"))
        for _ in range(WARM_UP + 2):
            gang.step()
        assert gang.add(replace(request("a"), checkpoint=saved[0].to_bytes())) == WARM_UP + 4
        found = []
        while not found:
            gang.step()
            found = [scene for scene in gang.take_finished() if scene.key == "a"]
        resumed += found
    assert_identical(*resumed)


def test_a_latent_model_is_replayed_too(tmp_path: Any) -> None:
    r = replace(recipe(), iterations=WARM_UP + 2)
    path = write_tiny_latent_pipeline(tmp_path / "model")
    guidance = LatentGuidance.load(path, device="cpu", dtype=torch.float32)
    scenes = []
    for recorder in (TapeRecorder(), None):
        gang = Gang(r, guidance, num_slots=1, recorder=recorder)
        scenes.append(drive(gang, {0: [request("a", "red ball")]})["a"])
        parts = gang.part_seconds()
        assert [set(p) for p in parts] == [{"unet", "vae", "field", "other"}] * r.iterations
    assert_identical(*scenes)


def test_parts_of_replayed_steps_are_timed() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=1, recorder=TapeRecorder())
    gang.add(request("a"))
    for _ in range(WARM_UP + 2):
        gang.step()
    told = gang.part_seconds()
    assert [set(parts) for parts in told] == [{"unet", "field", "other"}] * (WARM_UP + 2)
    assert all(part > 0 for parts in told for part in parts.values())


def test_a_step_that_cannot_be_recorded_is_done_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = TapeRecorder(breaks="operation not permitted\nwhen capturing")
    r = replace(recipe(), iterations=7)
    with caplog.at_level(logging.INFO, logger="engine.replay"):
        found = drive(Gang(r, DiscGuidance(), num_slots=1, recorder=recorder), {0: [request("a")]})
    assert recorder.num_recordings == 1, "it tries once"
    (line,) = caplog.messages
    assert "could not be recorded as CUDA graphs: operation not permitted when capturing" in line
    expected = drive(Gang(r, DiscGuidance(), num_slots=1), {0: [request("a")]})
    assert_identical(found["a"], expected["a"])


def test_capture_is_for_a_gpu_alone() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=1, capture=True)
    gang.add(request("a"))
    for _ in range(WARM_UP + 2):
        gang.step()
    assert gang.num_graphs == 0


def test_work_is_done_once_a_step() -> None:
    total = torch.zeros(1)
    replay = Replay(Stopwatch(torch.device("cpu")), TapeRecorder())
    calls = []

    def work() -> None:
        calls.append(1)
        total.add_(1)
        replay.lap("first")
        total.mul_(2)

    expected = 0.0
    for _ in range(WARM_UP + 5):
        replay.step(work, "second")
        expected = 2 * (expected + 1)
        assert float(total) == expected
    assert len(calls) == WARM_UP + 1
    assert replay.num_graphs == 2


class Literals(TorchFunctionMode):
    """Sees the device being handed numbers of Python, of which the dispatcher hears nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and answer.is_meta:
            raise AssertionError(f"{args[0]} to {answer.device}: the host would wait")
        return answer


class Far(TorchDispatchMode):
    """A device whose numbers are out of reach: that the host hands it any is a mistake, too.

    Unless `fetches`, of what is handed over without waiting: the sizes of that are in `fetched`.
    """

    def __init__(self, *, fetches: bool = False) -> None:
        super().__init__()
        self.fetched: list[tuple[int, ...]] = []
        self._fetches = fetches
        self._literals = Literals()

    def __enter__(self) -> "Far":
        self._literals.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._literals.__exit__(*raised)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            is_copy = func is torch.ops.aten.copy_.default
            source = args[1] if is_copy else args[0]
            if isinstance(answer, Tensor) and answer.is_meta != source.is_meta:
                queued = args[2:] == (True,) if is_copy else kwargs.get("non_blocking", False)
                if not (self._fetches and queued and answer.is_meta):
                    raise AssertionError(f"{source.device} to {answer.device}: the host would wait")
                self.fetched.append(tuple(answer.shape))
        return answer


def _asking(name: str, **changes: Any) -> Recipe:
    r = VARIANTS[name]()
    return replace(r, distillation=replace(r.distillation, **changes))


ASKED = {
    "dense": lambda: _asking("dense"),
    "hash, perp": lambda: _asking("hash, bands", perp_neg=True, prompt_views="interpolated"),
    "mip, lit, full": lambda: _asking("mip, lit", gradient="full", clamp=0.5),
}
"""Every kind of field, and every way in which the distillation asks its model."""


@pytest.fixture
def far() -> RecordingGuidance:
    """On the meta device nothing has a value, so that whoever asks for one fails."""
    meta = torch.device("meta")
    guidance = RecordingGuidance(device=meta, size=16)
    guidance.alphas_cumprod = schedule().to(meta)
    return guidance


@pytest.mark.parametrize("name", ASKED)
def test_a_step_asks_the_device_for_no_number(name: str, far: RecordingGuidance) -> None:
    r = ASKED[name]()
    gang = Gang(r, far, num_slots=2)
    gang.add(SceneRequest(key="a", prompt="a cup", seed=3))
    with Far():
        gang.step()
        gang.step()
    assert gang.progress() == {"a": 2 / r.iterations}
    assert len(far.calls) == 2


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.mean().item(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0], device="cpu").to(x.device).sum(),
        lambda x: torch.nonzero(x),
    ],
)
def test_a_step_that_waits_would_be_seen(
    waits: Callable[[Tensor], Any], far: RecordingGuidance, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = far.predict_noise

    def waiting(z_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        waits(z_t)
        return plain(z_t, t, text)

    monkeypatch.setattr(far, "predict_noise", waiting)
    gang = Gang(recipe(), far, num_slots=1)
    gang.add(SceneRequest(key="a", prompt="a cup", seed=3))
    with pytest.raises((RuntimeError, AssertionError, NotImplementedError)), Far():
        gang.step()


@pytest.mark.parametrize("name", ASKED)
def test_a_refill_waits_for_no_device(name: str, far: RecordingGuidance) -> None:
    r, near = ASKED[name](), RecordingGuidance(size=16)
    text = near.encode(texts_of("a cup", ""))
    begun = Gang(r, near, num_slots=1)
    begun.add(SceneRequest(key="b", prompt="", seed=4, text=text))
    begun.step()
    gang = Gang(r, far, num_slots=3)
    gang.add(SceneRequest(key="a", prompt="", seed=3, text=text.to("meta")))
    gang.step()
    with Far(fetches=True) as fresh:
        gang.add(SceneRequest(key="c", prompt="", seed=5, text=text))
    assert fresh.fetched == [text.shape], "the device makes all else itself"
    saved = begun.save("b").to_bytes()
    with Far(fetches=True) as resumed:
        gang.add(SceneRequest(key="b", prompt="", seed=4, text=text, checkpoint=saved))
    assert len(resumed.fetched) == 1 + len(begun.save("b").tensors)
    gang.step()
    assert gang.progress() == {"a": 2 / r.iterations, "b": 2 / r.iterations, "c": 1 / r.iterations}


@pytest.mark.parametrize(
    "copies",
    [
        lambda: torch.tensor([3.0], device="meta"),
        lambda: torch.ones(2).to("meta"),
        lambda: torch.zeros(2, device="meta").copy_(torch.ones(2)),
    ],
)
def test_a_refill_that_waits_would_be_seen(copies: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError, match="the host would wait"), Far(fetches=True):
        copies()


@pytest.mark.gpu
def test_cuda_graphs_make_the_same_scene(variant: Recipe) -> None:
    device = torch.device("cuda")
    found = []
    for capture in (True, False):
        guidance = RecordingGuidance(device=device, alphas_cumprod=schedule().to(device))
        gang = Gang(variant, guidance, num_slots=2, capture=capture)
        gang.add(request("a"))
        for _ in range(WARM_UP + 2):
            gang.step()
        gang.add(request("b"))
        gang.step()
        assert (gang.num_graphs > 0) == capture
        found.append({n: p.clone() for n, p in gang._parameters.items()})
    start = gang._starts.parameters(gang._seed)
    for name, p in found[1].items():
        # Sums of atomics come in an order of chance, and where they are next to nothing the
        # optimiser makes a whole step of it. A step more or less would be a sixth of the way.
        way = (p - start[name]).norm()
        assert (found[0][name] - p).norm() <= 0.05 * way, name
