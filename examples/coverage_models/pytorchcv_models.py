"""pytorchcv: the smallest of each family, for ImageNet, CIFAR, segmentation, pose and detection."""

from __future__ import annotations

from collections.abc import Iterator

from coverage_models.cases import Case, Package, image

PYTORCHCV = Package("pytorchcv", "0.0.74")

IMAGENET = """
    alexnet zfnet vgg11 bn_vgg11 bninception resnet10 preresnet10 resnext14_32x4d seresnet10 sepreresnet10
    seresnext50_32x4d senet16 resnestabc14 irevnet301 bagnet9 dla34 densenet121 condensenet74_c4_g4 sparsenet121
    peleenet wrn50_2 drnc26 dpn68 darknet_ref darknet53 irevnet301 channelnet squeezenet_v1_0 squeezeresnet_v1_0
    sqnxt23_w1 shufflenet_g1_wd4 shufflenetv2_wd2 shufflenetv2b_wd2 menet108_8x1_g3 mobilenet_wd4 fdmobilenet_wd4
    mobilenetv2_wd4 mobilenetv3_small_w7d20 igcv3_wd4 ghostnet mnasnet_small fbnet_cb proxylessnas_cpu
    xception inceptionv3 inceptionv4 inceptionresnetv1 polynet nasnet_4a1056 pnasnet5large spnasnet efficientnet_b0
    efficientnet_edge_small_b mixnet_s hardnet39ds vovnet27s selecsls42 dicenet_wd5 espnetv2_wd2 hrnet_w18_small_v1
    regnetx002 regnety002 lwopenpose2d_mobilenet_cmupan_coco airnet50_1x64d_r2 airnext50_32x4d_r2 bam_resnet18
    cbam_resnet18 diracnet18v2 fishnet99 msdnet22 octresnet10_ad2 octresnet50b_ad2 ibn_resnet50 ibnb_resnet50
    ibn_densenet121 isqrtcovresnet18 res2net50_w14_s8 rir_cifar10 resnetd50b scnet50 shakeshakeresnet20_2x16d_cifar10
    shakedropresnet20_cifar10 resattnet56 sknet18 revnet38 resnesta18 zerodce
"""

CIFAR = """
    resnet20_cifar10 preresnet20_cifar10 seresnet20_cifar10 densenet40_k12_cifar10 pyramidnet110_a48_cifar10
    wrn16_10_cifar10 nin_cifar10 ror3_56_cifar10 rir_cifar10 xdensenet40_2_k24_bc_cifar10 diaresnet20_cifar10
    resnext20_1x64d_cifar10 fractalnet_cifar10 wrn20_10_1bit_cifar10
"""


@PYTORCHCV.rows
def families() -> Iterator[Case]:
    from pytorchcv.model_provider import _models, get_model

    seen: set[str] = set()
    for text, side in ((IMAGENET, 224), (CIFAR, 32)):
        for name in text.split():
            if name in _models and name not in seen:
                seen.add(name)
                at = {
                    "inceptionv3": 299,
                    "inceptionv4": 299,
                    "xception": 299,
                    "pnasnet5large": 331,
                    "polynet": 331,
                    "inceptionresnetv1": 299,
                }
                size = 32 if name.endswith("_cifar10") else at.get(name, 256 if "openpose" in name else side)
                yield Case(
                    f"pytorchcv:{name}", lambda name=name: get_model(name, pretrained=False), image(size)
                )
    for name, size in {
        "fcn8sd_resnetd50b_voc": 224,
        "pspnet_resnetd50b_voc": 224,
        "deeplabv3_resnetd50b_voc": 224,
        "icnet_resnetd50b_cityscapes": 256,
        "sinet_cityscapes": 256,
        "fastscnn_cityscapes": 256,
        "cgnet_cityscapes": 256,
        "dabnet_cityscapes": 256,
        "fpenet_cityscapes": 256,
        "lednet_cityscapes": 256,
        "lffdnet": 256,
        "bisenet_resnet18_celebamaskhq": 256,
        "danet_resnetd50b_cityscapes": 256,
        "ddrnet23s_cityscapes": 256,
        "simplepose_resnet18_coco": 256,
        "simplepose_mobile_resnet18_coco": 256,
        "alphapose_fastseresnet101b_coco": 256,
        "centernet_resnet18_voc": 256,
        "ibppose_coco": 256,
    }.items():
        if name not in _models:
            continue

        def make(name: str = name, size: int = size):  # type: ignore[no-untyped-def]
            more = {"in_size": (size, size)} if not name.startswith("lffd") else {}
            return get_model(name, pretrained=False, **more)

        yield Case(f"pytorchcv:{name}", make, image(size))
