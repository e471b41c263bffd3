"""Time series and recordings of the brain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coverage_models.cases import Case, Package, floats

BRAIN = Package("braindecode", "1.8.1")
BRAIN_MODELS = """
    ATCNet AttentionBaseNet AttnSleep BDTCN BENDR BIOT CBraMod CTNet ContraWR DGCNN Deep4Net DeepSleepNet EEGConformer
    EEGITNet EEGInceptionERP EEGInceptionMI EEGMiner EEGNeX EEGNet EEGPT EEGSimpleConv EEGTCNet FBCNet FBLightConvNet
    FBMSNet HybridNet IFNet Labram MEDFormer MSVTNet PBT SCCNet SPARCNet SSTDPN ShallowFBCSPNet SignalJEPA
    SincShallowNet SleepStagerBlanco2020 SleepStagerChambon2018 SyncNet TCFormer TIDNet TSception USleep
"""


@BRAIN.rows
def recordings() -> Iterator[Case]:
    from braindecode import models

    special: dict[str, dict[str, Any]] = {
        "USleep": {"n_times": 3000, "sfreq": 100},
        "AttnSleep": {"n_chans": 1, "n_times": 3000, "sfreq": 100},
        "DeepSleepNet": {"n_chans": 1, "n_times": 3000, "sfreq": 100},
        "SleepStagerChambon2018": {"n_times": 3000, "sfreq": 100},
        "SleepStagerBlanco2020": {"n_times": 3000, "sfreq": 100},
        "BIOT": {"n_times": 1000, "sfreq": 200},
        "Labram": {"n_times": 1000, "sfreq": 200},
        "CBraMod": {"n_times": 1000, "sfreq": 200},
        "HybridNet": {"n_times": 1000, "sfreq": 250},
    }
    for name in BRAIN_MODELS.split():
        signal = {"n_chans": 22, "n_times": 1000, "sfreq": 250} | special.get(name, {})
        if not hasattr(models, name):
            continue
        yield Case(
            f"braindecode:{name}",
            lambda name=name, signal=signal: getattr(models, name)(n_outputs=4, **signal),
            floats(1, signal["n_chans"], signal["n_times"]),
        )


TSAI = Package(
    "tsai",
    "1.0.1",
    needs=("fastai", "fastcore", "plum-dispatch", "fasttransform", "python-fasthtml", "fastdownload"),
    alone=True,
)
TSAI_MODELS = {
    "FCN.FCN": (3, 5), "FCNPlus.FCNPlus": (3, 5), "InceptionTime.InceptionTime": (3, 5),
    "InceptionTimePlus.InceptionTimePlus": (3, 5), "MLP.MLP": (3, 5, 64), "OmniScaleCNN.OmniScaleCNN": (3, 5, 64),
    "RNN.RNN": (3, 5), "RNN.LSTM": (3, 5), "RNN.GRU": (3, 5), "RNNPlus.LSTMPlus": (3, 5, 64),
    "RNN_FCN.LSTM_FCN": (3, 5, 64), "RNN_FCN.GRU_FCN": (3, 5, 64), "RNN_FCNPlus.MLSTM_FCNPlus": (3, 5, 64),
    "RNNAttention.LSTMAttention": (3, 5, 64), "ResCNN.ResCNN": (3, 5), "ResNet.ResNet": (3, 5),
    "ResNetPlus.ResNetPlus": (3, 5), "TCN.TCN": (3, 5), "TST.TST": (3, 5, 64), "TSTPlus.TSTPlus": (3, 5, 64),
    "TSiTPlus.TSiTPlus": (3, 5, 64), "TSPerceiver.TSPerceiver": (3, 5, 64), "TSSequencerPlus.TSSequencerPlus": (3, 5, 64),
    "TransformerModel.TransformerModel": (3, 5), "TransformerRNNPlus.TransformerLSTMPlus": (3, 5, 64),
    "XCM.XCM": (3, 5, 64), "XCMPlus.XCMPlus": (3, 5, 64), "XResNet1d.xresnet1d18": (3, 5),
    "XResNet1dPlus.xresnet1d18plus": (3, 5), "XceptionTime.XceptionTime": (3, 5),
    "XceptionTimePlus.XceptionTimePlus": (3, 5), "gMLP.gMLP": (3, 5, 64), "mWDN.mWDN": (3, 5, 64),
    "ConvTranPlus.ConvTranPlus": (3, 5, 64), "HydraPlus.HydraPlus": (3, 5, 64),
    "MINIROCKETPlus_Pytorch.MiniRocketPlus": (3, 5, 64),
}  # fmt: skip
for _name, _args in TSAI_MODELS.items():
    TSAI.row(f"models.{_name}", floats(1, 3, 64), *_args)
TSAI.row(
    "models.PatchTST.PatchTST", floats(1, 3, 64), 3, None, 64, pred_dim=8, d_model=32, n_heads=4, n_layers=2
)

ITRANSFORMER = Package("itransformer", "0.8.1", "iTransformer")
_SERIES: dict[str, Any] = {
    "num_variates": 7,
    "lookback_len": 32,
    "depth": 1,
    "dim": 32,
    "pred_length": 8,
    "heads": 2,
}
ITRANSFORMER.row("iTransformer", floats(1, 32, 7), **_SERIES)
ITRANSFORMER.row(
    "iTransformer", floats(1, 32, 7), **_SERIES, use_reversible_instance_norm=True, label="normalised"
)
ITRANSFORMER.row("iTransformer2D", floats(1, 32, 7), **_SERIES, num_time_tokens=8)
ITRANSFORMER.row("iTransformerFFT", floats(1, 32, 7), **_SERIES)
TSMIXER = Package("pytorch-tsmixer", "0.2.0", "torchtsmixer")
TSMIXER.row(
    "TSMixer", floats(1, 32, 4), sequence_length=32, prediction_length=8, input_channels=4, output_channels=2
)
TSMIXER.row("TSMixerExt", (floats(1, 32, 2), floats(1, 32, 2), floats(1, 8, 2), floats(1, 4)), sequence_length=32,
            prediction_length=8, input_channels=2, extra_channels=2, hidden_channels=8, static_channels=4,
            output_channels=2)  # fmt: skip
