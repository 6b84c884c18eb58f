"""Experiments in MLflow: parameters, curves and files of each run, to look at and compare.

`mlflow ui --backend-store-uri URI` shows them; `mlflow artifacts download --run-id ID` fetches the
files of a run, its best model included.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from edge.errors import MissingDependency, SinkError
from edge.files import write_whole
from edge.sources.address import redact

if TYPE_CHECKING:
    from pytorch_lightning.loggers import MLFlowLogger

NONE = "none"
INSTALL = "pip install 'patchwatch[experiments]'"
RUN_ID = "mlflow-run.txt"


class Experiment:
    """One run in MLflow, which a resumed training goes on with.

    Args:
        uri: of the tracking store; None for the default, `none` for no MLflow.
        folder: of the run.
        name: of the experiment that the run belongs to.
        config: its values become parameters; None for none.

    Attributes:
        loggers: for Lightning's Trainer; empty without MLflow.

    Raises:
        MissingDependency: a store is named, and MLflow is not installed.
        SinkError: the store cannot be reached.
    """

    def __init__(self, uri: str | None, folder: Path, name: str, config: BaseModel | None) -> None:
        self.loggers: list[MLFlowLogger] = []
        if uri == NONE:
            return
        if importlib.util.find_spec("mlflow") is None:
            if uri is None:
                return
            raise MissingDependency("mlflow", "keep experiments", INSTALL)
        local = folder.absolute().parent
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{local / 'mlflow.db'}"
        artifacts = (local / "mlruns").as_uri() if uri.startswith("sqlite:") else None
        known = (folder / RUN_ID).is_file()
        try:
            logger = _logger(uri, folder, name, artifacts)
            write_whole(folder / RUN_ID, f"{logger.run_id}\n")
            if config and not known:  # MLflow lets no parameter change, and steps may be added
                logger.log_hyperparams(config.model_dump(mode="json"))
        except Exception as error:  # MLflow, SQLAlchemy and requests have no common error
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            reason = reason.replace(uri, redact(uri)).rstrip(".")
            raise SinkError(f"--experiments: {redact(uri)} cannot be used ({reason}).") from None
        self.loggers = [logger]

    def keep(self, files: Iterable[Path]) -> None:
        """Copy files to the run; those that are absent are left out."""
        for logger in self.loggers:
            for path in files:
                if path.is_file():
                    logger.experiment.log_artifact(logger.run_id, str(path))


def _logger(uri: str, folder: Path, name: str, artifacts: str | None) -> MLFlowLogger:
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from pytorch_lightning.loggers import MLFlowLogger

    warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy)\b")
    known = folder / RUN_ID
    return MLFlowLogger(
        name,
        run_name=folder.name,
        tracking_uri=uri,
        artifact_location=artifacts,
        run_id=known.read_text().strip() if known.is_file() else None,
    )
