"""Findings against what PyTorch does: backward passes that raise, DDP that stops, statistics that cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sed_torch.diagnostics import check
from sed_torch.errors import CheckFailedError

ROOT = Path(__file__).resolve().parent.parent
SIZE = (2, 4, 8, 8)

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "exp": torch.exp,
    "sqrt": lambda x: x.abs().sqrt(),
    "square": torch.square,
    "pow": lambda x: x.pow(3),
    "sin": torch.sin,
    "neg": torch.neg,
    "add": lambda x: x + 1.0,
    "mul_constant": lambda x: x * 2.0,
    "mul_self": lambda x: x * x,
    "max_pool": lambda x: F.max_pool2d(x, 3, 1, 1),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
    "mean": lambda x: x - x.mean((2, 3), keepdim=True),
    "matmul": lambda x: x @ x,
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "group_norm": lambda x: F.group_norm(x, 2),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0)[:, :, ::2, ::2],
    "cat": lambda x: torch.cat([x, x], 1)[:, :4],
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-1, 1),
    "view": lambda x: x.flatten(1).view(SIZE),
    "div": lambda x: 1.0 / (x * x + 1.0),
    "rsqrt": lambda x: torch.rsqrt(x * x + 1.0),
    "sdpa": lambda x: F.scaled_dot_product_attention(x, x, x),
}


class ResultOverwritten(nn.Module):
    """y = f(x); y += 1."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f, self.conv = f, nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.f(self.conv(x))
        y += 1.0
        return y


class InputOverwritten(ResultOverwritten):
    """y = f(x); x += 1."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.f(x)
        x += 1.0
        return y + x


class LayerInputOverwritten(nn.Module):
    """y = layer(x); x += 1, for layers with weights."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv2d(4, 4, 1), layer

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.layer(x)
        x += 1.0
        return y + x


def backward_raises(model: nn.Module) -> bool:
    """Whether a real backward pass finds an overwritten value."""
    torch.manual_seed(0)
    try:
        model.train()(torch.randn(SIZE)).sum().backward()
    except RuntimeError as raised:
        if "modified by an inplace operation" not in str(raised):
            raise
        return True
    return False


def found(model: nn.Module) -> bool:
    return bool(check(model, input_size=SIZE, select=["SED304"]).findings)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("kind", [ResultOverwritten, InputOverwritten])
def test_overwritten_values_as_autograd_sees_them(name: str, kind: type[ResultOverwritten]) -> None:
    model = kind(OPERATORS[name])
    assert found(model) == backward_raises(model)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "conv_transpose": lambda: nn.ConvTranspose2d(4, 4, 3, padding=1),
    "linear": lambda: nn.Linear(8, 8),
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "instance_norm": lambda: nn.InstanceNorm2d(4),
    "frozen_conv": lambda: nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False),
    "frozen_linear": lambda: nn.Linear(8, 8).requires_grad_(False),
    "prelu": lambda: nn.PReLU(),
    "dropout": lambda: nn.Dropout(0.5),
}


@pytest.mark.parametrize("name", LAYERS)
def test_overwritten_inputs_of_layers(name: str) -> None:
    model = LayerInputOverwritten(LAYERS[name]())
    assert found(model) == backward_raises(model)


def test_in_place_layers_in_a_row() -> None:
    """What ResNets do, and what breaks: a sigmoid's result, rectified in place."""
    fine = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    wrong = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid(), nn.Hardtanh(inplace=True), nn.Conv2d(4, 4, 1))
    for model, raises in ((fine, False), (wrong, True)):
        assert backward_raises(model) is raises
        assert found(model) is raises


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_in_place_writes_when_its_rate_is_not_zero(rate: float) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid(), nn.Dropout(rate, inplace=True))
    assert found(model) == backward_raises(model) == (rate > 0)


