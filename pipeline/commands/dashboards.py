"""`dreambatch dashboards`."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from pipeline import exit_codes
from pipeline.errors import UserError
from pipeline.plain_text import printable

_WINDOW = re.compile(r"[1-9]\d*(ms|s|m|h|d)")


@dataclass(frozen=True, kw_only=True)
class Dashboards:
    """Write the Grafana dashboards, or draw a preview of them from a Prometheus."""

    action: tyro.conf.Positional[Literal["render", "preview"]] = "render"
    """render: Grafana's JSON; preview: a PNG each, drawn without Grafana."""
    to: str | None = None
    """Directory to write to. Default, with render: only tell which files there are."""
    prometheus: str | None = None
    """preview: where Prometheus is, such as http://localhost:9090."""
    run: str | None = None
    """preview: the run. Default: the newest that Prometheus has."""
    hours: float = 24.0
    """preview: look for the run in the last hours."""
    scrape_seconds: float = 15.0
    """preview: time between two scrapes."""
    window: str = "15m"
    """preview: the dashboards' window, over which rates are taken."""
    price: float = 1.0
    """preview: US dollars for an hour of one GPU."""

    def check(self) -> None:
        """Raises UserError. The parser constructs, and would wrap an error in its own words."""
        if self.action == "preview":
            for flag, value in (("--prometheus", self.prometheus), ("--to", self.to)):
                if value is None:
                    raise UserError(f"dashboards preview: expected {flag}")
        for name in ("hours", "scrape_seconds", "price"):
            if not 0 < getattr(self, name) < float("inf"):
                flag = name.replace("_", "-")
                raise UserError(f"--{flag}: expected more than 0, got {getattr(self, name)}")
        if not _WINDOW.fullmatch(self.window):
            raise UserError(f"--window: expected such as 15m, got {self.window!r}")

    def answer(self) -> int:
        """See `pipeline.commands`. Says what was written, a file a line."""
        self.check()
        paths = self._preview() if self.action == "preview" else self._render()
        print(printable("\n".join(map(str, paths))))
        return exit_codes.COMPLETE

    def _render(self) -> list[Path]:
        from pipeline.dashboards import render

        if self.to is None:
            return [Path(name) for name in render.files()]
        return render.write(Path(self.to))

    def _preview(self) -> list[Path]:
        try:
            from pipeline.dashboards.preview import album, prometheus
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "matplotlib":
                raise
            raise UserError(
                "dashboards preview: matplotlib is missing; pip install 'dreambatch[preview]'"
            ) from None
        assert self.prometheus is not None
        assert self.to is not None
        now = time.time()
        span = prometheus.Span(
            start=now - 3600 * self.hours, end=now, scrape_seconds=self.scrape_seconds
        )
        given = {"window": self.window, "price": f"{self.price:g}"}
        if self.run is not None:
            given["run"] = self.run
        return album.write(Path(self.to), prometheus.query(self.prometheus), span, given)
