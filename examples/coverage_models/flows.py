"""Generators: diffusion, adversarial, autoencoders, normalizing flows, differential equations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from coverage_models.cases import Case, Package, floats, ids, image, made

DDPM = Package("denoising-diffusion-pytorch", "2.3.4")
_UNET = made("Unet", dim=16, dim_mults=(1, 2, 4), flash_attn=False)
DDPM.row("Unet", (image(32), ids(1, high=10)), dim=16, dim_mults=(1, 2, 4))
DDPM.row("Unet", (image(32), ids(1, high=10)), dim=16, dim_mults=(1, 2), self_condition=True, learned_variance=True,
         learned_sinusoidal_cond=True, label="conditioned")  # fmt: skip
DDPM.row("Unet1D", (floats(1, 3, 64), ids(1, high=10)), dim=16, dim_mults=(1, 2, 4))
DDPM.row("KarrasUnet", (image(32, 4), floats(1)), image_size=32, dim=32, dim_max=64, num_downsamples=2,
         num_blocks_per_stage=1, attn_dim_head=16)  # fmt: skip
DDPM.row("KarrasUnet1D", (floats(1, 4, 64), floats(1)), seq_len=64, dim=32, dim_max=64, num_downsamples=2,
         num_blocks_per_stage=1, attn_dim_head=16)  # fmt: skip
DDPM.row("GaussianDiffusion", floats(1, 3, 32, 32, high=1), _UNET, image_size=32, timesteps=10)
DDPM.row("ElucidatedDiffusion", floats(1, 3, 32, 32, high=1),
         made("Unet", dim=16, dim_mults=(1, 2), learned_sinusoidal_cond=True), image_size=32)  # fmt: skip
GAN = Package("torchgan", "0.1.0", alone=True)
GAN.row("models.DCGANGenerator", floats(1, 32), encoding_dims=32, step_channels=8)
GAN.row("models.DCGANDiscriminator", image(32), step_channels=8)
GAN.row("models.AutoEncodingDiscriminator", image(32), step_channels=8)
PYTHAE = Package("pythae", "0.1.2")


@PYTHAE.rows
def architectures() -> Iterator[Case]:
    from pythae.models import AEConfig
    from pythae.models.nn.benchmarks import celeba, cifar, mnist

    for of, size in ((mnist, (1, 28, 28)), (cifar, (3, 32, 32)), (celeba, (3, 64, 64))):
        where = of.__name__.rpartition(".")[2]
        for name in sorted(vars(of)):
            if name.startswith("Encoder") and isinstance(getattr(of, name), type):
                kind: Any = getattr(of, name)
                config = AEConfig(input_dim=size, latent_dim=8)
                yield Case(
                    f"pythae:{where}.{name}", lambda kind=kind, config=config: kind(config), floats(1, *size)
                )
            if name.startswith("Decoder") and isinstance(getattr(of, name), type):
                kind = getattr(of, name)
                config = AEConfig(input_dim=size, latent_dim=8)
                yield Case(
                    f"pythae:{where}.{name}", lambda kind=kind, config=config: kind(config), floats(1, 8)
                )


ZUKO = Package("zuko", "1.6.0")
for _name, _args in {
    "flows.autoregressive.MaskedAutoregressiveTransform": {"features": 4, "hidden_features": (16, 16)},
    "nn.MLP": {"in_features": 4, "out_features": 2, "hidden_features": (16, 16)},
    "nn.MaskedMLP": {"adjacency": torch.ones(3, 4, dtype=torch.bool), "hidden_features": (16,)},
    "nn.MonotonicMLP": {"in_features": 4, "out_features": 2, "hidden_features": (16, 16)},
}.items():
    if _name.startswith("nn."):
        ZUKO.row(_name, floats(1, 4), **_args)
NFLOWS = Package("nflows", "0.14")
NFLOWS.row("nn.nets.ResidualNet", floats(1, 8), in_features=8, out_features=4, hidden_features=16)
NFLOWS.row("nn.nets.ConvResidualNet", image(16, 4), in_channels=4, out_channels=4, hidden_channels=8)
NFLOWS.row("transforms.MaskedAffineAutoregressiveTransform", floats(1, 8), features=8, hidden_features=16)
NFLOWS.row("transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform", floats(1, 8), features=8,
           hidden_features=16, num_bins=4, tails="linear", tail_bound=3.0)  # fmt: skip
NFLOWS.row("transforms.LULinear", floats(1, 8), features=8)
NFLOWS.row("transforms.ActNorm", floats(2, 8), 8)
NFLOWS.row("transforms.RandomPermutation", floats(1, 8), 8)
NFLOWS.row("transforms.SVDLinear", floats(1, 8), 8, 4)
NFLOWS.row("transforms.OneByOneConvolution", image(8, 4), 4)
NORMFLOWS = Package("normflows", "1.7.3")
NORMFLOWS.row("nets.MLP", floats(1, 4), [4, 16, 4])
NORMFLOWS.row("nets.ResidualNet", floats(1, 8), 8, 4, 16)
NORMFLOWS.row("flows.Planar", floats(1, 4), (4,))
NORMFLOWS.row("flows.Radial", floats(1, 4), (4,))
NORMFLOWS.row("flows.MaskedAffineAutoregressive", floats(1, 4), 4, 16)
NORMFLOWS.row("flows.AutoregressiveRationalQuadraticSpline", floats(1, 4), 4, 1, 16)
NORMFLOWS.row("flows.CoupledRationalQuadraticSpline", floats(1, 4), 4, 1, 16)
NORMFLOWS.row("flows.LULinearPermute", floats(1, 4), 4)
NORMFLOWS.row("flows.AffineCouplingBlock", floats(1, 4), made("nets.MLP", [2, 16, 4]))
NORMFLOWS.row("flows.Invertible1x1Conv", image(8, 4), 4)
NORMFLOWS.row("flows.GlowBlock", image(8, 4), 4, 8, split_mode="channel", scale=True)
FREIA = Package("freia", "0.2", "FrEIA")


@FREIA.rows
def invertible_networks() -> Iterator[Case]:
    from FrEIA import framework, modules

    def subnet(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Linear(a, 16), nn.ReLU(), nn.Linear(16, b))

    def chain(name: str, **args: Any) -> nn.Module:
        network = framework.SequenceINN(8)
        for _ in range(2):
            network.append(getattr(modules, name), **args)
        return network

    for name in (
        "AllInOneBlock",
        "RNVPCouplingBlock",
        "GLOWCouplingBlock",
        "NICECouplingBlock",
        "GINCouplingBlock",
    ):
        yield Case(f"freia:{name}", lambda name=name: chain(name, subnet_constructor=subnet), floats(1, 8))
    yield Case("freia:PermuteRandom", lambda: chain("PermuteRandom"), floats(1, 8))
    yield Case("freia:OrthogonalTransform", lambda: chain("OrthogonalTransform"), floats(1, 8))
    yield Case("freia:HouseholderPerm", lambda: chain("HouseholderPerm", n_reflections=2), floats(1, 8))


DIFFEQ = Package("torchdiffeq", "0.2.5")


class Solved(nn.Module):
    """An ordinary differential equation of a small network, from 0 to 1."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.f, self.method = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4)), method

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from torchdiffeq import odeint

        times = torch.linspace(0, 1, 5)
        return odeint(lambda t, y: self.f(y), x, times, method=self.method)[-1]


@DIFFEQ.rows
def solvers() -> Iterator[Case]:
    for method in ("euler", "midpoint", "rk4", "explicit_adams"):
        yield Case(f"torchdiffeq:odeint {method}", lambda method=method: Solved(method), floats(1, 4))


DYN = Package("torchdyn", "1.0.6")
DYN.row("core.NeuralODE", (floats(1, 4), floats(5)), nn.Linear(4, 4), solver="rk4", sensitivity="autograd")
