"""The root of the command line: its group, its exit status, and what becomes of errors.

A command's file is imported when the command is asked for; torch and all that stands on it when the command runs.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from sed_torch.cli.output import FAILURE, INTERRUPTED, say

__all__ = ["cli", "main", "run"]

_NAME = "sed-torch"
_COMPLETION = "_SED_TORCH_COMPLETE"
"""Set by the shell that asks for completions; it gives no words."""

_VERBOSE = "--verbose"

_COMMANDS = {
    "score": "scoring:score",
    "rank": "ranking:rank",
    "validate": "validating:validate",
    "search": "searching:search",
    "train-counterparts": "training:train_counterparts",
    "calibrate": "calibrating:calibrate",
    "benchmark": "benchmarking:benchmark",
    "check": "checking:check",
    "explain": "checking:explain",
    "cost": "costing:cost",
    "compare": "comparing:compare",
    "sensitivity": "comparing:sensitivity",
    "graph": "drawing:graph",
    "report": "reporting:report",
    "ops": "listing:ops",
    "doctor": "listing:doctor",
}
"""File and function of each command, in the order in which help lists them."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; what the user got wrong is told in words, never as a traceback."""
    sys.exit(run(args))


def run(args: Sequence[str] | None) -> int:
    """The exit status of a command line."""
    from sed_torch.errors import SedTorchError

    words = sys.argv[1:] if args is None else list(args)
    verbose = _VERBOSE in words
    words = [word for word in words if word != _VERBOSE]  # before or after the command
    if not words and _COMPLETION not in os.environ:  # what the status of this is depends on click's version
        click.echo(cli.make_context(_NAME, [], resilient_parsing=True).get_help(), err=True)
        return FAILURE
    try:
        result = cli.main(args=words, prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return FAILURE
    except (click.Abort, KeyboardInterrupt) as error:
        told = str(error.__cause__ or error)  # what the command said of what is kept
        say(f"interrupted: {told}" if told else "interrupted")
        return INTERRUPTED
    except SedTorchError as error:
        say(f"error: {error}")
        for detail in getattr(error, "details", ()) if verbose else ():
            say(detail)
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
        from sed_torch._version import __version__

        click.echo(f"sed-torch {__version__}")
        ctx.exit()


class LazyGroup(click.Group):
    """A group that imports a command's file when somebody asks for the command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None where there is none of that name."""
        file, _, function = _COMMANDS.get(cmd_name, "").partition(":")
        if not file:
            return None
        command = getattr(import_module(f"sed_torch.cli.{file}"), function)
        assert isinstance(command, click.Command)  # what the table names
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its whole first sentence."""
        rows = [(n, c.get_short_help_str(limit=500)) for n in _COMMANDS if (c := self.get_command(ctx, n))]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first word; for a misspelt one, an error that says what is near."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], _COMMANDS, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(_COMMANDS)}"
            ctx.fail(f"no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 all well, 1 findings, 2 wrong usage or unreadable model, 130 interrupted.",
)
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print it."
)
@click.option(
    _VERBOSE, is_flag=True, expose_value=False, help="With an error, what torch itself said (any place)."
)
def cli() -> None:
    """Score PyTorch networks before training, from their computational graph alone."""
