"""`dreambatch k8s`."""

from dataclasses import dataclass

from pipeline import exit_codes
from pipeline.commands import run
from pipeline.kubernetes.values import Values


@dataclass(frozen=True, kw_only=True)
class Kubernetes(Values):
    """Print the objects of a run on Kubernetes with your own values, for `kubectl apply -f -`."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline.kubernetes import render

        text = render.render(self)
        if words := self.run_words():
            # Parsed here, so that a mistake is said before a cluster is built for it.
            run.parse(words, prog="dreambatch run").check()
        print(text, end="")
        return exit_codes.COMPLETE
