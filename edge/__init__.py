"""What runs on the device: pixels, model files, verdicts and sinks. Never imports torch."""

import os

# What watches private rooms reports to nobody. ONNX Runtime from 1.29 on writes a device id and an
# event database below the home folder and looks up its maker's collector, unless this is set before
# it is imported; nothing that is called later keeps it from either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
