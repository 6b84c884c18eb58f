"""Publish models for boards: a folder of static files, signed as The Update Framework says.

init makes the folder and the keys: signers for the root and the models, of which a number must
agree, and one online key for what is signed often. publish puts a model there, or without one signs
again what would expire: root and models, which hold for a year, in the last 90 days, where enough
signers are given. Any web server serves the folder. status says what is in it, and what expires. A
board checks it with models.url and models.root in its configuration; the keys belong on several
machines, and none of them on a web server.

Exit codes: 0 done, 1 it failed, or something has expired, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.repository import Repository

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.config.parts import ModelsConfig
from edge.errors import ModelError, PatchwatchError, SinkError, UsageError
from edge.files import write_whole
from edge.fleet import SelfTest, judges_faces
from edge.manifest import read_manifest
from edge.proof import LEAST, proof_frames
from edge.regions import parse_region
from edge.terminal import console, positive
from edge.weights import find_model

ONLINE, SIGNER = "online", "signer"
_SIDE, _LARGEST_SIDE = 256, 512
_YEAR, _MOST_DAYS = 365, 3650
_MADE = {"root": Root, "targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}
_SOON = {role: timedelta(days=90 if role in ("root", "targets") else 7) for role in _MADE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `init`, `publish` and `status`."""
    add = parser.add_argument
    add("action", choices=("init", "publish", "status"), help="what to do")
    add("model", nargs="?", metavar="MODEL", help="to publish; none to sign again alone")
    add("--repository", type=Path, required=True, metavar="DIR", help="the folder of static files")
    add("--keys", type=Path, action="append", default=[], metavar="DIR", help="folder with keys")
    add("--name", type=_name, default="default", help="what boards ask for (default: default)")
    add("--days", type=_days, default=30, metavar="D", help="until boards refuse it (30)")
    add("--signers", type=positive, default=3, metavar="N", help="keys that init makes (3)")
    add("--threshold", type=positive, default=2, metavar="T", help="of them that must agree (2)")


def _name(text: str) -> str:
    try:
        return ModelsConfig(name=text).name
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"expected letters, digits, '.', '_' and '-', as in models.name, found {text!r}."
        ) from error


def _days(text: str) -> int:
    if (days := positive(text)) > _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected {_MOST_DAYS} days at most, found {text!r}.")
    return days


def run(args: argparse.Namespace) -> int:
    """Do it; see the module's text for the exit codes."""
    if args.model is not None and args.action != "publish":
        raise UsageError(f"fleet {args.action} takes no model. Expected: fleet publish MODEL.")
    if args.action == "status":
        return _status(ModelRepository(args.repository))
    if not args.keys:
        raise UsageError("no keys are named. Give --keys DIR, once for each folder with some.")
    if args.action == "init":
        return _init(args)
    repository = ModelRepository(args.repository, _signers(args.keys), args.days)
    repository.root()
    if args.model is not None:
        path = find_model(args.model)
        repository.publish(path, args.name, self_test(path))
    repository.renew()
    repository.sign_again()
    console().print(f"signed; valid for {args.days} days: {args.repository}", soft_wrap=True)
    return 0


def self_test(path: Path) -> SelfTest:
    """What a model says of the frames of a self-test, by ONNX Runtime on this machine.

    Raises:
        ModelError: it cannot be run, or gives a logit that is not finite.
    """
    side = parse_region(read_manifest(path).region).fixed_side or _SIDE
    side = min(side, _LARGEST_SIDE)
    with OnnxRuntimeBackend(path) as backend:
        frames = islice(proof_frames(side, side), LEAST)
        logits = [backend.infer(frame[None])[0].logit for frame in frames]
    if not np.isfinite(logits).all():
        raise ModelError(f"{path}: gives a logit that is not finite, and is not published.")
    return SelfTest(side=side, logits=tuple(logits))


