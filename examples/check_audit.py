"""Audit the check on good models: what it finds, what a backward pass says, and what a person made of each finding.

    python examples/check_audit.py [--timm 260] [--pytorchcv 40] [--seed 0] [--jobs 2] [--minutes 9] [--only 'timm:*']

Looks at models as their authors ship them: classification, segmentation, video, detection and optical flow networks
of torchvision; timm and pytorchcv, drawn with a seed; transformers with attention masks, segmentation_models_pytorch
and ultralytics where they are installed. Each is checked as ``sed-torch check`` does, and then goes forward and
backward once in training and once in evaluation mode on ``meta`` tensors (shapes only), or, where the forward asks
for values, on made-up data; that tells which parameters get no gradient. Every finding of severity error or warning
needs a verdict in ``check_audit_verdicts.csv``, written by hand after reading the model's source; the command exits
with 1 when one has none.

Rows are kept in a folder (``--rows``) as they come: stop it at any time, give it some minutes at a time, or run a
part of it in another environment; the same command goes on. ``--again`` looks anew at models by pattern.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import fnmatch
import importlib.util
import inspect
import json
import os
import platform
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import Tensor, nn

from sed_torch import tables
from sed_torch._files import write_text
from sed_torch._version import __version__
from sed_torch.diagnostics import RULES, Finding, check
from sed_torch.diagnostics.report import folded
from sed_torch.zoo import load

HERE = Path(__file__).resolve().parent
SEVERITIES = ("error", "warning", "info")
UNUSED = ("SED001", "SED002", "SED003", "SED005")
"""Codes of parameters that the output does not depend on, or not in a way that has a gradient."""


MODES = ("training", "evaluation")


@dataclass(frozen=True)
class Row:
    """A model.

    Attributes:
        ref: its reference.
        findings: of the check.
        reason: why it could not be checked.
        idle: mode → trainable parameters without a gradient after a backward pass in it.
        no_backward: mode → why there was no backward pass.
        coverage: share of the parameters that the check could read.
        seconds: CPU time of the check, building included.
        version: of sed-torch, which looked at it.
    """

    ref: str
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    idle: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    no_backward: Mapping[str, str] = field(default_factory=dict)
    coverage: float | None = None
    seconds: float = 0.0
    version: str = ""

    def to_json(self) -> str:
        """One line."""
        plain = {**vars(self), "findings": [f.to_dict() for f in self.findings]}
        return json.dumps(plain, default=str)

    @staticmethod
    def read(text: str) -> Row:
        """What :meth:`to_json` wrote."""
        plain = json.loads(text)
        plain["findings"] = tuple(Finding(**f) for f in plain["findings"])
        plain["idle"] = {mode: tuple(names) for mode, names in plain["idle"].items()}
        return Row(**plain)


@dataclass(frozen=True)
class Verdict:
    """What a person made of findings: ``true`` or ``false``, and why; patterns as in a shell."""

    model: str
    code: str
    path: str
    verdict: str
    why: str

    def covers(self, ref: str, finding: Finding) -> bool:
        """Whether it is about a finding."""
        return (
            finding.code == self.code
            and fnmatch.fnmatchcase(ref, self.model)
            and fnmatch.fnmatchcase(finding.path or "(root)", self.path)
        )


@dataclass
class Audit:
    """All rows and verdicts, and how they were made."""

    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    command: str
    used: set[Verdict] = field(default_factory=set)

    def found(self, severity: str) -> Iterator[tuple[Row, Finding]]:
        """Findings of a severity with their models."""
        return ((r, f) for r in self.rows for f in r.findings if f.severity == severity)

    def verdict(self, ref: str, finding: Finding) -> Verdict | None:
        """The first verdict about a finding."""
        for v in self.verdicts:
            if v.covers(ref, finding):
                self.used.add(v)
                return v
        return None


# -- which models ---------------------------------------------------------------------------------------------

TEXT = {
    "MaskedLM": "albert bert big_bird camembert convbert deberta deberta-v2 distilbert electra ernie esm ibert "
    "layoutlm mobilebert modernbert mpnet nystromformer rembert roberta roformer squeezebert xlm-roberta xmod",
    "SequenceClassification": "bert distilbert electra roberta",
    "CausalLM": "biogpt bloom codegen ctrl falcon gemma gemma2 gpt2 gpt_bigcode gpt_neo gpt_neox gptj granite llama "
    "mistral olmo openai-gpt opt phi phi3 qwen2 qwen3 starcoder2 xglm",
    "Seq2SeqLM": "bart blenderbot marian mbart mt5 mvp pegasus plbart t5 umt5",
}
"""Head of transformers' auto classes → model types that read ids and an attention mask."""
VISION = (
    "beit bit convnext convnextv2 deit dinov2 mobilenet_v1 mobilevit poolformer regnet resnet swin swinv2 vit"
)
SMP = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer"
ENCODERS = ("resnet34", "efficientnet-b0", "mobilenet_v2")
YOLO = (
    *(
        f"DetectionModel('yolo{v}.yaml')"
        for v in ("v5n", "v8n", "v8s", "v8m", "v9t", "v9c", "v10n", "11n", "12n")
    ),
    *(f"SegmentationModel('yolo{v}-seg.yaml')" for v in ("v8n", "11n")),
    *(f"PoseModel('yolo{v}-pose.yaml')" for v in ("v8n", "11n")),
    *(f"ClassificationModel('yolo{v}-cls.yaml')" for v in ("v8n", "11n")),
)


