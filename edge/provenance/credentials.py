"""C2PA content credentials, by the library of those who write the standard (`c2pa-python`).

Nothing is fetched: neither manifests kept elsewhere, nor certificates' status, nor identities.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from edge.deadline import FutureTimeoutError, in_time
from edge.errors import ConfigError, MissingDependency
from edge.provenance.claims import CREDENTIALS as WHERE
from edge.provenance.claims import Claim, Surety, shorten
from edge.provenance.origins import origin

INSTALL = "pip install 'patchwatch[provenance]'"

_OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "allow_redirects": False,
        # Looking up who an identity belongs to would ask its host.
        "decode_identity_assertions": False,
        "max_decompressed_manifest_size_in_mb": 32,
    },
}

_LONGEST_S = 60.0
"""How long a file may take; hashing a long video takes seconds."""

_MOST = 20
"""Actions, and ingredients, that are listed."""

_DEEPEST = 8
"""Generations of ingredients that the origin is looked for in."""

_WHY = {
    "dataHash.mismatch": "the file is not as it was signed",
    "bmffHash.mismatch": "the file is not as it was signed",
    "boxesHash.mismatch": "the file is not as it was signed",
    "claimSignature.mismatch": "the signature is not that of its content",
    "signingCredential.expired": "the certificate had expired",
    "signingCredential.revoked": "the certificate was revoked",
    "signingCredential.invalid": "the certificate must not sign such content",
    "hashedURI.mismatch": "a signed statement was changed",
    "ingredient.manifest.missing": "the history of an ingredient is missing",
}
_TRUSTED, _UNTRUSTED = "signingCredential.trusted", "signingCredential.untrusted"


class Unreadable(Exception):
    """There are credentials, and they were not read; says why."""


def read_credentials(
    path: Path, mime: str, sidecar: Path | None = None, trust: Path | None = None
) -> Iterator[Claim]:
    """The claims of the content credentials of a file.

    Args:
        path: the file.
        mime: its type, an empty text where it is not known.
        sidecar: a file with its credentials; they are in the file itself if None.
        trust: certificates of authorities whose signers are trusted, PEM; nobody is if None.

    Raises:
        Unreadable: the library is absent, or cannot read them.
        ConfigError: the trust list cannot be used.
    """
    try:
        import c2pa  # noqa: F401  # only whether it can be imported matters
    except ImportError:
        raise Unreadable(f"c2pa-python is not installed; run: {INSTALL}") from None
    context = _context(trust)
    try:
        read = partial(_store, path, mime, sidecar, context)
        store = in_time(read, _LONGEST_S, "patchwatch-c2pa")
    except FutureTimeoutError:
        raise Unreadable(f"reading them took longer than {_LONGEST_S:.0f} s") from None
    except Exception as error:
        raise Unreadable(shorten(str(error), 120)) from error
    if store is not None:
        yield from _claims(store, trust is not None)


def check_trust(trust: Path) -> None:
    """See whether a trust list can be used.

    Raises:
        ConfigError: it cannot.
        MissingDependency: the library is absent.
    """
    try:
        import c2pa  # noqa: F401  # only whether it can be imported matters
    except ImportError as error:
        raise MissingDependency("c2pa-python", "check who signed a file", INSTALL) from error
    _context(trust)


@lru_cache(maxsize=2)
def _context(trust: Path | None) -> Any:
    from c2pa import C2paError, Context

    settings: dict[str, Any] = dict(_OFFLINE)
    try:
        if trust is not None:
            settings["trust"] = {
                "user_anchors": trust.read_text(encoding="ascii", errors="replace")
            }
        return Context.from_dict(settings)
    except OSError as error:
        raise ConfigError(f"{trust}: cannot be read ({error.strerror}).") from error
    except C2paError as error:
        raise ConfigError(
            f"{trust}: expected certificates of authorities in PEM, found none that can be used."
        ) from error


def _store(path: Path, mime: str, sidecar: Path | None, context: Any) -> dict[str, Any] | None:
    from c2pa import Reader

    manifest = None if sidecar is None else sidecar.read_bytes()
    with path.open("rb") as file:
        reader = Reader.try_create(mime or None, file, manifest, context)
        if reader is None:
            return None
        with reader:
            store = json.loads(reader.json())
    return store if isinstance(store, dict) else None


def _claims(store: Mapping[str, Any], listed: bool) -> Iterator[Claim]:
    manifests = _mapping(store.get("manifests"))
    active = _mapping(manifests.get(str(store.get("active_manifest"))))
    surety, value = _validity(store, active, listed)
    yield Claim("credentials", value, WHERE, surety)
    signature = _mapping(active.get("signature_info"))
    if time := signature.get("time"):
        yield Claim("date", f"signed {time}", WHERE, surety)
    for made_by in _listed(active.get("claim_generator_info"))[:1]:
        yield Claim("software", _software(made_by), WHERE, surety)
    yield from _origins(store, surety)
    for action in _actions(active)[:_MOST]:
        agent = _software(action.get("softwareAgent"))
        said = str(action.get("action", "")).removeprefix("c2pa.").replace("_", " ")
        yield Claim("action", f"{said} with {agent}" if agent else said, WHERE, surety)
    for ingredient in _listed(active.get("ingredients"))[:_MOST]:
        yield _ingredient(ingredient, manifests, _surety_of(ingredient, store, surety))
    yield from _assertions(active, surety)


def _validity(
    store: Mapping[str, Any], active: Mapping[str, Any], listed: bool
) -> tuple[Surety, str]:
    signed, state = _signer(active), store.get("validation_state")
    if state == "Trusted":
        return "trusted", f"{signed}, valid"
    if state == "Valid":
        why = "is not on the trust list" if listed else "was not looked up, without a trust list"
        return "unknown_signer", f"{signed}, valid; the signer {why}"
    codes = [str(status.get("code")) for status in _listed(store.get("validation_status"))]
    codes = [code for code in codes if code != _UNTRUSTED]
    why = next((why for end, why in _WHY.items() for code in codes if code.endswith(end)), "")
    return "broken", f"{signed}, broken: {why or ', '.join(codes[:3]) or 'not valid'}"


def _origins(store: Mapping[str, Any], surety: Surety) -> Iterator[Claim]:
    """How the picture came about, and how what it was made from did, each as sure as its signature.

    A trusted signer vouches for having opened a file, and not for what that file says.
    """
    manifests = _mapping(store.get("manifests"))
    manifest, scope = _mapping(manifests.get(str(store.get("active_manifest")))), ""
    for _ in range(_DEEPEST):
        for action in _actions(manifest):
            if (claim := _origin(action, surety, scope)) is not None:
                yield claim
        ingredients = _listed(manifest.get("ingredients"))
        parent = next((i for i in ingredients if i.get("relationship") == "parentOf"), None)
        if parent is None:
            return
        surety = _surety_of(parent, store, surety)
        manifest = _mapping(manifests.get(str(parent.get("active_manifest"))))
        scope = "made from a file that was "


def _surety_of(ingredient: Mapping[str, Any], store: Mapping[str, Any], above: Surety) -> Surety:
    """How far the manifest of an ingredient can be believed: no further than what names it.

    Its state when it was opened is recorded, and the library adds what differs by now.
    """
    label = str(ingredient.get("active_manifest"))
    results = _mapping(store.get("validation_results"))
    deltas = [_mapping(d.get("validationDeltas")) for d in _listed(results.get("ingredientDeltas"))]
    recorded = _mapping(_mapping(ingredient.get("validation_results")).get("activeManifest"))
    states = [recorded, *deltas]
    good = {code for state in states for code in _codes(state.get("success"), label)}
    bad = {code for state in states for code in _codes(state.get("failure"), label)}
    bad |= _codes(ingredient.get("validation_status"), label)
    broken = {code for code in bad if code != _UNTRUSTED and not code.startswith("timeStamp.")}
    if above == "broken" or broken:
        return "broken"
    now = {code for state in deltas for code in _codes(state.get("success"), label)}
    trusted = _TRUSTED in (now if _UNTRUSTED in bad else good)
    return "trusted" if trusted and above == "trusted" else "unknown_signer"


def _codes(statuses: object, label: str) -> set[str]:
    """Of statuses those that concern a manifest."""
    return {str(s.get("code")) for s in _listed(statuses) if f"/{label}" in str(s.get("url"))}


def _origin(action: Mapping[str, Any], surety: Surety, scope: str) -> Claim | None:
    agent = _software(action.get("softwareAgent"))
    return origin(action.get("digitalSourceType"), WHERE, surety, agent, scope)


def _ingredient(
    ingredient: Mapping[str, Any], manifests: Mapping[str, Any], surety: Surety
) -> Claim:
    title = ingredient.get("title") or "without a title"
    words = [str(title), str(ingredient.get("relationship") or "")]
    own = _mapping(manifests.get(str(ingredient.get("active_manifest"))))
    words.append(_signer(own) if own else "unsigned")
    words += [c.value for action in _actions(own) if (c := _origin(action, surety, ""))][:1]
    return Claim("ingredient", ", ".join(filter(None, words)), WHERE, surety)


def _assertions(active: Mapping[str, Any], surety: Surety) -> Iterator[Claim]:
    """The camera, and what is private: names and places."""
    for assertion in _listed(active.get("assertions")):
        data = _mapping(assertion.get("data"))
        values = {str(key).rpartition(":")[2]: value for key, value in data.items()}
        make, model = (str(values.get(key) or "") for key in ("Make", "Model"))
        if make or model:
            yield Claim("captured", f"camera {make} {model}".rstrip(), WHERE, surety)
        if "GPSLatitude" in values:
            place = f"{values['GPSLatitude']}, {values.get('GPSLongitude')}"
            yield Claim("location", place, WHERE, surety)
        for author in _listed(values.get("author")):
            yield Claim("name", f"author: {author.get('name')}", WHERE, surety)


def _signer(manifest: Mapping[str, Any]) -> str:
    signature = _mapping(manifest.get("signature_info"))
    name = signature.get("issuer") or signature.get("common_name") or "somebody unnamed"
    return f"signed by {name}"


def _actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        action
        for assertion in _listed(manifest.get("assertions"))
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in _listed(_mapping(assertion.get("data")).get("actions"))
    ]


def _software(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{value.get('name') or ''} {value.get('version') or ''}".strip()
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
