"""Sound: recognition, separation, codecs, filter banks."""

from __future__ import annotations

import torch

from coverage_models.cases import Given, Package, floats

AUDIO = Package("torchaudio", "2.11.0", alone=True)
LENGTH = Given((1,), torch.int64, 0, True)
WAVE = floats(1, 8000)
for _name in (
    "wav2vec2_base",
    "wav2vec2_large",
    "hubert_base",
    "hubert_large",
    "wavlm_base",
    "wav2vec2_xlsr_300m",
):
    AUDIO.row(f"models.{_name}", WAVE)
AUDIO.row("models.Conformer", (floats(1, 50, 80), LENGTH), input_dim=80, num_heads=4, ffn_dim=128,
          num_layers=2, depthwise_conv_kernel_size=31, label="lengths")  # fmt: skip
AUDIO.row("models.conv_tasnet_base", floats(1, 1, 8000))
AUDIO.row("models.DeepSpeech", floats(1, 1, 50, 40), n_feature=40, n_hidden=64)
AUDIO.row("models.Wav2Letter", floats(1, 1, 8000), num_classes=40)
AUDIO.row("models.WaveRNN", (floats(1, 1, 1200), floats(1, 1, 128, 10)),
          upsample_scales=[5, 5, 8], n_classes=64, hop_length=200, n_res_block=2, n_rnn=32, n_fc=32)  # fmt: skip
AUDIO.row("models.hdemucs_low", floats(1, 2, 44100), sources=["drums", "vocals"])
AUDIO.row("models.squim_objective_base", floats(1, 16000))
AUDIO.row("transforms.Spectrogram", WAVE, n_fft=400)
AUDIO.row("transforms.MelSpectrogram", WAVE, sample_rate=16000, n_fft=400, n_mels=40)
AUDIO.row("transforms.MFCC", WAVE, sample_rate=16000, n_mfcc=13)
AUDIO.row("transforms.Resample", WAVE, 16000, 8000)
AUDIO.row("transforms.AmplitudeToDB", floats(1, 40, 50, high=1))

ASTEROID = Package("asteroid", "0.7.0", needs=("asteroid-filterbanks", "julius"), alone=True)
for _name, _args in {
    "ConvTasNet": {"n_src": 2, "n_repeats": 1, "n_blocks": 3, "n_filters": 64, "bn_chan": 32, "hid_chan": 64,
                   "skip_chan": 32},
    "DPRNNTasNet": {"n_src": 2, "n_repeats": 1, "bn_chan": 16, "hid_size": 16, "chunk_size": 50},
    "DPTNet": {"n_src": 2, "n_repeats": 1, "chunk_size": 50, "ff_hid": 16},
    "SuDORMRFNet": {"n_src": 2, "bn_chan": 16, "num_blocks": 1, "upsampling_depth": 2},
    "SuDORMRFImprovedNet": {"n_src": 2, "bn_chan": 16, "num_blocks": 1, "upsampling_depth": 2},
    "LSTMTasNet": {"n_src": 2, "hid_size": 32, "n_layers": 1},
    "DCCRNet": {"architecture": "DCCRN-CL"},
    "DCUNet": {"architecture": "mini"},
    "DeMask": {"input_type": "mag", "hidden_dims": (32,)},
}.items():  # fmt: skip
    ASTEROID.row(f"models.{_name}", floats(1, 1, 8000) if _name != "DCUNet" else floats(1, 1, 16000), **_args)

DEMUCS = Package("demucs", "4.1.0", needs=("dora-search", "julius", "lameenc", "openunmix"), alone=True)
DEMUCS.row("demucs.Demucs", floats(1, 2, 44100), sources=["a", "b"], channels=8, depth=4, lstm_layers=1)
DEMUCS.row("hdemucs.HDemucs", floats(1, 2, 44100), sources=["a", "b"], channels=8, depth=4)
DEMUCS.row("htdemucs.HTDemucs", floats(1, 2, 44100), sources=["a", "b"], channels=16, t_layers=1, t_heads=2, segment=1,
           use_train_segment=False)  # fmt: skip
UNMIX = Package("openunmix", "1.3.0", alone=True)
UNMIX.row("model.OpenUnmix", floats(1, 2, 513, 20), nb_bins=513, nb_channels=2, hidden_size=64)
DENOISER = Package("denoiser", "0.1.5", alone=True)
DENOISER.row("demucs.Demucs", floats(1, 1, 16000), hidden=8, depth=4)
ROFORMER = Package("bs-roformer", "1.2.4")
ROFORMER.row("BSRoformer", floats(1, 16384), dim=32, depth=1, time_transformer_depth=1, freq_transformer_depth=1,
             heads=2, flash_attn=False)  # fmt: skip
