"""How much of what people build with PyTorch is read, beyond timm: one row a model, what failed and why.

    python examples/coverage.py [-o examples/results/coverage.md] [--only 'transformers*']

Models are built from their configuration, with no weights: torchvision's detectors, segmenters, video, flow and
quantizable networks; transformers (default configurations, at their true size, on ``meta``), diffusers, monai,
segmentation_models_pytorch and torch_geometric where they are installed (what is absent is named as skipped);
and plain torch: transformers, recurrent, one-dimensional and three-dimensional networks.

    pip install torchvision transformers diffusers monai einops segmentation-models-pytorch torch-geometric
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fnmatch
import importlib
import importlib.metadata
import io
import itertools
import json
import logging
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sed_torch
from sed_torch import zoo
from sed_torch._files import write_text
from sed_torch.errors import SedTorchError

PACKAGES = {
    "torchvision": "torchvision",
    "transformers": "transformers",
    "diffusers": "diffusers",
    "monai": "monai",
    "smp": "segmentation_models_pytorch",
    "pyg": "torch_geometric",
}


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A stand-in for an input: only its shape and dtype are used."""
    return torch.empty(shape, dtype=dtype, device="meta")


def ids(*shape: int) -> Tensor:
    return zeros(*shape, dtype=torch.int64)


@dataclass(frozen=True)
class Case:
    """One model: its name, how to make it, and its inputs where they are not left to be inferred."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Any = None


@dataclass(frozen=True)
class Row:
    """What came of it."""

    name: str
    frontend: str = ""
    params: int = 0
    covered: float = 0.0
    nodes: float = 0.0
    total: float | None = None
    seconds: float = 0.0
    note: str = ""
    error: str = ""


# -- torchvision ---------------------------------------------------------------------------------------------


def of_torchvision() -> Iterator[Case]:
    from torchvision import models

    kinds = ("detection", "segmentation", "video", "optical_flow", "quantization")
    for kind in kinds:
        module = getattr(models, kind)
        for name in models.list_models(module=module):
            yield Case(f"torchvision:{name}", lambda name=name: zoo.load(f"torchvision:{name}").model)
    for name in ("googlenet", "inception_v3", "maxvit_t", "swin_v2_s", "squeezenet1_1", "shufflenet_v2_x1_0"):
        yield Case(f"torchvision:{name}", lambda name=name: zoo.load(f"torchvision:{name}").model)


# -- transformers ----------------------------------------------------------------------------------------------

BASE = """
    albert bart bert big_bird biogpt blenderbot bloom camembert codegen convbert ctrl deberta deberta-v2
    distilbert electra ernie esm falcon flaubert fnet gemma gemma2 gpt2 gpt_bigcode gpt_neo gpt_neox gptj
    ibert layoutlm led llama longformer longt5 m2m_100 marian mbart megatron-bert mistral mixtral mobilebert
    modernbert mpnet mt5 mvp nystromformer olmo openai-gpt opt pegasus phi phi3 prophetnet qwen2 qwen2_moe qwen3
    qwen3_moe rembert roberta roformer rwkv squeezebert starcoder2 switch_transformers t5 umt5 xglm xlm
    xlm-roberta xlnet xmod mamba mamba2 gpt_oss granite cohere deepseek_v3 nemotron
    beit bit convnext convnextv2 cvt data2vec-vision deit dinov2 donut-swin dpt efficientnet focalnet glpn hiera
    ijepa levit mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 poolformer pvt pvt_v2 regnet resnet segformer
    swiftformer swin swin2sr swinv2 textnet vit vit_mae vit_msn vitdet yolos detr conditional_detr sam
    timesformer videomae vivit
    audio-spectrogram-transformer hubert sew speech_to_text unispeech wav2vec2 wav2vec2-bert wav2vec2-conformer
    wavlm whisper encodec univnet
    clip chinese_clip siglip blip clipseg groupvit align altclip vilt
    patchtst patchtsmixer
