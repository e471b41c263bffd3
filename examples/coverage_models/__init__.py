"""The configurations of ``examples/coverage.py``: one file a field, one :class:`~.cases.Package` a package.

A package is added by a :class:`Package` and its rows in the file of its field; ``python examples/coverage.py --list``
shows all of them.
"""
