"""The models that `cost_truth.py` runs: built for the CPU, with inputs small enough that a real step is cheap.

A name is ``timm:NAME``, ``torchvision:NAME``, ``transformers:KIND``, ``ultralytics:NAME`` or ``torch:NAME``; what is
installed yields nothing. ``Case.inputs`` makes the arguments of the forward for a batch size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Case", "cases"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A model to be run.

    Attributes:
        name: as in the report.
        make: builds it on the CPU, with weights.
        inputs: arguments of its forward for a model and a batch size.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[nn.Module, int], Arguments]


def cases(of_timm: int, seed: int) -> list[Case]:
    """All of them, the packages in turn, so that the first part of a run has some of each."""
    timm = _timm(of_timm, seed) if find_spec("timm") else iter(())
    others = [
        _torchvision() if find_spec("torchvision") else iter(()),
        _transformers() if find_spec("transformers") else iter(()),
        _ultralytics() if find_spec("ultralytics") else iter(()),
        _recurrent(),
    ]
    mixed = chain.from_iterable(zip_longest(timm, *others))
    return [case for case in mixed if case is not None]


def image(*size: int) -> Callable[[nn.Module, int], Arguments]:
    return lambda model, batch: ((torch.randn(batch, *size),), {})


# -- timm ------------------------------------------------------------------------------------------------------

SMALL = 128
"""Side of the images where a network takes any."""


def _timm(count: int, seed: int) -> Iterator[Case]:
    """Small models, one of each family first, then a second of each and so on."""
    import timm

    families: dict[str, list[str]] = {}
    for name in timm.list_models(exclude_filters=["*large*", "*huge*", "*giant*", "*gigantic*", "*xlarge*"]):
        families.setdefault(timm.models.model_entrypoint(name).__module__, []).append(name)
    rng = random.Random(seed)
    for names in families.values():
        rng.shuffle(names)
    order = [n for names in zip_longest(*families.values()) for n in names if n is not None]
    for name in order[:count]:
        yield Case(f"timm:{name}", lambda name=name: _made_small(name), _timm_inputs)


def _made_small(name: str) -> nn.Module:
    import timm

    with torch.device("meta"):  # the first look costs nothing
        try:
            timm.create_model(name, img_size=SMALL)(torch.zeros(2, 3, SMALL, SMALL))
            small: dict[str, Any] = {"img_size": SMALL}
        except Exception:  # takes no size, or not this one
            small = {}
    model: nn.Module = timm.create_model(name, **small)
    model.side = small.get("img_size")
    return model


def _timm_inputs(model: nn.Module, batch: int) -> Arguments:
    config: Mapping[str, Any] = model.pretrained_cfg
    channels, height, width = config["input_size"]
    side = model.side or (None if config.get("fixed_input_size") else min(SMALL, height))
    size = (channels, side or height, side or width)
    return (torch.randn(batch, *map(int, size)),), {}


# -- torchvision -----------------------------------------------------------------------------------------------

DETECTION = """
    fasterrcnn_mobilenet_v3_large_320_fpn fcos_resnet50_fpn retinanet_resnet50_fpn ssdlite320_mobilenet_v3_large
"""
VIDEO = "r3d_18 mc3_18 r2plus1d_18 s3d swin3d_t mvit_v2_s"
CLASSES = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
    mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d
    shufflenet_v2_x0_5 squeezenet1_0 swin_t swin_v2_t vgg11_bn vit_b_32 wide_resnet50_2
"""


