"""What a data set's list of sources says of them: year, group, and which sources are matched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edge.errors import UsageError


class SourceFacts(BaseModel):
    """One source; keys of the list that are not named here are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(validation_alias=AliasChoices("name", "source"))
    kind: str = Field(default="still", description="still or clip.")
    group: str = Field(default="", description="Family of the generator, or kind of photograph.")
    generator: str = ""
    year: int | None = Field(default=None, description="Of the generator.")
    matched: str | None = Field(
        default=None, description="Source of the other label with the same content or style."
    )


def read_sources(path: Path) -> dict[str, SourceFacts]:
    """Name → facts, from a JSON list of objects with `name` (or `source`) and what is known.

    Raises:
        UsageError: it cannot be read, or is no such list.
    """
    try:
        rows = TypeAdapter(list[SourceFacts]).validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{path}: expected a JSON list of sources with names; "
            f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}."
        ) from error
    return {row.name: row for row in rows}


def facts_of(sources: dict[str, SourceFacts], names: Iterable[str]) -> dict[str, SourceFacts]:
    """The facts of those sources that the list knows; FOLDER/SOURCE goes by SOURCE."""
    found = ((name, sources.get(name) or sources.get(name.rpartition("/")[2])) for name in names)
    return {name: facts for name, facts in found if facts is not None}
