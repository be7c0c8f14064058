"""Spaces: text and tensors, what counts as the same design, how far two are apart."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from braid_core.errors import DataError, UnsupportedError
from braid_core.experiment.manifest import space_from_json, space_to_json
from braid_core.interfaces import Images, Space, Tokens, Vectors
from tests.checks import agrees, seeded

SPACES: list[Space] = [
    Tokens("ACGT", 6),
    Tokens("KLMNPQR", 3),
    Tokens("AC-G", 5, pad="-"),
    Vectors(4),
    Images(2, 3, 5),
]
PADDED = Tokens("AC-G", 4, pad="-")


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_text_and_tensors_round_trip(space: Space) -> None:
    x = space.random(20, seeded())
    assert x.shape == (20, *space.event_shape)
    assert bool(space.contains(x).all())
    assert torch.equal(space.encode(space.decode(x)), x)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_an_empty_table_has_a_shape(space: Space) -> None:
    assert space.encode([]).shape == (0, *space.event_shape)
    assert space.decode(space.encode([])) == []


def test_letters_stand_where_the_alphabet_has_them() -> None:
    x = Tokens("TGCA", 2).encode(["GA"])
    assert x.tolist() == [[[0, 1, 0, 0], [0, 0, 0, 1]]]


def test_a_relaxed_design_reads_as_its_likeliest_letters() -> None:
    """Mistake 5 of public code: a threshold at 0.5 can leave a position without a letter."""
    x = torch.tensor([[[0.3, 0.4, 0.2, 0.1], [0.4, 0.2, 0.2, 0.2]]])
    assert Tokens("ACGT", 2).decode(x) == ["CA"]


@pytest.mark.parametrize(
    ("designs", "words"),
    [
        (["ACG", "AC"], ["design 2", "2 letters, not 3"]),
        (["ACG", "ACT", "AXG"], ["design 3", "position 2", "'X'"]),
        (["ACg"], ["design 1", "position 3", "'g'"]),
    ],
)
def test_a_bad_sequence_is_located(designs: list[str], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Tokens("ACGT", 3).encode(designs)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("designs", "words"),
    [(["1 2", "1 2 3"], ["design 2", "3 numbers, not 2"]), (["1 two"], ["design 1", "list of numbers", "two"])],
)
def test_a_bad_vector_is_located(designs: list[str], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Vectors(2).encode(designs)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("alphabet", ["A", "", "ACCT"])
def test_an_alphabet_needs_two_different_letters(alphabet: str) -> None:
    with pytest.raises(DataError, match="alphabet"):
        Tokens(alphabet, 3)


def test_impossible_spaces_are_refused() -> None:
    with pytest.raises(DataError, match="at least 1"):
        Tokens("ACGT", 0)
    with pytest.raises(UnsupportedError, match="reverse complement"):
        Tokens("AGCT", 3, ("reverse_complement",))


@pytest.mark.parametrize("alphabet", ["ACGT", "ACGU"])
def test_orbit_is_the_reverse_complement_of_the_string(alphabet: str) -> None:
    space = Tokens(alphabet, 7, ("reverse_complement",))
    partner = dict(zip("ACGTU", f"{alphabet[3]}GCAA", strict=True))
    x = space.random(30, seeded())
    own, other = space.orbit(x)
    assert torch.equal(own, x)
    assert space.decode(other) == ["".join(partner[letter] for letter in reversed(d)) for d in space.decode(x)]
    assert torch.equal(space.orbit(other)[1], x)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_without_symmetry_a_design_is_alone(space: Space) -> None:
    x = space.random(3, seeded())
    assert torch.equal(space.orbit(x), x[None])


def test_distance_between_sequences_is_the_share_of_differing_letters() -> None:
    space = Tokens("ACGT", 7)
    a, b = space.random(5, seeded(0)), space.random(6, seeded(1))
    expected = [
        [sum(x != y for x, y in zip(left, right, strict=True)) / 7 for right in space.decode(b)]
        for left in space.decode(a)
    ]
    torch.testing.assert_close(space.distance(a, b), torch.tensor(expected))
    assert torch.equal(space.distance(a, a).diagonal(), torch.zeros(5))


@pytest.mark.parametrize("space", [Vectors(4), Images(2, 3, 5)], ids=str)
def test_distance_between_real_designs_is_the_root_mean_squared_difference(space: Space) -> None:
    a, b = space.random(5, seeded(0)), space.random(6, seeded(1))
    expected = torch.tensor([[float((x - y).square().mean().sqrt()) for y in b] for x in a])
    torch.testing.assert_close(space.distance(a, b), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "row", [[[0.5, 0.5], [1, 0]], [[0, 0], [1, 0]], [[1, 1], [1, 0]], [[2, -1], [1, 0]], [[torch.nan, 1], [1, 0]]]
)
def test_only_one_hot_rows_are_sequences(row: list[list[float]]) -> None:
    good = [[0.0, 1.0], [1.0, 0.0]]
    assert Tokens("AB", 2).contains(torch.tensor([good, row])).tolist() == [True, False]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_only_finite_rows_are_vectors(bad: float) -> None:
    x = torch.tensor([[0.0, 1.0], [bad, 0.0]])
    assert Vectors(2).contains(x).tolist() == [True, False]


def test_random_sequences_are_uniform() -> None:
    x: Tensor = Tokens("ACGT", 2).random(8000, seeded()).argmax(-1)
    assert agrees(x[:, 0] * 4 + x[:, 1], torch.full((16,), 1 / 16))


@pytest.mark.parametrize("text", ["1 nan", "inf 2", "1 -inf"])
def test_vectors_must_be_finite(text: str) -> None:
    with pytest.raises(DataError, match=r"NaN or infinite(.|\n)*design 2"):
        Vectors(2).encode(["1 2", text])


def test_shorter_designs_are_filled_at_their_end() -> None:
    x = PADDED.encode(["ACGA", "C", "GG--", "AC-"])
    assert x.argmax(-1).tolist() == [[0, 1, 3, 0], [1, 2, 2, 2], [3, 3, 2, 2], [0, 1, 2, 2]]
    assert PADDED.decode(x) == ["ACGA", "C", "GG", "AC"]
    assert bool(PADDED.contains(x).all())


def test_a_pad_before_a_letter_is_no_design_and_is_shown() -> None:
    letters = torch.tensor([[0, 1, 3, 0], [0, 2, 3, 0], [2, 0, 0, 0], [2, 2, 2, 2], [0, 2, 2, 1], [0, 2, 2, 2]])
    x = PADDED.one_hot(letters)
    assert PADDED.contains(x).tolist() == [True, False, False, False, False, True]
    assert PADDED.decode(x) == ["ACGA", "A-GA", "-AAA", "", "A--C", "A"]
    assert PADDED.contains(0.5 * x[:1]).tolist() == [False]


@pytest.mark.parametrize(
    ("designs", "words"),
    [
        (["ACGA", "ACGAC"], ["design 2", "5 letters, not 4", "at most 4", "shorten"]),
        (["A", "AXG"], ["design 2", "position 2", "'X'"]),
        (["A", "A-G"], ["design 2", "'A-G'", "'-' stands before a letter", "gaps"]),
        (["-A"], ["design 1", "stands before a letter"]),
        (["A", ""], ["design 2", "no letters"]),
        (["--"], ["design 1", "no letters"]),
    ],
)
def test_a_bad_design_of_unequal_length_is_located(designs: list[str], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        PADDED.encode(designs)
    assert [word for word in words if word not in str(caught.value)] == []


def test_without_a_pad_unequal_lengths_are_told_of_it() -> None:
    with pytest.raises(DataError, match="unequal lengths with a pad"):
        Tokens("ACGT", 3).encode(["ACG", "AC"])


def test_random_designs_have_uniform_lengths_and_letters() -> None:
    space = Tokens("A-C", 2, pad="-")
    x: Tensor = space.random(8000, seeded()).argmax(-1)
    order = torch.tensor([[1 / 8, 1 / 4, 1 / 8], [0, 0, 0], [1 / 8, 1 / 4, 1 / 8]])  # [first, second letter]
    assert agrees(x[:, 0] * 3 + x[:, 1], order.flatten())


def test_distance_counts_pads_as_letters() -> None:
    a, b = PADDED.encode(["AC", "A"]), PADDED.encode(["ACGA", "A", "C"])
    torch.testing.assert_close(PADDED.distance(a, b), torch.tensor([[0.5, 0.25, 0.5], [0.75, 0.0, 0.25]]))


def test_impossible_pads_are_refused() -> None:
    for pad in ("-", "AC"):
        with pytest.raises(DataError, match=r"is not a letter of the alphabet[\s\S]*add it"):
            Tokens("ACGT", 3, pad=pad)
    with pytest.raises(UnsupportedError, match="of unequal length have no reverse complement"):
        Tokens("ACGT-", 3, ("reverse_complement",), "-")


@pytest.mark.parametrize("space", [PADDED, Tokens("ACGT", 3, ("reverse_complement",))], ids=str)
def test_a_space_is_stored_as_plain_data(space: Tokens) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_a_run_from_before_there_were_pads_can_be_reopened() -> None:
    assert space_from_json({"kind": "Tokens", "alphabet": "AC", "length": 3, "symmetries": []}) == Tokens("AC", 3)


def test_distances_far_from_the_origin_are_not_rounded_away() -> None:
    """For more than 25 rows torch would take differences of squares."""
    space = Vectors(3)
    a, b = (1000 + 0.01 * space.random(40, seeded(seed)) for seed in (0, 1))
    expected = (a[:, None] - b).square().mean(-1).sqrt()
    torch.testing.assert_close(space.distance(a, b), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(space.distance(a, a).diagonal(), torch.zeros(40))
