from __future__ import annotations

import json

import pytest

from edge.manifest import Manifest
from edge.weights import DEFAULT, find_model, shipped
from patchwatch import main


def test_the_default_model_is_shipped_small_and_states_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    manifest = Manifest.model_validate(models[DEFAULT]["manifest"])
    assert manifest.parameters == 1297
    assert manifest.training.commit and "dirty" not in manifest.training.commit
    assert {figure.degradation for figure in manifest.validation} >= {"untouched", "JPEG 75"}
    assert find_model(DEFAULT).stat().st_size < 32_768


def test_the_tables_name_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert main(["models", "--markdown"]) == 0
    out = capsys.readouterr().out
    for name in shipped():
        assert name in out and f"| `{name}` | 1,297 |" in out
