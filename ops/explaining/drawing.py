"""An explanation as pictures: heat over frames, FEX's own maps, and in words how far to trust it; as PNG and as MP4.

Legend: `T` segments, `H W` pixels.
"""

from __future__ import annotations

import numpy as np

from ops.explaining.explain import Explanation

MOST = 0.6  # how much of a pixel the hottest place takes


def overlaid(found: Explanation) -> np.ndarray:
    """The frames with their heat on them, uint8 `(T, H, W, 3)`: cold places stay as they are, only paler."""
    from matplotlib import colormaps

    grey = found.frames.mean(axis=3, keepdims=True) * 0.5 + found.frames * 0.5  # colours would mix with the heat's
    heat = found.heat[..., None]
    colours = colormaps["inferno"](found.heat)[..., :3] * 255  # (T, H, W, 3)
    share = MOST * np.sqrt(heat)
    return np.rint(grey * (1 - share) + colours * share).astype(np.uint8)
