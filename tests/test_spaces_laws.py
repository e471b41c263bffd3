"""What holds for every search space, and what the tests of single spaces share."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from support.spaces import check_scores, check_traced, every_space, samples

from sed_torch.building import Value
from sed_torch.errors import GraphError, SedTorchError, SpaceError
from sed_torch.scoring import DEFINITIONS, evaluate, sed
from sed_torch.spaces import ALIASES, NASBench201, Space, SpaceBuilder, get_space, score_each, score_many


@every_space
def test_strings_and_back(space: Space[Any]) -> None:
    for arch in samples(space, 0, 50):
        text = space.format(arch)
        assert space.parse(text) == arch
        assert space.format(space.parse(text)) == text
        assert text in space
        assert arch in space


@every_space
def test_not_of_the_space(space: Space[Any]) -> None:
    for text in ("", "x", "|none~0|", "64-9-basic", "1:2", "(((0, 1)", "[]", "8:16:24:32:"):
        assert text not in space
        with pytest.raises(SpaceError, match=space.name):
            space.parse(text)
    with pytest.raises(SpaceError, match=f"{space.name}: expected a string or"):
        space.topology(7)
    assert 7 not in space


@every_space
def test_mutations_are_neighbours(space: Space[Any]) -> None:
    rng = np.random.default_rng(1)
    arch: Any = space.sample(rng)
    seen = set()
    for _ in range(100):
        child = space.mutate(arch, rng)
        assert child != arch
        assert child in space
        assert space.parse(space.format(child)) == child
        seen.add(child)
        arch = child
    assert len(seen) > 50


@every_space
def test_seeds_decide(space: Space[Any]) -> None:
    assert samples(space, 5, 4) == samples(space, 5, 4) != samples(space, 6, 4)


@every_space
def test_iteration(space: Space[Any]) -> None:
    if not space.enumerable:
        with pytest.raises(SpaceError, match="cannot be enumerated"):
            iter(space)
        return
    archs = list(space)
    assert len(archs) == len(set(archs)) == space.size
    assert archs[:: space.size // 20] == [space.parse(space.format(a)) for a in archs[:: space.size // 20]]


@every_space
def test_scores_are_the_calculus(space: Space[Any]) -> None:
    archs = samples(space, 2, 12)
    check_scores(space, archs)
    check_scores(space, archs[:3], num_classes=120, image_size=2 * space.image_size)
    texts = [space.format(a) for a in archs]
    np.testing.assert_array_equal(score_many(space.name, texts), space.score_many(archs))
    heir = type("Heir", (type(space),), {})()  # tables do not serve subclasses
    np.testing.assert_allclose(score_each(space, texts[:3]), space.score_many(texts[:3]), atol=1e-9)
    one_by_one = heir.score_many(texts[:3] * 2)[3:]
    np.testing.assert_allclose(one_by_one, space.score_many(texts[:3]), atol=1e-9)
    assert space.score_many([]).shape == (0,)


@every_space
def test_any_definition_is_summed_side_by_side(space: Space[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose addends are not proportional to channels, and whose sums know their map sizes."""
    made_up = dataclasses.replace(
        DEFINITIONS["sed/1"],
        name="made up",
        addend=lambda positions, c_in, c_out, root_taps, groups: np.sqrt(c_out * c_in + groups) * root_taps,
        total=lambda sums, positions: (np.cbrt(sums) * np.sqrt(positions)).sum(axis=1),
    )
    monkeypatch.setitem(DEFINITIONS, "made up", made_up)  # type: ignore[misc]
    archs = [a for a in samples(space, 6, 8) if np.isfinite(sed(space.topology(a)))]
    for arch, found in zip(archs, space.score_many(archs, definition="made up"), strict=True):
        topology = space.topology(arch)
        sums: dict[float, float] = defaultdict(float)
        for term in evaluate(topology).terms:
            step = topology.steps[term.step]
            sums[step.positions] += np.sqrt((step.c_out * step.c_in + step.groups) * term.effective_taps)
        expected = sum(np.cbrt(s) * np.sqrt(a) for a, s in sums.items())
        assert found == pytest.approx(expected, rel=1e-9), space.format(arch)


