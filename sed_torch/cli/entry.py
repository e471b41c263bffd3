"""The root of the command line: its group, its exit status, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from sed_torch.cli.benchmarking import benchmark
from sed_torch.cli.checking import check, explain
from sed_torch.cli.comparing import compare, sensitivity
from sed_torch.cli.drawing import graph
from sed_torch.cli.listing import doctor, ops
from sed_torch.cli.output import FAILURE, INTERRUPTED, say
from sed_torch.cli.ranking import rank
from sed_torch.cli.reporting import report
from sed_torch.cli.scoring import score
from sed_torch.cli.searching import search
from sed_torch.cli.training import train_counterparts
from sed_torch.cli.validating import validate

__all__ = ["cli", "main", "run"]

_NAME = "sed-torch"


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; what the user got wrong is told in words, never as a traceback."""
    sys.exit(run(args))


def run(args: Sequence[str] | None) -> int:
    """The exit status of a command line."""
    from sed_torch.errors import SedTorchError

    words = sys.argv[1:] if args is None else list(args)
    if not words:  # what the status of this is depends on click's version
        click.echo(cli.make_context(_NAME, [], resilient_parsing=True).get_help(), err=True)
        return FAILURE
    try:
        result = cli.main(args=words, prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return FAILURE
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    except SedTorchError as error:
        say(f"error: {error}")
        return FAILURE
    except BrokenPipeError:
        # The reader (head, less) has left. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        say(f"error: {error}")
        return FAILURE
    return result if isinstance(result, int) else 0


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from sed_torch import __version__

        click.echo(f"sed-torch {__version__}")
        ctx.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 all well, 1 findings, 2 wrong usage or unreadable model, 130 interrupted.",
)
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print it."
)
def cli() -> None:
    """Score PyTorch networks before training, from their computational graph alone."""


for command in (
    *(score, rank, validate, search, train_counterparts, benchmark),
    *(check, explain, compare, sensitivity, graph, report, ops, doctor),
):
    cli.add_command(command)
