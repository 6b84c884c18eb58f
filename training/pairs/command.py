"""Make fakes that are aligned with photographs.

A photograph and its reconstruction differ in nothing but the traces of the decoder that it went
through. A training takes them by data.pairs.

    patchwatch pairs train pictures/train --output decoders
    patchwatch pairs make --output pairs pictures/train decoders
"""

from __future__ import annotations

from functools import partial

from training.program import add_subcommands, run_subcommand

add_arguments = partial(
    add_subcommands,
    subcommands={
        "train": ("training.pairs.train", "train small autoencoders on photographs"),
        "make": ("training.pairs.make", "reconstruct photographs through decoders"),
    },
)
run = run_subcommand