@every_space
def test_definitions_agree_with_the_calculus(space: Space[Any]) -> None:
    archs = samples(space, 9, 4)
    for name in DEFINITIONS:
        expected = [sed(space.topology(a), definition=name) for a in archs]
        np.testing.assert_allclose(space.score_many(archs, definition=name), expected, rtol=0, atol=1e-9)
    with pytest.raises(SedTorchError, match="unknown definition 'sed/0': expected one of sed/1"):
        space.score_many(archs, definition="sed/0")


@every_space
@pytest.mark.parametrize("shrink", [2, 3])
def test_batches_refuse_the_images_that_topologies_refuse(space: Space[Any], shrink: int) -> None:
    """A size that no map halves evenly: the same numbers or the same error, never a number for no network."""
    size = space.image_size - shrink
    for arch in samples(space, 12, 3):
        try:
            expected = sed(space.topology(arch, image_size=size))
        except GraphError as error:
            with pytest.raises(GraphError, match=re.escape(str(error)[:20])):
                space.score_many([arch], image_size=size)
        else:
            assert space.score_many([arch], image_size=size)[0] == pytest.approx(expected, abs=1e-9)


@every_space
def test_traced(space: Space[Any]) -> None:
    check_traced(space, samples(space, 3, 3))


@pytest.mark.slow
@every_space
def test_traced_many(space: Space[Any]) -> None:
    check_traced(space, samples(space, 4, 200))


@every_space
def test_networks_run(space: Space[Any]) -> None:
    arch = space.sample(np.random.default_rng(7))
    edge = min(space.image_size, 64)
    out = space.build(arch, num_classes=5).eval()(torch.zeros(2, 3, edge, edge))
    assert out.shape == (2, 5)
    assert torch.isfinite(out).all()


@every_space
def test_macs(space: Space[Any]) -> None:
    arch = space.sample(np.random.default_rng(8))
    half = space.topology(arch, image_size=space.image_size * 2, keep_dead=True)
    assert space.macs(arch, image_size=space.image_size * 2) == half.macs > 3 * space.macs(arch)


class Depth(Space[int]):
    """A user's own space: as many convolutions as the number says, none of them for 0."""

    name, title, source, arch_type, size = "depth", "Depth", "these tests", int, 4

    def parse(self, text: str) -> int:
        return int(text)

    def format(self, arch: int) -> str:
        return str(arch)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))

    def sample(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.size))

    def mutate(self, arch: int | str, rng: np.random.Generator) -> int:
        return (self.resolve(arch) + 1) % self.size

    def build(self, arch: int | str, *, num_classes: int | None = None) -> torch.nn.Module:
        raise NotImplementedError

    def _write(self, b: SpaceBuilder, arch: int, image: Value, num_classes: int) -> Value | None:
        x = image if arch else b.zeros(3, image.size)
        for _ in range(arch):
            x = x and b.conv(x, 4, 3, padding=1)
        return x


def test_a_space_of_ones_own() -> None:
    space = Depth()
    # 32² positions, 4 channels out, √(9 · 3) for the first and √(9 · 4) for each later one
    one, more = 1024 * 4 * np.sqrt(27), 1024 * 4 * 6
    expected = [-np.inf, np.log(one), np.log(one + more), np.log(one + 2 * more)]
    np.testing.assert_allclose(score_many(space, [0, "1", 2, 3], definition="sed/1"), expected, atol=1e-12)
    assert space.params(2) == 9 * (3 * 4 + 4 * 4)
    assert repr(space) == "Depth(name='depth', size=4)"


def test_tables_of_a_space_do_not_serve_a_subclass() -> None:
    class Wider(NASBench201):
        def _write(self, b: SpaceBuilder, arch: Any, image: Value, num_classes: int) -> Value | None:
            return super()._write(b, arch, b.conv(image, 64, 3, padding=1), num_classes)

    arch = NASBench201().sample(np.random.default_rng(0))
    assert Wider().score_many([arch])[0] == sed(Wider().topology(arch)) > NASBench201().score_many([arch])[0]
    assert Wider().params(arch) == NASBench201().params(arch) + 9 * 3 * 64 + 9 * 61 * 16


def test_aliases() -> None:
    assert {name: get_space(name).name for name in ALIASES} == dict(ALIASES)


def test_unknown_space() -> None:
    with pytest.raises(SpaceError, match="unknown search space 'nasbench202': expected one of nasbench201"):
        get_space("nasbench202")
