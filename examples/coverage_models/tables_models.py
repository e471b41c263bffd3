"""Rows of tables: tabular networks and recommenders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from coverage_models.cases import Case, Package, floats, ids

TAB = Package("tab-transformer-pytorch", "0.6.1")
_SHAPE: dict[str, Any] = {
    "categories": (10, 5, 6),
    "num_continuous": 4,
    "dim": 32,
    "depth": 2,
    "heads": 4,
    "dim_out": 1,
}
TAB.row("TabTransformer", (ids(1, 3, high=5), floats(1, 4)), **_SHAPE)
TAB.row("FTTransformer", (ids(1, 3, high=5), floats(1, 4)), **_SHAPE)
TABNET = Package("pytorch-tabnet", "4.1.0", alone=True)
TABNET.row("tab_network.TabNet", floats(2, 8), 8, 2, group_attention_matrix=torch.eye(8))
TABNET.row("tab_network.EmbeddingGenerator", floats(2, 8), 8, [], [], [], torch.eye(8))
RTDL = Package("rtdl", "0.0.13", alone=True)
RTDL.row("MLP.make_baseline", floats(1, 8), d_in=8, d_layers=[32, 32], dropout=0.1, d_out=1)
RTDL.row("ResNet.make_baseline", floats(1, 8), d_in=8, n_blocks=2, d_main=32, d_hidden=64, dropout_first=0.1,
         dropout_second=0.0, d_out=1)  # fmt: skip
RTDL.row("FTTransformer.make_baseline", (floats(1, 4), ids(1, 2, high=3)), n_num_features=4, cat_cardinalities=[3, 4],
         d_token=32, n_blocks=2, attention_dropout=0.1, ffn_d_hidden=64, ffn_dropout=0.1, residual_dropout=0.0,
         d_out=1)  # fmt: skip
RTDL2 = Package("rtdl-revisiting-models", "0.0.2", alone=True)
RTDL2.row("MLP", floats(1, 8), d_in=8, d_out=1, n_blocks=2, d_block=32, dropout=0.1)
RTDL2.row("ResNet", floats(1, 8), d_in=8, d_out=1, n_blocks=2, d_block=32, d_hidden=None, d_hidden_multiplier=2.0,
          dropout1=0.1, dropout2=0.0)  # fmt: skip
RTDL2.row("FTTransformer", (floats(1, 4), ids(1, 2, high=3)), n_cont_features=4, cat_cardinalities=[3, 4], d_out=1,
          n_blocks=2, d_block=32, attention_n_heads=4, attention_dropout=0.1, ffn_d_hidden=None,
          ffn_d_hidden_multiplier=1.33, ffn_dropout=0.1, residual_dropout=0.0)  # fmt: skip
RTDLN = Package("rtdl-num-embeddings", "0.0.12", alone=True)
RTDLN.row("LinearEmbeddings", floats(1, 4), 4, 8)
RTDLN.row("LinearReLUEmbeddings", floats(1, 4), 4, 8)
RTDLN.row("PeriodicEmbeddings", floats(1, 4), 4, 8, lite=False)
RTDLN.row("PeriodicEmbeddings", floats(1, 4), 4, 8, lite=True, label="lite")
RTDLN.row("PiecewiseLinearEncoding", floats(1, 2), [torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 4)])
RTDLN.row("PiecewiseLinearEmbeddings", floats(1, 2), [torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 4)], 8,
          activation=True, version="B")  # fmt: skip
TABM = Package("tabm", "0.0.3")
TABM.row("TabM.make", floats(1, 8), n_num_features=8, d_out=1, d_block=32, n_blocks=2, k=4)
TABM.row("TabM.make", floats(1, 8), n_num_features=8, d_out=1, d_block=32, n_blocks=2, k=4, arch_type="tabm-mini",
         label="mini")  # fmt: skip

TORCHFM = Package("torchfm", "0.7.0", alone=True)
FIELDS = [5, 6, 7]
for _name, _args in {
    "lr.LogisticRegressionModel": (FIELDS,),
    "fm.FactorizationMachineModel": (FIELDS, 8),
    "ffm.FieldAwareFactorizationMachineModel": (FIELDS, 8),
    "fnn.FactorizationSupportedNeuralNetworkModel": (FIELDS, 8, (16, 16), 0.1),
    "wd.WideAndDeepModel": (FIELDS, 8, (16, 16), 0.1),
    "nfm.NeuralFactorizationMachineModel": (FIELDS, 8, (16, 16), (0.1, 0.1)),
    "dcn.DeepCrossNetworkModel": (FIELDS, 8, 2, (16, 16), 0.1),
    "dfm.DeepFactorizationMachineModel": (FIELDS, 8, (16, 16), 0.1),
    "afm.AttentionalFactorizationMachineModel": (FIELDS, 8, 8, (0.1, 0.1)),
    "afi.AutomaticFeatureInteractionModel": (FIELDS, 8, 16, 2, 2, (16, 16), (0.1, 0.1, 0.1)),
    "fnfm.FieldAwareNeuralFactorizationMachineModel": (FIELDS, 8, (16, 16), (0.1, 0.1)),
    "xdfm.ExtremeDeepFactorizationMachineModel": (FIELDS, 8, (16, 16), 0.1, (16, 16)),
}.items():
    TORCHFM.row(f"model.{_name}", ids(1, 3, high=5), *_args)
for _method in ("inner", "outer"):
    TORCHFM.row("model.pnn.ProductNeuralNetworkModel", ids(1, 3, high=5), FIELDS, 8, (16, 16), 0.1, method=_method,
                label=_method)  # fmt: skip

DEEPCTR = Package("deepctr-torch", "0.3.0", alone=True)


@DEEPCTR.rows
def click_rates() -> Iterator[Case]:
    from deepctr_torch import models
    from deepctr_torch.inputs import DenseFeat, SparseFeat

    columns = [SparseFeat("a", 5, 4), SparseFeat("b", 6, 4), SparseFeat("c", 7, 4), DenseFeat("d", 2)]
    for name in ("DeepFM", "xDeepFM", "AFM", "NFM", "WDL", "DCN", "DCNMix", "AutoInt", "FiBiNET", "IFM", "DIFM",
                 "ONN", "PNN", "CCPM", "AFN", "MLR"):  # fmt: skip

        def make(name: str = name) -> torch.nn.Module:
            kind = getattr(models, name)
            if name in ("PNN",):
                return kind(columns, device="cpu")
            if name == "MLR":
                return kind(columns, device="cpu")
            return kind(columns, columns, device="cpu")

        yield Case(f"deepctr-torch:{name}", make, floats(1, 5, high=1))


RECHUB = Package("torch-rechub", "0.9.0")
FRAME = Package("pytorch-frame", "0.3.0", "torch_frame")
FRAME.row("nn.conv.FTTransformerConvs", floats(1, 5, 32), 32, 2, nhead=4)
FRAME.row("nn.conv.TabTransformerConv", floats(1, 5, 32), 32, 4, 0.1, 0.1)
FRAME.row("nn.conv.ExcelFormerConv", floats(1, 5, 32), 32, 5, 4)
FRAME.row("nn.conv.TromptConv", (floats(1, 5, 32), floats(1, 8, 32)), 32, 5, 8)
