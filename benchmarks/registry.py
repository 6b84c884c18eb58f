"""The sections of the benchmark by name; each is imported when it is measured or drawn."""

from __future__ import annotations

import importlib

from benchmarks.section import Plan, Render, Section

SECTIONS = {
    "compute": "benchmarks.compute:ComputeSection",
    "latency": "benchmarks.latency.section:LatencySection",
    "roofline": "benchmarks.roofline:RooflineSection",
    "end_to_end": "benchmarks.end_to_end.section:EndToEndSection",
    "scaling": "benchmarks.scaling:ScalingSection",
    "peers": "benchmarks.peers:PeersSection",
    "power": "benchmarks.power:PowerSection",
}

RENDERS = {
    "compute": "benchmarks.compute.report",
    "latency": "benchmarks.latency.report",
    "roofline": "benchmarks.roofline",
    "end_to_end": "benchmarks.end_to_end.report",
    "scaling": "benchmarks.scaling",
    "peers": "benchmarks.peers_report",
    "power": "benchmarks.power",
}
"""The modules that draw them; none needs what was measured with."""

FULL_S = {
    "compute": 10.0,
    "latency": 200.0,
    "roofline": 25.0,
    "end_to_end": 150.0,
    "scaling": 60.0,
    "peers": 70.0,
    "power": 0.0,
}
QUICK_S = {
    "compute": 3.0,
    "latency": 12.0,
    "roofline": 5.0,
    "end_to_end": 20.0,
    "scaling": 6.0,
    "peers": 8.0,
    "power": 0.0,
}


def make_plan(quick: bool, threads: tuple[int, ...]) -> Plan:
    """The plan of `patchwatch bench`: under ten minutes in all, under one if quick."""
    return Plan(quick=quick, threads=threads, budget_s=QUICK_S if quick else FULL_S)


def load_section(entry: str) -> Section:
    """A fresh section.

    Args:
        entry: "module:Class", as in `SECTIONS`.
    """
    module, _, name = entry.partition(":")
    section: Section = getattr(importlib.import_module(module), name)()
    return section


def load_render(module: str) -> Render:
    """The function that draws a section from its rows, `render` of a module."""
    render: Render = importlib.import_module(module).render
    return render
