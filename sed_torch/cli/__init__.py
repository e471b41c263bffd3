"""The command line: parse, call, print. One file a command.

Results go to stdout, everything else to stderr. Exit status: 0 all well; 1 findings (a score undefined or
partial, rows that failed); 2 wrong usage, or a model that could not be read; 130 interrupted. Imports are
inside the commands, so that ``sed-torch --help``, a typo and a shell's completion load click and nothing else.
"""

from sed_torch.cli.entry import cli, main, run

__all__ = ["cli", "main", "run"]
