"""Loops that data may end: no choice taken in turn ends them, and one with an end besides goes on to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import DataDependentError

STEPS, WORDS, END = 4, 7, 2


class Decoder(nn.Module):
    """A word after the other, each the likeliest; over when all sequences are."""

    def __init__(self, decode: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.decode = decode
        self.words, self.cell, self.head = nn.Embedding(WORDS, 6), nn.GRUCell(6, 6), nn.Linear(6, WORDS)

    def step(self, word: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(self.words(word), h)
        return self.head(h).argmax(-1), h

    def forward(self, h: Tensor) -> Tensor:
        return self.decode(self, h)


def first(h: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones(len(h), dtype=torch.long), torch.zeros(len(h), dtype=torch.bool)


def while_none_is_done(m: Any, h: Tensor) -> Tensor:
    (word, done), n = first(h), 0
    while not done.all() and n < STEPS:
        word, h = m.step(word, h)
        done = done | (word == END)
        n += 1
    return h


def while_steps_are_left(m: Any, h: Tensor) -> Tensor:
    (word, done), n = first(h), STEPS
    while n > 0 and not bool(done.all()):
        word, h = m.step(word, h)
        done = done | (word == END)
        n -= 1
    return h


def for_with_a_break(m: Any, h: Tensor) -> Tensor:
    word, _ = first(h)
    for _ in range(STEPS):
        word, h = m.step(word, h)
        if (word == END).all():
            break
    return h


def for_with_a_return(m: Any, h: Tensor) -> Tensor:
    word, done = first(h)
    for _ in range(STEPS):
        word, h = m.step(word, h)
        done = done | (word == END)
        if done.all():
            return h
    return h


def while_with_a_break(m: Any, h: Tensor) -> Tensor:
    (word, _), n = first(h), 0
    while n < STEPS:
        word, h = m.step(word, h)
        n += 1
        if (word == END).all():
            break
    return h


@pytest.mark.parametrize(
    "decode",
    [while_none_is_done, while_steps_are_left, while_with_a_break, for_with_a_break, for_with_a_return],
)
@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_decoder_goes_on_to_the_last_step_whatever_the_batch(
    decode: Callable[[Any, Tensor], Tensor], size: int
) -> None:
    score = sed_torch.score(Decoder(decode).eval(), input_size=(size, 6))
    step = 3 * 6 * 6 * 2 + 6 * WORDS
    # what the last word is chosen by ends the loop alone, but is there
    assert score.macs in (STEPS * step, STEPS * step - 6 * WORDS)
    assert any("last turn" in words for words in score.assumed)


def test_a_loop_without_an_end_besides_is_not_counted() -> None:
    def until_all_are_done(m: Any, h: Tensor) -> Tensor:
        word, done = first(h)
        while not done.all():
            word, h = m.step(word, h)
            done = done | (word == END)
        return h

    with pytest.raises(DataDependentError):
        sed_torch.score(Decoder(until_all_are_done).eval(), input_size=(2, 6))


def a_number_in_a_for(m: Any, h: Tensor) -> Tensor:
    word, _ = first(h)
    for _ in range(STEPS):
        word, h = m.step(word, h)
        if word.item() == END:
            break
    return h


def a_number_in_a_while(m: Any, h: Tensor) -> Tensor:
    (word, _), n, over = first(h), 0, False
    while not over and n < STEPS:
        word, h = m.step(word, h)
        n += 1
        if int(word) == END:
            return h
    return h


def a_number_in_the_test(m: Any, h: Tensor) -> Tensor:
    (word, _), n = first(h), 0
    while n < STEPS and word.item() != END:
        word, h = m.step(word, h)
        n += 1
    return h


@pytest.mark.parametrize("decode", [a_number_in_a_for, a_number_in_a_while, a_number_in_the_test])
def test_a_decoder_of_one_sample_may_ask_for_its_token(decode: Callable[[Any, Tensor], Tensor]) -> None:
    score = sed_torch.score(Decoder(decode).eval(), input_size=(1, 6))
    step = 3 * 6 * 6 * 2 + 6 * WORDS
    assert score.macs in (STEPS * step, STEPS * step - 6 * WORDS)
    assert any("last turn" in words for words in score.assumed)


def test_a_measure_that_ends_a_loop_is_not_taken_for_a_token() -> None:
    def until_it_is_small(m: Any, h: Tensor) -> Tensor:
        word, _ = first(h)
        for _ in range(STEPS):
            word, h = m.step(word, h)
            if h.norm() < 0.1:
                break
        return h

    with pytest.raises(DataDependentError):
        sed_torch.score(Decoder(until_it_is_small).eval(), input_size=(1, 6))
