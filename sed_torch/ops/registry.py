"""The operator table as a thing that can be asked and that grows by the rows of users."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from sed_torch.errors import RuleError
from sed_torch.ops.row import Op, RuleName, Trait

__all__ = ["Registry"]


class Registry:
    """The table, growing by :meth:`register`. A spelling belongs to one row; a second claim raises.

    Attributes:
        plain: names as they are called → the spelling meant, as far as that was found; it holds as long as the rows.
    """

    def __init__(self, rows: Iterable[Op] = ()) -> None:
        self._ops: dict[str, Op] = {}
        self._by_spelling: dict[str, Op] = {}
        self._by_module: dict[type, Op] = {}
        self._asked: dict[tuple[str, ...], frozenset[str]] = {}
        self.plain: dict[str, str] = {}
        self._lock = threading.Lock()
        for op in rows:
            self.register(op)

    def register(self, op: Op) -> None:
        """Add a row.

        Raises:
            RuleError: if the rule or a trait does not exist, or a name, spelling or module class is taken.
        """
        if op.rule not in get_args(RuleName):
            raise RuleError(
                f"op {op.name!r}: no rule named {op.rule!r}; expected one of {', '.join(get_args(RuleName))}"
            )
        for trait in sorted(op.traits - set(get_args(Trait))):
            raise RuleError(
                f"op {op.name!r}: no trait named {trait!r}; expected one of {', '.join(get_args(Trait))}"
            )
        with self._lock:
            if op.module is not None and op.module in self._by_module:
                taken = self._by_module[op.module].rule
                raise RuleError(f"module {op.module.__name__!r} has a rule already ({taken!r})")
            if op.name in self._ops:
                raise RuleError(f"op {op.name!r} is registered already (rule {self._ops[op.name].rule!r})")
            for spelling in op.spellings:
                if spelling in self._by_spelling:
                    raise RuleError(
                        f"spelling {spelling!r} belongs to op {self._by_spelling[spelling].name!r} already"
                    )
            self._ops[op.name] = op
            self._by_spelling.update(dict.fromkeys(op.spellings, op))
            if op.module is not None:
                self._by_module[op.module] = op
            self._asked.clear()
            self.plain = {}

    def unregister(self, name: str) -> None:
        """Take a row out again; unknown names are ignored."""
        with self._lock:
            op = self._ops.pop(name, None)
            if op is not None:
                for spelling in op.spellings:
                    self._by_spelling.pop(spelling, None)
                if op.module is not None:
                    self._by_module.pop(op.module, None)
                self._asked.clear()
                self.plain = {}

    def by_spelling(self, spelling: str) -> Op | None:
        """The row a spelling belongs to, or None."""
        return self._by_spelling.get(spelling)

    def by_module(self, module: type) -> Op | None:
        """The row that a user gave for a module class, or None."""
        return self._by_module.get(module)

    @property
    def has_modules(self) -> bool:
        """Whether a user gave a row for any module class."""
        return bool(self._by_module)

    def having(self, *traits: Trait) -> frozenset[str]:
        """Names of the rows that have one of these traits."""
        return self._select(traits, lambda op: op.has(*traits))

    def ruled(self, *rules: RuleName) -> frozenset[str]:
        """Names of the rows that one of these rules lowers."""
        return self._select(("rule", *rules), lambda op: op.rule in rules)

    def _select(self, key: tuple[str, ...], holds: Callable[[Op], bool]) -> frozenset[str]:
        found = self._asked.get(key)
        if found is None:
            with self._lock:
                found = self._asked[key] = frozenset(op.name for op in self._ops.values() if holds(op))
        return found

    def get(self, name: str) -> Op | None:
        """The row of a canonical name, or None."""
        return self._ops.get(name)

    def __getitem__(self, name: str) -> Op:
        return self._ops[name]

    def __contains__(self, name: str) -> bool:
        return name in self._ops

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops.values())

    def __len__(self) -> int:
        return len(self._ops)
