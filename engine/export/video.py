"""The turntable as a film that any player shows, made when somebody asks.

H.264 in MP4, made by the ffmpeg that the package imageio-ffmpeg brings along.
"""

import errno
import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence

_QUALITY = 18
"""Constant rate factor: 0 loses nothing, and at 18 the eye sees no difference."""


def to_mp4(turntable: bytes) -> bytes:
    """An animated picture as MP4, at its own speed, one turn.

    Sides of odd length get a white line more, which the format needs. Raises ValueError without
    imageio-ffmpeg, and OSError where ffmpeg fails: what it gets are frames, so the machine is short
    of something.
    """
    frames, seconds = _frames(turntable)
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        source += ["-r", f"{1.0 / seconds:.6f}", "-i", "-"]
        picture = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-pix_fmt", "yuv420p"]
        coding = ["-c:v", "libx264", "-crf", str(_QUALITY), "-threads", "1"]
        # The same frames give the same bytes, and a browser may start before it has all of them.
        plain = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart"]
        done = subprocess.run(
            [_ffmpeg(), "-v", "error", *source, *picture, *coding, *plain, str(film)],
            input=frames.tobytes(),
            capture_output=True,
        )
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            reason = f"ffmpeg: no film came of the turntable: {' '.join(words)}"
            raise OSError(errno.EIO, reason, str(film))
        return film.read_bytes()


def _ffmpeg() -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise ValueError(
            "mp4: expected the package imageio-ffmpeg, which is not installed; "
            "pip install 'dreambatch[video]'"
        ) from None
    return get_ffmpeg_exe()


def _frames(turntable: bytes) -> tuple[UInt8[np.ndarray, "T h w 3"], float]:
    """The pictures of an animation, and for how many seconds each is shown."""
    with Image.open(io.BytesIO(turntable)) as animation:
        frames, milliseconds = [], []
        for frame in ImageSequence.Iterator(animation):
            frames.append(np.asarray(frame.convert("RGB")))
            milliseconds.append(frame.info["duration"])
    return np.stack(frames), float(np.mean(milliseconds)) / 1000.0
