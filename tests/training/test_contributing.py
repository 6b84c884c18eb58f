"""What docs/training.md shows of a new loss and a new network is run as it stands there."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.training.pictures import write_split
from training.checkpoint import load_checkpoint
from training.models import ARCHITECTURES

TEXT = (Path(__file__).resolve().parents[2] / "docs/training.md").read_text(encoding="utf-8")


def test_a_new_loss_and_a_new_network_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = TEXT.split("## Trying a new loss or network")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 30
    (tmp_path / "focal.py").write_text(code)
    for seed, split in enumerate(("train", "val")):
        write_split(tmp_path / split, per_source=4, seed=seed)
    config = "{name: a, preprocessing: raw, steps: 40, batch: 8, rate: 0.02, validate_every: 40}"
    (tmp_path / "a.yaml").write_text(config)
    run = tmp_path / "run"
    words = ["focal.py", str(tmp_path / "a.yaml"), "--data", str(tmp_path), "--output", str(run)]
    words += ["--licence", "none", "--workers", "0", "--threads", "1", "--experiments", "none"]
    settings = ("architecture=shallow", "data.crop=32", "policy={untouched: 1, two: 0}")
    monkeypatch.setattr(sys, "argv", [*words, "--set", *settings])
    monkeypatch.setitem(ARCHITECTURES, "shallow", ARCHITECTURES["tiny_ladeda"])  # undone afterwards
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tmp_path / "focal.py"), run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err
    model, card = load_checkpoint(run / "a.safetensors")
    assert type(model).__name__ == "Shallow" and card.architecture == "shallow"
