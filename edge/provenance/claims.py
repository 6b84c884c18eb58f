"""What a file says of itself: claims, and how far each can be believed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edge.errors import printable

Kind = Literal[
    "credentials",
    "generated",
    "maybe_generated",
    "partly_generated",
    "made",
    "captured",
    "edited",
    "software",
    "action",
    "ingredient",
    "date",
    "prompt",
    "name",
    "location",
    "serial",
    "remark",
    "unread",
]
"""`generated` to `edited` say how the picture came about, `name` to `serial` are private; `remark`
is what we notice ourselves, `unread` what is there and was not read."""

Surety = Literal["trusted", "unknown_signer", "broken", "unsigned", "observed"]

ORIGINS: tuple[Kind, ...] = (
    "generated",
    "maybe_generated",
    "partly_generated",
    "made",
    "captured",
    "edited",
)
"""In the order in which one is chosen for a line: what admits to be generated comes first."""

PRIVATE: frozenset[Kind] = frozenset(("name", "location", "serial"))

SURETY_WORDS: dict[Surety, str] = {
    "trusted": "signed, and the signer is trusted",
    "unknown_signer": "signed by someone whom no trust list vouches for",
    "broken": "signed, and the signature does not hold",
    "unsigned": "unsigned, anyone can write it",
    "observed": "noticed by Patchwatch",
}

RELATION = (
    "What a file declares changes no score: a valid signature of a trusted signer outweighs "
    "pixels, unsigned text is a hint that anyone can write, and no claim means nothing."
)

CREDENTIALS = "content credentials"
"""Where signed claims stand."""

LONGEST_VALUE = 300
MOST_CLAIMS = 100


class Text(NamedTuple):
    """A text that stands in a file: where, under which key, and what it says."""

    where: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a file says.

    Attributes:
        kind: what it is about.
        value: in words, printable, at most 300 characters.
        where: the part of the file where it stands.
        surety: how far it can be believed.
    """

    kind: Kind
    value: str
    where: str
    surety: Surety = "unsigned"


@dataclass(frozen=True, slots=True)
class Provenance:
    """All that a file says of itself.

    Attributes:
        claims: what may be shown, in the order in which it was found.
        hidden: how many private claims were left out.
    """

    claims: tuple[Claim, ...] = ()
    hidden: int = 0

    @property
    def headline(self) -> str:
        """The strongest claim on how the picture came about, in one line; empty without one.

        It says too where there are content credentials that were not read.
        """
        signed, best = self._credentials, self._origin
        parts = [c.value for c in self.claims if c.kind == "unread" and c.where == CREDENTIALS]
        if best is not None:
            how = "unsigned text" if best.surety == "unsigned" else SURETY_WORDS[best.surety]
            if signed is not None and best.surety == signed.surety:
                how = signed.value
            parts.insert(0, f"declares: {best.value} ({how})")
        elif signed is not None:
            parts.insert(0, f"{CREDENTIALS}: {signed.value}")
        return "; ".join(parts)

    @property
    def surety(self) -> Surety | None:
        """How far the headline can be believed; None without one."""
        chosen = self._origin or self._credentials
        return None if chosen is None else chosen.surety

    @property
    def _credentials(self) -> Claim | None:
        return next((claim for claim in self.claims if claim.kind == "credentials"), None)

    @property
    def _origin(self) -> Claim | None:
        return min((c for c in self.claims if c.kind in ORIGINS), key=_rank, default=None)


def _rank(claim: Claim) -> tuple[bool, int, int]:
    """Trusted signatures first; else what admits more, and of equals what is surer."""
    return (
        claim.surety != "trusted",
        ORIGINS.index(claim.kind),
        list(SURETY_WORDS).index(claim.surety),
    )


def collected(claims: Iterable[Claim], private: bool) -> Provenance:
    """The claims that may be shown, each once, cleaned and bounded in number and length."""
    kept: dict[Claim, None] = {}
    hidden = 0
    for claim in claims:
        if claim.kind in PRIVATE and not private:
            hidden += 1
        elif value := clean(claim.value):
            kept[Claim(claim.kind, value, clean(claim.where), claim.surety)] = None
        if len(kept) >= MOST_CLAIMS:
            break
    return Provenance(tuple(kept), hidden)


def clean(text: str) -> str:
    """A text of a stranger in one printable line of bounded length."""
    line = " ".join(text[: 4 * LONGEST_VALUE].replace("\0", " ").split())
    return shorten(printable(line))


def shorten(text: str, most: int = LONGEST_VALUE) -> str:
    """The text, cut where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"