ROFORMER.row("MelBandRoformer", floats(1, 16384), dim=32, depth=1, time_transformer_depth=1,
             freq_transformer_depth=1, heads=2, flash_attn=False)  # fmt: skip
ENCODEC = Package("encodec", "0.1.1")
ENCODEC.row("modules.SEANetEncoder", floats(1, 1, 24000), n_filters=8)
ENCODEC.row("modules.SEANetDecoder", floats(1, 128, 75), n_filters=8)
ENCODEC.row("EncodecModel.encodec_model_24khz", floats(1, 1, 24000), pretrained=False)
VOCOS = Package("vocos", "0.1.0", alone=True)
VOCOS.row(
    "models.VocosBackbone", floats(1, 100, 50), input_channels=100, dim=64, intermediate_dim=128, num_layers=2
)
VOCOS.row("models.VocosResNetBackbone", floats(1, 100, 50), input_channels=100, dim=64, num_blocks=2)
VOCOS.row("heads.ISTFTHead", floats(1, 50, 64), dim=64, n_fft=256, hop_length=64)
LIBROSA = Package("torchlibrosa", "0.1.0")
LIBROSA.row("Spectrogram", WAVE, n_fft=512, hop_length=160)
LIBROSA.row("LogmelFilterBank", floats(1, 1, 50, 257, high=1), sr=16000, n_fft=512, n_mels=40)
CREPE = Package("torchcrepe", "0.0.24", needs=("resampy",), alone=True)
CREPE.row("Crepe", floats(1, 1024), "tiny")
DIFFUSION = Package("audio-diffusion-pytorch", "0.1.3")
SPEECHBRAIN = Package("speechbrain", "1.1.2")
SPEECHBRAIN.row("lobes.models.ECAPA_TDNN.ECAPA_TDNN", floats(1, 100, 80), input_size=80, channels=[64] * 4 + [192],
                lin_neurons=32)  # fmt: skip
SPEECHBRAIN.row("lobes.models.Xvector.Xvector", floats(1, 100, 40), in_channels=40, lin_neurons=64)
SPEECHBRAIN.row("lobes.models.CRDNN.CRDNN", floats(1, 50, 40), input_shape=[None, None, 40], rnn_neurons=32,
                dnn_neurons=32)  # fmt: skip
SPEECHBRAIN.row("lobes.models.ContextNet.ContextNet", floats(1, 80, 40), input_shape=(None, None, 40), out_channels=32,
                conv_channels=[32] * 3, kernel_size=3, strides=[1, 2, 1], num_blocks=3, num_layers=1)  # fmt: skip
SPEECHBRAIN.row("lobes.models.conv_tasnet.MaskNet", floats(1, 64, 100), N=64, B=16, H=32, P=3, X=2, R=1, C=2)
SPEECHBRAIN.row("lobes.models.dual_path.Encoder", floats(1, 8000), kernel_size=16, out_channels=32)
SPEECHBRAIN.row("lobes.models.convolution.ConvolutionFrontEnd", floats(1, 50, 40), (None, 50, 40))
SPEECHBRAIN.row("lobes.models.transformer.Conformer.ConformerEncoder", floats(1, 30, 64), num_layers=1, d_model=64,
                d_ffn=128, nhead=4, attention_type="regularMHA")  # fmt: skip
SPEECHBRAIN.row("lobes.models.transformer.Branchformer.BranchformerEncoder", floats(1, 30, 64), num_layers=1,
                d_model=64, nhead=4, attention_type="regularMHA")  # fmt: skip
SPEECHBRAIN.row("nnet.RNN.LiGRU", floats(1, 30, 16), hidden_size=32, input_shape=(None, None, 16))
SPEECHBRAIN.row("nnet.RNN.QuasiRNN", floats(1, 30, 16), hidden_size=32, input_shape=(None, None, 16))
SPEECHBRAIN.row(
    "nnet.CNN.SincConv", floats(1, 4000), out_channels=16, kernel_size=25, input_shape=(None, 4000)
)
SPEECHBRAIN.row("nnet.attention.MultiheadAttention", (floats(1, 20, 64),) * 3, nhead=4, d_model=64)
SPEECHBRAIN.row("lobes.features.Fbank", WAVE, n_mels=40)
SPEECHBRAIN.row(
    "lobes.models.MetricGAN.EnhancementGenerator", (floats(1, 20, 257), floats(1)), hidden_size=16
)
SPEECHBRAIN.row("lobes.models.HifiGAN.HifiganGenerator", floats(1, 80, 20), in_channels=80, out_channels=1,
                resblock_type="1", resblock_dilation_sizes=[[1, 3, 5]] * 3, resblock_kernel_sizes=[3, 7, 11],
                upsample_kernel_sizes=[16, 16], upsample_initial_channel=32, upsample_factors=[8, 8])  # fmt: skip
