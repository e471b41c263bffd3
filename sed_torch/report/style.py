"""How figures look: themes, shapes that tell groups apart without colour, and figures as files or inline SVG."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sed_torch._files import atomic_write
from sed_torch.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "HATCHES",
    "MARKERS",
    "SUFFIXES",
    "Theme",
    "ThemeName",
    "inline_svg",
    "new_figure",
    "save_figure",
    "say_instead",
    "shortened",
    "write_title",
]

ThemeName = Literal["light", "dark", "css"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One a group, so that groups stay apart in black and white."""

HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")

SUFFIXES = (".svg", ".png", ".pdf")

# Mid-tones: at least 3:1 against white and against the dark paper alike.
_HUES = ("#3273c8", "#c4620f", "#258553", "#b5488f", "#8460c8", "#1c8694", "#cc4455", "#8a7020")


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a figure.

    Attributes:
        name: ``"light"``, ``"dark"``, or ``"css"`` (stand-ins that :func:`inline_svg` turns into CSS variables).
        ink: text and axes.
        muted: text and marks of the second rank.
        faint: bands and grid.
        paper: background.
        hues: one a group, told apart by :data:`MARKERS` or :data:`HATCHES` as well.
    """

    name: ThemeName
    ink: str
    muted: str
    faint: str
    paper: str
    hues: tuple[str, ...] = _HUES


_THEMES = {
    "light": Theme("light", "#1b1f24", "#57606a", "#e4e7eb", "#ffffff"),
    "dark": Theme("dark", "#e6e9ed", "#a3abb5", "#30363d", "#14171b"),
    "css": Theme("css", "#010203", "#040506", "#070809", "#0a0b0c"),
}
_VARIABLES = {"ink": "--ink", "muted": "--muted", "faint": "--faint", "paper": "--paper"}


def theme_of(name: ThemeName) -> Theme:
    """The theme of a name.

    Raises:
        InputError: there is none.
    """
    try:
        return _THEMES[name]
    except KeyError:
        raise InputError(f"unknown theme {name!r}: expected one of {', '.join(_THEMES)}") from None


@contextlib.contextmanager
def new_figure(width: float, height: float, theme: ThemeName) -> Iterator[tuple[Figure, Theme]]:
    """An empty figure of ``width`` × ``height`` inches, and settings for what is drawn in the block.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    colours = theme_of(theme)
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingDependencyError("matplotlib", "plot", "a plot") from None
    if "IPython" in sys.modules:
        import matplotlib.pyplot  # noqa: F401  # notebooks show figures once this is loaded
    with rc_context(_settings(colours)):
        yield Figure(figsize=(width, height), layout="constrained"), colours


def write_title(figure: Figure, text: str, theme: Theme) -> None:
    """The figure's title; none on a page, which has headings of its own."""
    if theme.name != "css":
        figure.suptitle(text, fontweight="bold", fontsize=11.5, x=0.01, ha="left")


def say_instead(figure: Figure, text: str) -> Figure:
    """A figure that has nothing to draw says why."""
    figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def shortened(text: str, width: int) -> str:
    """The end of a text that is longer than ``width`` characters."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _settings(theme: Theme) -> Any:  # the keys are a Literal of some matplotlib releases only
    return {
        "font.size": 10.0,
        "font.family": "sans-serif",
        "axes.titlesize": 11.0,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.axisbelow": True,
        "text.color": theme.ink,
        "text.parse_math": False,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "grid.color": theme.faint,
        "grid.linewidth": 0.8,
        "figure.facecolor": theme.paper,
        "figure.edgecolor": theme.paper,
        "legend.frameon": False,
        "hatch.color": theme.paper,
        "hatch.linewidth": 0.8,
        "axes.unicode_minus": True,
    }


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as SVG, PNG or PDF, by the suffix; the same figure gives the same bytes.

    Raises:
        InputError: another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"cannot save a figure as {str(path)!r}: expected a name that ends in {', '.join(SUFFIXES)}"
        )
    data = _rendered(figure, suffix[1:])
    with atomic_write(path, "wb") as f:
        f.write(data)  # type: ignore[arg-type]


def _rendered(figure: Figure, form: str, salt: str = "sed_torch") -> bytes:
    from matplotlib import rc_context

    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "text.parse_math": False}):
        figure.savefig(buffer, format=form, dpi=150, metadata=undated)
    return buffer.getvalue()


_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_IDS = re.compile(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)')
_OPEN = re.compile(r"<svg[^>]*?viewBox=\"(?P<box>[^\"]*)\"[^>]*>")


_POINTS = re.compile(r"<g(?P<clip>[^>]*)>(?P<uses>(?:\s*<use [^>]*/>){2,})\s*</g>")
_STYLE = re.compile(r" style=\"[^\"]*\"")


def _shared_style(found: re.Match[str]) -> str:
    """Points of one style, which is said once: a browser opens thousands of them in half the time."""
    styles = set(_STYLE.findall(found["uses"]))
    if len(styles) != 1 or " style=" in found["clip"]:
        return found[0]
    uses = "".join(_STYLE.sub("", found["uses"]).split("\n"))
    return f"<g{found['clip']}{styles.pop()}>{re.sub(r'> +<', '><', uses).strip()}</g>"


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """A figure of the ``"css"`` theme as an ``<svg>`` element for a page: its colours follow the page's.

    Args:
        figure: the figure.
        name: unique in the page; goes before every id.
        alt: what it shows, in a sentence.
    """
    import html

    text = _METADATA.sub("", _HEAD.sub("", _rendered(figure, "svg", name).decode("utf-8"), count=1))
    text = _IDS.sub(f"{name}-", text)
    css = _THEMES["css"]
    for field, variable in _VARIABLES.items():
        text = text.replace(getattr(css, field), f"var({variable})")
    text = _POINTS.sub(_shared_style, text)
    text = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?px)[^;\"]*", r"font-size: \1", text)
    label = html.escape(alt, quote=True)

    def head(found: re.Match[str]) -> str:
        width = float(found["box"].split()[2])
        size = f"width:100%;max-width:{width * 1.34:.0f}px;min-width:min({width * 0.9:.0f}px,200vw)"
        return (
            f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{found["box"]}" role="img" '
            f'aria-label="{label}" style="{size}">'
        )

    return _OPEN.sub(head, text, count=1).strip()