"""
"""Model types of transformers, made as ``AutoModel`` from their default configuration."""

HEADS = {
    "bert": "MaskedLM SequenceClassification TokenClassification QuestionAnswering",
    "gpt2": "CausalLM",
    "llama": "CausalLM",
    "mixtral": "CausalLM",
    "t5": "Seq2SeqLM",
    "whisper": "SpeechSeq2Seq",
    "wav2vec2": "CTC",
    "vit": "ImageClassification",
    "segformer": "SemanticSegmentation",
    "detr": "ObjectDetection",
    "yolos": "ObjectDetection",
    "dpt": "DepthEstimation",
    "videomae": "VideoClassification",
    "upernet": "SemanticSegmentation",
    "vit_mae": "PreTraining",
}
"""Model type → the heads that are tried as well."""


def _hf_inputs(kind: str) -> Any:
    """Inputs that a model's configuration does not tell."""
    special: dict[str, Any] = {
        "encodec": {"input_values": zeros(1, 1, 24000)},
        "univnet": {"input_features": zeros(1, 100, 100), "noise_sequence": zeros(1, 100, 64)},
        "vilt": {
            "input_ids": ids(1, 40),
            "pixel_values": zeros(1, 3, 384, 384),
            "attention_mask": ids(1, 40),
            "token_type_ids": ids(1, 40),
        },
    }
    return special.get(kind)


def of_transformers() -> Iterator[Case]:
    import transformers
    from transformers import AutoConfig

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def made(kind: str, auto: str) -> nn.Module:
        more = {"esm": {"vocab_size": 33, "pad_token_id": 1}}.get(kind, {})
        return getattr(transformers, auto).from_config(AutoConfig.for_model(kind, **more))

    for kind in BASE.split():
        yield Case(f"transformers:{kind}", lambda kind=kind: made(kind, "AutoModel"), _hf_inputs(kind))
    for kind, heads in HEADS.items():
        for head in heads.split():
            auto = f"AutoModelFor{head}"
            yield Case(
                f"transformers:{kind} {head}", lambda kind=kind, auto=auto: made(kind, auto), _hf_inputs(kind)
            )


# -- diffusers -------------------------------------------------------------------------------------------------


def of_diffusers() -> Iterator[Case]:
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    t, text = ids(1), zeros(1, 77, 768)
    latent = zeros(1, 4, 64, 64)

    def case(name: str, inputs: Any, note: str = "", **config: Any) -> Case:
        shown = f"diffusers:{name}" + (f" ({note})" if note else "")
        return Case(shown, lambda: getattr(diffusers, name)(**config), inputs)

    yield case("UNet2DModel", {"sample": zeros(1, 3, 64, 64), "timestep": t}, sample_size=64)
    yield case(
        "UNet2DConditionModel",
        {"sample": latent, "timestep": t, "encoder_hidden_states": text},
        "Stable Diffusion 1.5",
        cross_attention_dim=768,
    )
    yield case(
        "UNet2DConditionModel",
        {"sample": latent, "timestep": t, "encoder_hidden_states": zeros(1, 77, 1024)},
        "Stable Diffusion 2",
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    )
    yield case(
        "UNet1DModel", {"sample": zeros(1, 2, 4096), "timestep": t}, sample_size=4096, extra_in_channels=64
    )
    yield case(
        "UNet3DConditionModel",
        {"sample": zeros(1, 4, 4, 32, 32), "timestep": t, "encoder_hidden_states": zeros(1, 77, 1024)},
    )
    yield case(
        "ControlNetModel",
        {
            "sample": latent,
            "timestep": t,
            "encoder_hidden_states": text,
            "controlnet_cond": zeros(1, 3, 512, 512),
        },
        cross_attention_dim=768,
    )
    levels = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
    }
    yield case("AutoencoderKL", zeros(1, 3, 256, 256), "Stable Diffusion's VAE", **levels)
    yield case("AsymmetricAutoencoderKL", zeros(1, 3, 64, 64))
    yield case("AutoencoderTiny", zeros(1, 3, 256, 256))
    yield case("AutoencoderOobleck", zeros(1, 2, 32768))
    yield case("AutoencoderKLTemporalDecoder", {"sample": zeros(2, 3, 64, 64), "num_frames": 2})
    yield case("AutoencoderDC", zeros(1, 3, 256, 256))
    yield case("VQModel", zeros(1, 3, 64, 64))
    yield case(
        "DiTTransformer2DModel",
        {"hidden_states": zeros(1, 4, 32, 32), "timestep": t, "class_labels": ids(1)},
        num_layers=28,
    )
    yield case(
        "PixArtTransformer2DModel",
        {
            "hidden_states": zeros(1, 4, 128, 128),
            "timestep": t,
            "encoder_hidden_states": zeros(1, 120, 4096),
            "added_cond_kwargs": {"resolution": zeros(1, 2), "aspect_ratio": zeros(1, 1)},
        },
    )
    yield case(
        "SD3Transformer2DModel",
        {
            "hidden_states": zeros(1, 16, 64, 64),
            "timestep": t,
            "encoder_hidden_states": zeros(1, 77, 4096),
            "pooled_projections": zeros(1, 2048),
        },
    )
    yield case(
        "FluxTransformer2DModel",
        {
            "hidden_states": zeros(1, 1024, 64),
            "timestep": t,
            "encoder_hidden_states": zeros(1, 128, 4096),
            "pooled_projections": zeros(1, 768),
            "img_ids": zeros(1024, 3),
            "txt_ids": zeros(128, 3),
            "guidance": zeros(1),
        },
        guidance_embeds=True,
    )
    yield case(
        "UVit2DModel",
        {
            "input_ids": ids(1, 16, 16),
            "encoder_hidden_states": zeros(1, 77, 768),
            "pooled_text_emb": zeros(1, 768),
            "micro_conds": zeros(1, 5),
        },
    )
    yield case(
        "CogVideoXTransformer3DModel",
        {
            "hidden_states": zeros(1, 5, 16, 60, 90),
            "timestep": t,
            "encoder_hidden_states": zeros(1, 226, 4096),
        },
        sample_frames=17,
    )
    yield case("AutoencoderKLCogVideoX", {"sample": zeros(1, 3, 5, 64, 64)})


