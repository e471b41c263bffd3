"""Many models → :class:`Ranking`. A model that fails is a row with its reason, never the end of the run."""

from __future__ import annotations

from sed_torch.ranking.cache import RowCache, default_cache_dir
from sed_torch.ranking.reading import read_ranking
from sed_torch.ranking.result import Ranking
from sed_torch.ranking.rows import FamilyRow, RankRow
from sed_torch.ranking.running import rank

__all__ = ["FamilyRow", "RankRow", "Ranking", "RowCache", "default_cache_dir", "rank", "read_ranking"]
