"""From a torch checkpoint to a model file that is folded, checked and held to its numbers."""

import edge as _edge  # noqa: F401  # switches telemetry off before a runtime is imported