# -- medical, segmentation, graphs -----------------------------------------------------------------------------


def of_monai() -> Iterator[Case]:
    from monai.networks import nets

    volume = zeros(1, 1, 64, 64, 64)

    def case(name: str, inputs: Any = volume, **config: Any) -> Case:
        return Case(f"monai:{name}", lambda: getattr(nets, name)(**config), inputs)

    io_3d = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
    yield case("UNet", **io_3d, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2)
    yield case("BasicUNet", **io_3d)
    yield case("BasicUNetPlusPlus", **io_3d)
    yield case("AttentionUnet", **io_3d, channels=(16, 32, 64), strides=(2, 2))
    yield case(
        "DynUNet",
        **io_3d,
        kernel_size=(3, 3, 3),
        strides=(1, 2, 2),
        upsample_kernel_size=(2, 2),
    )
    yield case("SegResNet", in_channels=1, out_channels=2)
    yield case("SegResNetVAE", input_image_size=(64, 64, 64), in_channels=1, out_channels=2)
    yield case("VNet")
    yield case("HighResNet", **io_3d)
    yield case("UNETR", in_channels=1, out_channels=2, img_size=(64, 64, 64))
    yield case("SwinUNETR", in_channels=1, out_channels=2)
    yield case("DenseNet121", **io_3d)
    yield case(
        "ResNet", block="basic", layers=[2, 2, 2, 2], block_inplanes=[64, 128, 256, 512], n_input_channels=1
    )
    yield case("SENet154", spatial_dims=3, in_channels=1, num_classes=2)
    yield case("ViT", in_channels=1, img_size=(64, 64, 64), patch_size=(16, 16, 16))
    yield case("ViTAutoEnc", in_channels=1, img_size=(64, 64, 64), patch_size=(16, 16, 16))
    yield case(
        "EfficientNetBN", model_name="efficientnet-b0", spatial_dims=3, in_channels=1, pretrained=False
    )
    yield case("AutoEncoder", **io_3d, channels=(8, 16, 32), strides=(2, 2, 2))
    yield case("Regressor", in_shape=(1, 64, 64, 64), out_shape=(1,), channels=(8, 16), strides=(2, 2))


def of_smp() -> Iterator[Case]:
    import segmentation_models_pytorch as smp

    for name in (
        "Unet",
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "PAN",
        "DeepLabV3",
        "DeepLabV3Plus",
        "UPerNet",
        "Segformer",
    ):
        yield Case(
            f"smp:{name} resnet34",
            lambda name=name: getattr(smp, name)("resnet34", encoder_weights=None),
            zeros(1, 3, 256, 256),
        )
    for encoder in ("efficientnet-b0", "mobilenet_v2", "mit_b0", "tu-convnext_tiny"):
        yield Case(
            f"smp:Unet {encoder}",
            lambda encoder=encoder: smp.Unet(encoder, encoder_weights=None),
            zeros(1, 3, 256, 256),
        )


