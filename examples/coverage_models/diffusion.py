"""diffusers: denoisers and autoencoders at the size of known pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coverage_models.cases import Case, Package, floats, ids

DIFFUSERS = Package("diffusers", "0.42.1")


@DIFFUSERS.rows
def of_diffusers() -> Iterator[Case]:
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    t, text = ids(1), floats(1, 77, 768)
    latent = floats(1, 4, 64, 64)

    def case(name: str, inputs: Any, note: str = "", **config: Any) -> Case:
        shown = f"diffusers:{name}" + (f" ({note})" if note else "")
        return Case(shown, lambda: getattr(diffusers, name)(**config), inputs)

    yield case("UNet2DModel", {"sample": floats(1, 3, 64, 64), "timestep": t}, sample_size=64)
    yield case(
        "UNet2DConditionModel",
        {"sample": latent, "timestep": t, "encoder_hidden_states": text},
        "Stable Diffusion 1.5",
        cross_attention_dim=768,
    )
    yield case(
        "UNet2DConditionModel",
        {"sample": latent, "timestep": t, "encoder_hidden_states": floats(1, 77, 1024)},
        "Stable Diffusion 2",
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    )
    yield case(
        "UNet1DModel", {"sample": floats(1, 2, 4096), "timestep": t}, sample_size=4096, extra_in_channels=64
    )
    yield case(
        "UNet3DConditionModel",
        {"sample": floats(1, 4, 4, 32, 32), "timestep": t, "encoder_hidden_states": floats(1, 77, 1024)},
    )
    yield case(
        "ControlNetModel",
        {
            "sample": latent,
            "timestep": t,
            "encoder_hidden_states": text,
            "controlnet_cond": floats(1, 3, 512, 512),
        },
        cross_attention_dim=768,
    )
    levels = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
    }
    yield case("AutoencoderKL", floats(1, 3, 256, 256), "Stable Diffusion's VAE", **levels)
    yield case("AsymmetricAutoencoderKL", floats(1, 3, 64, 64))
    yield case("AutoencoderTiny", floats(1, 3, 256, 256))
    yield case("AutoencoderOobleck", floats(1, 2, 32768))
    yield case("AutoencoderKLTemporalDecoder", {"sample": floats(2, 3, 64, 64), "num_frames": 2})
    yield case("AutoencoderDC", floats(1, 3, 256, 256))
    yield case("VQModel", floats(1, 3, 64, 64))
    yield case(
        "DiTTransformer2DModel",
        {"hidden_states": floats(1, 4, 32, 32), "timestep": t, "class_labels": ids(1)},
        num_layers=28,
    )
    yield case(
        "PixArtTransformer2DModel",
        {
            "hidden_states": floats(1, 4, 128, 128),
            "timestep": t,
            "encoder_hidden_states": floats(1, 120, 4096),
            "added_cond_kwargs": {"resolution": floats(1, 2), "aspect_ratio": floats(1, 1)},
        },
    )
    yield case(
        "SD3Transformer2DModel",
        {
            "hidden_states": floats(1, 16, 64, 64),
            "timestep": t,
            "encoder_hidden_states": floats(1, 77, 4096),
            "pooled_projections": floats(1, 2048),
        },
    )
    yield case(
        "FluxTransformer2DModel",
        {
            "hidden_states": floats(1, 1024, 64),
            "timestep": t,
            "encoder_hidden_states": floats(1, 128, 4096),
            "pooled_projections": floats(1, 768),
            "img_ids": floats(1024, 3),
            "txt_ids": floats(128, 3),
            "guidance": floats(1),
        },
        guidance_embeds=True,
    )
    yield case(
        "UVit2DModel",
        {
            "input_ids": ids(1, 16, 16),
            "encoder_hidden_states": floats(1, 77, 768),
            "pooled_text_emb": floats(1, 768),
            "micro_conds": floats(1, 5),
        },
    )
    yield case(
        "CogVideoXTransformer3DModel",
        {
            "hidden_states": floats(1, 5, 16, 60, 90),
            "timestep": t,
            "encoder_hidden_states": floats(1, 226, 4096),
        },
        sample_frames=17,
    )
    yield case("AutoencoderKLCogVideoX", {"sample": floats(1, 3, 5, 64, 64)})
