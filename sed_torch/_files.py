"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["atomic_write", "write_text"]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[str]]:
    """Open a temporary file beside ``path`` and move it there if the block ends well.

    A reader sees the old file or the new one, never half of it; on an exception (Ctrl-C
    included) the temporary file is removed and ``path`` stays as it was.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent or ".", prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(
            handle, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else ""
        ) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        _give_usual_mode(name, target)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic_write(path) as f:
        f.write(text)


def _give_usual_mode(name: str, target: Path) -> None:
    # mkstemp makes files private; a result file should have the mode that open() would give it.
    if target.exists():
        os.chmod(name, target.stat().st_mode & 0o777)
    else:
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
