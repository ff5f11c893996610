"""What a user may say about an evaluation; free of heavy imports."""

from dataclasses import dataclass

from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Let judges look at the assets and keep what they say; the same command again goes on."""

    output: str
    """Directory of the dataset."""
    judge: tuple[str, ...] = ()
    """`clip:NAME`: a CLIP by its hub id, directory or URL; `j2`, `j1` or a directory: a judge of
    the embedded world. The first one's overall score decides `is_best`. Default: j2, where all
    assets are of the packaged diffusion model."""
    captions: str | None = None
    """Table of prompts, like a manifest: the captions among which an asset must find its own, 1,024
    at most. Default: the dataset's own prompts."""
    report: str | None = None
    """Write a page with histograms, and the best and the worst assets, into this HTML file."""
    metrics_port: int = 9464
    """Port of the Prometheus metrics; 0: any free one."""

    def check(self) -> None:
        """Raises UserError. The parser constructs, and would wrap an error in its own words."""
        if not 0 <= self.metrics_port <= 65535:
            raise UserError(
                f"--metrics-port: expected 0 (any free port) to 65535, got {self.metrics_port}"
            )
        if self.report is not None and not self.report.lower().endswith((".html", ".htm")):
            raise UserError(f"--report: expected a file that ends in .html, got {self.report!r}")
