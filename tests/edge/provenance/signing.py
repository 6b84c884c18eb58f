"""A certificate authority of the tests, and files that it signs through C2PA's library."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

MIMES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".tif": "image/tiff",
    ".mp4": "video/mp4",
}
TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True)
class Authority:
    """A root, and a signer that it vouches for; all PEM."""

    root: str
    chain: str
    key: str


@cache
def authority(name: str = "Test Press", ocsp: str = "") -> Authority:
    """A new root whose signer belongs to an organisation of that name."""
    pytest.importorskip("c2pa", reason="needs c2pa-python, of the extra provenance")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import oid

    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)

    def subject(common: str) -> x509.Name:
        names = oid.NameOID
        pairs = ((names.ORGANIZATION_NAME, name), (names.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(*pair) for pair in pairs])

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def begun(common: str, public: Any) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(subject(f"{name} Root"), subject(common), public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - day).not_valid_after(now + 30 * day)

    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        begun(f"{name} Root", root_key.public_key())
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), True
        )
        .add_extension(root_id, False)
        .sign(root_key, hashes.SHA256())
    )
    signer = (
        begun(f"{name} Signer", key.public_key())
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage),
            True,
        )
        .add_extension(x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), False
        )
    )
    if ocsp:
        access = x509.AccessDescription(
            oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp)
        )
        signer = signer.add_extension(x509.AuthorityInformationAccess([access]), False)
    pem = serialization.Encoding.PEM
    certificates = [signer.sign(root_key, hashes.SHA256()), root]
    chain = "".join(certificate.public_bytes(pem).decode() for certificate in certificates)
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Authority(root.public_bytes(pem).decode(), chain, private.decode())


def created(term: str = "trainedAlgorithmicMedia", agent: str = "Painter") -> dict[str, Any]:
    """The action that a file was created, as that term says, with that software."""
    return {
        "action": "c2pa.created",
        "digitalSourceType": TERM + term,
        "softwareAgent": {"name": agent, "version": "2"},
    }


OPENED = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}


def sign(
    source: Path,
    target: Path,
    *actions: dict[str, Any],
    by: Authority | None = None,
    parent: Path | None = None,
    remote: str = "",
    sidecar: bool = False,
    assertions: tuple[dict[str, Any], ...] = (),
) -> Path:
    """Sign a file through the library.

    Args:
        source: the file.
        target: the signed one.
        actions: what was done.
        by: who signs; the tests' authority if None.
        parent: what it was made from.
        remote: an address where the credentials are said to be, in place of in the file.
        sidecar: write the credentials beside the file.
        assertions: further ones.
    """
    by = by or authority()
    from c2pa import Builder, C2paSigningAlg, Context, Signer
    from c2pa.c2pa import C2paSignerInfo

    manifest = {
        "claim_generator_info": [{"name": "tests", "version": "1"}],
        "title": target.name,
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": list(actions or (created(),))}},
            *assertions,
        ],
    }
    offline = {"verify": {"verify_after_sign": False, "remote_manifest_fetch": False}}
    info = C2paSignerInfo(C2paSigningAlg.ES256, by.chain.encode(), by.key.encode(), None)
    context = Context.from_dict(offline)
    with Builder(json.dumps(manifest), context) as builder:
        if parent is not None:
            with parent.open("rb") as file:
                said = {"title": parent.name, "relationship": "parentOf", "label": "parent"}
                builder.add_ingredient(json.dumps(said), MIMES[parent.suffix], file)
        if remote:
            builder.set_remote_url(remote)
        if remote or sidecar:
            builder.set_no_embed()
        with source.open("rb") as file, target.open("w+b") as out:
            data = builder.sign(Signer.from_info(info), MIMES[source.suffix], file, out)
    if sidecar:
        target.with_suffix(".c2pa").write_bytes(data)
    return target
