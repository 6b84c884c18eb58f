"""From evidence to a verdict: calibration, smoothing, alerts. Nothing here draws."""