class ModelRepository(Repository):
    """A repository in a folder: metadata/ and targets/. `signers` are those at hand, `days` is how
    long what is signed often is valid, `new` whether there is none yet.
    """

    def __init__(
        self,
        folder: Path,
        signers: Sequence[CryptoSigner] = (),
        days: int = 30,
        new: bool = False,
    ) -> None:
        self._folder, self._signers, self._days, self._new = folder, signers, days, new

    def open(self, role: str) -> Metadata[Any]:
        """The newest metadata of a role, or its first; PatchwatchError where there is no root."""
        versions = [
            int(path.name.split(".")[0])
            for path in (self._folder / "metadata").glob(f"*.{role}.json")
            if path.name.split(".")[0].isdecimal()
        ]
        name = f"{max(versions)}.{role}.json" if versions else f"{role}.json"
        path = self._folder / "metadata" / name
        if path.is_file():
            try:
                return Metadata.from_file(str(path))
            except RepositoryError as error:
                raise PatchwatchError(f"{path}: cannot be read as metadata ({error}).") from error
        if role == "root" and not self._new:
            raise PatchwatchError(
                f"{self._folder}: is no repository of models. Make one: patchwatch fleet init."
            )
        first: Metadata[Any] = Metadata(_MADE[role]())
        first.signed.version = 0
        return first

    def close(self, role: str, md: Metadata[Any]) -> None:
        """Sign with the keys at hand, and write; PatchwatchError where they are too few."""
        days = self._days if role in ("snapshot", "timestamp") else _YEAR
        md.signed.version += 1
        md.signed.expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)
        root = md.signed if isinstance(md.signed, Root) else self.root()
        md.signatures.clear()
        for signer in self._signers:
            if signer.public_key.keyid in root.roles[role].keyids:
                md.sign(signer, append=True)
        try:
            root.verify_delegate(role, md.signed_bytes, md.signatures)
        except UnsignedMetadataError as error:
            raise PatchwatchError(
                f"{role} needs {root.roles[role].threshold} of its keys, and {len(md.signatures)} "
                "were found. Give the folders of further keys: --keys DIR --keys DIR."
            ) from error
        name = f"{role}.json" if role == "timestamp" else f"{md.signed.version}.{role}.json"
        write_whole(self._folder / "metadata" / name, md.to_bytes())

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        """The version of targets that there is."""
        return {"targets.json": MetaFile(self.targets().version)}

    @property
    def snapshot_info(self) -> MetaFile:
        """The version of snapshot that there is."""
        return MetaFile(self.snapshot().version)

    def publish(self, path: Path, name: str, test: SelfTest) -> None:
        """Put a model there under a name; PatchwatchError where there are too few keys, or the one
        before judges faces where this does not, or the other way.
        """
        target = TargetFile.from_file(f"{name}.onnx", str(path), ["sha256"])
        # As text, as what is signed has no fractions.
        target.unrecognized_fields["custom"] = {"self_test": test.model_dump_json()}
        if (before := self.targets().targets.get(target.path)) is not None:
            old = self._folder / "targets" / f"{before.hashes['sha256']}.{name}.onnx"
            regions = [read_manifest(each).region for each in (old, path) if each.is_file()]
            if len({judges_faces(region) for region in regions}) > 1:
                raise UsageError(
                    f"{name} is {' and this is '.join(regions)}: one judges faces, one pictures. "
                    "Publish it under another --name."
                )
        stored = self._folder / "targets" / f"{target.hashes['sha256']}.{name}.onnx"
        write_whole(stored, path.read_bytes())
        with self.edit_targets() as targets:
            targets.targets[target.path] = target

    def renew(self) -> None:
        """Sign root and targets again where they expire soon; a note where the keys are too few."""
        for role in ("root", "targets"):
            expires = self.open(role).signed.expires
            if expires - datetime.now(timezone.utc) < _SOON[role]:
                try:
                    with self.edit(role):
                        pass
                except PatchwatchError as error:
                    console().print(f"{role} expires on {expires:%Y-%m-%d}: {error}", markup=False)

    def sign_again(self) -> None:
        """Sign what expires soon: the snapshot of all, and the timestamp of that."""
        self.do_snapshot(force=True)
        self.do_timestamp(force=True)


def _init(args: argparse.Namespace) -> int:
    folder: Path = args.repository
    if any((folder / "metadata").glob("*")):
        raise UsageError(f"{folder} has metadata already. Give another --repository.")
    if args.threshold > args.signers:
        raise UsageError(f"--threshold {args.threshold} is more than --signers {args.signers}.")
    for place in (folder / "metadata", *args.keys):  # before any key is made
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{place}: cannot be made ({error.strerror}).") from error
    keys = [args.keys[number % len(args.keys)] for number in range(args.signers)]
    made = [_made_key(keys[n] / f"{SIGNER}-{n + 1}.pem") for n in range(args.signers)]
    online = _made_key(args.keys[0] / f"{ONLINE}.pem")
    repository = ModelRepository(folder, [*made, online], args.days, new=True)
    with repository.edit_root() as root:
        for role in sorted(TOP_LEVEL_ROLE_NAMES):
            is_online = role in ("snapshot", "timestamp")
            for signer in [online] if is_online else made:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = 1 if is_online else args.threshold
    with repository.edit_targets():
        pass
    repository.sign_again()
    root_json = (folder / "metadata" / "1.root.json").read_bytes()
    write_whole(folder / "root.json", root_json)
    console().print(
        f"{folder / 'root.json'} is for models.root of the boards. Keep each signer on a machine "
        "of its own; online.pem signs what expires.",
        soft_wrap=True,
    )
    return 0


def _made_key(path: Path) -> CryptoSigner:
    if path.exists():
        raise UsageError(f"{path} exists already, and is not overwritten. Give another --keys.")
    signer = CryptoSigner.generate_ed25519()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(signer.private_bytes)
    return signer


def _signers(folders: Sequence[Path]) -> list[CryptoSigner]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found = []
    for path in sorted(path for folder in folders for path in folder.glob("*.pem")):
        try:
            found.append(CryptoSigner(load_pem_private_key(path.read_bytes(), None)))
        except (OSError, ValueError, TypeError) as error:
            raise PatchwatchError(f"{path}: cannot be read as a private key ({error}).") from error
    if not found:
        raise UsageError(f"no keys (*.pem) in {', '.join(map(str, folders))}.")
    return found


def _status(repository: ModelRepository) -> int:
    now, expired = datetime.now(timezone.utc), False
    table = Table("role", "version", "keys", "expires", title="signed", title_justify="left")
    root = repository.root()
    for role in ("root", "targets", "snapshot", "timestamp"):
        signed = repository.open(role).signed
        left = signed.expires - now
        expired |= left < timedelta()
        note = " EXPIRED" if left < timedelta() else " soon" if left < _SOON[role] else ""
        keys = f"{root.roles[role].threshold} of {len(root.roles[role].keyids)}"
        table.add_row(role, str(signed.version), keys, f"{signed.expires:%Y-%m-%d %H:%M}{note}")
    models = Table("name", Column("sha256", overflow="fold"), "bytes", title="models")
    for path, target in sorted(repository.targets().targets.items()):
        models.add_row(path.removesuffix(".onnx"), target.hashes["sha256"], f"{target.length:,}")
    out = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    out.print(table)
    out.print(models)
    return 1 if expired else 0