def test_an_overwritten_skip_changes_the_result() -> None:
    class Net(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.stem, self.act = nn.Conv2d(4, 4, 1), nn.ReLU(inplace)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return x + self.act(x) * 2.0

    torch.manual_seed(0)
    wrong, right, x = Net(True), Net(False), torch.randn(SIZE)
    right.load_state_dict(wrong.state_dict())
    assert not torch.equal(wrong(x), right(x))
    assert check(wrong, input_size=SIZE, select=["SED305"]).findings[0].path == "act"
    assert not check(right, input_size=SIZE, select=["SED305"]).findings


def test_batch_norm_of_one_value_raises() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        model(torch.randn(1, 3, 8, 8))
    (finding,) = check(model, input_size=(1, 3, 8, 8), select=["SED301"]).findings
    assert (finding.path, finding.severity, finding.evidence["values"]) == ("2", "info", 1)
    (assumed,) = check(model, select=["SED301"]).findings
    assert assumed.severity == "info"


def test_taps_on_padding_get_no_gradient() -> None:
    conv = nn.Conv2d(4, 4, 5, padding=2)
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), conv)
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert conv.weight.grad is not None
    dead = float((conv.weight.grad == 0).float().mean())
    (finding,) = check(model, input_size=(2, 3, 8, 8), select=["SED105"]).findings
    assert finding.evidence["unused"] == pytest.approx(dead)
    assert dead == pytest.approx(1 - 9 / 25)


def test_unread_positions_get_no_gradient() -> None:
    stem = nn.Conv2d(3, 4, 1)
    model = nn.Sequential(stem, nn.Conv2d(4, 4, 2, stride=5))
    x = torch.randn(1, 3, 17, 17, requires_grad=True)
    model(x).square().sum().backward()
    assert x.grad is not None
    unread = float((x.grad == 0).float().mean())
    (finding,) = check(model, input_size=(1, 3, 17, 17), select=["SED104"]).findings
    assert finding.path == "1"
    assert finding.evidence["unread"] == pytest.approx(unread)


def test_a_bias_before_batch_norm_gets_no_gradient() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model.double()(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    bias = model[0].bias
    assert isinstance(bias, nn.Parameter)
    assert bias.grad is not None
    assert bias.grad.abs().max() < 1e-10
    assert check(model, input_size=(2, 3, 8, 8)).codes() == ("SED201",)


def test_the_signal_is_what_a_forward_measures() -> None:
    """E[x²] of the calculus against a run on noise, for default weights."""
    from sed_torch import trace
    from sed_torch.diagnostics.signal import moments
    from sed_torch.diagnostics.subject import Subject
    from sed_torch.scoring.model import score_graph

    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(512, 512), nn.ReLU())])
    graph = trace(model, input_size=(256, 512))
    found = moments(Subject(model, graph, score_graph(graph)))
    x = torch.randn(256, 512)
    for layer, node in zip(model, [n for n in graph.nodes if n.op in ("linear", "relu")], strict=True):
        x = layer(x)
        assert found[node.name] == pytest.approx(x.detach().square().mean().item(), rel=0.25)


DDP = textwrap.dedent(
    """
    import sys, torch, torch.distributed as dist, torch.multiprocessing as mp
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    from sed_torch import check

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)
        def forward(self, x):
            return self.used(x)

    def work(rank, rendezvous):
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
        net = DistributedDataParallel(Net())
        try:
            for _ in range(2):
                net(torch.randn(2, 4)).sum().backward()
        except RuntimeError as error:
            if rank == 0:  # two at once on one pipe would mix their words
                print("DDP:", str(error).splitlines()[0])
        dist.barrier()  # the first to fail ends the other, wherever that one is
        check(net, input_size=(2, 4), raise_on="error")

    if __name__ == "__main__":
        mp.spawn(work, (sys.argv[1],), nprocs=2)
    """
)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_ddp_stops_at_an_unused_parameter_and_the_check_names_it(tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(DDP)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "rendezvous")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    said = f"{done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    assert done.returncode != 0, said
    assert "DDP: Expected to have finished reduction in the prior iteration" in done.stdout, said
    assert "SED001 error [unused] 2 parameters" in done.stderr, said


def test_raise_on_carries_the_report() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(CheckFailedError, match=r"1 finding.* of severity error or above") as raised:
        check(Net(), input_size=(2, 4), raise_on="error")
    assert raised.value.report.codes() == ("SED001",)  # type: ignore[attr-defined]
    assert check(Net(), input_size=(2, 4), raise_on="error", ignore=["SED001"])
