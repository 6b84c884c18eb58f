"""A real Prometheus reads the figures, the rules and what the dashboard asks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.edge.web.pages import TOKEN, page
from tests.fakes import wait_for
from tests.servers import free_port
from tests.test_doors import ROOT

DEPLOY = ROOT / "deploy"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="needs the package prometheus",
)


def asked() -> list[str]:
    """Every expression of the rules and the dashboard."""
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
    board = json.loads((DEPLOY / "grafana.json").read_text())
    targets = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + [expr.replace("$camera", ".*") for expr in targets]


def test_rules_and_dashboard_ask_for_figures_that_there_are(model: str) -> None:
    with page(model, "door") as served:
        served.add("door")
        text = served.client.get("/metrics").text
    given = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | {"up"}
    given |= {f"{name}_bucket" for name in given}
    for expression in asked():
        names = set(re.findall(r"\b(?:patchwatch_\w+|up)\b", expression))
        assert names <= given, expression


@needs_prometheus
def test_the_rules_and_the_example_are_valid() -> None:
    for words in (["check", "rules", "alerts.yaml"], ["check", "config", "prometheus.yaml"]):
        done = subprocess.run(["promtool", *words], cwd=DEPLOY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def model_info(board: str, values: str, name: str, precision: str) -> dict[str, str]:
    labels = f'instance="{board}",name="{name}",precision="{precision}"'
    return {"series": f"patchwatch_model_info{{{labels}}}", "values": values}


@needs_prometheus
@pytest.mark.parametrize(
    ("series", "firing"),
    [
        ([("a", "1x300", "old", "fp32"), ("b", "1x300", "new", "fp32")], True),
        # The second board takes the new model after two hours.
        (
            [
                ("a", "1x300", "new", "fp32"),
                ("b", "1x120 stale", "old", "fp32"),
                ("b", "_x121 1x179", "new", "fp32"),
            ],
            False,
        ),
        ([("a", "1x300", "new", "fp32"), ("b", "1x300", "new", "fp16")], False),
    ],
    ids=["differ", "catches up", "precisions alone"],
)
def test_boards_that_differ_for_three_hours_are_an_alert(
    tmp_path: Path, series: list[tuple[str, str, str, str]], firing: bool
) -> None:
    said = {"summary": "boards have run 2 different models for three hours"}
    alert = {"exp_labels": {"severity": "warning"}, "exp_annotations": said}
    checks = [
        {"eval_time": at, "alertname": "ModelsDiffer", "exp_alerts": [alert] * there}
        for at, there in (("2h55m", False), ("3h5m", firing))
    ]
    given = [model_info(*each) for each in series]
    test = {"interval": "1m", "input_series": given, "alert_rule_test": checks}
    rules = {"rule_files": [str(DEPLOY / "alerts.yaml")], "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(rules))
    words = ["promtool", "test", "rules", "test.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
@pytest.mark.slow
def test_prometheus_scrapes_with_a_token_and_answers_the_dashboard(
    model: str, tmp_path: Path
) -> None:
    port = free_port()
    with page(model, "door", "yard", token=TOKEN) as served:
        served.add("door", "fake", 0.75)
        served.add("yard", "no_signal")
        (tmp_path / "token").write_text(TOKEN)
        shutil.copy(DEPLOY / "alerts.yaml", tmp_path)
        config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
        config["global"]["scrape_interval"] = "1s"
        (job,) = config["scrape_configs"]
        job["static_configs"] = [{"targets": [str(served.client.base_url).split("//")[1]]}]
        job["authorization"] = {"credentials_file": "token"}
        (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
        command = ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        try:

            def query(expression: str) -> Any:
                try:
                    address = f"http://127.0.0.1:{port}/api/v1/query"
                    answer = httpx.get(address, params={"query": expression}, trust_env=False)
                except httpx.TransportError:
                    return None
                return answer.json()["data"]["result"] if answer.status_code == 200 else None

            def value(expression: str) -> dict[str, float]:
                found = query(expression) or []
                return {each["metric"]["camera"]: float(each["value"][1]) for each in found}

            wait_for(lambda: value("patchwatch_score") == {"door": 0.75})
            assert value("patchwatch_up") == {"door": 1.0, "yard": 0.0}
            assert value('patchwatch_verdict{state="fake"}') == {"door": 1.0, "yard": 0.0}
            assert value("patchwatch_age_seconds_count") == {"door": 1.0}
            samples = "count_over_time(patchwatch_up[1m])"  # a rate needs two
            wait_for(lambda: min(value(samples).values(), default=0.0) >= 2)
            for expression in asked():
                assert query(expression) is not None, expression
        finally:
            process.terminate()
            process.wait(20)
