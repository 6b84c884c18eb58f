"""Look after data sets: check one before a training, or fetch a published one."""

from __future__ import annotations

from functools import partial

from training.program import add_subcommands, run_subcommand

add_arguments = partial(
    add_subcommands,
    subcommands={
        "check": ("training.data.check", "count, decode and compare the pictures of a data set"),
        "clips": ("training.faces.clips", "make training clips of faces: rates, blended fakes"),
        "portraits": ("training.data.portraits", "cut portraits out of a training set"),
        "prepare": ("training.faces.prepare", "cut the faces of videos into a set"),
        "shards": ("training.data.shards", "write a data set as WebDataset shards"),
        "get": ("training.data.get.command", "fetch a published data set"),
    },
)
run = run_subcommand
