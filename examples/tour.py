# %% [markdown]
# # A tour of sed-torch, from `score` to `search`
#
# Ten minutes of reading. Each cell shows what it prints; a test runs them all and compares. Nothing is downloaded,
# nothing is trained, no weight is read. Open it as a notebook with [jupytext](https://jupytext.readthedocs.io), or
# run `python examples/tour.py`.

# %% [markdown]
# ## 1. Score a network
#
# A small network with the usual parts: a stem, a pool, residual blocks, a head. `sed_torch.score` traces its graph
# on `meta` tensors and sums up what its convolutions and linear layers can take in.

# %%
import torch
from torch import nn

import sed_torch


class Block(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Net(nn.Module):
    def __init__(self, width: int = 32, pool: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.pool = nn.AvgPool2d(pool, stride=2, padding=pool // 2)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(3)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.pool(self.stem(x)))
        return self.head(x.mean((2, 3)))


SIZE = (1, 3, 32, 32)
score = sed_torch.score(Net(), input_size=SIZE)
print(score)

# %% [markdown]
# ```text
# Net: SED = 6.8339 nats (higher is better)
# size: 29.16 k params (113.9 KiB in float32), 7.96 M MACs a sample, input 1×3×32×32
# standing: not known: the reference networks were scored at an input of 3×224×224; scores compare at one size only
# shape: not known: the reference networks were scored at inputs of 96×96 to 640×640
# conv 7.0654   pool -0.2315   skip +0.0000   suppression 0.656
#
# block                   share  SED part  taps  effective  suppression    h in   h out   params      MACs  live
# ──────────────────────  ─────  ────────  ────  ─────────  ───────────  ──────  ──────  ───────  ────────  ────
# (root)                   0.0%         –     –          –            –       –  -7.669        0         0  yes
# stem                    28.2%     5.567     9          9        1.000   1.419   1.419      896  884.74 k  yes
# pool                     0.0%         –     –          –            –   1.419   1.100        0         0  yes
# blocks.0 … blocks.2 ×3  71.2%     6.494    27      14.26        0.528   1.100   1.100  27.94 k    7.08 M  yes
# head                     0.6%     1.773     1          1        1.000  -7.669  -7.669      330       320  yes
#
# coverage 100.0% of parameters, 100.0% of operators; front-end fx; sed/2; convolutional: a convolutional network, which the theory is about
# (root): operators that the model's own forward runs, outside every submodule
# h below 0: of a continuous quantity; 1.419 is white noise, far below it nearly nothing varies
# ```

# %% [markdown]
# The headline is SED in nats, higher is better. It is the log of a sum, so its parts are about causes, not addends:
# *conv* is the score had no local entropy been lost, *pool* what pooling costs, *skip* what identity skips change.
# *Suppression* is the share of the taps that are effective: 1 means that every patch is as rich as white noise.
#
# Here the blocks behind the large average pool lose most: neighbouring positions have become alike, so a 3×3 patch
# holds far fewer than nine independent values. Results are data, too:

# %%
worst = min((b for b in score.by_block(2) if b.suppression), key=lambda b: b.suppression)
print(worst.path, f"{worst.suppression:.3f} of {worst.taps:g} taps")
print(float(score) == score.total, score.coverage, score.unknown)

# %% [markdown]
# ```text
# blocks.0 0.528 of 9 taps
# True 1.0 ()
# ```

# %% [markdown]
# ## 2. Change it, and see what that did
#
# A smaller pool should decrease less. `compare` shows it block by block; changes are second minus first.

# %%
print(sed_torch.compare(Net(pool=5), Net(pool=3), input_size=SIZE, depth=1))

# %% [markdown]
# ```text
# Net → Net: SED 6.8339 → 7.0038 (+0.1699 nats)
# conv +0.0000   pool +0.1699   skip +0.0000
# params 29.16 k → 29.16 k   MACs 7.96 M → 7.96 M
#
# block   status   change of SED             params             MACs  suppression
# ──────  ───────  ─────────────  ─────────────────  ───────────────  ─────────────
# pool    changed        +0.0000              0 → 0            0 → 0  – → –
# blocks  changed        +0.1699  27.94 k → 27.94 k  7.08 M → 7.08 M  0.528 → 0.846
#
# pool: avg_pool 5×5 stride 2×2 → avg_pool 3×3 stride 2×2
# blocks: the same operators on another map
# 3 blocks are the same
# ```

# %% [markdown]
# `sensitivity` asks the question the other way round: what would a small change to each block alone do?

# %%
print(sed_torch.sensitivity(score, depth=1))

# %% [markdown]
# ```text
# Net: SED = 6.8339 nats; what a change to one block alone would add
# change first: stem: kernel +2: +0.1569 nats for +1.54 k params, +1.57 M MACs, 0.0125 nats for 1 % of size
# change first: pool: pool as convolution: +0.5638 nats for +25.60 k params, +6.55 M MACs, 0.0066 nats for 1 % of size
# save first: blocks: width -25%: -0.1673 nats for -10.52 k params, -2.65 M MACs
#
# nats
# block   kernel +2  kernel -2  pool as convolution  without skip  width +25%  width -25%
# ──────  ─────────  ─────────  ───────────────────  ────────────  ──────────  ──────────
# stem      +0.1569    -0.2693                    –             –     +0.1116     -0.1438
# pool            –          –              +0.5638             –           –           –
# blocks    +0.3158    -0.5212                    –       +0.0000     +0.1355     -0.1673
#
# what each change costs, best gain first
# block   change                   SED    params       MACs     size    gain
# ──────  ───────────────────  ───────  ────────  ─────────  ───────  ──────
# stem    kernel +2            +0.1569   +1.54 k    +1.57 M   +12.5%  0.0125
# pool    pool as convolution  +0.5638  +25.60 k    +6.55 M   +85.0%  0.0066
# stem    width +25%           +0.1116   +7.22 k    +1.99 M   +24.9%  0.0045
# blocks  width +25%           +0.1355  +12.82 k    +3.24 M   +42.4%  0.0032
# blocks  kernel +2            +0.3158  +49.15 k   +12.58 M  +163.3%  0.0019
# blocks  without skip         +0.0000         0          0    +0.0%       –
# stem    width -25%           -0.1438   -7.22 k    -1.99 M   -24.9%       –
# blocks  width -25%           -0.1673  -10.52 k    -2.65 M   -34.7%       –
# stem    kernel -2            -0.2693      -768  -786.43 k    -6.3%       –
# blocks  kernel -2            -0.5212  -24.58 k    -6.29 M   -81.6%       –
#
# gain: nats for one per cent of the network's size, the mean of what parameters and MACs grow by
# A score says nothing of what a change does to training: weigh these as ideas, and measure.
# ```

# %% [markdown]
# ## 3. Check it before training
#
# `check` looks for what makes a network train badly, or not at all. Here a layer was registered and never used, and
# a branch does not reach the output:


# %%
class Slip(Net):
    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(32, 32, 3)
        self.unused = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        self.aux(x)
        return self.head(self.blocks(x).mean((2, 3)))


report = sed_torch.check(Slip(), input_size=SIZE, name="Slip")
for finding in (*report.errors, *report.warnings):
    print(finding.code, finding.severity, finding.path)

# %% [markdown]
# ```text
# SED001 error unused
# SED002 error aux
# ```

# %% [markdown]
# Each finding says what to do; `sed_torch.explain(code)` tells why it matters.

# %%
print(report.findings[0].advice)

# %% [markdown]
# ```text
# call it or remove it: DistributedDataParallel stops at the second step with 'Expected to have finished reduction'
# ```

# %% [markdown]
# ## 4. Rank candidates
#
# A mapping of names to factories, or references such as `"timm:resnet*"`. Size is the count to beat, so the ranking
# prints parameters and MACs beside the score, and a place *given size*.

# %%
from sed_torch.ranking import rank

candidates = {
    f"width {width}, pool {pool}": lambda width=width, pool=pool: Net(width, pool)
    for width in (24, 32)
    for pool in (3, 5)
}
ranking = rank(candidates, input_size=SIZE, progress=False)
for row in ranking:
    print(f"{row.rank}  {row.name}  SED {row.sed:.3f}  params {row.params:,}  given size {row.residual_rank}")

# %% [markdown]
# ```text
# 1  width 32, pool 3  SED 7.004  params 29,162  given size 1
# 2  width 32, pool 5  SED 6.834  params 29,162  given size 3
# 3  width 24, pool 3  SED 6.756  params 16,690  given size 1
# 4  width 24, pool 5  SED 6.589  params 16,690  given size 3
# ```

# %% [markdown]
# ## 5. Search a space
#
# Cells of NAS-Bench-201 within one million parameters, exhaustively: all 15,625 of them, in about a second, without
# building one.

# %%
found = sed_torch.search("nasbench201", constraints={"params": "1.0M"}, budget_s=None, progress=False)
print(found.best.arch)
print(f"SED {found.best.sed:.3f}, {found.best.params:,} parameters, {found.looks:,} looked at, {found.stop}")

# %% [markdown]
# ```text
# |nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_1x1~2|
# SED 10.107, 886,426 parameters, 15,625 looked at, exhausted
# ```

# %% [markdown]
# Is that a good cell? The score alone cannot tell: it knows nothing of data or training. So the project trains
# networks: here are 24 cells of this space, small, three seeds each, on scikit-learn's digits, as
# `sed-torch train-counterparts` recorded them. `examples/counterparts.md` tells how, and what it does not show.

# %%
from pathlib import Path

from sed_torch.training import read_runs

results = [p for p in (Path("results"), Path("examples/results")) if p.is_dir()]
if not results:
    print("This cell reads a file of the repository: examples/results/counterparts-digits.csv")
else:
    validation = read_runs(results[0] / "counterparts-digits.csv").validate(n_bootstrap=200)
    rho = validation.overall
    interval = rho.intervals["spearman"]
    print(f"Spearman's ρ of SED with test accuracy: {rho.spearman:.2f}, 95 % interval {interval}")
    for other in validation.rivals:
        print(f"  {other.rival}: {other.rival_correlation.spearman:.2f}")

# %% [markdown]
# ```text
# Spearman's ρ of SED with test accuracy: 0.72, 95 % interval [0.498, 0.834]
#   synflow: 0.64
#   params: 0.61
#   macs: 0.61
#   naswot: 0.55
# ```

# %% [markdown]
# With 24 networks the interval is wide: the README has larger benchmarks. `sed-torch validate` does the same with
# accuracies of your own.

# %% [markdown]
# ## 6. Look at it
#
# Every result shows itself in a notebook. There are figures (`sed_torch.report.profile`, `waterfall`, `scatter`,
# `correlations`, `search_trace`), a drawing of the graph, and one HTML file of it all that needs no network.

# %%
import tempfile

from sed_torch.report import save_html

print(sed_torch.draw(score, depth=2))
with tempfile.TemporaryDirectory() as folder:
    page = Path(folder) / "tour.html"
    save_html(page, report, found)
    print(page.read_text(encoding="utf-8").startswith("<!doctype html>"))

# %% [markdown]
# ```text
# Net: 7 boxes, 6 edges
#   input 1×3×32×32 ← –
#   stem  28.2% · kept 1.00 ← input 1×3×32×32
#   pool ← stem
#   blocks.0–2 ×3  71.2% · kept 0.53 ← pool
#   mean ← blocks.0
#   head  0.6% · kept 1.00 ← mean
#   output ← head
# True
# ```

# %% [markdown]
# The same on the command line: `sed-torch score`, `compare`, `check`, `rank`, `search`, `validate`, `graph`,
# `report`.