def drawn(timm_models: int, pytorchcv_models: int, seed: int) -> list[str]:
    """References of all models to look at."""
    import timm
    from torchvision import models

    def sample(names: Sequence[str], count: int) -> list[str]:
        return sorted(random.Random(seed).sample(sorted(names), min(count, len(names))))

    kinds = (models, models.detection, models.segmentation, models.video, models.optical_flow)
    found = [f"torchvision:{n}" for m in kinds for n in models.list_models(module=m)]
    found += [f"timm:{n}" for n in sample(timm.list_models(), timm_models)]
    if importlib.util.find_spec("pytorchcv") is not None:
        from pytorchcv import model_provider

        names = sample(list(model_provider._models), pytorchcv_models)
        found += [f"pytorchcv.model_provider:get_model({n!r})" for n in names]
    found += [f"transformers:{kind} {head}" for head, kinds in TEXT.items() for kind in kinds.split()]
    found += [f"transformers:{kind} ImageClassification" for kind in VISION.split()]
    pairs = [(a, e) for a in SMP.split() for e in ENCODERS]
    found += [f"segmentation_models_pytorch:{a}({e!r}, encoder_weights=None)" for a, e in pairs]
    return [*found, *(f"ultralytics.nn.tasks:{call}" for call in YOLO)]


def package(ref: str) -> str:
    """The package that a reference is of."""
    return ref.partition(":")[0].partition(".")[0]


# -- looking at one -------------------------------------------------------------------------------------------

Inputs = Mapping[str, Any] | tuple[Any, ...] | None


def made(ref: str) -> tuple[nn.Module, Inputs]:
    """A model, and its inputs where they are not left to be inferred."""
    kind, _, name = ref.partition(":")
    if kind == "transformers":
        return of_transformers(*name.split())
    model = load(ref).model
    inputs: Inputs = None
    if kind == "segmentation_models_pytorch":
        inputs = (torch.zeros(2, 3, 256, 256),)
    elif kind.startswith("ultralytics"):
        inputs = (torch.zeros(2, 3, 224 if "cls" in name else 640, 224 if "cls" in name else 640),)
    elif hasattr(model, "in_size") and kind.startswith("pytorchcv"):
        channels = getattr(model, "in_channels", 3)
        inputs = (torch.zeros(2, channels, *model.in_size),)
    return model, inputs


_DEPTHS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "encoder_layers",
    "decoder_layers",
    "num_decoder_layers",
)


WORDS = 1 << 15
"""Of more words, embeddings and their gradients take all memory where a backward pass needs values."""


