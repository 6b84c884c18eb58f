"""The files that C2PA publishes for tests, beside what its reference tool says of them.

They are not part of this repository. Where a checkout of C2PA's `public-testfiles` is at hand, its
folder is named by the environment variable C2PA_TEST_FILES.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge.provenance import read_provenance

NAMES = (
    "adobe-20220124-C",
    "adobe-20220124-CA",
    "adobe-20220124-CAI",
    "adobe-20220124-CAICA",
    "adobe-20220124-CIE-sig-CA",
    "adobe-20220124-CII",
    "adobe-20220124-E-clm-CAICAI",
    "adobe-20220124-E-dat-CA",
    "adobe-20220124-E-sig-CA",
    "adobe-20220124-E-uri-CA",
    "adobe-20220124-XCA",
    "adobe-20220124-XCI",
    "nikon-20221019-building",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_that_of_the_reference_tool(name: str) -> None:
    pytest.importorskip("c2pa", reason="needs c2pa-python, of the extra provenance")
    if "C2PA_TEST_FILES" not in os.environ:
        pytest.skip("needs C2PA's public-testfiles; name their folder in C2PA_TEST_FILES")
    folder = Path(os.environ["C2PA_TEST_FILES"]) / "image" / "jpeg"
    (path,) = folder.glob(f"{name}.jp*g")
    answer = json.loads((folder / "manifests" / name / "manifest_store.json").read_text())
    active = answer["manifests"][answer["active_manifest"]]
    found = read_provenance(path, private=True)
    (signed,) = [claim for claim in found.claims if claim.kind == "credentials"]
    assert f"signed by {active['signature_info']['issuer']}, " in signed.value
    wrong = bool(answer.get("validation_status"))
    assert signed.surety == ("broken" if wrong else "unknown_signer")
    titles = [i["title"] for i in active["ingredients"]]
    said = [claim.value.partition(",")[0] for claim in found.claims if claim.kind == "ingredient"]
    assert said == titles


def test_a_file_without_credentials_has_none() -> None:
    if "C2PA_TEST_FILES" not in os.environ:
        pytest.skip("needs C2PA's public-testfiles; name their folder in C2PA_TEST_FILES")
    folder = Path(os.environ["C2PA_TEST_FILES"]) / "image" / "jpeg"
    for name in ("adobe-20220124-A.jpg", "adobe-20220124-I.jpg"):
        found = read_provenance(folder / name)
        assert not [claim for claim in found.claims if claim.kind == "credentials"]
