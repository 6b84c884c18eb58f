"""The table of figures in docs/performance.md, generated from a result file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from benchmarks.results_file import BENCH, RESULTS, BenchResult, read_bench
from benchmarks.section import Row
from benchmarks.tables import markdown_table, number
from edge.errors import UsageError

README = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
NEEDED = {"compute", "latency", "end_to_end"}

SIZES_HW = ((256, 256), (512, 512), (384, 683), (720, 1280), (1080, 1920))
RUNTIME, AUTO = "ONNX Runtime, folded graph", "Patchwatch, auto"
ARCHITECTURES = {"lite0-levels": "lite0_levels", "tiny-ladeda": "tiny_ladeda"}
"""Shipped model → what the compute section calls it; in the order of the tables."""

FORM = "folded"
CLIPS = ("720p", "1080p")
_NAMES = {(720, 1280): "720p", (1080, 1920): "1080p"}
CANDIDATES = {
    "no picture": "verdicts only",
    "overlay": "with overlay",
    "overlay and encoding": "with overlay and H.264",
    "decode alone": "decoding alone",
}


def snippet(result: BenchResult) -> str:
    """Compact tables of the shipped models: latency with MACs, and frames per second end to end.

    A result of one model alone has no column that names it.

    Args:
        result: any; rows that it lacks are left out.

    Returns:
        Markdown; empty where the result has none of these rows.
    """
    latency, rates = list(_latency(result)), list(_rates(result))
    parts = []
    if latency:
        head = ["model", "one frame of", "MACs", "threads", "p50", "p95", "p50 of `auto`"]
        parts.append(_table([*head, "against the unfolded graph"], latency))
    if rates:
        head = ["model", "clip, frames per second", *CANDIDATES.values()]
        parts.append(_table(head, rates))
    return "\n\n".join([*parts, _where(result)]) if parts else ""


def newest(folder: Path = RESULTS) -> tuple[Path, BenchResult]:
    """The newest committed result of a full, uninterrupted run with the sections `NEEDED`.

    Where git does not know the folder (an archive), every file there counts as committed.
    Raises UsageError: there is none, or one of them cannot be read.
    """
    found = [(path, read_bench(path)) for path in _committed(folder)]
    whole = [
        (path, result)
        for path, result in found
        if not result.config.quick and not result.interrupted and result.sections.keys() >= NEEDED
    ]
    if not whole:
        raise UsageError(
            f"Expected a committed result of a full run in {folder}, found none. "
            "Run 'patchwatch bench', then 'git add' its file."
        )
    return max(whole, key=lambda pair: (pair[1].time, pair[0].name))


def write_readme(readme: Path, result: BenchResult) -> None:
    """Replace what stands between the two markers.
    Raises UsageError: the file is absent, or does not have each marker once, in order.
    """
    before, _, after = _split(readme)
    readme.write_text(f"{before}{BEGIN}\n{snippet(result)}\n{END}{after}", encoding="utf-8")


def check_readme(readme: Path, result: BenchResult) -> str | None:
    """One sentence on what is stale; None if nothing is.
    Raises UsageError: as `write_readme`.
    """
    _, table, _ = _split(readme)
    if table.strip() == snippet(result).strip():
        return None
    return (
        f"{readme.name}: the table of figures is not that of the newest result "
        f"({result.time[:10]}, {result.commit}). Run 'patchwatch bench readme'."
    )


def _split(readme: Path) -> tuple[str, str, str]:
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{readme} cannot be read: {error.strerror}.") from error
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or END in before:
        raise UsageError(f"{readme}: expected one line {BEGIN} and, below it, one line {END}.")
    return before, table, after


def _committed(folder: Path) -> list[Path]:
    command = ["git", "ls-files", "-z", "--", "."]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or no such folder
        return sorted(folder.glob(f"{BENCH}_*.json"))
    paths = [folder / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.match(f"{BENCH}_*.json") and path.exists()]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names models; without it where all rows name the same."""
    first = 0 if len({row[0] for row in rows}) > 1 else 1
    return markdown_table(head[first:], [row[first:] for row in rows])


def _latency(result: BenchResult) -> Iterator[list[str]]:
    rows = [row for row in _measured(result, "latency") if row.get("runtime") == RUNTIME]
    for model in ARCHITECTURES:
        for size in SIZES_HW:
            found = [r for r in rows if (r.get("model"), r.get("size")) == (model, list(size))]
            for row in sorted(found, key=lambda row: cast(int, row["threads"])):
                yield [model, *_latency_cells(row, size, result)]


def _latency_cells(row: Row, size: tuple[int, int], result: BenchResult) -> list[str]:
    ratio = row.get("ratio_to_naive")
    faster = f"{1 / ratio:.2f}× as fast" if isinstance(ratio, int | float) and ratio > 0 else "–"
    times = [f"{number(cast(float, row[key]))} ms" for key in ("p50_ms", "p95_ms")]
    auto = [
        f"{number(cast(float, other['p50_ms']))} ms: {other.get('chose')}"
        for other in _measured(result, "latency")
        if other.get("runtime") == AUTO
        and all(other[key] == row[key] for key in ("model", "size", "threads"))
    ]
    macs = _macs(result, ARCHITECTURES[str(row["model"])], size)
    name = _NAMES.get(size, f"{size[0]}×{size[1]}")
    return [name, macs, str(row["threads"]), *times, *(auto or ["–"])[:1], faster]


def _macs(result: BenchResult, architecture: str, size: tuple[int, int]) -> str:
    for row in _measured(result, "compute"):
        found = (row.get("model"), row.get("form"), row.get("height_px"), row.get("width_px"))
        if found == (architecture, FORM, *size):
            return f"{number(cast(float, row['macs']) / 1e6)} M"
    return "–"


def _rates(result: BenchResult) -> Iterator[list[str]]:
    rows = [row for row in _measured(result, "end_to_end") if row.get("part") == "rate"]
    named = dict.fromkeys(_watcher(row) for row in rows if row.get("model"))
    for watcher in named or [""]:
        # Decoding alone is the same for every model, and names none.
        mine = [row for row in rows if _watcher(row) in ("", watcher)]
        fps = {(row.get("clip"), row.get("candidate")): row.get("fps") for row in mine}
        watched = [row.get("clip") for row in mine if _watcher(row) == watcher]
        for clip in filter(watched.__contains__, CLIPS):
            found = [fps.get((clip, candidate)) for candidate in CANDIDATES]
            cells = (number(value) if isinstance(value, float) else "–" for value in found)
            yield [watcher, clip, *cells]


def _watcher(row: Row) -> str:
    """A model and its region; empty for a row without a model."""
    return f"{row['model']}, {row['region']}" if row.get("model") else ""


def _where(result: BenchResult) -> str:
    machine = result.machine
    libraries = machine.get("libraries")
    version = libraries.get("onnxruntime") if isinstance(libraries, dict) else None
    runtime = f"ONNX Runtime {version}, " if version else ""
    sentence = (
        f"{runtime}{machine.get('cpu')}, {machine.get('cores')} cores, "
        f"{result.time[:10]}, commit `{result.commit}`."
    )
    return f"{sentence} {result.warning}" if result.warning else sentence


def _measured(result: BenchResult, section: str) -> Sequence[Row]:
    rows = result.sections[section].rows if section in result.sections else []
    return [row for row in rows if "missing" not in row]
