"""Rival zero-cost proxies, run on the network with random inputs: what SED is compared with.

>>> from sed_torch import proxies                                               # doctest: +SKIP
>>> print(proxies.compute(model, ["synflow", "naswot"], input_size=(1, 3, 32, 32)))    # doctest: +SKIP
"""

from __future__ import annotations

from sed_torch.proxies.registry import PROXIES, Proxy, ProxyResult, compute

__all__ = ["PROXIES", "Proxy", "ProxyResult", "compute"]
