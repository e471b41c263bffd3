"""From score to accuracy, calibrated by networks that were trained.

A score has no unit. A few trained networks give it one: :func:`calibrate` learns from them what a space or a task
rewards, and :class:`Calibration` foretells the accuracy of others, with an interval, or says that it does not know
such networks. :func:`imagenet` is one that comes with the package.

>>> import sed_torch                                                                      # doctest: +SKIP
>>> ranking = sed_torch.rank("timm:resnet*")                                              # doctest: +SKIP
>>> calibration = sed_torch.calibrate(ranking, "accuracies.csv")                          # doctest: +SKIP
>>> print(calibration, *calibration.predict(ranking), sep="\\n")                           # doctest: +SKIP
"""

from __future__ import annotations

from sed_torch.calibration.expecting import expect
from sed_torch.calibration.files import read_calibration, write_calibration
from sed_torch.calibration.making import calibrate
from sed_torch.calibration.result import Calibration, Estimate, HeldOut
from sed_torch.calibration.shipped import calibrations, imagenet, with_expected

__all__ = [
    "Calibration",
    "Estimate",
    "HeldOut",
    "calibrate",
    "calibrations",
    "expect",
    "imagenet",
    "read_calibration",
    "with_expected",
    "write_calibration",
]