def of_pyg() -> Iterator[Case]:
    from torch_geometric import nn as pyg

    nodes, edges = zeros(100, 16), ids(2, 400)

    def case(name: str, make: Callable[[], nn.Module], **more: Tensor) -> Case:
        return Case(f"pyg:{name}", make, {"x": nodes, "edge_index": edges, **more})

    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "EdgeCNN"):
        yield case(name, lambda name=name: getattr(pyg, name)(16, 32, num_layers=3, out_channels=8))
    yield case("GATv2Conv", lambda: pyg.GATv2Conv(16, 32, heads=2))
    yield case("TransformerConv", lambda: pyg.TransformerConv(16, 32, heads=2))
    yield case("ChebConv", lambda: pyg.ChebConv(16, 32, K=3))
    yield case("GraphConv", lambda: pyg.GraphConv(16, 32))
    yield case("ResGatedGraphConv", lambda: pyg.ResGatedGraphConv(16, 32))
    yield case("NNConv", lambda: pyg.NNConv(16, 32, nn.Linear(4, 16 * 32)), edge_attr=zeros(400, 4))


# -- plain torch -----------------------------------------------------------------------------------------------


class M5(nn.Module):
    """Raw-audio classifier: strided one-dimensional convolutions and pools."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 32, 64, 64)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(a, b, 80 if i == 0 else 3, stride=16 if i == 0 else 1),
                    nn.BatchNorm1d(b),
                    nn.ReLU(),
                    nn.MaxPool1d(4),
                )
                for i, (a, b) in enumerate(itertools.pairwise(widths))
            )
        )
        self.head = nn.Linear(64, 35)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.head(self.layers(x).mean(-1)), dim=-1)


class WaveNet(nn.Module):
    """Gated dilated causal convolutions with residual and skip sums."""

    def __init__(self, width: int = 32, depth: int = 10) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(depth))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))
        self.outlet = nn.Conv1d(width, 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.inlet(x), 0
        for i, (gate, skip) in enumerate(zip(self.gates, self.skips, strict=True)):
            a, b = gate(F.pad(x, (2**i, 0))).chunk(2, dim=1)
            y = skip(torch.tanh(a) * torch.sigmoid(b))
            x, total = x + y, total + y
        return self.outlet(F.relu(total))


class ConvTasNet(nn.Module):
    """Learned filter bank, masks by a dilated separable network, transposed convolution back."""

    def __init__(self, filters: int = 128, speakers: int = 2) -> None:
        super().__init__()
        self.speakers = speakers
        self.encoder = nn.Conv1d(1, filters, 16, stride=8, bias=False)
        self.norm = nn.GroupNorm(1, filters)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(filters, 256, 1),
                nn.PReLU(),
                nn.Conv1d(256, 256, 3, padding=2**i, dilation=2**i, groups=256),
                nn.PReLU(),
                nn.Conv1d(256, filters, 1),
            )
            for i in range(6)
        )
        self.mask = nn.Conv1d(filters, filters * speakers, 1)
        self.decoder = nn.ConvTranspose1d(filters, 1, 16, stride=8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        y = self.norm(code)
        for block in self.blocks:
            y = y + block(y)
        masks = torch.sigmoid(self.mask(y)).view(x.shape[0], self.speakers, -1, code.shape[-1])
        each = (masks * code.unsqueeze(1)).flatten(0, 1)
        return self.decoder(each).view(x.shape[0], self.speakers, -1)


class Spectral(nn.Module):
    """A spectrogram inside the network, two-dimensional convolutions on it, a recurrent layer over time."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.rnn = nn.GRU(16 * 100, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 29)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.stft(
            x, 400, 160, window=torch.hann_window(400, device=x.device), return_complex=True
        )
        y = self.convs(spectrum.abs().log1p()[:, None])
        y = y.permute(0, 3, 1, 2).flatten(2)
        return self.head(self.rnn(y[..., : 16 * 100])[0])


