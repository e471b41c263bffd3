"""Volumes: medical images and three-dimensional networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from coverage_models.cases import Case, Package, floats, ids, image

MONAI = Package("monai", "1.6.1")


@MONAI.rows
def of_monai() -> Iterator[Case]:
    from monai.networks import nets

    volume = floats(1, 1, 64, 64, 64)

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


IO_2D = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
for _name, _args in {
    "UNet": {**IO_2D, "channels": (8, 16, 32), "strides": (2, 2)},
    "BasicUNet": {**IO_2D, "features": (8, 8, 16, 32, 64, 8)},
    "AttentionUnet": {**IO_2D, "channels": (8, 16, 32), "strides": (2, 2)},
    "SegResNet": {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "SegResNetDS": {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "FlexibleUNet": {"in_channels": 3, "out_channels": 2, "backbone": "efficientnet-b0"},
    "DenseNet121": {**IO_2D},
    "SwinUNETR": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "feature_size": 12},
    "MedNeXt": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "init_filters": 8},
    "AutoEncoder": {**IO_2D, "channels": (4, 8), "strides": (2, 2)},
    "VarAutoEncoder": {"spatial_dims": 2, "in_shape": (1, 64, 64), "out_channels": 1, "latent_size": 8,
                       "channels": (4, 8), "strides": (2, 2)},
    "HoVerNet": {"mode": "fast", "out_classes": 3},
    "DiNTS": None,
    "MILModel": None,
    "TorchVisionFCModel": {"model_name": "resnet18", "num_classes": 3, "pretrained": False},
    "CellSamWrapper": None,
    "Quicknat": {"num_classes": 3, "num_channels": 1, "num_filters": 8, "se_block": "None"},
    "Classifier": {"in_shape": (1, 64, 64), "classes": 3, "channels": (4, 8), "strides": (2, 2)},
    "Discriminator": {"in_shape": (1, 64, 64), "channels": (4, 8), "strides": (2, 2)},
    "Critic": {"in_shape": (1, 64, 64), "channels": (4, 8), "strides": (2, 2)},
    "FullyConnectedNet": {"in_channels": 16, "out_channels": 4, "hidden_channels": (8,)},
    "PatchDiscriminator": {"spatial_dims": 2, "in_channels": 1, "channels": 8},
    "VQVAE": {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16),
              "num_res_channels": (8, 16), "num_embeddings": 16, "embedding_dim": 8},
    "AutoencoderKL": {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16, 16),
                      "norm_num_groups": 4, "num_res_blocks": 1, "attention_levels": (False, False, True),
                      "latent_channels": 4},
    "ResNeXt50": None,
    "RegUNet": {"spatial_dims": 2, "in_channels": 2, "num_channel_initial": 8, "depth": 2},
    "GlobalNet": {"image_size": (64, 64), "spatial_dims": 2, "in_channels": 2, "num_channel_initial": 8, "depth": 2},
    "LocalNet": {"spatial_dims": 2, "in_channels": 2, "num_channel_initial": 8, "extract_levels": (0, 1)},
    "SEResNet50": {"spatial_dims": 2, "in_channels": 1, "num_classes": 2},
    "SEResNext50": {"spatial_dims": 2, "in_channels": 1, "num_classes": 2},
    "DAF3D": None,
    "UNETR": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "img_size": 64, "hidden_size": 96,
              "mlp_dim": 128, "num_heads": 4, "feature_size": 8},
    "ViT": {"spatial_dims": 2, "in_channels": 1, "img_size": 64, "patch_size": 16, "hidden_size": 96, "mlp_dim": 128,
            "num_layers": 2, "num_heads": 4},
}.items():  # fmt: skip
    if _args is not None:
        _channels = {"FlexibleUNet": 3, "HoVerNet": 3, "TorchVisionFCModel": 3}.get(
            _name, _args.get("in_channels", 1)
        )
        _side = {"HoVerNet": 256}.get(_name, 64)
        _inputs = floats(1, 16) if _name == "FullyConnectedNet" else image(_side, int(_channels))
        MONAI.row(f"networks.nets.{_name}", _inputs, **_args, label="2d")
MONAI.row("networks.nets.DiffusionModelUNet", (image(32, 1), ids(1, high=10)), spatial_dims=2, in_channels=1,
          out_channels=1, channels=(16, 32), attention_levels=(False, True), num_res_blocks=1, num_head_channels=16,
          norm_num_groups=8)  # fmt: skip
MONAI.row(
    "networks.nets.VoxelMorph", (image(64, 1), image(64, 1)), spatial_dims=2, channels=(8, 8, 8, 8, 8, 8)
)

NNUNET = Package("dynamic-network-architectures", "0.4.4", alone=True)
_PLAN = {
    "input_channels": 1, "n_stages": 3, "features_per_stage": (8, 16, 32), "conv_op": nn.Conv2d, "kernel_sizes": 3,
    "strides": (1, 2, 2), "conv_bias": True, "norm_op": nn.InstanceNorm2d, "nonlin": nn.LeakyReLU,
}  # fmt: skip
NNUNET.row("architectures.unet.PlainConvUNet", image(64, 1), **_PLAN, n_conv_per_stage=2, num_classes=2,
           n_conv_per_stage_decoder=2)  # fmt: skip
NNUNET.row("architectures.unet.ResidualEncoderUNet", image(64, 1), **_PLAN, n_blocks_per_stage=2, num_classes=2,
           n_conv_per_stage_decoder=1)  # fmt: skip
NNUNET.row("architectures.unet.PlainConvUNet", floats(1, 1, 32, 32, 32),
           **(_PLAN | {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d}), n_conv_per_stage=1, num_classes=2,
           n_conv_per_stage_decoder=1, deep_supervision=True, label="3d")  # fmt: skip
TIMM3D = Package("timm-3d", "1.0.1")
for _name in ("resnet18.a1_in1k", "efficientnet_b0.ra_in1k", "densenet121.tv_in1k", "vgg11.tv_in1k",
              "mobilenetv3_small_100.lamb_in1k"):  # fmt: skip
    TIMM3D.row("create_model", floats(1, 3, 64, 64, 64), _name, pretrained=False, num_classes=4,
               label=_name.partition(".")[0])  # fmt: skip
