import pytest

from pipeline.storage.persistence import persist


class Action:
    """Fails so many times."""

    def __init__(self, num_failures: int) -> None:
        self.num_failures = num_failures
        self.num_calls = 0

    def __call__(self) -> int:
        self.num_calls += 1
        if self.num_calls <= self.num_failures:
            raise OSError(f"failure {self.num_calls}")
        return self.num_calls


@pytest.mark.parametrize("num_failures", [0, 1, 2])
def test_it_is_tried_until_it_succeeds(num_failures: int) -> None:
    assert persist(Action(num_failures), [0.0, 0.0]) == num_failures + 1


def test_the_last_error_is_raised() -> None:
    action = Action(9)
    with pytest.raises(OSError, match="failure 3"):
        persist(action, [0.0, 0.0])
    assert action.num_calls == 3
