from datetime import UTC, datetime

from pipeline.dataset.piles import Collected, Garbage, Pile, render


def test_what_was_removed_is_told_by_kind() -> None:
    done = Collected(removed={"probes": Pile(count=1200, num_bytes=2_500_000)}, waiting={})
    assert render(done, is_dry=False) == "removed 1,200 probes (2.5 MB)"
    assert render(done, is_dry=True) == "would remove 1,200 probes (2.5 MB)"


def test_what_waits_is_told_with_its_reason_and_the_first_second_in_which_all_may_go() -> None:
    due = datetime(2026, 11, 29, 20, 57, 40, tzinfo=UTC).timestamp()
    waiting = {
        "one-asset files": Pile(count=5, num_bytes=500_000, due=due + 0.5),
        "checkpoints": Pile(count=1, num_bytes=500_000, due=due),
    }
    expected = [
        "waiting for readers of an older state: 5 one-asset files (0.5 MB), all may go from "
        "2026-11-29T20:57:41+00:00 on",
        "waiting for a run that goes on from them: 1 checkpoints (0.5 MB), all may go from "
        "2026-11-29T20:57:41+00:00 on",
    ]
    done = Collected(removed={}, waiting=waiting)
    assert render(done, is_dry=False).splitlines() == ["removed nothing", *expected]
    done = Collected(removed={"probes": Pile(count=1)}, waiting=waiting)
    assert render(done, is_dry=True).splitlines()[1:] == expected


def test_where_nothing_waits_that_is_said() -> None:
    done = Collected(removed={}, waiting={})
    assert render(done, is_dry=False) == "removed nothing, and nothing waits to be"


def test_a_pile_has_the_last_moment_of_what_is_in_it() -> None:
    pile = Pile()
    for due in (7.0, 9.0, 8.0):
        pile = pile.with_one(Garbage(kind="probes", name="x", num_bytes=3, due=due))
    assert pile == Pile(count=3, num_bytes=9, due=9.0)
