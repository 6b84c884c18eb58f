"""Where results go: one module per sink, and one row per sink in the table `SINKS`.

A new sink is a `ConfiguredSink` in a module of its own and a row here; its options then stand under
its name in the section `sinks` of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError
from pydantic_core import CoreSchema

from edge.schema import explain
from edge.sinks.paths import placed

if TYPE_CHECKING:
    from edge.config import RunConfig
    from edge.config.parts import CameraConfig
    from edge.schema import Strict
    from edge.sinks.base import ConfiguredSink, SinkContext


@dataclass(frozen=True, slots=True)
class SinkKind:
    """A row of the table.

    Attributes:
        name: fit to be shown, for instance "recording".
        made_by: `module:class` of a `ConfiguredSink`; imported only by a run that uses it.
        section: of the configuration, where its options stand; in `sinks` under its name.
        key: of that section, which asks for the sink unless it is null.
        options: in `sinks`: `module:class` of what its options are checked by.
        sharing: whether cameras may write to one place: `never`; `place`, each by a sink of its
            own; or `sink`, one that takes the results of all.
    """

    name: str
    made_by: str
    section: Literal["output", "alerts", "keep", "sinks"] = "sinks"
    key: str = ""
    options: str = ""
    sharing: Literal["never", "place", "sink"] = "never"

    def place(self, config: CameraConfig | RunConfig, name: str) -> str | None:
        """Where a source's results go, as text that is equal for equal places; None for nowhere."""
        options = self._options(config)
        value = getattr(options, self.key) if self.key and options is not None else options
        return None if value is None else placed(str(value), name)

    def make(self, config: CameraConfig | RunConfig, context: SinkContext) -> ConfiguredSink:
        """The sink, unopened."""
        maker: type[ConfiguredSink] = _imported(self.made_by)
        return maker.from_options(self._options(config), context)

    def _options(self, config: CameraConfig | RunConfig) -> Strict | None:
        section = getattr(config, self.section)
        options: Strict | None = section.get(self.name) if self.section == "sinks" else section
        return options


# JSON lines come last: where sinks are served one after the other, a line holds the time of each.
SINKS = [
    SinkKind("recording", "edge.sinks.recording:RecordingSink", "output", "save"),
    SinkKind("images", "edge.sinks.images:ImagesSink", "output", "images"),
    SinkKind("report", "edge.sinks.report:ReportSink", "output", "report"),
    SinkKind("events", "edge.sinks.events:EventsSink", "alerts", "folder", sharing="place"),
    SinkKind("kept", "edge.sinks.kept:KeptSink", "keep", "folder", sharing="place"),
    SinkKind(
        "incidents", "edge.sinks.incidents:IncidentsSink", "alerts", "database", sharing="place"
    ),
    SinkKind(
        "mqtt",
        "edge.sinks.mqtt:MqttSink",
        key="host",
        options="edge.sinks.mqtt:MqttOptions",
        sharing="place",
    ),
    SinkKind(
        "webhook",
        "edge.sinks.webhook:WebhookSink",
        key="place",
        options="edge.sinks.webhook:WebhookOptions",
        sharing="place",
    ),
    SinkKind("lines", "edge.sinks.jsonl:JsonLinesSink", "output", "json_lines", sharing="sink"),
]


def wanted(config: CameraConfig | RunConfig) -> list[SinkKind]:
    """The kinds of sinks that a configuration asks for, in the order of the table."""
    return [kind for kind in SINKS if kind.place(config, "") is not None]


def make_sinks(config: CameraConfig | RunConfig, context: SinkContext) -> list[ConfiguredSink]:
    """The sinks that a configuration asks for, unopened, in the order of the table."""
    return [kind.make(config, context) for kind in wanted(config)]


def check_options(sinks: object) -> dict[str, Strict]:
    """The section `sinks` as read: options by the name of a sink.

    Raises:
        ValueError: there is no sink of a name, or it does not take the options.
    """
    rows = {kind.name: kind for kind in SINKS if kind.section == "sinks"}
    if not isinstance(sinks, Mapping):
        raise ValueError("expected sinks by their names, each with its options.")
    for name in sinks:
        if name not in rows:
            known = ", ".join(rows) or "none in this version"
            raise ValueError(f"there is no sink {name!r} here. Expected: {known}.")
    return {name: _checked(rows[name], options or {}) for name, options in sinks.items()}


def _checked(kind: SinkKind, options: object) -> Strict:
    model: type[Strict] = _imported(kind.options)
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise ValueError(explain(error, model, prefix=kind.name)) from None


class OptionsSchema:
    """Gives the section `sinks` its JSON Schema: the options of each sink, by its name."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, schema_of: Any) -> dict[str, Any]:
        kinds = [kind for kind in SINKS if kind.section == "sinks"]
        options = {k.name: schema_of(_imported(k.options).__pydantic_core_schema__) for k in kinds}
        return {"type": "object", "properties": options, "additionalProperties": False}


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