class UNet3D(nn.Module):
    """Encoder and decoder over volumes, with concatenating skips."""

    def __init__(self, width: int = 16, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(self.block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in zip(widths[-2::-1], widths[::-1], strict=False)
        )
        self.merge = nn.ModuleList(self.block(2 * a, a) for a in widths[-2::-1])
        self.head = nn.Conv3d(width, 2, 1)

    @staticmethod
    def block(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv3d(a, b, 3, padding=1), nn.InstanceNorm3d(b), nn.LeakyReLU(0.01))

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for i, down in enumerate(self.down):
            x = down(F.max_pool3d(x, 2) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return self.head(x)


class GraphLayer(nn.Module):
    """Mean of neighbours by ``index_add``, then a linear layer: what graph libraries do, in plain torch."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(c_in, c_out), nn.Linear(c_in, c_out, bias=False)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        total = torch.zeros_like(x).index_add(0, target, x[source])
        degree = torch.zeros(len(x), device=x.device).index_add(0, target, torch.ones(len(source)))
        return F.relu(self.own(x) + self.others(total / degree.clamp(min=1)[:, None]))


class TextCNN(nn.Module):
    """Embeddings, convolutions of several widths, maxima over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20000, 128)
        self.convs = nn.ModuleList(nn.Conv1d(128, 100, k) for k in (3, 4, 5))
        self.head = nn.Linear(300, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        return self.head(torch.cat([F.relu(c(x)).amax(-1) for c in self.convs], dim=1))


def of_torch() -> Iterator[Case]:
    tokens = zeros(1, 50, 64)
    yield Case("torch:LSTM", lambda: nn.LSTM(64, 128, num_layers=2, batch_first=True), tokens)
    yield Case(
        "torch:LSTM bidirectional", lambda: nn.LSTM(64, 128, bidirectional=True, batch_first=True), tokens
    )
    yield Case("torch:LSTM projected", lambda: nn.LSTM(64, 128, proj_size=32, batch_first=True), tokens)
    yield Case("torch:GRU", lambda: nn.GRU(64, 128, batch_first=True), tokens)
    yield Case("torch:RNN", lambda: nn.RNN(64, 128, batch_first=True), tokens)
    yield Case("torch:LSTMCell", lambda: nn.LSTMCell(64, 128), zeros(1, 64))
    yield Case(
        "torch:Transformer", lambda: nn.Transformer(batch_first=True), (zeros(1, 32, 512), zeros(1, 20, 512))
    )
    layer = lambda kind: getattr(nn, f"Transformer{kind}Layer")(64, 4, batch_first=True)  # noqa: E731
    yield Case("torch:TransformerEncoder", lambda: nn.TransformerEncoder(layer("Encoder"), 6), tokens)
    yield Case(
        "torch:TransformerDecoder", lambda: nn.TransformerDecoder(layer("Decoder"), 6), (tokens, tokens)
    )
    yield Case(
        "torch:MultiheadAttention", lambda: nn.MultiheadAttention(64, 4, batch_first=True), (tokens,) * 3
    )
    yield Case("audio:M5", M5, zeros(1, 1, 16000))
    yield Case("audio:WaveNet", WaveNet, zeros(1, 1, 8000))
    yield Case("audio:Conv-TasNet", ConvTasNet, zeros(1, 1, 16000))
    yield Case("audio:spectral, recurrent", Spectral, zeros(1, 16000))
    yield Case("volume:UNet3D", UNet3D, zeros(1, 1, 64, 64, 64))
    yield Case("graph:index_add", lambda: GraphLayer(16, 32), (zeros(100, 16), ids(2, 400)))
    yield Case("text:CNN", TextCNN, ids(1, 64))


# -- the run ---------------------------------------------------------------------------------------------------

GROUPS: Mapping[str, Callable[[], Iterator[Case]]] = {
    "torchvision": of_torchvision,
    "transformers": of_transformers,
    "diffusers": of_diffusers,
    "monai": of_monai,
    "smp": of_smp,
    "pyg": of_pyg,
    "torch": of_torch,
}


def row(case: Case) -> Row:
    """Build on ``meta``, score, and write down what happened."""
    start = time.process_time()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            model = zoo.build(case.make, case.name).model
            start = time.process_time()
            s = sed_torch.score(model, input_data=case.inputs)
    except SedTorchError as error:
        return Row(case.name, seconds=time.process_time() - start, error=f"{type(error).__name__}: {error}")
    unknown = ", ".join(f"{u.target} ×{u.count} ({_place(u.source or u.path)})" for u in s.unknown)
    return Row(
        case.name,
        s.frontend,
        s.params,
        s.coverage,
        s.node_coverage,
        s.total,
        time.process_time() - start,
        note=f"not under a rule: {unknown}" if unknown else s.reason or "",
    )


def _place(text: str) -> str:
    """Paths without the part that differs from machine to machine."""
    return re.sub(r"\S*/(?:site-packages|examples)/", "", text)


def kept(path: Path | None) -> dict[str, Row]:
    """Rows of a run that was interrupted, the last of each name."""
    lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
    rows = (Row(**json.loads(line)) for line in lines)
    return {r.name: r for r in rows}


def at_hand(path: Path | None) -> tuple[list[Row], dict[str, str], list[str]]:
    """What :func:`run` gives, of the rows kept so far, with nothing built."""
    rows, versions = kept(path).values(), {}
    for package in PACKAGES.values():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    order = list(GROUPS)
    place = {r.name: order.index(g) if (g := r.name.partition(":")[0]) in order else len(order) for r in rows}
    note = "the run was not over: these are the models that it had come to"
    return sorted(rows, key=lambda r: place[r.name]), versions, [note]


def run(only: str, path: Path | None) -> tuple[list[Row], dict[str, str], list[str]]:
    """(rows, versions of the packages, what was skipped and why)."""
    rows: list[Row] = []
    versions: dict[str, str] = {}
    skipped: list[str] = []
    known = kept(path)
    for group, cases in GROUPS.items():
        package = PACKAGES.get(group)
        if package is not None:
            try:
                importlib.import_module(package)
            except ModuleNotFoundError:
                skipped.append(f"{package}: not installed")
                continue
            versions[package] = importlib.metadata.version(package)
        for case in cases():
            if not fnmatch.fnmatchcase(case.name, only):
                continue
            old = known.get(case.name)
            if old is None or old.error:  # what failed is tried again
                known[case.name] = row(case)
                print(_line(known[case.name]), file=sys.stderr, flush=True)
                if path is not None:
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(known[case.name])) + "\n")
            rows.append(known[case.name])
    return rows, versions, skipped


