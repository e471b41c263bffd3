"""The command line, run in this process."""

from __future__ import annotations

import pytest

from sed_torch.cli import main


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; no traceback reaches the user."""
    with pytest.raises(SystemExit, match=r"^\d+$") as exit_:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return int(exit_.value.code or 0), out, err
