"""What a file says of itself, beside what its pixels show: signed credentials, labels, notes.

    from edge.provenance import read_provenance
    print(read_provenance(Path("picture.jpg")).headline)

Each kind of claim has a module; `blocks` finds the metadata, this one puts the claims together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from edge.errors import PatchwatchError
from edge.provenance import aigc, credentials, generators, signs, xmp
from edge.provenance.blocks import MIMES, MOST_MANIFEST, Blocks, find_blocks
from edge.provenance.claims import CREDENTIALS, RELATION, Claim, Provenance, Text, collected
from edge.provenance.exif import IPTC, MANIFEST, XMP, Exif, read_exif

__all__ = ["RELATION", "Claim", "Provenance", "provenance_of", "read_provenance"]


def read_provenance(
    path: Path, *, trust: Path | None = None, private: bool = False, thumbnail: bool = False
) -> Provenance:
    """All that a picture or video says of itself. Nothing is fetched, and no pixel is decoded.

    Args:
        path: a file of any kind; one that is not known, or cannot be read, says nothing.
        trust: certificates of authorities whose signers are trusted, PEM; nobody is if None.
        private: show names, places and serial numbers.
        thumbnail: compare the small picture in EXIF with the large one, which decodes both.

    Raises:
        ConfigError: the trust list cannot be used.
    """
    return collected(_guarded(_claims(path, trust, thumbnail)), private)


def provenance_of(trust: Path | None) -> Callable[[str], Provenance | None]:
    """A function from the name of a source to what it says; None of what is no file here.

    It remembers the last, as each frame of a video asks for the same.

    Raises:
        ConfigError: the trust list cannot be used.
        MissingDependency: the library that uses it is absent.
    """
    if trust is not None:
        credentials.check_trust(trust)

    @lru_cache(maxsize=1)
    def read(source: str) -> Provenance | None:
        from edge.sources import expand

        path = expand(source)
        return read_provenance(path, trust=trust) if path.is_file() else None

    return read


def _guarded(claims: Iterator[Claim]) -> Iterator[Claim]:
    """The claims; what libraries raise on damaged bytes ends them, and must not cost a score."""
    try:
        yield from claims
    except PatchwatchError:
        raise
    except Exception as error:
        yield Claim("unread", f"damaged metadata ({type(error).__name__})", "file", "observed")


def _claims(path: Path, trust: Path | None, thumbnail: bool) -> Iterator[Claim]:
    blocks, exif = Blocks(), Exif()
    if not path.is_file():  # nor a pipe, which would be waited for
        return
    try:
        with path.open("rb") as file:
            blocks = find_blocks(file, path)
            if blocks.exif is not None:
                exif = read_exif(blocks.exif)
    except OSError:
        return
    if blocks.kind == "TIFF":
        _take_from_tiff(blocks, exif)
    texts = [*blocks.texts, *exif.found_texts(), *_packets(blocks)]
    yield from _credentials(path, blocks, texts, trust)
    yield from generators.claims(texts)
    yield from aigc.claims(texts)
    yield from xmp.claims([text for text in texts if text.where in ("XMP", "IPTC")])
    yield from exif.claims()
    yield from _plain(blocks)
    yield from signs.remarks(blocks, exif)
    if thumbnail and (remark := signs.thumbnail_remark(path, exif)) is not None:
        yield remark
    for what in blocks.unread:
        yield Claim("unread", what, blocks.kind, "observed")


def _take_from_tiff(blocks: Blocks, exif: Exif) -> None:
    blocks.add_xmp(exif.packets.get(XMP, b""))
    blocks.iptc = exif.packets.get(IPTC, b"")
    blocks.manifest = exif.lengths.get(MANIFEST, 0)


def _packets(blocks: Blocks) -> Iterator[Text]:
    for packet in blocks.xmp[:4]:
        try:
            yield from xmp.read_xmp(packet)
        except xmp.XmpError as error:
            blocks.unread.append(f"XMP that is damaged or unsafe ({error})")
    yield from xmp.read_iptc(blocks.iptc)


def _credentials(
    path: Path, blocks: Blocks, texts: list[Text], trust: Path | None
) -> Iterator[Claim]:
    sidecar = path.with_suffix(".c2pa")
    beside = sidecar if not blocks.manifest and blocks.kind and sidecar.is_file() else None
    if not blocks.manifest and beside is None:
        if host := xmp.remote_manifest(texts):
            yield _unread(f"content credentials are kept at {host} and not fetched")
        return
    size = blocks.manifest or sidecar.stat().st_size
    try:
        if size > MOST_MANIFEST:
            raise credentials.Unreadable(f"they have more than {MOST_MANIFEST >> 20} MB")
        mime = MIMES.get(blocks.kind, "")
        yield from credentials.read_credentials(path, mime, beside, trust)
    except credentials.Unreadable as error:
        yield _unread(f"content credentials are not read: {error}")


def _unread(what: str) -> Claim:
    return Claim("unread", what, CREDENTIALS, "observed")


def _plain(blocks: Blocks) -> Iterator[Claim]:
    """Names of software and authors in a PNG's texts and a video's tags."""
    for where, key, text in blocks.texts:
        lower = key.casefold()
        if lower in ("software", "encoder", "com.apple.quicktime.software"):
            yield Claim("software", text, where)
        elif lower in ("author", "artist", "copyright"):
            yield Claim("name", f"{key}: {text}", where)
        elif lower.startswith("location") or "location" in lower:
            yield Claim("location", f"{key}: {text}", where)
