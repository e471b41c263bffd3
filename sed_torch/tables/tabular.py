"""Every view of every result, from what it says of itself."""

from __future__ import annotations

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sed_torch._plain import checked_schema, from_text, revived
from sed_torch.tables.rows import Row, middle_out, to_csv, to_dataframe
from sed_torch.tables.view import View

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Tabular"]

Kind = TypeVar("Kind", bound="Tabular")


class Tabular(ABC):
    """A result that people see as tables and programs read as rows.

    A subclass gives :meth:`view` and :meth:`to_dict`, and :meth:`records` where programs get more than people; it then
    has text, Markdown, CSV, JSON, HTML, a DataFrame, and looks well in a terminal and in a notebook. It names its kind
    and the schema of its JSON, from which it is read back.
    """

    __slots__ = ()

    schema: ClassVar[str]
    """The schema of its JSON, such as ``"sed_torch.cost/1"``."""

    kind: ClassVar[str]
    """What it is, for messages: ``"a cost"``."""

    @abstractmethod
    def view(self) -> View:
        """What people see: headline, tables, notes."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""

    @classmethod
    def from_dict(cls: type[Kind], data: Mapping[str, Any]) -> Kind:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, cls.schema, cls.kind)
        return revived(cls, data, cls.kind)

    @classmethod
    def from_json(cls: type[Kind], text: str) -> Kind:
        """Inverse of :meth:`to_json`; errors as in :meth:`from_dict`."""
        return cls.from_dict(from_text(text, cls.kind))

    def records(self) -> tuple[Sequence[Row], Sequence[str]]:
        """Rows and columns with full precision, for CSV and frames; what is missing is None."""
        grid = self.view().grids[0]
        return grid.rows, grid.columns

    def to_text(self, *, width: int | None = None) -> str:
        """Plain text, in lines of at most ``width`` characters where one is given; no number is ever cut."""
        return self.view().text(width)

    def to_markdown(self) -> str:
        """GitHub Markdown."""
        return self.view().markdown()

    def to_csv(self) -> str:
        """CSV with full precision and empty cells for what is missing."""
        return to_csv(*self.records())

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_dataframe(self) -> pd.DataFrame:
        """The rows of :meth:`to_csv` as a pandas DataFrame.

        Raises:
            MissingDependencyError: pandas is not installed; the message tells how to get it.
        """
        return to_dataframe(*self.records())

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the rows of :meth:`to_csv` as a Parquet file, whole or not at all.

        Raises:
            MissingDependencyError: pandas or pyarrow is not installed.
        """
        from sed_torch._files import atomic_write
        from sed_torch.errors import MissingDependencyError

        frame = self.to_dataframe()
        buffer = io.BytesIO()
        try:
            frame.to_parquet(buffer, index=False)
        except ImportError:
            raise MissingDependencyError("pyarrow", "parquet", "to_parquet()") from None
        with atomic_write(path, "wb") as f:
            f.write(buffer.getvalue())  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({middle_out(self.view().headline, 100)})"

    def _repr_html_(self) -> str:
        return self.view().html()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        for line, style in self.view().styled(options.max_width):
            yield Text(line, style=style or "", no_wrap=True, overflow="ignore")
