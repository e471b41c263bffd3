"""Images: classifiers, segmenters, detectors, super-resolution, image and text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from coverage_models.cases import Case, Package, floats, ids, image, made, tokens

# -- vit-pytorch: one file a paper -----------------------------------------------------------------------------

VIT = Package("vit-pytorch", "1.26.11", "vit_pytorch")
USUAL = {
    "image_size": 64,
    "patch_size": 8,
    "num_classes": 10,
    "dim": 64,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 128,
}


def _usual(*without: str, **more: object) -> dict[str, object]:
    return {k: v for k, v in USUAL.items() if k not in without} | more


for _name in (
    "ViT",
    "SimpleViT",
    "simple_vit_with_patch_dropout.SimpleViT",
    "simple_vit_with_qk_norm.SimpleViT",
    "simple_vit_with_register_tokens.SimpleViT",
    "simple_vit_with_fft.SimpleViT",
    "simple_vit_with_value_residual.SimpleViT",
    "simple_flash_attn_vit.SimpleViT",
    "simple_uvit.SimpleUViT",
    "attn_residual_with_dca_simple_vit.SimpleViT",
    "deepvit.DeepViT",
    "learnable_memory_vit.ViT",
    "local_vit.LocalViT",
    "mp3.ViT",
    "normalized_vit.nViT",
    "parallel_vit.ViT",
    "rvt.RvT",
    "vit_for_small_dataset.ViT",
    "vit_with_patch_dropout.ViT",
    "vit_with_patch_merger.ViT",
    "vit_with_decorr.ViT",
    "vivit.ViViT",
    "jumbo_vit.JumboViT",
    "jet_vit.JetViT",
    "distill.DistillableViT",
):
    _more: dict[str, object] = {}
    _inputs = image(64)
    if _name == "simple_vit_with_fft.SimpleViT":
        _more = {"freq_patch_size": 8}
    if _name == "vivit.ViViT":
        _more = {
            "image_patch_size": 8,
            "frames": 8,
            "frame_patch_size": 2,
            "spatial_depth": 2,
            "temporal_depth": 2,
        }
        _inputs = floats(1, 3, 8, 64, 64)
    _left = ("patch_size", "depth") if _name == "vivit.ViViT" else ()
    VIT.row(_name, _inputs, **_usual(*_left, **_more))
VIT.row("ats_vit.ViT", image(64), **_usual(max_tokens_per_depth=(32, 16)))
VIT.row("cait.CaiT", image(64), **_usual(cls_depth=1))
VIT.row("cct.CCT", image(64), img_size=64, embedding_dim=64, num_layers=2, num_heads=4, num_classes=10)
VIT.row(
    "cross_vit.CrossViT",
    image(240),
    image_size=240,
    num_classes=10,
    sm_dim=32,
    lg_dim=64,
    depth=1,
    lg_enc_depth=1,
)
VIT.row("crossformer.CrossFormer", image(256), dim=(16, 32, 64, 128), depth=(1, 1, 1, 1), num_classes=10)
VIT.row("cvt.CvT", image(64), num_classes=10)
VIT.row(
    "levit.LeViT", image(64), image_size=64, num_classes=10, dim=(64, 96, 128), depth=1, heads=4, mlp_mult=2
)
VIT.row("pit.PiT", image(64), **_usual("depth"), depth=(1, 1))
VIT.row("simple_vit_with_hyper_connections.SimpleViT", image(64), **_usual(), num_residual_streams=2)
VIT.row(
    "look_vit.LookViT",
    image(64),
    highres_patch_size=8,
    dim=64,
    image_size=64,
    num_classes=10,
    depth=1,
    patch_size=16,
    heads=4,
)
VIT.row("max_vit.MaxViT", image(224), num_classes=10, dim=32, depth=(1, 1, 1, 1), dim_conv_stem=16)
VIT.row("max_vit_with_registers.MaxViT", image(224), num_classes=10, dim=32, depth=(1, 1), dim_conv_stem=16)
VIT.row(
    "mobile_vit.MobileViT",
    image(256),
    image_size=(256, 256),
    dims=[64, 80, 96],
    channels=[16, 16, 24, 24, 48, 48, 64, 64, 80, 80, 320],
    num_classes=10,
)
VIT.row("nest.NesT", image(64), **_usual("depth", "mlp_dim"), num_hierarchies=2, block_repeats=(1, 1))
VIT.row("regionvit.RegionViT", image(224), dim=(16, 32, 64, 128), depth=(1, 1, 1, 1), num_classes=10)
VIT.row("scalable_vit.ScalableViT", image(256), num_classes=10, dim=32, heads=(2, 4, 4, 4), depth=(1, 1, 1, 1),
        reduction_factor=(8, 4, 2, 1), window_size=(64, 32, None, None), ssa_dim_key=(8, 8, 8, 8),
        ssa_dim_value=(8, 8, 8, 8))  # fmt: skip
VIT.row("sep_vit.SepViT", image(224), num_classes=10, dim=32, depth=(1, 1, 1, 1), heads=(1, 2, 4, 8))
VIT.row("t2t.T2TViT", image(64), image_size=64, num_classes=10, dim=64, depth=2, heads=4, mlp_dim=128)
VIT.row("twins_svt.TwinsSVT", image(224), num_classes=10)
VIT.row("xcit.XCiT", image(64), **_usual(cls_depth=1))
VIT.row("efficient.ViT", image(64), **_usual("depth", "heads", "mlp_dim"),
        transformer=made("nystrom_attention:Nystromformer", dim=64, depth=2, heads=4, num_landmarks=16))  # fmt: skip
VIT.row("mae.MAE", image(64), encoder=made("ViT", **USUAL), decoder_dim=64)
VIT.row("simmim.SimMIM", image(64), encoder=made("ViT", **USUAL), masking_ratio=0.5)
VIT.row("na_vit.NaViT", ([floats(3, 64, 64), floats(3, 32, 64)],), **_usual())
VIT.row(
    "vit_3d.ViT",
    floats(1, 3, 8, 64, 64),
    **_usual("patch_size"),
    image_patch_size=8,
    frames=8,
    frame_patch_size=2,
)
VIT.row("simple_vit_3d.SimpleViT", floats(1, 3, 8, 64, 64), **_usual("patch_size"), image_patch_size=8, frames=8,
        frame_patch_size=2)  # fmt: skip
VIT.row("vit_1d.ViT", floats(1, 3, 64), seq_len=64, **_usual("image_size"))
VIT.row("simple_vit_1d.SimpleViT", floats(1, 3, 64), seq_len=64, **_usual("image_size"))

# -- one architecture each -------------------------------------------------------------------------------------

MIXER = Package("mlp-mixer-pytorch", "0.3.1")
MIXER.row("MLPMixer", image(64), image_size=64, channels=3, patch_size=8, dim=64, depth=2, num_classes=10)
SWIN = Package("swin-transformer-pytorch", "0.4.1")
SWIN.row(
    "SwinTransformer", image(224), hidden_dim=32, layers=(2, 2, 2, 2), heads=(1, 2, 4, 8), num_classes=10
)
SWIN.row("swin_t", image(224))
TIMESFORMER = Package("timesformer-pytorch", "0.4.1")
TIMESFORMER.row("TimeSformer", floats(1, 4, 3, 64, 64), dim=64, num_frames=4, num_classes=10, image_size=64,
                depth=2, heads=4)  # fmt: skip
TIMESFORMER.row("TimeSformer", floats(1, 4, 3, 64, 64), dim=64, num_frames=4, num_classes=10, image_size=64,
                depth=1, heads=4, rotary_emb=False, shift_tokens=True, label="shifted")  # fmt: skip
GLOM = Package("glom-pytorch", "0.0.14")
GLOM.row("Glom", image(56), dim=64, levels=4, image_size=56, patch_size=14)
AXIAL = Package("axial-attention", "0.6.1")
AXIAL.row("AxialAttention", floats(1, 32, 16, 16), dim=32, dim_index=1, heads=4)
AXIAL.row("AxialImageTransformer", floats(1, 32, 16, 16), dim=32, depth=2, reversible=False)
AXIAL.row(
    "AxialImageTransformer", floats(1, 32, 16, 16), dim=32, depth=2, reversible=True, label="reversible"
)
LAMBDA = Package("lambda-networks", "0.4.0")
LAMBDA.row("LambdaLayer", image(32, 32), dim=32, dim_out=32, r=7, dim_k=16, heads=4)
LAMBDA.row("LambdaLayer", image(32, 32), dim=32, dim_out=32, n=32, dim_k=16, heads=4, label="global")
BOTNET = Package("bottleneck-transformer-pytorch", "0.1.4")
BOTNET.row("BottleStack", image(32, 64), dim=64, fmap_size=32, dim_out=128, num_layers=2)
BOTNET.row(
    "BottleStack", image(32, 64), dim=64, fmap_size=32, dim_out=128, rel_pos_emb=True, label="relative"
)
HALO = Package("halonet-pytorch", "0.0.5")
HALO.row("HaloAttention", image(32, 64), dim=64, block_size=8, halo_size=4, dim_head=16, heads=4)
SLOT = Package("slot-attention", "1.5.2")
SLOT.row("SlotAttention", floats(1, 64, 32), num_slots=5, dim=32, iters=3)
SLOT.row("MultiHeadSlotAttention", floats(1, 64, 32), num_slots=5, dim=32, heads=4)
SIREN = Package("siren-pytorch", "0.1.7")
SIREN.row("SirenNet", floats(1, 2), dim_in=2, dim_hidden=64, dim_out=3, num_layers=4)
HIERA = Package("hiera-transformer", "0.1.4", "hiera")
HIERA.row("Hiera", image(224), embed_dim=48, num_heads=1, stages=(1, 1, 2, 1), num_classes=10)
HIERA.row("hiera.hiera_tiny_224", image(224))
PRETRAINED_VIT = Package("pytorch-pretrained-vit", "0.0.7", alone=True)
PRETRAINED_VIT.row("ViT", image(64), "B_16", pretrained=False, image_size=64, num_layers=2, num_classes=10)

EFFICIENT = Package("efficientnet-pytorch", "0.7.1")
for _i in (0, 2, 4, 7):
    EFFICIENT.row("EfficientNet.from_name", image(224), f"efficientnet-b{_i}", label=f"b{_i}")
RESNEST = Package("resnest", "0.0.5", alone=True)
for _name in ("resnest50", "resnest101"):
    RESNEST.row(f"torch.{_name}", image(224), pretrained=False)
ANTIALIASED = Package("antialiased-cnns", "0.3", alone=True)
for _name in ("resnet18", "resnet50", "vgg11", "densenet121", "mobilenet_v2", "alexnet"):
    ANTIALIASED.row(_name, image(224), pretrained=False)
FACENET = Package("facenet-pytorch", "2.6.0", alone=True)
FACENET.row("InceptionResnetV1", image(160), pretrained=None, num_classes=10, classify=True)
for _name in ("PNet", "RNet", "ONet"):
    FACENET.row(f"models.mtcnn.{_name}", image({"PNet": 48, "RNet": 24, "ONet": 48}[_name]), pretrained=False)
GEFFNET = Package("geffnet", "1.0.2", alone=True)
for _name in ("efficientnet_b0", "mixnet_s", "mobilenetv3_large_100", "mnasnet_100", "fbnetc_100", "spnasnet_100",
              "efficientnet_lite0", "tf_efficientnet_b0", "tf_mixnet_s", "efficientnet_cc_b0_4e", "tf_efficientnet_es",
              "mobilenetv2_100", "mobilenetv3_rw"):  # fmt: skip
    GEFFNET.row("create_model", image(224), _name, pretrained=False, label=_name)
CADENE = Package("pretrainedmodels", "0.7.4", needs=("six",))
for _name, _side in {"alexnet": 224, "bninception": 224, "cafferesnet101": 224, "dpn68": 224, "fbresnet152": 224,
                     "inceptionresnetv2": 299, "inceptionv4": 299, "nasnetamobile": 224, "pnasnet5large": 331,
                     "polynet": 331, "resnext101_32x4d": 224, "senet154": 224, "se_resnet50": 224,
                     "se_resnext50_32x4d": 224, "xception": 299, "squeezenet1_0": 224,
                     "vgg11_bn": 224}.items():  # fmt: skip
    CADENE.row(f"models.{_name}", image(_side), num_classes=1000, pretrained=None)
XRAY = Package("torchxrayvision", "1.5.7", needs=("scikit-image",), alone=True)
XRAY.row("models.DenseNet", image(224, 1), weights=None, num_classes=18)
XRAY.row("autoencoders.ResNetAE", image(224, 1), weights=None)
TOOLS = Package("pytorch-toolbelt", "0.8.0", alone=True)

# -- segmentation ----------------------------------------------------------------------------------------------

SMP = Package("segmentation-models-pytorch", "0.6.0")
for _name in ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3", "DeepLabV3Plus",
              "UPerNet", "Segformer", "DPT"):  # fmt: skip
    _encoder = "tu-vit_base_patch16_224.augreg_in21k" if _name == "DPT" else "resnet34"
    SMP.row(
        _name, image(224 if _name == "DPT" else 256), _encoder, encoder_weights=None, label="resnet34"[:99]
    )
for _encoder in ("efficientnet-b0", "mobilenet_v2", "mit_b0", "tu-convnext_tiny", "resnet50", "resnext50_32x4d",
                 "timm-regnetx_002", "densenet121", "vgg11_bn", "dpn68", "xception", "inceptionv4", "mobileone_s0",
                 "timm-efficientnet-b0", "se_resnet50"):  # fmt: skip
    SMP.row("Unet", image(299 if "xcep" in _encoder else 256), _encoder, encoder_weights=None, label=_encoder)
for _name in ("FPN", "DeepLabV3Plus", "Linknet", "PSPNet", "MAnet"):
    SMP.row(_name, image(256), "mobilenet_v2", encoder_weights=None, label="mobilenet_v2")
UNET = Package("unet", "0.8.1")
UNET.row("UNet2D", image(64, 1), in_channels=1, num_encoding_blocks=3, out_channels_first_layer=8, padding=1)
UNET.row("UNet3D", floats(1, 1, 32, 32, 32), in_channels=1, num_encoding_blocks=3, out_channels_first_layer=8,
         padding=1)  # fmt: skip
SAM = Package("segment-anything", "1.0", alone=True)
SAM.row("modeling.ImageEncoderViT", image(256), img_size=256, embed_dim=96, depth=2, num_heads=4, window_size=8,
        global_attn_indexes=(1,), use_rel_pos=True)  # fmt: skip
SAM.row("modeling.MaskDecoder",
        {"image_embeddings": floats(1, 256, 16, 16), "image_pe": floats(1, 256, 16, 16),
         "sparse_prompt_embeddings": floats(1, 2, 256), "dense_prompt_embeddings": floats(1, 256, 16, 16),
         "multimask_output": True},
        transformer_dim=256,
        transformer=made("modeling.TwoWayTransformer", depth=2, embedding_dim=256, mlp_dim=256, num_heads=8),
        )  # fmt: skip

# -- detection -------------------------------------------------------------------------------------------------

ULTRALYTICS = Package("ultralytics", "8.4.190")


@ULTRALYTICS.rows
def detectors_and_kin() -> Iterator[Case]:
    import ultralytics
    from ultralytics.nn import tasks

    here = Path(ultralytics.__file__).parent / "cfg" / "models"
    kinds = {
        "": tasks.DetectionModel,
        "-seg": tasks.SegmentationModel,
        "-pose": tasks.PoseModel,
        "-obb": tasks.OBBModel,
        "-cls": tasks.ClassificationModel,
    }

    def make(kind: type[nn.Module], file: str) -> nn.Module:
        return kind(file, verbose=False)

    for family, names in {
        "v3": ("yolov3-tiny", "yolov3"),
        "v5": ("yolov5n", "yolov5n-p6"),
        "v6": ("yolov6n",),
        "v8": ("yolov8n", "yolov8n-ghost", "yolov8n-p2", "yolov8n-p6", "yolov8n-seg", "yolov8n-pose", "yolov8n-obb",
               "yolov8n-cls"),
        "v9": ("yolov9t", "yolov9s", "yolov9c"),
        "v10": ("yolov10n", "yolov10s"),
        "11": ("yolo11n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolo11n-cls"),
        "12": ("yolo12n", "yolo12n-seg", "yolo12n-cls"),
        "26": ("yolo26n", "yolo26n-seg", "yolo26n-pose", "yolo26n-cls"),
    }.items():  # fmt: skip
        for name in names:
            _, dash, task = name.rpartition("-")
            suffix = dash + task if dash and "-" + task in kinds else ""
            yield Case(
                f"ultralytics:{name}",
                lambda kind=kinds[suffix], file=str(here / family / f"{name}.yaml"): make(kind, file),
                image(320 if suffix != "-cls" else 224),
            )
    yield Case("ultralytics:rtdetr-l", lambda: tasks.RTDETRDetectionModel(str(here / "rt-detr" / "rtdetr-l.yaml"),
                                                                        verbose=False), image(320))  # fmt: skip


# -- super-resolution ------------------------------------------------------------------------------------------

TORCHSR = Package("torchsr", "1.0.4", alone=True)
for _name in ("edsr_baseline", "ninasr_b0", "ninasr_b1", "rdn_a", "carn", "carn_m", "rcan", "vdsr"):
    TORCHSR.row(f"models.{_name}", image(32), scale=2, pretrained=False)
SPANDREL = Package("spandrel", "0.4.2")
for _name, _args in {
    "ESRGAN.ESRGAN": {"num_filters": 16, "num_blocks": 2},
    "Compact.Compact": {"num_feat": 16, "num_conv": 4},
    "SwinIR.SwinIR": {"img_size": 32, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2], "window_size": 8},
    "Swin2SR.Swin2SR": {"img_size": 32, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2], "window_size": 8},
    "HAT.HAT": {"img_size": 32, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 2), "window_size": 8},
    "DAT.DAT": {"img_size": 32, "embed_dim": 24, "depth": [2], "num_heads": [2], "split_size": [8, 8]},
    "OmniSR.OmniSR": {"num_feat": 16, "res_num": 1, "window_size": 8},
    "NAFNet.NAFNet": {"width": 8, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "Restormer.Restormer": {"dim": 16, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1},
    "SPAN.SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16},
    "SAFMN.SAFMN": {"dim": 16, "n_blocks": 2},
    "PLKSR.PLKSR": {"dim": 16, "n_blocks": 2},
    "RealCUGAN.UpCunet2x": {},
    "GRL.GRL": {"img_size": 32, "embed_dim": 24, "depths": [1], "num_heads_window": [2], "num_heads_stripe": [2],
                "window_size": 8, "stripe_size": [8, 8]},
    "DITN.DITN_Real": {"dim": 16, "ITL_blocks": 1, "SAL_blocks": 1, "UFONE_blocks": 1},
    "ATD.ATD": {"img_size": 32, "embed_dim": 24, "depths": (1,), "num_heads": (2,), "window_size": 8,
                "num_tokens": 16, "reducted_dim": 4},
    "DRCT.DRCT": {"img_size": 32, "embed_dim": 24, "depths": (1,), "num_heads": (2,), "window_size": 8, "gc": 8},
    "RGT.RGT": {"img_size": 32, "embed_dim": 24, "depth": [1], "num_heads": [2], "split_size": [8, 8]},
    "CRAFT.CRAFT": {"img_size": 32, "embed_dim": 24, "depths": [1], "num_heads": [2], "split_size_0": 4,
                    "split_size_1": 8},
    "SCUNet.SCUNet": {"config": [1] * 7, "dim": 16, "input_resolution": 64},
    "Uformer.Uformer": {"img_size": 64, "embed_dim": 8, "depths": [1] * 9, "num_heads": [1] * 9},
    "MixDehazeNet.MixDehazeNet": {"embed_dims": [8, 16, 32, 16, 8], "depths": [1] * 5},
    "FFTformer.FFTformer": {"dim": 16, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1},
    "MMRealSR.MMRealSR": {"num_feat": 16, "num_block": 1},
    "LaMa.LaMa": {},
    "DnCNN.DnCNN": {"nb": 4, "nc": 16},
    "FBCNN.FBCNN": {"nc": [8, 16, 32, 64], "nb": 1},
    "IPT.IPT": {"patch_size": 48, "n_feats": 8, "num_heads": 2, "num_layers": 1},
    "DRUNet.DRUNet": {"nc": [8, 16, 32, 64], "nb": 1},
    "DCTLSA.DCTLSA": {},
    "MAN.MAN": {"n_resblocks": 2, "n_resgroups": 1, "n_feats": 30},
    "RTMoSR.RTMoSR": {},
    "MoSR.MoSR": {},
    "MoESR.MoESR": {"dim": 16, "n_blocks": 1, "n_block": 1},
    "SwiftSRGAN.Generator": {"num_channels": 16, "num_blocks": 2},
    "HVICIDNet.HVICIDNet": {},
    "AdaCode.AdaCode": {},
    "KBNet.KBNet_s": {"width": 8, "enc_blk_nums": [1], "dec_blk_nums": [1]},
}.items():  # fmt: skip
    _package, _, _class = _name.partition(".")
    _side = (
        64
        if _package in ("LaMa", "Restormer", "Uformer", "SCUNet", "FFTformer", "MixDehazeNet", "KBNet")
        else 32
    )
    SPANDREL.row(f"architectures.{_package}.{_class}", image(_side), **_args)

# -- image and text, filters -----------------------------------------------------------------------------------

CLIP = Package("open-clip-torch", "3.3.0", "open_clip")
for _name in ("RN50", "ViT-B-32", "ViT-L-14", "convnext_base", "coca_ViT-B-32", "EVA02-B-16", "roberta-ViT-B-32",
              "ViT-B-16-SigLIP", "MobileCLIP-S1", "ViTamin-S", "nllb-clip-base"):  # fmt: skip
    _length = 64 if "SigLIP" in _name else 77
    CLIP.row("create_model", (image(256 if "Mobile" in _name else 224), tokens(_length)), _name, pretrained=None,
             pretrained_hf=False, label=_name)  # fmt: skip
XCLIP = Package("x-clip", "0.14.4")
XCLIP.row("CLIP", (ids(1, 32, high=100), image(64)), dim_text=64, dim_image=64, dim_latent=64, num_text_tokens=100,
          text_enc_depth=1, text_seq_len=32, text_heads=4, visual_enc_depth=1, visual_image_size=64,
          visual_patch_size=16, visual_heads=4)  # fmt: skip
COCA = Package("coca-pytorch", "0.1.0")
COCA.row("CoCa", {"text": tokens(16), "image_tokens": floats(1, 17, 64)}, dim=64, image_dim=64, num_tokens=100,
         unimodal_depth=1, multimodal_depth=1, heads=4)  # fmt: skip

KORNIA = Package("kornia", "0.9.0")
KORNIA.row("feature.HardNet", image(32, 1), pretrained=False)
KORNIA.row("feature.HardNet8", image(32, 1), pretrained=False)
KORNIA.row("feature.HyNet", image(32, 1), pretrained=False)
KORNIA.row("feature.TFeat", image(32, 1), pretrained=False)
KORNIA.row("feature.SOSNet", image(32, 1), pretrained=False)
KORNIA.row("feature.KeyNet", image(64, 1), pretrained=False)
KORNIA.row("feature.SIFTDescriptor", image(32, 1), patch_size=32)
KORNIA.row("filters.GaussianBlur2d", image(32), (3, 3), (1.5, 1.5))
KORNIA.row("filters.Sobel", image(32))
KORNIA.row("filters.Canny", image(32))
KORNIA.row("filters.Laplacian", image(32), 3)
KORNIA.row("color.RgbToHsv", floats(1, 3, 32, 32, high=1))
KORNIA.row("color.RgbToLab", floats(1, 3, 32, 32, high=1))
KORNIA.row("losses.SSIMLoss", (floats(1, 3, 32, 32), floats(1, 3, 32, 32)), 11)
LIGHTLY = Package("lightly", "1.6.0", needs=("lightly-utils",), alone=True)
LIGHTLY.row("models.modules.SimCLRProjectionHead", floats(1, 64), 64, 64, 32)
LIGHTLY.row("models.modules.BYOLProjectionHead", floats(1, 64), 64, 64, 32)
LIGHTLY.row("models.modules.DINOProjectionHead", floats(1, 64), 64, 64, 32, 128)
LIGHTLY.row("models.modules.SwaVPrototypes", floats(1, 32), 32, 100)
LIGHTLY.row("models.ResNetGenerator", image(32), "resnet-18", label="resnet-18")
OCR = Package("python-doctr", "1.1.0", "doctr", needs=("anyascii",), alone=True)
for _name in ("vgg16_bn_r", "mobilenet_v3_small", "resnet18", "magc_resnet31", "vit_s", "textnet_tiny"):
    OCR.row(f"models.{_name}", image(32), pretrained=False)
for _name in ("crnn_mobilenet_v3_small", "vitstr_small", "sar_resnet31", "parseq", "viptr_tiny"):
    OCR.row(f"models.{_name}", floats(1, 3, 32, 128), pretrained=False, pretrained_backbone=False)
for _name in ("db_mobilenet_v3_large", "linknet_resnet18", "fast_tiny"):
    OCR.row(f"models.{_name}", image(256), pretrained=False, pretrained_backbone=False)
MMPRETRAIN = Package("mmpretrain", "1.2.0", needs=("mmengine", "mmcv-lite", "addict", "yapf", "model-index", "rich"),
                     alone=True)  # fmt: skip
for _name in ("ResNet", "MobileNetV2", "VisionTransformer", "SwinTransformer", "ConvNeXt", "RepVGG", "EfficientNet",
              "PoolFormer", "HRNet"):  # fmt: skip
    _args = {"ResNet": {"depth": 18}, "RepVGG": {"arch": "A0"},
             "HRNet": {"arch": "w18"}}.get(_name, {})  # fmt: skip
    MMPRETRAIN.row(f"models.{_name}", image(224), **_args)
