"""Folders, and stores such as S3, behind one interface: fsspec's."""

from __future__ import annotations

from typing import Any

from edge.errors import MissingDependency, SourceError, UsageError
from edge.sources.address import redact, scheme_of

INSTALL = "pip install 'patchwatch[archive]'"
_STORES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""What fsspec needs for a scheme, by the name of its package."""


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a path or an address, and the path in it.

    Raises:
        UsageError: it knows no such scheme, or the text is empty.
        MissingDependency: the library for it is absent.
        SourceError: the store cannot be reached.
    """
    if not url.strip():
        raise UsageError("expected a folder or the address of a store, found an empty text.")
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        return system, str(path)
    except ImportError as error:
        library = (
            _STORES.get(scheme_of(url) or "", "fsspec") if error.name != "fsspec" else "fsspec"
        )
        command = INSTALL if library in ("fsspec", "s3fs") else f"pip install {library}"
        raise MissingDependency(library, f"reach {redact(url)}", command) from error
    except ValueError as error:
        raise UsageError(
            f"{redact(url)}: no store is known of this kind ({redact(str(error))})."
        ) from error
    except Exception as error:  # each store raises its own
        raise SourceError(
            f"{redact(url)}: the store cannot be reached ({redact(str(error))}). Check its address "
            "and login."
        ) from error