def _line(r: Row) -> str:
    if r.error:
        return f"| {r.name} | – | – | – | – | – | {r.seconds:.1f} | {_reason(r.error)} |"
    total = "–" if r.total is None else f"{r.total:.3f}"
    return (
        f"| {r.name} | {r.frontend} | {r.params / 1e6:.2f} | {r.covered:.1%} | {r.nodes:.1%} | {total} "
        f"| {r.seconds:.1f} | {_reason(r.note)} |"
    )


def _reason(text: str) -> str:
    return _place(text.split("\n", 1)[0]).replace("|", "\\|")


def report(rows: list[Row], versions: Mapping[str, str], skipped: list[str]) -> str:
    """The page."""
    read = [r for r in rows if not r.error]
    whole = [r for r in read if r.covered == r.nodes == 1.0]
    params = sum(r.params for r in read)
    share = sum(r.params * r.covered for r in read) / max(params, 1)
    named = ", ".join(f"{n} {v}" for n, v in versions.items())
    lines = [
        "# Read, beyond timm",
        "",
        f"Made by `python examples/coverage.py` on {datetime.date.today()}: sed_torch {sed_torch.__version__}, "
        f"torch {torch.__version__}, Python {platform.python_version()}, {named}.",
        *([f"Skipped or left out: {', '.join(skipped)}."] if skipped else []),
        "",
        f"**{len(read)} of {len(rows)} models traced ({len(read) / max(len(rows), 1):.1%}), {len(whole)} of them "
        f"with every parameter and operator under a rule; {share:.2%} of {params / 1e9:.1f} billion parameters.** "
        "Built on `meta` from their configuration, transformers at the size of their default configuration. "
        "Seconds are CPU seconds of the score.",
        "",
        "| model | front-end | params, M | of parameters | of operators | SED | s | what is not read |",
        "|---|---|---:|---:|---:|---:|---:|---|",
        *map(_line, rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", default="*", help="a glob over the names in the first column")
    parser.add_argument("--rows", type=Path, help="keep each row here, and go on where a run was interrupted")
    parser.add_argument("--at-hand", action="store_true", help="write the page of the rows kept so far")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded
    logging.disable(logging.WARNING)
    text = report(*(at_hand(args.rows) if args.at_hand else run(args.only, args.rows)))
    if args.output:
        write_text(args.output, text)
    print(text)


if __name__ == "__main__":
    main()
