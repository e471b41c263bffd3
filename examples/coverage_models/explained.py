"""What a person found out about rows that differ or fail: globs over names, the first that fits is told."""

from __future__ import annotations

DIFFERENCES: dict[str, str] = {}
"""Multiply-accumulates that differ from torch's counter: who is right, and why."""

FAILURES: dict[str, str] = {}
"""Models that are not read: the cause behind the message."""
