"""A light plot that turns dark where its reader's theme is dark."""

from __future__ import annotations

from benchmarks.charts import COLOURS, INK

PAPER = "#FFFFFF"
DARK = {
    PAPER: "#0D1117",
    INK: "#D0D7DE",
    "#DDDDDD": "#2A3038",
    COLOURS[0]: "#56B4E9",
    COLOURS[1]: "#FF9248",
}
"""Light → dark; what is not listed is readable on both papers."""


def both_themes(svg: str) -> str:
    """Add the dark colours to an SVG of matplotlib, under `prefers-color-scheme`.

    Its colours stand in `style` attributes, so that a rule can find them by their text; a viewer
    that knows no such rules shows the light plot.
    """
    rules = [
        f'[style*="{what}: {light.lower()}"] {{ {what}: {dark} !important }}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    style = "\n".join(["<style>", "@media (prefers-color-scheme: dark) {", *rules, "}", "</style>"])
    head, opening, rest = svg.partition("<svg ")
    tag, end, body = rest.partition(">")
    return f"{head}{opening}{tag}{end}\n{style}{body}"
