"""``python -m sed_torch.report sed_torch/scoring/reference.json`` scores the reference networks anew."""

from __future__ import annotations

import sys

from sed_torch.report.reference import make_reference, write_reference

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_reference(make_reference(jobs=2), sys.argv[1])
