from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytorch_lightning.loggers import MLFlowLogger

from edge.errors import MissingDependency, SinkError
from tests.training.toy_method import train
from training.experiments import Experiment
from training.settings import LoopSettings


def settings(**changes: object) -> LoopSettings:
    return LoopSettings.model_validate(
        {"name": "toy", "steps": 4, "batch": 4, "validate_every": 2, "rate": 0.01, **changes}
    )


def test_a_run_has_its_parameters_curves_and_files_also_after_a_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    first = Experiment(None, folder, "study", settings(steps=2))
    train(folder, settings(steps=2), loggers=first.loggers)
    second = Experiment(None, folder, "study", settings())
    train(folder, settings(), resume=True, loggers=second.loggers)
    second.keep([folder / "toy.safetensors", folder / "absent.png"])

    from mlflow.artifacts import download_artifacts

    (logger,) = second.loggers
    assert isinstance(logger, MLFlowLogger) and logger.run_id == first.loggers[0].run_id
    client = logger.experiment
    run = client.get_run(logger.run_id)
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    assert run.data.params["rate"] == "0.01"
    history = client.get_metric_history(logger.run_id, "score")
    assert [point.step for point in history] == [2, 4]
    assert {"loss", "rate", "margin"} <= run.data.metrics.keys()
    uri = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    found = download_artifacts(run_id=logger.run_id, tracking_uri=uri, dst_path=str(tmp_path / "d"))
    assert [path.name for path in Path(found).iterdir()] == ["toy.safetensors"]


def test_without_mlflow_there_is_the_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Experiment(None, tmp_path, "study", settings()).loggers == []
    with pytest.raises(MissingDependency, match=r"patchwatch\[experiments\]"):
        Experiment("sqlite:///x.db", tmp_path, "study", settings())


def test_none_does_without_and_does_not_import_it(tmp_path: Path) -> None:
    before = "mlflow" in sys.modules
    assert Experiment("none", tmp_path, "study", settings()).loggers == []
    assert ("mlflow" in sys.modules) == before


def test_a_store_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="--experiments: nonsense://x cannot be used"):
        Experiment("nonsense://x", tmp_path, "study", settings())
