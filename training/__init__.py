import os

import edge as _edge  # noqa: F401  # switches telemetry off before a runtime is imported

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
