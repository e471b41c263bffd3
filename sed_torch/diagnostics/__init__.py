"""Sanity checks before training: coded findings from the graph, its shapes and the local-entropy calculus.

One file a theme; each rule's docstring is its page (:func:`explain`), with a model that triggers it and a near
miss that must not, both of which the tests run.

============  ==============================================
code          theme
============  ==============================================
SED0xx        dead parts (:mod:`.dead`)
SED1xx        local entropy and positions (:mod:`.local`, :mod:`.reach`)
SED2xx        redundancy (:mod:`.redundancy`)
SED3xx        training traps (:mod:`.traps`, :mod:`.inplace`, :mod:`.fading`, :mod:`.memory`)
SED4xx        against a baseline (:mod:`.baseline`)
============  ==============================================
"""

from __future__ import annotations

from sed_torch.diagnostics.baseline import Baseline
from sed_torch.diagnostics.checking import check
from sed_torch.diagnostics.finding import FailOn, Finding, Severity
from sed_torch.diagnostics.registry import RULES, Rule, explain
from sed_torch.diagnostics.report import CheckReport

__all__ = ["RULES", "Baseline", "CheckReport", "FailOn", "Finding", "Rule", "Severity", "check", "explain"]
