"""Whatever the OpenAPI allows, and what it does not, gets an answer that is no failure of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok

from edge.sinks.incidents import IncidentStore
from tests.edge.web.pages import page


@pytest.mark.slow
def test_no_request_makes_the_server_fail(model: str, tmp_path: Path) -> None:
    database = tmp_path / "incidents.db"
    IncidentStore(database).check()
    with page(model, "door", source="0", alerts={"database": database}) as served:
        served.add("door")
        base = str(served.client.base_url)
        schema = schemathesis.openapi.from_url(f"{base}/api/v1/openapi.json")
        tried = 0
        for found in schema.get_all_operations():
            operation = found.ok() if isinstance(found, Ok) else None
            # These two go on for as long as the run.
            if operation is None or operation.path.endswith(("/live", "/events")):
                continue
            tried += 1

            @hypothesis.settings(
                max_examples=15,
                deadline=None,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy())
            def call(case: Any) -> None:
                case.call_and_validate(checks=[not_a_server_error], timeout=60)

            call()
        assert tried >= 11