def _torchvision() -> Iterator[Case]:
    from torchvision import models

    def case(name: str, inputs: Any, **more: Any) -> Case:
        return Case(
            f"torchvision:{name}",
            lambda: (
                models.get_model(name, weights=None, weights_backbone=None, **more)
                if "backbone" in more
                or name in DETECTION.split()
                or name in models.list_models(models.segmentation)
                else models.get_model(name, weights=None)
            ),
            inputs,
        )

    whole = {"vit_b_32": 224, "maxvit_t": 224, "inception_v3": 160}
    kinds = [
        [case(n, image(3, whole.get(n, SMALL), whole.get(n, SMALL))) for n in CLASSES.split()],
        [case(n, image(3, SMALL, SMALL)) for n in models.list_models(models.segmentation)],
        [case(n, _images_with_boxes) for n in DETECTION.split()],
        [
            case(n, image(3, 16, 224, 224) if n[0] == "m" and n != "mc3_18" else image(3, 8, 64, 64))
            for n in VIDEO.split()
        ],
        [
            case(
                "raft_small",
                lambda model, batch: ((torch.rand(batch, 3, 128, 128), torch.rand(batch, 3, 128, 128)), {}),
            )
        ],
    ]
    for some in zip_longest(*kinds):
        yield from (c for c in some if c is not None)


def _images_with_boxes(model: nn.Module, batch: int) -> Arguments:
    """A list of images, and what is to be found in each."""
    pictures = [torch.rand(3, SMALL, SMALL) for _ in range(batch)]
    box = torch.tensor([[10.0, 10.0, 90.0, 90.0]])
    return (pictures, [{"boxes": box, "labels": torch.tensor([1])} for _ in range(batch)]), {}


# -- transformers ----------------------------------------------------------------------------------------------

