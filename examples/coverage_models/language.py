"""Sequences: attention in its many forms, memories, experts, recurrent cells, language models."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from coverage_models.cases import Case, Package, floats, ids, made, tokens

X = Package("x-transformers", "2.31.10")


def _x(label: str, inputs: object = None, wrapper: str = "TransformerWrapper", layers: str = "Decoder",
       **options: object) -> None:  # fmt: skip
    outer = {"num_tokens": 100, "max_seq_len": 64}
    outer |= {k[2:]: v for k, v in options.items() if k.startswith("w_")}
    inner = {k: v for k, v in options.items() if not k.startswith("w_")}
    X.row(wrapper, inputs or tokens(32), **outer, attn_layers=made(layers, **({"dim": 64, "depth": 2, "heads": 4} | inner)),
          label=label)  # fmt: skip


_x("decoder")
_x("encoder", layers="Encoder")
for _option, _value in {
    "rotary_pos_emb": True, "alibi_pos_bias": True, "rel_pos_bias": True, "dynamic_pos_bias": True, "ff_glu": True,
    "ff_swish": True, "use_rmsnorm": True, "use_scalenorm": True, "attn_one_kv_head": True, "attn_kv_heads": 2,
    "attn_qk_norm": True, "sandwich_norm": True, "macaron": True, "residual_attn": True,
    "attn_flash": True, "shift_tokens": 1, "gate_residual": True, "attn_num_mem_kv": 4, "attn_sparse_topk": 8,
    "pre_norm": False, "ff_relu_squared": True, "attn_gate_values": True, "attn_head_scale": True,
    "rotary_xpos": True, "attn_on_attn": True, "add_value_residual": True,
    "num_residual_streams": 2, "attn_laser": True, "use_simple_rmsnorm": True, "ff_no_bias": True,
}.items():  # fmt: skip
    _x(_option, **{_option: _value})
_x("memory tokens", w_num_memory_tokens=4)
_x("tied", w_tie_embedding=True)
_x("no absolute positions", w_use_abs_pos_emb=False)
X.row("ContinuousTransformerWrapper", floats(1, 32, 16), dim_in=16, dim_out=8, max_seq_len=64,
      attn_layers=made("Encoder", dim=64, depth=2, heads=4))  # fmt: skip
X.row("ViTransformerWrapper", floats(1, 3, 64, 64), image_size=64, patch_size=8, num_classes=10,
      attn_layers=made("Encoder", dim=64, depth=2, heads=4))  # fmt: skip
X.row("XTransformer", (tokens(16), tokens(12)), dim=64, enc_num_tokens=100, enc_depth=1, enc_heads=4,
      enc_max_seq_len=32, dec_num_tokens=100, dec_depth=1, dec_heads=4, dec_max_seq_len=32)  # fmt: skip
X.row("AutoregressiveWrapper", tokens(33), made("TransformerWrapper", num_tokens=100, max_seq_len=64,
      attn_layers=made("Decoder", dim=64, depth=1, heads=4)))  # fmt: skip
X.row("CrossAttender", {"x": floats(1, 16, 64), "context": floats(1, 20, 64)}, dim=64, depth=1, heads=4)

LINFORMER = Package("linformer", "0.2.3")
LINFORMER.row("Linformer", floats(1, 64, 64), dim=64, seq_len=64, depth=2, heads=4, k=16)
LINFORMER.row("LinformerLM", tokens(64), num_tokens=100, dim=64, seq_len=64, depth=2, heads=4, k=16)
LINFORMER.row("Linformer", floats(1, 64, 64), dim=64, seq_len=64, depth=1, heads=4, k=16, one_kv_head=True,
              share_kv=True, label="shared")  # fmt: skip
PERFORMER = Package("performer-pytorch", "1.1.4")
PERFORMER.row(
    "PerformerLM", tokens(64), num_tokens=100, max_seq_len=64, dim=64, depth=1, heads=4, dim_head=16
)
PERFORMER.row("Performer", floats(1, 64, 64), dim=64, depth=1, heads=4, dim_head=16)
PERFORMER.row("SelfAttention", floats(1, 64, 64), dim=64, heads=4, dim_head=16)
REFORMER = Package("reformer-pytorch", "1.4.4")
REFORMER.row("ReformerLM", tokens(128), num_tokens=100, dim=64, depth=1, max_seq_len=128, heads=4, bucket_size=16,
             n_hashes=2)  # fmt: skip
REFORMER.row("LSHSelfAttention", floats(1, 128, 64), dim=64, heads=4, bucket_size=16, n_hashes=2)
PERCEIVER = Package("perceiver-pytorch", "0.11.0")
PERCEIVER.row("Perceiver", floats(1, 32, 32, 3), num_freq_bands=4, depth=2, max_freq=10.0, num_latents=16,
              latent_dim=32, num_classes=10)  # fmt: skip
PERCEIVER.row("PerceiverIO", {"data": floats(1, 64, 32), "queries": floats(1, 8, 32)}, depth=2, dim=32,
              queries_dim=32, logits_dim=10, num_latents=16, latent_dim=32)  # fmt: skip
PERCEIVER.row("PerceiverLM", tokens(64), num_tokens=100, dim=32, max_seq_len=64, depth=2, num_latents=16,
              latent_dim=32)  # fmt: skip
LOCAL = Package("local-attention", "1.11.2")
LOCAL.row("LocalAttention", (floats(1, 4, 64, 16),) * 3, dim=16, window_size=16, causal=True)
LOCAL.row(
    "LocalTransformer", tokens(64), num_tokens=100, dim=64, depth=2, max_seq_len=64, local_attn_window_size=16
)
LOCAL.row("LocalMHA", floats(1, 64, 64), dim=64, window_size=16, heads=4)
HTRANSFORMER = Package("h-transformer-1d", "0.1.9")
HTRANSFORMER.row(
    "HTransformer1D", tokens(64), num_tokens=100, dim=64, depth=1, max_seq_len=64, heads=4, block_size=16
)
ROUTING = Package("routing-transformer", "1.6.1")
ROUTING.row("RoutingTransformerLM", tokens(64), num_tokens=100, dim=64, depth=1, max_seq_len=64, heads=4,
            window_size=16)  # fmt: skip
SINKHORN = Package("sinkhorn-transformer", "0.11.4")
SINKHORN.row("SinkhornTransformerLM", tokens(64), num_tokens=100, dim=64, depth=1, max_seq_len=64, heads=4,
             bucket_size=16)  # fmt: skip
SINKHORN.row("SinkhornTransformer", floats(1, 64, 64), dim=64, depth=1, heads=4, bucket_size=16)
NYSTROM = Package("nystrom-attention", "0.0.14")
NYSTROM.row("NystromAttention", floats(1, 64, 64), dim=64, heads=4, dim_head=16, num_landmarks=16)
NYSTROM.row("Nystromformer", floats(1, 64, 64), dim=64, depth=2, heads=4, dim_head=16, num_landmarks=16)
LINEAR = Package("linear-attention-transformer", "0.19.1")
LINEAR.row(
    "LinearAttentionTransformerLM", tokens(64), num_tokens=100, dim=64, depth=1, max_seq_len=64, heads=4
)
LINEAR.row("LinearAttentionTransformer", floats(1, 64, 64), dim=64, depth=2, max_seq_len=64, heads=4, causal=True,
           blindspot_size=8, n_local_attn_heads=2, local_attn_window_size=16)  # fmt: skip
LINEAR.row("ImageLinearAttention", floats(1, 32, 16, 16), 32)
GMLP = Package("g-mlp-pytorch", "0.1.5")
GMLP.row("gMLP", tokens(32), num_tokens=100, dim=64, depth=2, seq_len=32)
GMLP.row(
    "gMLP", tokens(32), num_tokens=100, dim=64, depth=2, seq_len=32, causal=True, attn_dim=16, label="causal"
)
GMLP.row("gMLP", tokens(32), num_tokens=100, dim=64, depth=2, seq_len=32, causal=True, circulant_matrix=True,
         label="circulant")  # fmt: skip
GMLP.row("gMLPVision", floats(1, 3, 64, 64), image_size=64, patch_size=8, num_classes=10, dim=64, depth=2)
MEGA = Package("mega-pytorch", "0.1.0")
MEGA.row("Mega", tokens(32), num_tokens=100, dim=64, depth=2, ema_heads=4, attn_dim_qk=16, attn_dim_value=32)
MEGA.row("MegaLayer", floats(1, 32, 64), dim=64, ema_heads=4, laplacian_attn_fn=True)
RMT = Package("recurrent-memory-transformer-pytorch", "0.7.0")
RMT.row("RecurrentMemoryTransformer", tokens(32), dim=64, num_tokens=100, depth=1, num_memory_tokens=4, seq_len=32,
        heads=4)  # fmt: skip
BLOCK = Package("block-recurrent-transformer-pytorch", "0.4.4")
BLOCK.row("BlockRecurrentTransformer", tokens(64), num_tokens=100, dim=64, depth=2, heads=4, max_seq_len=64,
          block_width=32, num_state_vectors=32, recurrent_layers=(2,))  # fmt: skip
MOE = Package("mixture-of-experts", "0.2.3")
MOE.row("MoE", floats(1, 32, 64), dim=64, num_experts=4)
MOE.row("HeirarchicalMoE", floats(1, 32, 64), dim=64, num_experts=(2, 2))
MOE.row("Experts", floats(4, 1, 8, 64), dim=64, num_experts=4)
SOFTMOE = Package("soft-moe-pytorch", "0.1.9")
SOFTMOE.row("SoftMoE", floats(1, 32, 64), dim=64, seq_len=32, num_experts=4)
SOFTMOE.row("DynamicSlotsSoftMoE", floats(1, 32, 64), dim=64, num_experts=4)
STMOE = Package("st-moe-pytorch", "0.1.8")
STMOE.row("MoE", floats(1, 32, 64), dim=64, num_experts=4)
STMOE.row("SparseMoEBlock", floats(1, 32, 64), made("MoE", dim=64, num_experts=4), add_ff_before=True)
TITANS = Package("titans-pytorch", "0.5.5")
TITANS.row("NeuralMemory", floats(1, 32, 32), dim=32, chunk_size=8)
TITANS.row("MemoryMLP", floats(1, 32, 32), dim=32, depth=2)
TITANS.row("MemoryAsContextTransformer", tokens(64), num_tokens=100, dim=32, depth=2, segment_len=32, heads=2,
           use_flex_attn=False, neural_memory_layers=())  # fmt: skip
GATELOOP = Package("gateloop-transformer", "0.2.5")
GATELOOP.row("Transformer", tokens(32), num_tokens=100, dim=64, depth=1, use_gate_looped_attn=False, heads=4)
GATELOOP.row("Transformer", tokens(32), num_tokens=100, dim=32, depth=1, label="gate loop",
             checkpoint_gate_looped_attn=False)  # fmt: skip
GATELOOP.row("SimpleGateLoopLayer", floats(1, 32, 64), dim=64)
MEGABYTE = Package("megabyte-pytorch", "0.3.6", "MEGABYTE_pytorch")
MEGABYTE.row("MEGABYTE", ids(1, 16, 4, high=100), num_tokens=100, dim=(64, 32), depth=(1, 1), max_seq_len=(16, 4),
             heads=4)  # fmt: skip
MEMORIZING = Package("memorizing-transformers-pytorch", "0.4.1", needs=("einops-exts",))
PKM = Package("product-key-memory", "0.3.0")
PKM.row("PKM", floats(1, 32, 64), dim=64, heads=2, num_keys=16, topk=4, dim_head=16)
VQ = Package("vector-quantize-pytorch", "1.32.0")
VQ.row("VectorQuantize", floats(1, 32, 64), dim=64, codebook_size=32)
VQ.row("VectorQuantize", floats(1, 32, 64), dim=64, codebook_size=32, use_cosine_sim=True, codebook_dim=16,
       label="cosine")  # fmt: skip
VQ.row("VectorQuantize", floats(1, 64, 8, 8), dim=64, codebook_size=32, accept_image_fmap=True, label="map")
VQ.row("ResidualVQ", floats(1, 32, 64), dim=64, codebook_size=32, num_quantizers=3)
VQ.row("GroupedResidualVQ", floats(1, 32, 64), dim=64, codebook_size=32, num_quantizers=2, groups=2)
VQ.row("RandomProjectionQuantizer", floats(1, 32, 64), dim=64, codebook_size=32, codebook_dim=16)
VQ.row("FSQ", floats(1, 32, 4), levels=[8, 5, 5, 5])
VQ.row("LFQ", floats(1, 32, 8), codebook_size=256, dim=8)
VQ.row("ResidualFSQ", floats(1, 32, 64), dim=64, levels=[8, 5, 5, 3], num_quantizers=2)
VQ.row("ResidualLFQ", floats(1, 32, 64), dim=64, codebook_size=64, num_quantizers=2)
VQ.row("SimVQ", floats(1, 32, 64), dim=64, codebook_size=32)
VQ.row("LatentQuantize", floats(1, 9, 8, 8), levels=[5, 5, 8], dim=9)

MAMBA = Package("mambapy", "1.2.0")


@MAMBA.rows
def state_spaces() -> Iterator[Case]:
    from mambapy.mamba import Mamba, MambaConfig

    yield Case("mambapy:Mamba", lambda: Mamba(MambaConfig(d_model=32, n_layers=2)), floats(1, 16, 32))
    yield Case("mambapy:Mamba sequential", lambda: Mamba(MambaConfig(d_model=32, n_layers=1, pscan=False)),
               floats(1, 16, 32))  # fmt: skip


XLSTM = Package("xlstm", "2.0.6")


@XLSTM.rows
def extended_lstms() -> Iterator[Case]:
    import xlstm

    def stack(slstm: tuple[int, ...]) -> nn.Module:
        layer = xlstm.sLSTMBlockConfig(slstm=xlstm.sLSTMLayerConfig(backend="vanilla", num_heads=4))
        config = xlstm.xLSTMBlockStackConfig(
            mlstm_block=xlstm.mLSTMBlockConfig(mlstm=xlstm.mLSTMLayerConfig(num_heads=4)),
            slstm_block=layer if slstm else None,
            context_length=32, num_blocks=2, embedding_dim=64, slstm_at=list(slstm),
        )  # fmt: skip
        return xlstm.xLSTMBlockStack(config)

    yield Case("xlstm:xLSTMBlockStack matrix memories", lambda: stack(()), floats(1, 32, 64))
    yield Case("xlstm:xLSTMBlockStack scalar memories", lambda: stack((1,)), floats(1, 32, 64))


LITGPT = Package("litgpt", "0.5.13")


@LITGPT.rows
def open_language_models() -> Iterator[Case]:
    from litgpt import GPT, Config

    for name in ("pythia-14m", "Llama-3.2-1B", "gemma-2-2b", "Mistral-7B-v0.1", "Mixtral-8x7B-v0.1", "phi-1_5",
                 "falcon-7b", "stablelm-3b-4e1t", "Qwen2.5-0.5B", "Qwen3-0.6B", "OLMo-1B-hf", "gemma-3-1b-it",
                 "tiny-llama-1.1b", "SmolLM2-135M", "Qwen3-30B-A3B", "Phi-4-mini-instruct", "CodeLlama-7b-hf",
                 "dolly-v2-3b"):  # fmt: skip

        def make(name: str = name) -> nn.Module:
            return GPT(Config.from_name(name, n_layer=2, padded_vocab_size=512))

        yield Case(f"litgpt:{name}, two layers", make, tokens(32))


WHISPER = Package("openai-whisper", "20250625", "whisper")


@WHISPER.rows
def whispers() -> Iterator[Case]:
    from whisper.model import ModelDimensions, Whisper

    dims = ModelDimensions(80, 1500, 64, 2, 2, 100, 32, 64, 2, 2)
    yield Case("openai-whisper:Whisper small", lambda: Whisper(dims), (floats(1, 80, 3000), tokens(8)))


SENTENCES = Package("sentence-transformers", "6.2.0")
CRF = Package("pytorch-crf", "0.7.2", "torchcrf")
CRF.row("CRF", (floats(7, 1, 5), ids(7, 1, high=5)), 5, label="sequence first")
CRF.row("CRF", (floats(1, 7, 5), ids(1, 7, high=5)), 5, batch_first=True)
ENFORMER = Package(
    "enformer-pytorch",
    "0.8.12",
    needs=("discrete-key-value-bottleneck-pytorch", "polars", "pyfaidx"),
    alone=True,  # it pins an old transformers
)
ENFORMER.row("Enformer.from_hparams", ids(1, 1024, high=5), dim=96, depth=1, heads=2, num_downsamples=5,
             target_length=16)  # fmt: skip
FAIRSCALE = Package("fairscale", "0.4.13")
LSTMS = Package("ncps", "1.0.1", "ncps.torch")
LSTMS.row("CfC", floats(1, 16, 8), 8, 32)
LSTMS.row("LTC", floats(1, 16, 8), 8, 16)
LSTMS.row("CfC", floats(1, 16, 8), 8, made("ncps.wirings:AutoNCP", 16, 4), label="wired")
LSTMS.row("LTC", floats(1, 16, 8), 8, made("ncps.wirings:AutoNCP", 16, 4), label="wired")
CONFORMER = Package("conformer", "0.3.2")
CONFORMER.row("Conformer", floats(1, 32, 64), 64, depth=2, heads=4)
CONFORMER.row("ConformerBlock", floats(1, 32, 64), dim=64, heads=4)
