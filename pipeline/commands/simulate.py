"""`dreambatch simulate`."""

from dataclasses import dataclass, fields

from pipeline import exit_codes
from pipeline.simulation.assumptions import Assumptions


@dataclass(frozen=True, kw_only=True)
class Simulate(Assumptions):
    """Plan a cluster: the real driver on simulated machines that fail as assumed."""

    json: bool = False
    """As JSON."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline import simulate

        assumptions = Assumptions(**{x.name: getattr(self, x.name) for x in fields(Assumptions)})
        report = simulate.simulate(assumptions)
        print(simulate.show(report, as_json=self.json))
        return exit_codes.COMPLETE if report.is_sound else exit_codes.FAILURE
