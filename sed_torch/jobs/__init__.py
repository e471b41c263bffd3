"""Many tasks, here or on other processes and machines: any work, any result.

:func:`run` gives the results as they come. Ranking and training both call it; neither what is done nor what comes
out of it is known here.
"""

from __future__ import annotations

from sed_torch.jobs.backends import BACKENDS, Backend, check_workers, run, worker_died
from sed_torch.jobs.packing import Packed
from sed_torch.jobs.progress import Progress, reporting
from sed_torch.jobs.supervision import ChildPool
from sed_torch.jobs.work import Limits, Stop, Work

__all__ = [
    "BACKENDS",
    "Backend",
    "ChildPool",
    "Limits",
    "Packed",
    "Progress",
    "Stop",
    "Work",
    "check_workers",
    "reporting",
    "run",
    "worker_died",
]
