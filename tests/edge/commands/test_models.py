from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.commands.models import markdown
from edge.manifest import Figure, Manifest
from edge.weights import DEFAULT, TINY, find_model, shipped
from patchwatch import main
from tests.fakes import make_manifest

MOST_BYTES = {DEFAULT: 16_000_000, TINY: 32_768, "lite0-faces": 4_000_000}


def manifests(capsys: pytest.CaptureFixture[str]) -> dict[str, Manifest]:
    assert main(["models", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    return {name: Manifest.model_validate(model["manifest"]) for name, model in models.items()}


def figures(*pairs: tuple[str, str, float]) -> tuple[Figure, ...]:
    return tuple(
        Figure(data="d", metric=metric, degradation=degradation, value=value)
        for metric, degradation, value in pairs
    )


def test_the_shipped_models_are_small_and_state_their_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = manifests(capsys)
    assert {DEFAULT, TINY} <= set(found)
    for name, manifest in found.items():
        assert manifest.name == name
        assert manifest.parameters and manifest.patches
        assert manifest.training.commit and "dirty" not in manifest.training.commit
        assert manifest.licence
        judged = {"untouched"} if manifest.face_side else {"untouched", "JPEG 75"}
        assert {f.degradation for f in manifest.validation} >= judged
        assert find_model(name).stat().st_size < MOST_BYTES[name]


def test_the_tables_name_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert f"{DEFAULT} (default)" in capsys.readouterr().out
    assert main(["models", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert f"| `{DEFAULT}` (default) |" in out
    for name in shipped():
        assert out.count(f"| `{name}`") == 1


def test_sources_are_counted_in_short_and_named_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    every = capsys.readouterr().out
    assert "sources)" in every and "ganforensics" not in every and len(every.splitlines()) < 100
    assert main(["models", DEFAULT]) == 0
    whole = capsys.readouterr().out
    assert "ganforensics" in whole and f"{TINY}" not in whole
    assert main(["models", "nope"]) == 2
    assert "Shipped: " in capsys.readouterr().err


def test_the_markdown_table_says_what_a_model_has_once_and_what_it_lacks() -> None:
    one = make_manifest(
        name=DEFAULT,
        parameters=2_000_000,
        region="center:512",
        validation=figures(("auc", "untouched", 0.815), ("auc", "fog", 0.7), ("found", "fog", 1)),
    )
    two = make_manifest(name="two", validation=figures(("auc", "untouched", 0.6)))
    lines = markdown([one, two]).splitlines()
    assert lines == [
        "| model | parameters | region | on validation pictures | untouched | fog |",
        "| --- | ---: | --- | --- | ---: | ---: |",
        f"| `{DEFAULT}` (default) | 2,000,000 | `center:512` | auc | 0.81 | 0.70 |",
        "|  |  |  | found | – | 1.00 |",
        "| `two` | not stated | `native` | auc | 0.60 | – |",
    ]


def test_a_wheel_that_lost_the_default_model_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge.commands.doctor.shipped", lambda: {TINY: Path("x")})
    assert main(["doctor"]) == 1
    assert f"no {DEFAULT}, the default; found {TINY}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [DEFAULT, TINY])
@pytest.mark.parametrize("hw", [(63, 63), (63, 700), (100, 64), (511, 513)])
def test_every_shipped_model_takes_pictures_smaller_than_its_region(
    tmp_path: Path, name: str, hw: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8))
    words = [str(path), "--model", name, "--backend", "onnxruntime"]
    assert main(["score", *words, "--format", "json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["error"] is None and np.isfinite(line["logit"])
    images = tmp_path / "images"
    assert main(["run", *words, "--headless", "--images", str(images)]) == 0
    assert len(list(images.iterdir())) == 1


def test_a_picture_too_small_for_the_default_model_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.png"
    cv2.imwrite(str(path), np.zeros((40, 80, 3), np.uint8))
    assert main(["score", str(path), "--format", "json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert f"is 80×40 pixels; {DEFAULT} needs at least 63×63" in error
    assert main(["run", str(path), "--headless"]) == 1
    err = capsys.readouterr().err
    assert "63×63" in err and "Traceback" not in err
    assert main(["score", str(path), "--region", "center:32"]) == 1
    assert "needs at least 63×63" in capsys.readouterr().err
