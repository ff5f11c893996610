import torch

from engine.guidance.guidance import Guidance
from engine.guidance.timed import TimedGuidance
from engine.stopwatch import Stopwatch
from tests.engine.fakes import DiscGuidance


class Written(Stopwatch):
    """Writes its laps down."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.laps: list[str] = []

    def lap(self, part: str) -> None:
        self.laps.append(part)


def test_it_is_the_same_model_with_its_forwards_timed() -> None:
    model, watch = DiscGuidance(), Written()
    timed = TimedGuidance(model, watch)
    assert isinstance(timed, Guidance)
    assert (timed.device, timed.size) == (model.device, model.size)
    assert timed.alphas_cumprod is model.alphas_cumprod
    text = timed.encode(["red disc", "a thing"])
    assert torch.equal(text, model.encode(["red disc", "a thing"]))
    x = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    assert torch.equal(timed.represent(x), x)
    assert watch.laps == []
    t = torch.tensor([100, 900])
    assert torch.equal(timed.predict_noise(x, t, text), model.predict_noise(x, t, text))
    assert watch.laps == ["other", "unet"]


def test_an_encoder_is_timed_for_itself() -> None:
    class Encoding(DiscGuidance):
        def represent(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 * x

    watch = Written()
    x = torch.ones(1, 3, 16, 16)
    assert torch.equal(TimedGuidance(Encoding(), watch).represent(x), 0.5 * x)
    assert watch.laps == ["vae"]
