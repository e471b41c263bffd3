"""transformers: every model type with its default configuration, sentences with their mask, heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from coverage_models.cases import Case, Package, floats, ids, ones

TRANSFORMERS = Package("transformers", "5.24.0")

HEADS = {
    "bert": "MaskedLM SequenceClassification TokenClassification QuestionAnswering MultipleChoice",
    "roberta": "MaskedLM SequenceClassification",
    "distilbert": "MaskedLM TokenClassification",
    "electra": "MaskedLM QuestionAnswering",
    "gpt2": "CausalLM SequenceClassification",
    "llama": "CausalLM SequenceClassification",
    "mistral": "CausalLM",
    "qwen2": "CausalLM",
    "gemma": "CausalLM",
    "phi": "CausalLM",
    "opt": "CausalLM",
    "bloom": "CausalLM",
    "mamba": "CausalLM",
    "mixtral": "CausalLM",
    "t5": "Seq2SeqLM",
    "bart": "Seq2SeqLM SequenceClassification",
    "whisper": "SpeechSeq2Seq",
    "wav2vec2": "CTC AudioClassification",
    "hubert": "CTC",
    "vit": "ImageClassification MaskedImageModeling",
    "swin": "ImageClassification",
    "convnext": "ImageClassification",
    "resnet": "ImageClassification",
    "beit": "ImageClassification SemanticSegmentation",
    "segformer": "SemanticSegmentation ImageClassification",
    "mobilevit": "ImageClassification SemanticSegmentation",
    "detr": "ObjectDetection",
    "yolos": "ObjectDetection",
    "dpt": "DepthEstimation SemanticSegmentation",
    "glpn": "DepthEstimation",
    "videomae": "VideoClassification",
    "upernet": "SemanticSegmentation",
    "vit_mae": "PreTraining",
}
"""Model type → the heads that are tried as well."""

MASKED = """
    bert roberta distilbert electra albert mpnet deberta deberta-v2 xlnet xlm-roberta modernbert squeezebert funnel
    gpt2 gpt_neo gpt_neox gptj opt bloom llama mistral qwen2 qwen3 gemma gemma2 phi phi3 falcon olmo starcoder2 mixtral
    qwen2_moe granite cohere stablelm mpt codegen
    t5 mt5 bart mbart pegasus blenderbot m2m_100 marian longt5 led
"""
"""Model types that are also tried as a tokenizer's output calls them: a batch of two sentences and their mask."""


def _inputs(kind: str) -> Any:
    """Inputs that a model's configuration does not tell."""
    special: dict[str, Any] = {
        "encodec": {"input_values": floats(1, 1, 24000)},
        "univnet": {"input_features": floats(1, 100, 100), "noise_sequence": floats(1, 100, 64)},
        "vilt": {
            "input_ids": ids(1, 40),
            "pixel_values": floats(1, 3, 384, 384),
            "attention_mask": ones(1, 40),
            "token_type_ids": ids(1, 40),
        },
    }
    return special.get(kind)


def _made(kind: str, auto: str) -> nn.Module:
    import transformers

    more = {"esm": {"vocab_size": 33, "pad_token_id": 1}}.get(kind, {})
    return getattr(transformers, auto).from_config(transformers.AutoConfig.for_model(kind, **more))


@TRANSFORMERS.rows
def default_configurations() -> Iterator[Case]:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for kind in MODEL_MAPPING_NAMES:
        yield Case(f"transformers:{kind}", lambda kind=kind: _made(kind, "AutoModel"), _inputs(kind))


@TRANSFORMERS.rows
def heads() -> Iterator[Case]:
    for kind, names in HEADS.items():
        for head in names.split():
            auto = f"AutoModelFor{head}"
            yield Case(
                f"transformers:{kind} {head}", lambda kind=kind, auto=auto: _made(kind, auto), _inputs(kind)
            )


@TRANSFORMERS.rows
def sentences_with_their_mask() -> Iterator[Case]:
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    for kind in MASKED.split():
        if kind in MODEL_MAPPING_NAMES:
            inputs = {"input_ids": ids(1, 16, high=90), "attention_mask": ones(1, 16)}
            if kind in (
                "t5",
                "mt5",
                "bart",
                "mbart",
                "pegasus",
                "blenderbot",
                "m2m_100",
                "marian",
                "longt5",
                "led",
            ):
                inputs["decoder_input_ids"] = ids(1, 8, high=90)
            yield Case(f"transformers:{kind}, mask", lambda kind=kind: _made(kind, "AutoModel"), inputs)
