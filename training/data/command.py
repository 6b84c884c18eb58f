"""Look after data sets: check one before a training, or fetch a published one."""

from __future__ import annotations

from functools import partial

from training.program import add_subcommands, run_subcommand

add_arguments = partial(
    add_subcommands,
    subcommands={
        "check": ("training.data.check", "count, decode and compare the pictures of a data set"),
        "prepare": ("training.faces.prepare", "cut the faces of videos into a set"),
        "get": ("training.data.get.command", "fetch a published data set"),
    },
)
run = run_subcommand
