"""Help that keeps to the width of the terminal."""

from __future__ import annotations

import click

__all__ = ["Helped"]


class Helped(click.Command):
    """A command whose examples keep to the width of the terminal, broken where the next option begins."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The text, its examples in lines that can be copied as they stand."""
        written = self.help
        try:
            self.help = _with_breaks(written or "", formatter.width)
            super().format_help_text(ctx, formatter)
        finally:
            self.help = written


def _with_breaks(text: str, width: int) -> str:
    lines = []
    for line in text.splitlines():
        is_example = line.lstrip().startswith(("sed-torch ", "OMP_NUM_THREADS="))
        lines += _broken(line, width - 2) if is_example else [line]
    return "\n".join(lines)


def _broken(line: str, width: int) -> list[str]:
    """A command in lines that end in a backslash where more follow."""
    found, left = [], line
    while len(left) > width:
        at = left.rfind(" -", 0, width - 1)
        if not left[:at].strip() or at < 0:
            at = left.rfind(" ", 0, width - 1)
        if not left[:at].strip() or at < 0:
            break
        found.append(f"{left[:at]} \\")
        left = f"    {left[at + 1 :]}"
    return [*found, left]
