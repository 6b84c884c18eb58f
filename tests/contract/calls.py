"""What our code takes from the module `tensorrt`, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Chain = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calls:
    """What a piece of code uses."""

    chains: frozenset[Chain]
    guarded: frozenset[Chain]
    words: frozenset[str]


def our_files() -> list[Path]:
    """The modules that talk to TensorRT: those around the engines, and whoever imports it."""
    every = [
        path for room in ("edge", "export", "benchmarks") for path in (ROOT / room).rglob("*.py")
    ]
    near = [ROOT / "export" / "engine", ROOT / "edge" / "tensorrt"]
    return sorted(path for path in every if path.parent in near or _imports_it(path))


def _imports_it(path: Path) -> bool:
    return bool(re.search(r"^\s*(?:import|from) tensorrt\b", path.read_text("utf-8"), re.MULTILINE))


def calls_of(sources: Iterable[str]) -> Calls:
    """What some sources use.

    The module goes by the name that it was imported under, and by `trt`, as a parameter is called.
    """
    chains: set[Chain] = set()
    guarded: set[Chain] = set()
    words: set[str] = set()
    for source in sources:
        tree = ast.parse(source)
        aliases = {"trt", *_aliases(tree)}
        guarded |= set(_guarded(tree, aliases))
        chains |= set(_chains(tree, aliases))
        words |= set(_words(tree))
    return Calls(*map(frozenset, (chains, guarded, words)))  # type: ignore[arg-type]


def _aliases(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "tensorrt":
                    yield name.asname or name.name


def _chain(node: ast.AST, aliases: set[str]) -> Chain | None:
    """`trt.A.B` as ("A", "B"); None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    starts = isinstance(node, ast.Name) and node.id in aliases
    return tuple(parts[:2]) if starts and parts else None


def _chains(tree: ast.AST, aliases: set[str]) -> Iterator[Chain]:
    for node in ast.walk(tree):
        chain = _chain(node, aliases)
        if chain is not None and not chain[-1].startswith("__"):
            yield chain


def _guarded(tree: ast.AST, aliases: set[str]) -> Iterator[Chain]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        asks = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
        if asks and isinstance(node.args[1], ast.Constant):
            owner = node.args[0]
            chain = _chain(owner, aliases)
            if chain is None and isinstance(owner, ast.Name) and owner.id in aliases:
                chain = ()
            if chain is not None:
                yield (*chain, str(node.args[1].value))


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", text):
            yield text
