"""Graphs and molecules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from coverage_models.cases import Case, Given, Package, floats, ids

PYG = Package("torch-geometric", "2.8.1")
NODES, EDGES = floats(100, 16), ids(2, 400, high=100)
BATCH = ids(100, high=1)


@PYG.rows
def of_pyg() -> Iterator[Case]:
    from torch_geometric import nn as pyg

    def case(name: str, make: Callable[[], nn.Module], **more: Given) -> Case:
        return Case(f"torch-geometric:{name}", make, {"x": NODES, "edge_index": EDGES, **more})

    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "EdgeCNN", "PNA"):
        more: dict[str, Any] = {}
        if name == "PNA":
            import torch

            more = {
                "aggregators": ["mean", "max"],
                "scalers": ["identity"],
                "deg": torch.tensor([0, 3, 5, 2]),
            }
        yield case(
            name,
            lambda name=name, more=more: getattr(pyg, name)(16, 32, num_layers=3, out_channels=8, **more),
        )
    for name in ("GCNConv", "SAGEConv", "GraphConv", "GATConv", "GATv2Conv", "TransformerConv", "TAGConv", "SGConv",
                 "SSGConv", "MFConv", "ResGatedGraphConv", "LEConv", "ClusterGCNConv", "GENConv", "FiLMConv",
                 "SuperGATConv", "EGConv", "GeneralConv", "FeaStConv", "ARMAConv", "MixHopConv"):  # fmt: skip
        first: dict[str, Any] = {"SSGConv": {"alpha": 0.1}, "FeaStConv": {"heads": 2}}.get(name, {})
        yield case(name, lambda name=name, first=first: getattr(pyg, name)(16, 32, **first))
    yield case("GATConv, heads", lambda: pyg.GATConv(16, 8, heads=4))
    yield case("GATv2Conv, heads", lambda: pyg.GATv2Conv(16, 8, heads=4))
    yield case("TransformerConv, heads", lambda: pyg.TransformerConv(16, 8, heads=4, beta=True))
    yield case("ChebConv", lambda: pyg.ChebConv(16, 32, K=3))
    yield case("GatedGraphConv", lambda: pyg.GatedGraphConv(16, num_layers=2))
    yield case("AGNNConv", lambda: pyg.AGNNConv())
    yield case("GINConv", lambda: pyg.GINConv(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32))))
    yield case("GINEConv", lambda: pyg.GINEConv(nn.Linear(16, 32), edge_dim=4), edge_attr=floats(400, 4))
    yield case("APPNP", lambda: pyg.APPNP(K=3, alpha=0.1))
    yield case("NNConv", lambda: pyg.NNConv(16, 32, nn.Linear(4, 16 * 32)), edge_attr=floats(400, 4))
    yield case("CGConv", lambda: pyg.CGConv(16, dim=4), edge_attr=floats(400, 4))
    yield case("EdgeConv", lambda: pyg.EdgeConv(nn.Linear(32, 32)))
    yield case("GMMConv", lambda: pyg.GMMConv(16, 32, dim=2, kernel_size=3), edge_attr=floats(400, 2))
    yield case(
        "PDNConv", lambda: pyg.PDNConv(16, 32, edge_dim=4, hidden_channels=8), edge_attr=floats(400, 4)
    )
    yield case("RGCNConv", lambda: pyg.RGCNConv(16, 32, num_relations=3), edge_type=ids(400, high=3))
    yield case("FastRGCNConv", lambda: pyg.FastRGCNConv(16, 32, num_relations=3), edge_type=ids(400, high=3))
    yield case("RGATConv", lambda: pyg.RGATConv(16, 32, num_relations=3), edge_type=ids(400, high=3))
    yield case("HypergraphConv", lambda: pyg.HypergraphConv(16, 32))
    yield case("AntiSymmetricConv", lambda: pyg.AntiSymmetricConv(16))
    yield case("LGConv", lambda: pyg.LGConv())
    yield case("DirGNNConv", lambda: pyg.DirGNNConv(pyg.SAGEConv(16, 32)))
    yield case("GPSConv", lambda: pyg.GPSConv(16, pyg.GCNConv(16, 16), heads=2), batch=BATCH)
    yield Case("torch-geometric:PointNetConv", lambda: pyg.PointNetConv(nn.Linear(19, 32)),
               (NODES, floats(100, 3), EDGES))  # fmt: skip
    yield Case("torch-geometric:PointTransformerConv", lambda: pyg.PointTransformerConv(16, 32),
               (NODES, floats(100, 3), EDGES))  # fmt: skip
    yield Case("torch-geometric:SchNet", lambda: pyg.SchNet(32, 32, 2), (ids(20, high=9), floats(20, 3)))
    yield Case("torch-geometric:GraphUNet", lambda: pyg.GraphUNet(16, 32, 8, depth=2), (NODES, EDGES))
    yield Case(
        "torch-geometric:JumpingKnowledge", lambda: pyg.JumpingKnowledge("lstm", 16, 2), ([NODES, NODES],)
    )
    yield Case("torch-geometric:MLP", lambda: pyg.MLP([16, 32, 8]), NODES)
    yield Case(
        "torch-geometric:DeepGraphInfomax encoder", lambda: pyg.GCNConv(16, 32, cached=True), (NODES, EDGES)
    )
    yield Case("torch-geometric:AttentiveFP", lambda: pyg.AttentiveFP(16, 32, 8, 4, 2, 2),
               {"x": NODES, "edge_index": EDGES, "edge_attr": floats(400, 4), "batch": BATCH})  # fmt: skip
    yield Case("torch-geometric:LightGCN", lambda: pyg.LightGCN(100, 16, 2), EDGES)
    yield Case("torch-geometric:Node2Vec linear", lambda: pyg.Linear(16, 8), NODES)
    yield Case(
        "torch-geometric:DenseGCNConv",
        lambda: pyg.DenseGCNConv(16, 32),
        (floats(1, 20, 16), floats(1, 20, 20)),
    )
    yield Case("torch-geometric:DenseSAGEConv", lambda: pyg.DenseSAGEConv(16, 32),
               (floats(1, 20, 16), floats(1, 20, 20)))  # fmt: skip
    yield Case("torch-geometric:DenseGATConv", lambda: pyg.DenseGATConv(16, 8, heads=2),
               (floats(1, 20, 16), floats(1, 20, 20)))  # fmt: skip


POINTS = floats(1, 16, 3)
EGNN = Package("egnn-pytorch", "0.2.8")
EGNN.row("EGNN", (floats(1, 16, 32), POINTS), dim=32)
EGNN.row("EGNN", (floats(1, 16, 32), POINTS, floats(1, 16, 16, 4)), dim=32, edge_dim=4, label="edges")
EGNN.row(
    "EGNN", (floats(1, 16, 32), POINTS), dim=32, num_nearest_neighbors=4, norm_coors=True, label="neighbours"
)
EGNN.row("EGNN_Network", (ids(1, 16, high=20), POINTS), num_tokens=20, dim=32, depth=2, num_positions=16)
ENT = Package("en-transformer", "1.6.6")
ENT.row("EnTransformer", (ids(1, 16, high=20), POINTS), dim=32, depth=1, num_tokens=20, heads=2, dim_head=16)
ENT.row("EquivariantAttention", (floats(1, 16, 32), POINTS), dim=32, heads=2, dim_head=16)
SE3 = Package("se3-transformer-pytorch", "0.9.0")
SE3.row("SE3Transformer", (floats(1, 16, 32), POINTS), dim=32, heads=2, depth=1, dim_head=8, num_degrees=2,
        num_neighbors=4)  # fmt: skip
POINT = Package("point-transformer-pytorch", "0.1.5")
POINT.row("PointTransformerLayer", (floats(1, 16, 32), POINTS), dim=32)
POINT.row("MultiheadPointTransformerLayer", (floats(1, 16, 32), POINTS), dim=32, heads=2, dim_head=16)
E3NN = Package("e3nn", "0.6.0")
E3NN.row("o3.Linear", floats(1, 16), "4x0e+4x1o", "2x0e+2x1o")
E3NN.row("o3.FullyConnectedTensorProduct", (floats(1, 16), floats(1, 4)), "4x0e+4x1o", "0e+1o", "2x0e+2x1o")
E3NN.row("o3.Norm", floats(1, 16), "4x0e+4x1o")
E3NN.row("nn.FullyConnectedNet", floats(1, 8), [8, 16, 4])
