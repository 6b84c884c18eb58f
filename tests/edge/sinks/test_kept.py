from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.config.parts import KeepConfig
from edge.sinks.base import SinkContext
from edge.sinks.kept import KeptSink
from edge.sources.images import read_image
from edge.types import Evidence, Result, State, Verdict
from tests.edge.sinks.results import give, make_result, names
from tests.fakes import make_manifest

CONTEXT = SinkContext("gate")


def sink(folder: Path, **options: float) -> KeptSink:
    config = KeepConfig.model_validate({"folder": folder, **options})
    return KeptSink.from_options(config, CONTEXT)


def moment(at_s: float, logit: float, state: State) -> Result:
    """A frame at a time, with its own logit, under a verdict on its source."""
    image = np.random.default_rng(int(at_s)).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    made = make_result(image, index=int(at_s), pts=at_s, state=state)
    return replace(made, evidence=Evidence(logit), verdict=Verdict(state, 0.5))


@pytest.mark.parametrize(
    ("before", "logit", "state", "why"),
    [
        ("real", -4.0, "real", None),
        ("real", 0.01, "real", "doubtful"),
        ("real", 4.0, "real", "disputed"),
        ("fake", -4.0, "fake", "disputed"),
        ("real", 4.0, "fake", "alarm"),
        ("fake", 4.0, "fake", None),
    ],
)
def test_a_moment_is_kept_where_the_model_is_unsure_or_raises_an_alarm(
    tmp_path: Path, before: State, logit: float, state: State, why: str | None
) -> None:
    with sink(tmp_path / "kept") as kept:
        give(kept, moment(0, -4.0 if before == "real" else 4.0, before))
        at = set(names(tmp_path / "kept"))
        result = moment(60, logit, state)
        give(kept, result)
        new = [name for name in names(tmp_path / "kept") if name not in at]
    assert [name.rpartition("_")[2] for name in new] == (
        [f"{why}.json", f"{why}.png"] if why else []
    )
    if why:
        facts = json.loads((tmp_path / "kept" / new[0]).read_text())
        assert facts["why"] == why and facts["verdict"] == state and facts["logit"] == logit
        # Raw and lossless: what a training reads must not be traces of ours.
        assert np.array_equal(read_image(tmp_path / "kept" / new[1]), result.frame.image)


def test_a_moment_is_thought_of_as_the_model_does_that_judged_it(tmp_path: Path) -> None:
    with sink(tmp_path) as kept:
        for at_s, name, threshold in ((0, "old", 0.5), (60, "new", 0.9)):
            model = make_manifest(name=name, calibration={"threshold": threshold})
            give(kept, replace(moment(at_s, math.log(9), "real"), model=model))
    facts = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    found = sorted((each["model"], each["why"]) for each in facts)
    assert found == [("new", "doubtful"), ("old", "disputed")]


def test_a_clock_that_is_set_back_does_not_stop_it(tmp_path: Path) -> None:
    with sink(tmp_path, every_s=10) as kept:
        give(kept, moment(600, 0.01, "real"))
        give(kept, moment(5, 0.01, "real"))
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_no_more_than_one_in_a_time_and_no_more_than_so_many_in_all(tmp_path: Path) -> None:
    with sink(tmp_path, every_s=10, most=3) as kept:
        for at_s in range(0, 100, 4):
            give(kept, moment(at_s, 0.01, "real"))
    assert len(names(tmp_path)) == 2 * 3
    with sink(tmp_path, days=1e-9) as kept:
        assert names(tmp_path) == []


def test_what_has_no_evidence_or_did_not_change_is_not_kept(tmp_path: Path) -> None:
    with sink(tmp_path) as kept:
        give(kept, replace(moment(0, 0.01, "real"), unchanged=True))
        give(kept, replace(moment(20, 0.01, "real"), evidence=None))
        give(kept, replace(moment(40, 0.01, "uncertain"), verdict=Verdict("uncertain")))
    assert names(tmp_path) == []


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"x")
    (tmp_path / "train" / "0_real").mkdir(parents=True)
    with sink(tmp_path, days=1e-9, most=1) as kept:
        for at_s in (0, 20, 40):
            give(kept, moment(at_s, 0.01, "real"))
    assert {"holiday.png", "train"} <= set(names(tmp_path))
