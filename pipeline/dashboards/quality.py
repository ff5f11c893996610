"""*Quality*: what comes out: meshes, opacity, losses and scores, as distributions over assets."""

from pipeline.dashboards.frame import dashboard
from pipeline.dashboards.links import alert, sibling
from pipeline.dashboards.panels import Json, heatmap, series, stat
from pipeline.dashboards.promql import STEADY, increase, quantile, quantiles, rate

_EMPTY = rate("meshes_total", 'status="empty"')
_MESHES = rate("meshes_total")


def build() -> Json:
    """The whole dashboard."""
    rows = {
        "Meshes": [*_glance(), *_meshes()],
        "Opacity": _opacity(),
        "Losses": _losses(),
        "Scores": _scores(),
    }
    return dashboard("quality", "What a run's assets are like, as far as a number tells.", rows)


def _glance() -> list[Json]:
    return [
        stat(
            "Meshes empty",
            "Part of the assets committed in the window in which no surface was found.",
            "percentunit",
            {"empty": f"sum ({_EMPTY}) / (sum ({_MESHES}) > 0)"},
            alert("DreambatchFailures"),
            width=6,
        ),
        stat(
            "Triangles",
            "Median of the meshes in the window that are not empty.",
            "short",
            {"median": quantile(0.5, "", rate("asset_mesh_faces_bucket"))},
            sibling("store", "bytes an asset"),
            width=6,
        ),
        stat(
            "Opacity",
            "Median over the assets in the window of the mean opacity of their views: 0 is an "
            "empty scene, 1 one that fills every picture.",
            "percentunit",
            {"median": quantile(0.5, "", rate("asset_opacity_bucket"))},
            sibling("job", "failed attempts"),
            width=6,
        ),
        stat(
            "Score",
            "Median of each score, over the assets in the window.",
            "none",
            {"{{score}}": quantile(0.5, "score", rate("asset_score_bucket"))},
            sibling("job", "the run's recipe"),
            width=6,
        ),
    ]


def _meshes() -> list[Json]:
    return [
        series(
            "Meshes an hour",
            "Assets committed, by what came of their mesh. empty: no surface was found.",
            "suffix: /h",
            {"{{status}}": f"3600 * sum by (status) ({_MESHES})"},
            sibling("job", "failed attempts"),
            stacked=True,
        ),
        heatmap(
            "Triangles a mesh",
            "Meshes by their triangles, empty ones left out.",
            "short",
            _growth("asset_mesh_faces"),
            sibling("store", "bytes an asset"),
        ),
    ]


def _opacity() -> list[Json]:
    return [
        heatmap(
            "Opacity of the assets",
            "Assets by the mean opacity of their views. Near 0 they have vanished, near 1 they are "
            "fog.",
            "percentunit",
            _growth("asset_opacity"),
            sibling("job", "failed attempts"),
        ),
        series(
            "Opacity, over time",
            "Quantiles of the assets in the window.",
            "percentunit",
            quantiles(rate("asset_opacity_bucket"), (5, 50, 95)),
            sibling("job", "failed attempts"),
        ),
    ]


def _losses() -> list[Json]:
    """No heatmap: losses differ by magnitudes, and their names are the recipe's."""
    buckets = rate("asset_loss_bucket")
    return [
        series(
            f"Losses, {name}",
            "Last value of each loss, weighted as the recipe says, over the assets in the window. "
            "Buckets are wide, and within one it is a guess.",
            "none",
            {"{{loss}}": quantile(share, "loss", buckets)},
            sibling("job", "the run's recipe"),
            scale="symmetric logarithm",
        )
        for name, share in (("median", 0.5), ("95th percentile", 0.95))
    ]


def _scores() -> list[Json]:
    return [
        series(
            "Scores, over time",
            "Quantiles of each score, over the assets in the window; 1 is best. Nothing where no "
            "asset is scored.",
            "none",
            quantiles(rate("asset_score_bucket"), (10, 50, 90), by="score"),
            sibling("job", "the run's recipe"),
            width=24,
            scale="free",
        ),
    ]


def _growth(name: str) -> str:
    """Assets by bucket, for a heatmap."""
    return f"sum by (le) ({increase(f'{name}_bucket', window=STEADY)})"
