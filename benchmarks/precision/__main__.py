"""What half precision and int8 cost: size, differences, AUC, and time on a CPU.

    python -m benchmarks.precision DATA --calibration PICTURES --json F.json --card PAGE.md
    python -m benchmarks.precision --from F.json --card PAGE.md

DATA holds 0_real/<source>/ and 1_fake/<generator>/. A variant that is not shipped is made on the
spot from PICTURES, and so is every one that shows what another choice would have cost. Exit codes:
0 done, 1 failed, 2 wrong usage, 130 interrupted (nothing is written then).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.precision.measure import measure, steps
from benchmarks.precision.page import filled
from edge.errors import PatchwatchError, UsageError
from edge.terminal import console
from training.evaluation.options import bar
from training.evaluation.whole_files import write_all


def main(argv: Sequence[str] | None = None) -> int:
    """Measure or read, write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--from", dest="source", type=Path, metavar="F.json")
    parser.add_argument("--json", type=Path, metavar="F.json")
    parser.add_argument("--card", type=Path, metavar="F.md")
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except PatchwatchError as error:
        console().print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(args: argparse.Namespace) -> int:
    if args.source:
        result = json.loads(args.source.read_text(encoding="utf-8"))
    elif args.data is None or args.calibration is None:
        raise UsageError("expected DATA and --calibration, or --from.")
    else:
        with bar() as progress:
            task = progress.add_task("judging", total=steps())
            result = measure(
                args.data,
                args.calibration,
                lambda label: progress.update(task, advance=1, description=label),
            )
    card = filled(args.card, result) if args.card else None
    if args.json:
        text = json.dumps(result, indent=1) + "\n"
        write_all(args.json.parent, {args.json.name: text.encode()})
    if args.card and card is not None:
        write_all(args.card.parent, {args.card.name: card.encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
