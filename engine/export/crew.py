"""How many exports run at a time beside a gang.

An export is a thread (`engine.aside` gives each a stream of its own on a GPU, `elsewhere` a mesh
process while it wants one). It waits for the device or for that process most of the time, and what
it makes depends on its scene alone, whoever works beside it.
"""

MOST = 6
"""Eight are no faster, and each takes some of the device's memory."""
_CORES_EACH = 2
"""The other half of them are the gang's. An export computes on hardly more than one. While it is
unwrapped (a second of 50,000 faces) up to two more are busy with waiting: xatlas starts a thread
for each further core, of which one works, and others give their cores to whoever wants them."""


def size(num_cores: int, *, is_gpu: bool) -> int:
    """Exports at a time, for a gang with so many cores; 1 on a CPU, where the gang needs them."""
    return min(MOST, max(1, num_cores // _CORES_EACH)) if is_gpu else 1
