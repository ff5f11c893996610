"""What a user may say about a run on Kubernetes; free of heavy imports."""

import math
import re
import shlex
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import tyro

from pipeline.errors import UserError

LONGEST_NAME = 40
"""Characters; KubeRay adds to them what tells one cluster of a job from the next."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_WORD = re.compile(r"[\w@%+=:,./~-]+")
"""What the head's shell passes on as it is."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """Print the objects of a run on Kubernetes with your own values, for `kubectl apply -f -`."""

    action: tyro.conf.Positional[Literal["render"]]
    """What to do."""
    overlay: Literal["gke-spot", "kueue", "cluster"] = "gke-spot"
    """gke-spot: a job whose machines come and go; kueue: a job of a fixed size in a queue; cluster:
    a cluster that stays, for `ray job submit`."""
    image: str
    """The image of head, workers and submitter, with its registry and its tag or digest."""
    manifest: str | None = None
    """Table of prompts, at a URL that head and workers reach."""
    output: str | None = None
    """Directory of the dataset, at such a URL."""
    gpus: int
    """GPUs to ask for."""
    recipe: str | None = None
    """As for `run`."""
    guidance: str | None = None
    """As for `run`."""
    slots: int | Literal["auto"] | None = None
    """As for `run`."""
    flags: str = ""
    """More flags of `run`, in one word: --flags="--limit 100 --strict"."""
    name: str = "dreambatch"
    """What the job, and all that belongs to it, is called."""
    namespace: str | None = None
    """Where it goes. Default: where kubectl is."""
    accelerator: str | None = None
    """gke-spot, cluster: GKE's name of the GPU. Default: nvidia-l4."""
    gpus_per_machine: int = 1
    """GPUs of a worker's pod; all of its machine is best."""
    cpus_per_gpu: int = 6
    """Cores a GPU, for a worker's pod."""
    memory_per_gpu: int = 24
    """Memory a GPU, in GiB, for a worker's pod."""
    on_demand_gpus: int | None = None
    """gke-spot, cluster: GPUs that may be on demand when spot machines are not to be had. Default:
    all."""
    queue: str | None = None
    """kueue: the LocalQueue. Default: gpus."""
    google_service_account: str | None = None
    """NAME@PROJECT.iam.gserviceaccount.com that the pods act as. Default: as themselves."""
    monitoring: bool = True
    """PodMonitors, alerts and dashboards; they need the Prometheus operator's CRDs."""

    def check(self) -> None:
        """Raises UserError. The parser constructs, and would wrap an error in its own words."""
        self._check_numbers()
        self._check_overlay()
        if not _NAME.fullmatch(self.name) or len(self.name) > LONGEST_NAME:
            raise UserError(
                f"--name: expected at most {LONGEST_NAME} of a-z, 0-9 and -, a letter first, "
                f"got {self.name!r}"
            )
        self._check_flags()

    def run_flags(self) -> list[str]:
        """The flags of `run` beside manifest and output, as the user said them."""
        said = {
            "--recipe": self.recipe,
            "--guidance": self.guidance,
            "--slots": self.slots,
            "--gpus": self.gpus,
        }
        pairs = [(flag, str(value)) for flag, value in said.items() if value is not None]
        try:
            more = shlex.split(self.flags)
        except ValueError as error:
            raise UserError(f"--flags {self.flags!r}: {error}") from None
        return [*chain.from_iterable(pairs), *more]

    def run_words(self) -> list[str]:
        """All that `run` is called with; nothing for a cluster that stays."""
        if self.manifest is None or self.output is None:
            return []
        return ["--manifest", self.manifest, "--output", self.output, *self.run_flags()]

    def machines(self, num_gpus: int) -> int:
        """Pods that hold so many GPUs."""
        return math.ceil(num_gpus / self.gpus_per_machine)

    def _check_numbers(self) -> None:
        for name in ("gpus", "gpus_per_machine", "cpus_per_gpu", "memory_per_gpu"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag}: expected 1 or more, got {getattr(self, name)}")
        if self.on_demand_gpus is not None and self.on_demand_gpus < 0:
            raise UserError(f"--on-demand-gpus: expected 0 or more, got {self.on_demand_gpus}")

    def _check_flags(self) -> None:
        for word in self.run_flags():
            if not _WORD.fullmatch(word):
                raise UserError(
                    f"{word!r}: expected no blanks and nothing else that means something to a shell"
                )
            if word.startswith("--metrics-port"):
                raise UserError("--metrics-port: the head's port is fixed; leave it out")

    def _check_overlay(self) -> None:
        is_queued = self.overlay == "kueue"
        misplaced = {
            "--queue": self.queue is not None and not is_queued,
            "--accelerator": self.accelerator is not None and is_queued,
            "--on-demand-gpus": self.on_demand_gpus is not None and is_queued,
        }
        for flag, is_misplaced in misplaced.items():
            if is_misplaced:
                raise UserError(f"{flag}: overlay {self.overlay} has none; leave it out")
        if self.overlay == "cluster":
            self._check_without_run()
        else:
            self._check_run()

    def _check_run(self) -> None:
        for name in ("manifest", "output"):
            if "://" not in (getattr(self, name) or ""):
                raise UserError(
                    f"--{name}: expected a URL that all machines reach, such as gs://bucket/name, "
                    f"got {getattr(self, name)}"
                )

    def _check_without_run(self) -> None:
        for name in ("manifest", "output", "recipe", "guidance", "slots", "flags"):
            if getattr(self, name):
                raise UserError(
                    f"--{name}: a cluster that stays has no run; say it to `ray job submit`"
                )
