"""Spikes, operators between functions, splines, Gaussian processes, reinforcement learning."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from coverage_models.cases import Case, Package, floats, image

NEURALOP = Package("neuraloperator", "2.0.0", "neuralop")
NEURALOP.row(
    "models.FNO", image(16, 1), n_modes=(8, 8), hidden_channels=16, in_channels=1, out_channels=1, n_layers=2
)
NEURALOP.row(
    "models.TFNO", image(16, 1), n_modes=(8, 8), hidden_channels=16, in_channels=1, out_channels=1, n_layers=2
)
NEURALOP.row("models.FNO", floats(1, 1, 32), n_modes=(8,), hidden_channels=16, in_channels=1, out_channels=1,
             n_layers=2, label="1d")  # fmt: skip
NEURALOP.row("models.UNO", image(16, 1), in_channels=1, out_channels=1, hidden_channels=16, n_layers=3,
             uno_out_channels=[16, 16, 16], uno_n_modes=[[4, 4]] * 3,
             uno_scalings=[[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]])  # fmt: skip
NEURALOP.row("layers.channel_mlp.ChannelMLP", image(16, 4), 4, 8, 16)
KAN = Package("pykan", "0.2.8", "kan", alone=True)
KAN.row("KAN", floats(1, 2), width=[2, 5, 1], grid=3, k=3, seed=0, auto_save=False, symbolic_enabled=False)
SNN = Package("snntorch", "1.0.0")
SNN.row("Leaky", floats(1, 16), beta=0.9, init_hidden=True)
SNN.row("Synaptic", floats(1, 16), alpha=0.9, beta=0.8, init_hidden=True)
SNN.row("Leaky", floats(1, 16), beta=0.9, label="explicit state")


@SNN.rows
def spiking() -> Iterator[Case]:
    import snntorch

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), snntorch.Leaky(beta=0.9, init_hidden=True), nn.Flatten(), nn.Linear(8 * 36, 10),
            snntorch.Leaky(beta=0.9, init_hidden=True, output=True),
        )  # fmt: skip

    yield Case("snntorch:convolutions and leaky neurons", network, image(8, 1))


SPIKING = Package("spikingjelly", "2.0.0", alone=True)


@SPIKING.rows
def spiking_networks() -> Iterator[Case]:
    from spikingjelly.activation_based import neuron, surrogate
    from spikingjelly.activation_based.model import spiking_resnet, spiking_vgg

    for name in ("spiking_resnet18", "spiking_resnet34"):
        yield Case(f"spikingjelly:{name}", lambda name=name: getattr(spiking_resnet, name)(
            spiking_neuron=neuron.IFNode, surrogate_function=surrogate.ATan(), detach_reset=True), image(64))  # fmt: skip
    yield Case("spikingjelly:spiking_vgg11", lambda: spiking_vgg.spiking_vgg11(
        spiking_neuron=neuron.IFNode, surrogate_function=surrogate.ATan()), image(64))  # fmt: skip
    yield Case("spikingjelly:LIFNode", lambda: neuron.LIFNode(), floats(1, 16))
    yield Case("spikingjelly:ParametricLIFNode", lambda: neuron.ParametricLIFNode(), floats(1, 16))


NORSE = Package("norse", "1.1.0", "norse.torch", needs=("nir", "nirtorch"), alone=True)
NORSE.row("LIFCell", floats(1, 16))
NORSE.row("LIFRecurrentCell", floats(1, 16), 16, 8)
NORSE.row("LICell", floats(1, 16))
NORSE.row("LSNNCell", floats(1, 16))
GP = Package("gpytorch", "1.15.2", needs=("linear-operator", "jaxtyping"), alone=True)
BASELINES = Package("stable-baselines3", "2.9.2")


@BASELINES.rows
def policies() -> Iterator[Case]:
    import numpy as np
    from gymnasium import spaces
    from stable_baselines3.common import policies, torch_layers
    from stable_baselines3.dqn.policies import DQNPolicy

    box = spaces.Box(-1, 1, (8,), np.float32)
    picture = spaces.Box(0, 255, (3, 64, 64), np.uint8)
    yield Case("stable-baselines3:ActorCriticPolicy",
               lambda: policies.ActorCriticPolicy(box, spaces.Discrete(4), lambda _: 1e-3), floats(1, 8))  # fmt: skip
    yield Case("stable-baselines3:ActorCriticPolicy continuous",
               lambda: policies.ActorCriticPolicy(box, spaces.Box(-1, 1, (2,), np.float32), lambda _: 1e-3),
               floats(1, 8))  # fmt: skip
    yield Case("stable-baselines3:NatureCNN", lambda: torch_layers.NatureCNN(picture), image(64))
    yield Case(
        "stable-baselines3:DQNPolicy",
        lambda: DQNPolicy(box, spaces.Discrete(4), lambda _: 1e-3),
        floats(1, 8),
    )


BREVITAS = Package("brevitas", "0.13.4", needs=("dependencies==2.0.1", "unfoldNd"), alone=True)
BREVITAS.row("nn.QuantConv2d", image(16), 3, 8, 3, weight_bit_width=4)
BREVITAS.row("nn.QuantLinear", floats(1, 16), 16, 8, bias=True, weight_bit_width=4)
BREVITAS.row("nn.QuantReLU", floats(1, 16), bit_width=4)