def of_transformers(kind: str, head: str) -> tuple[nn.Module, Inputs]:
    """A model from its default configuration, two layers deep, of at most 2¹⁵ words, with a mask; on ``meta``."""
    import transformers

    transformers.logging.set_verbosity_error()
    more = {"vocab_size": 33, "pad_token_id": 1} if kind == "esm" else {}
    sizes = transformers.AutoConfig.for_model(kind, **more).to_dict()
    more.update({name: 2 for name in _DEPTHS if isinstance(sizes.get(name), int) and sizes[name] > 2})
    last_id = max((v for k, v in sizes.items() if k.endswith("token_id") and isinstance(v, int)), default=0)
    if isinstance(sizes.get("vocab_size"), int) and sizes["vocab_size"] > WORDS > last_id:
        more["vocab_size"] = WORDS
    config = transformers.AutoConfig.for_model(kind, **more)
    config.use_cache = False
    with torch.device("meta"):
        model = getattr(transformers, f"AutoModelFor{head}").from_config(config)
    if head == "ImageClassification":
        return model, None
    ids = torch.zeros(2, 64, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    taken = inspect.signature(model.forward).parameters
    more = {"decoder_input_ids": ids} if head == "Seq2SeqLM" else {}
    return model, {**inputs, **{k: v for k, v in more.items() if k in taken}}


def audited(ref: str) -> Row:
    """One model, checked, and trained for a step in both modes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            model, inputs = made(ref)
        report = check(model, input_data=inputs, name=ref)
    except Exception as error:
        return Row(ref, reason=_said(error), version=__version__)
    seconds = time.process_time() - start
    idle: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    if inputs is None and report.score is not None:
        inputs = tuple(torch.zeros((2, *shape[1:])) for shape in report.score.inputs)
    for mode in MODES:
        try:
            idle[mode] = without_gradient(model, inputs or (), mode == "training")
        except Exception as error:
            failed[mode] = _said(error)
    return Row(ref, report.findings, None, idle, failed, report.coverage, seconds, __version__)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def without_gradient(model: nn.Module, inputs: Inputs, training: bool = True) -> tuple[str, ...]:
    """Names of the trainable parameters that a backward pass from every output leaves without a gradient.

    On ``meta`` tensors, and on made-up data where the forward asks for values; detectors get made-up boxes.
    """
    detector = hasattr(model, "transform") and hasattr(model.transform, "min_size")
    if detector:
        return _idle(_with_values(model), *detection_batch(training), {}, training=training)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    listed = [] if isinstance(inputs, Mapping) else list(inputs or ())
    try:
        to_meta = [t.to("meta") for t in listed], {k: v.to("meta") for k, v in named.items()}
        return _idle(model.to("meta"), *to_meta, training=training)
    except (RuntimeError, NotImplementedError):
        return _idle(_with_values(model), listed, named, training=training)


def _idle(
    model: nn.Module, listed: Sequence[Any], named: Mapping[str, Any], *, training: bool
) -> tuple[str, ...]:
    model.train(training)
    for p in model.parameters():
        p.grad = None
    outputs = [t for t in tensors(model(*listed, **named)) if t.requires_grad]
    torch.stack([t.real.sum() for t in outputs]).sum().backward()
    return tuple(n for n, p in model.named_parameters() if p.requires_grad and p.grad is None)


def _with_values(model: nn.Module) -> nn.Module:
    """On the CPU, with small random weights where there are none."""
    if any(t.device.type == "meta" for t in (*model.parameters(), *model.buffers())):
        held = [(m, n, id(p)) for m in model.modules() for n, p in m._parameters.items() if p is not None]
        model = model.to_empty(device="cpu")
        shared: dict[int, nn.Parameter | None] = {}
        for module, name, key in held:  # each place of a shared weight has got one of its own
            module._parameters[name] = shared.setdefault(key, module._parameters[name])
        for t in (*model.parameters(), *model.buffers()):
            if t.dtype.is_floating_point:
                t.data.normal_(0.0, 0.02)
            else:
                t.data.zero_()
        for name, t in model.named_buffers():
            if name.endswith("running_var"):
                t.data.fill_(1.0)
    return model


def detection_batch(training: bool) -> tuple[list[Any]]:
    """Two images, and a box in each with all that torchvision's detectors may ask for."""
    box = {
        "boxes": torch.tensor([[20.0, 20.0, 200.0, 180.0]]),
        "labels": torch.ones(1, dtype=torch.int64),
        "masks": torch.ones(1, 256, 256, dtype=torch.uint8),
        "keypoints": torch.tensor([[[60.0, 60.0, 1.0]] * 17]),
    }
    images = [torch.rand(3, 256, 256) for _ in range(2)]
    return ([images, [box, dict(box)]],) if training else ([images],)


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in what a model returned."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors(each)


# -- writing it down -----------------------------------------------------------------------------------------


def to_markdown(audit: Audit) -> str:
    """The audit as a document."""
    checked = [r for r in audit.rows if r.reason is None]
    sections = [_head(audit, checked), _counts(audit, checked)]
    for severity in ("error", "warning"):
        sections.append(_judged(audit, severity))
    sections += [_second_opinion(checked), _failures(audit.rows)]
    return "\n\n".join(s for s in sections if s) + "\n"


def _head(audit: Audit, checked: Sequence[Row]) -> str:
    others = ", ".join(f"{p} {version(p)}" for p in ("torch", "torchvision", "timm"))
    versions = f"sed-torch {__version__}, {others}"
    zoos = Counter(package(r.ref) for r in audit.rows)
    return (
        "# The check on real, well-trained models\n\n"
        f"Made by `{audit.command}` on {datetime.date.today().isoformat()} with {versions}, "
        f"Python {platform.python_version()}.\n\n"
        f"{len(audit.rows)} models: {', '.join(f'{n} of {z}' for z, n in zoos.items())}; {len(checked)} were checked, "
        f"in {_cpu(checked):.2f} s of CPU time each on average, building included; "
        f"{sum((r.coverage or 0.0) >= 0.999 for r in checked)} of them were read whole.{_made_before(audit)}"
    )


def _made_before(audit: Audit) -> str:
    """How many rows an earlier version made, which is not said where none is."""
    others = Counter(r.version or "an earlier version" for r in audit.rows if r.version != __version__)
    listed = ", ".join(f"{n} by {v}" for v, n in others.items())
    return f" Kept from runs of other versions: {listed}." if listed else ""


def _cpu(rows: Sequence[Row]) -> float:
    return sum(r.seconds for r in rows) / max(len(rows), 1)


def _counts(audit: Audit, checked: Sequence[Row]) -> str:
    counts = Counter((f.code, f.severity) for r in checked for f in r.findings)
    models = Counter(key for r in checked for key in {(f.code, f.severity) for f in r.findings})
    rows = [
        {"code": c, "name": RULES[c].name, "severity": s, "findings": counts[c, s], "models": models[c, s]}
        for s in SEVERITIES
        for c in sorted(RULES)
        if counts[c, s]
    ]
    n = max(len(checked), 1)
    means = ", ".join(
        f"{sum(f.severity == s for r in checked for f in r.findings) / n:.2f} {s}" for s in SEVERITIES
    )
    loud = {r.ref: [f for f in r.findings if f.severity == "warning"] for r in checked}
    shown = sum(len(folded(found)) for found in loud.values())
    quiet = sum(not found for found in loud.values())
    places = sum(len(f.evidence.get("places", (f.path,))) for found in loud.values() for f in found)
    return (
        "## Findings by code\n\n"
        + tables.to_markdown(rows, ("code", "name", "severity", "findings", "models"))
        + f"\n\nA model on average: {means}. A finding is a cause: what is wrong in a line of a class counts once, "
        f"however often the model uses the class; by place it is {places / n:.2f} warning. As a report shows them "
        f"(alike but for a block's number: one): {shown / n:.2f} warnings a model; "
        f"{quiet} models ({quiet / n:.0%}) have none."
    )


def _judged(audit: Audit, severity: str) -> str:
    rows = []
    for row in audit.rows:
        for alike in folded([f for f in row.findings if f.severity == severity]):
            verdicts = dict.fromkeys(audit.verdict(row.ref, f) for f in alike)
            said = [v for v in verdicts if v is not None]
            agree = len(said) == len(verdicts) and len({v.verdict for v in said}) == 1
            verdict = said[0] if agree else None
            first = alike[0]
            others = sum(len(f.evidence.get("places", (f.path,))) for f in alike) - 1
            more = f" and {others} alike" if others else ""
            rows.append(
                {
                    "model": row.ref,
                    "code": first.code,
                    "path": (first.path or "(root)") + more,
                    "evidence": first.message,
                    "verdict by hand": verdict.verdict if verdict else "MISSING",
                    "why": verdict.why if verdict else "",
                }
            )
    title = f"## Every finding of severity {severity}\n\n"
    if not rows:
        return f"{title}None."
    false = sum(r["verdict by hand"] == "false" for r in rows)
    return (
        f"{title}{len(rows)} findings, {false} false. The verdicts were written by hand, from the model's source.\n\n"
        + tables.to_markdown(rows, ("model", "code", "path", "evidence", "verdict by hand", "why"))
    )


def disagreements(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Parameters about which the check and real backward passes say different things.

    A finding holds where no pass gives a gradient; what it leaves out is held against training, as is its claim
    where there was such a pass.
    """
    found = []
    for row in rows:
        named = {
            p
            for f in row.findings
            if f.code in UNUSED
            for p in f.evidence.get("parameters", ())
            if f.severity != "info"
        }
        mode = next((m for m in MODES if m in row.idle), None)
        if mode is None:
            continue
        idle = set(row.idle[mode])
        for what, names in (
            ("no gradient, not found", idle - named),
            ("found, has a gradient", named - idle),
        ):
            if names:
                shown = ", ".join(sorted(names)[:4])
                found.append({"model": row.ref, "mode": mode, "what": what, "parameters": shown})
    return found


def _second_opinion(rows: Sequence[Row]) -> str:
    differ = disagreements(rows)
    passes = ", ".join(f"{sum(m in r.idle for r in rows)} in {m} mode" for m in MODES)
    with_idle = sum(bool(next((r.idle[m] for m in MODES if m in r.idle), ())) for r in rows)
    text = (
        "## Second opinion: a backward pass\n\n"
        f"Forward and backward once on `meta` tensors: {passes}. {with_idle} models have trainable parameters that got "
        f"no gradient. The check ({', '.join(UNUSED)}) says otherwise of parameters of "
        f"{len({d['model'] for d in differ})} models."
    )
    if differ:
        text += "\n\n" + tables.to_markdown(differ, ("model", "mode", "what", "parameters"))
    skipped = [{"model": r.ref, "reason": r.no_backward.get("evaluation", "")} for r in rows if not r.idle]
    if skipped:
        text += "\n\nNo backward pass:\n\n" + tables.to_markdown(skipped, ("model", "reason"))
    return text


def _failures(rows: Sequence[Row]) -> str:
    failed = [{"model": r.ref, "reason": r.reason} for r in rows if r.reason is not None]
    if not failed:
        return ""
    return "## Not checked\n\n" + tables.to_markdown(failed, ("model", "reason"))


# -- keeping rows -----------------------------------------------------------------------------------------------


class Kept:
    """Rows in a folder, a file each.

    Args:
        folder: made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, ref: str) -> Path:
        return self.folder / ("".join(c if c.isalnum() else "_" for c in ref) + ".json")

    def get(self, ref: str) -> Row | None:
        """The row of a reference, or None."""
        file = self._file(ref)
        return Row.read(file.read_text(encoding="utf-8")) if file.exists() else None

    def put(self, row: Row) -> None:
        """Keep a row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._file(row.ref), row.to_json())


def look(refs: Sequence[str], kept: Kept, jobs: int, minutes: float) -> None:
    """Look at models and keep their rows, for some minutes at most."""
    end = time.monotonic() + 60 * minutes
    for start in range(0, len(refs), 4 * jobs):
        if time.monotonic() > end:
            print(f"{len(refs) - start} models are left: run the command again")
            return
        some = [joblib.delayed(audited)(r) for r in refs[start : start + 4 * jobs]]
        for row in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(some):
            kept.put(row)  # at once: who stops the command keeps what was looked at
            print(
                row.ref,
                row.reason or sorted({f.code for f in row.findings if f.severity != "info"}),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm", type=int, default=260, help="how many models of timm")
    parser.add_argument("--pytorchcv", type=int, default=40, help="how many models of pytorchcv")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop looking after so many")
    parser.add_argument("--only", default="*", help="a pattern: look at these models alone")
    parser.add_argument("--again", default="", help="a pattern: look at these models anew")
    parser.add_argument("--rows", type=Path, default=Path.home() / ".cache" / "sed_torch" / "check-audit")
    parser.add_argument("-o", "--output", default=os.fspath(HERE / "results" / "check-audit.md"))
    args = parser.parse_args()
    with open(HERE / "check_audit_verdicts.csv", encoding="utf-8", newline="") as file:
        verdicts = [Verdict(**row) for row in csv.DictReader(file)]
    refs, kept = drawn(args.timm, args.pytorchcv, args.seed), Kept(args.rows)
    todo = [
        r
        for r in refs
        if fnmatch.fnmatchcase(r, args.only)
        and (kept.get(r) is None or fnmatch.fnmatchcase(r, args.again))
        and (package(r) in ("timm", "torchvision") or importlib.util.find_spec(package(r)) is not None)
    ]
    look(todo, kept, args.jobs, args.minutes)
    rows = [row for r in refs if (row := kept.get(r)) is not None]
    shown = (
        f"python examples/check_audit.py --timm {args.timm} --pytorchcv {args.pytorchcv} --seed {args.seed}"
    )
    audit = Audit(rows, verdicts, shown)
    text = to_markdown(audit)
    write_text(Path(args.output), text)
    print(f"wrote {args.output}: {len(rows)} of {len(refs)} models")
    missing = text.count("| MISSING |")
    for v in verdicts:
        if v not in audit.used:
            print(f"a verdict about nothing found here: {v.model} {v.code} {v.path}")
    if missing:
        sys.exit(
            f"{missing} findings have no verdict in check_audit_verdicts.csv: read the models, and add them"
        )


if __name__ == "__main__":  # worker processes import this file
    main()
