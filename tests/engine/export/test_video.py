import errno
import io
import subprocess
import sys

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from engine.configs.export import ExportConfig
from engine.export import export_asset, video

from .subjects import figure


def _animation(width: int, height: int, num: int = 6, milliseconds: int = 125) -> bytes:
    """Each frame of another grey, white on the left half."""
    frames = []
    for k in range(num):
        picture = np.full((height, width, 3), 30 * k, dtype=np.uint8)
        picture[:, : width // 2] = 255
        frames.append(Image.fromarray(picture))
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        lossless=True,
    )
    return buffer.getvalue()


def _decoded(film: bytes, folder, width: int, height: int) -> np.ndarray:
    path = folder / "film.mp4"
    path.write_bytes(film)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(
        [get_ffmpeg_exe(), "-v", "error", "-i", str(path), *raw], capture_output=True, check=True
    )
    return np.frombuffer(done.stdout, dtype=np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 47)])
def test_a_film_has_the_animation_s_frames(tmp_path, width: int, height: int):
    film = video.to_mp4(_animation(width, height))
    found = _decoded(film, tmp_path, width + width % 2, height + height % 2)
    assert len(found) == 6
    for k, frame in enumerate(found):
        assert np.abs(frame[4:-4, width // 2 + 4 : -4].astype(int) - 30 * k).max() <= 3
        assert frame[4:-4, 4 : width // 2 - 4].min() >= 250
    if width % 2:
        assert found[0, -1].min() > 200, "the line more is white"


def test_it_runs_at_the_animation_s_speed(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(video.to_mp4(_animation(32, 32, num=8, milliseconds=125)))
    told = subprocess.run([get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True)
    assert "Duration: 00:00:01.00" in told.stderr
    assert "h264" in told.stderr
    assert "yuv420p" in told.stderr
    assert " 8 fps" in told.stderr


def test_the_same_turntable_gives_the_same_bytes():
    config = ExportConfig(
        num_views=4, view_size=16, grid_size=24, turntable_frames=4, turntable_size=48
    )
    turntable = export_asset(figure(), config, metadata={}).turntable
    first, second = video.to_mp4(turntable), video.to_mp4(turntable)
    assert first == second
    assert first[4:8] == b"ftyp"


def test_without_ffmpeg_one_line_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r"^mp4: expected .*; pip install 'dreambatch\[video\]'$"):
        video.to_mp4(_animation(8, 8))


def test_a_failure_of_ffmpeg_is_one_line_about_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video, "_QUALITY", "no number")
    with pytest.raises(OSError, match="ffmpeg: no film came of the turntable: ") as failed:
        video.to_mp4(_animation(8, 8))
    assert failed.value.errno == errno.EIO
    assert "\n" not in str(failed.value)