TOKENS = 48
TEXT = """
    albert bart bert bigbird_pegasus biogpt bloom camembert codegen ctrl deberta deberta-v2 distilbert electra
    ernie falcon fnet gemma gemma2 gpt2 gpt_bigcode gpt_neo gpt_neox gptj llama m2m_100 marian mbart megatron-bert
    mistral mixtral mobilebert modernbert mpnet mt5 nystromformer olmo openai-gpt opt pegasus phi phi3 qwen2
    qwen2_moe qwen3 rembert roberta roformer squeezebert starcoder2 t5 xglm xlm-roberta xlnet mamba
"""
SIGHT = """
    beit bit convnext convnextv2 cvt data2vec-vision deit dinov2 efficientnet focalnet hiera levit mobilenet_v2
    mobilevit mobilevitv2 poolformer pvt pvt_v2 regnet resnet segformer swiftformer swin swinv2 vit vit_msn yolos
"""
SOUND = "hubert wav2vec2 wavlm sew"
TINY = {
    "num_hidden_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_layers": 2, "num_decoder_layers": 2,
    "n_layer": 2, "n_layers": 2, "num_attention_heads": 4, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "num_heads": 4, "n_head": 4, "n_heads": 4, "num_key_value_heads": 2,
    "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "word_embed_proj_dim": 64, "embedding_size": 64,
    "intermediate_size": 160, "hidden_dim": 160, "encoder_ffn_dim": 160, "decoder_ffn_dim": 160, "ffn_dim": 160,
    "d_ff": 160, "d_inner": 160, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
    "num_local_experts": 4, "num_experts": 4, "head_dim": 16, "d_kv": 16, "vocab_size": 500, "rotary_dim": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""What of it a configuration knows is set so."""


def _transformers() -> Iterator[Case]:
    import transformers

    transformers.logging.set_verbosity_error()
    kinds = [
        [Case(f"transformers:{k}", lambda k=k: _from_config(k, TINY), _text_inputs) for k in TEXT.split()],
        [
            Case(f"transformers:{k}", lambda k=k: _from_config(k, {"num_hidden_layers": 4}), _pixel_inputs)
            for k in SIGHT.split()
        ],
        [
            Case(
                f"transformers:{k}",
                lambda k=k: _from_config(k, {"num_hidden_layers": 2, "layerdrop": 0.0}),
                lambda model, batch: ((), {"input_values": torch.randn(batch, 4000)}),
            )
            for k in SOUND.split()
        ],
    ]
    for some in zip_longest(*kinds):
        yield from (c for c in some if c is not None)


def _from_config(kind: str, wanted: Mapping[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    plain = AutoConfig.for_model(kind)
    names = {getattr(plain, "attribute_map", {}).get(n, n) for n in wanted}
    known = {n: wanted[n] for n in wanted if n in names and getattr(plain, n, None) is not None}
    model: nn.Module = AutoModel.from_config(AutoConfig.for_model(kind, **known))
    return model


def _text_inputs(model: nn.Module, batch: int) -> Arguments:
    """Words, of which the last of every second sample are padding."""
    ids = torch.randint(3, 400, (batch, TOKENS))
    mask = torch.ones(batch, TOKENS, dtype=torch.int64)
    mask[1::2, -TOKENS // 4 :] = 0
    given = {"input_ids": ids, "attention_mask": mask}
    if getattr(model.config, "is_encoder_decoder", False):
        given["decoder_input_ids"] = torch.randint(3, 400, (batch, TOKENS // 2))
    if model.config.model_type == "mamba":
        del given["attention_mask"]
    return (), given


def _pixel_inputs(model: nn.Module, batch: int) -> Arguments:
    from sed_torch.tracing.inputs import resolve_inputs

    inputs = resolve_inputs(model)
    return (), {k: _like(v, batch) for k, v in inputs.kwargs.items()} or {
        "pixel_values": _like(inputs.args[0], batch)
    }


def _like(value: Tensor, batch: int) -> Tensor:
    return torch.randn(batch, *value.shape[1:])


# -- ultralytics -----------------------------------------------------------------------------------------------

YAMLS = """
    yolov5n yolov8n yolov8n-seg yolov8n-pose yolov8n-cls yolov9t yolov10n yolo11n yolo11n-seg yolo11n-pose yolo11n-obb
    yolo12n yolov3-tiny rtdetr-resnet50
"""


def _ultralytics() -> Iterator[Case]:
    def made(name: str) -> nn.Module:
        from ultralytics import RTDETR, YOLO

        kind = RTDETR if name.startswith("rtdetr") else YOLO
        model: nn.Module = kind(f"{name}.yaml").model
        return model.requires_grad_(True)

    for name in YAMLS.split():
        yield Case(f"ultralytics:{name}", lambda name=name: made(name), image(3, SMALL, SMALL))


# -- recurrent networks and others of torch's own --------------------------------------------------------------


class _Last(nn.Module):
    """A recurrent network over tokens whose last state is classified."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.rnn = kind(32, 48, batch_first=True, **options)
        self.head = nn.Linear(48 * (2 if options.get("bidirectional") else 1), 10)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.rnn(self.words(ids))
        return self.head(states[:, -1])


def _words(model: nn.Module, batch: int) -> Arguments:
    return (torch.randint(0, 100, (batch, 30)),), {}


def _recurrent() -> Iterator[Case]:
    rows: Sequence[tuple[str, type[nn.RNNBase], dict[str, Any]]] = (
        ("LSTM", nn.LSTM, {}),
        ("LSTM, 2 layers, both ways", nn.LSTM, {"num_layers": 2, "bidirectional": True}),
        ("GRU", nn.GRU, {}),
        ("GRU, 2 layers, dropout", nn.GRU, {"num_layers": 2, "dropout": 0.3}),
        ("RNN", nn.RNN, {}),
    )
    for name, kind, options in rows:
        yield Case(f"torch:{name}", lambda kind=kind, options=options: _Last(kind, **options), _words)

    def encoder() -> nn.Module:
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)

    yield Case("torch:TransformerEncoder", encoder, lambda model, batch: ((torch.randn(batch, 32, 64),), {}))
    yield Case(
        "torch:Transformer",
        lambda: nn.Transformer(64, 4, 2, 2, 128, batch_first=True),
        lambda model, batch: ((torch.randn(batch, 32, 64), torch.randn(batch, 16, 64)), {}),
    )
