"""Measurements; they look at everything and change nothing."""

import edge as _edge  # noqa: F401  # switches telemetry off before a runtime is imported
