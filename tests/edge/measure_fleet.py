"""What a board costs those who look after it: figures per scrape, and bytes to ask for models.

python -m tests.edge.measure_fleet
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.results_file import RESULTS, file_stem, now, write_json
from tests.edge.test_fleet import Publisher
from tests.edge.web.pages import page
from tests.onnx_files import write_model


def main() -> int:
    """Measure, print and write it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    scrapes = []
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder, "m.onnx"))
        for count in (1, 2, 11):
            names = [f"camera-{number}" for number in range(count)]
            with page(str(model), *names) as served:
                for name in names:
                    served.add(name)
                text = served.client.get("/metrics").text
            series = sum(not line.startswith("#") for line in text.splitlines())
            scrapes.append({"cameras": count, "series": series, "bytes": len(text)})
        publisher = Publisher(Path(folder))
        publisher("publish", model)
        sizes = {
            path.name.split(".")[-2]: path.stat().st_size
            for path in sorted((publisher.folder / "metadata").glob("*.json"))
        }
    result = {"schema": 1, "theme": "fleet", "time": now(), "scrapes": scrapes, "metadata": sizes}
    path = args.output / f"{file_stem('fleet')}.json"
    write_json(path, result)
    sys.stdout.write(f"{result}\n{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
