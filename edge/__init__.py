"""What runs on the device: pixels, model files, verdicts and sinks. Never imports torch."""
