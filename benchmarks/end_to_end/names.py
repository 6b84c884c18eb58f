"""What candidates are called, in rows and in what is drawn of them."""

from __future__ import annotations

DECODE_ALONE, MODEL_ALONE = "decode alone", "model alone"
BARE, OVERLAY, ENCODED = "no picture", "overlay", "overlay and encoding"
VARIANTS = (BARE, OVERLAY, ENCODED)
CANDIDATES = (DECODE_ALONE, MODEL_ALONE, *VARIANTS)
