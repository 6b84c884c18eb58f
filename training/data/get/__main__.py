"""Run `patchwatch data get` as a program of its own."""

import sys

from training.data.get import command
from training.program import run_program

if __name__ == "__main__":
    sys.exit(run_program("training.data.get", command.__doc__, command.add_arguments, command.run))
