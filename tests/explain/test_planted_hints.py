"""The measured figures that ship with the package, and the words made of them."""

import pytest

from napari_mitoxai.explain import available
from napari_mitoxai.explain.planted_truth import (
    Found,
    best_known,
    found_by,
    long_hint,
    ordinal,
    provenance,
    ranking,
    short_hint,
)


def test_every_method_but_the_baselines_was_measured():
    own = set(available()) - {"random", "edge_detector"}
    assert own <= set(found_by())
    assert set(ranking()) == set(found_by())
    assert not {"random", "edge_detector"} & set(ranking())


def test_the_figures_are_shares_with_intervals_and_places_without_gaps():
    for signal in {found.signal for methods in found_by().values() for found in methods}:
        rows = [found for methods in found_by().values() for found in methods if found.signal == signal]
        for row in rows:
            assert 0 <= row.value <= 1
            assert 0 < row.chance < 1
            if row.low == row.low:
                assert row.low <= row.value <= row.high
        by_value = sorted(rows, key=lambda row: -row.value)
        assert [row.place for row in by_value] == sorted(row.place for row in rows)
        assert {row.methods for row in rows} == {len(rows)}


def test_what_they_rest_on_is_told_and_names_no_machine():
    told = provenance()
    assert told["software"]["napari-mitoxai"]
    assert told["finished"]
    assert "out" not in told["parameters"]
    scored = [model for model in told["models"] if model["explained"]]
    assert {model["signal"] for model in scored} == {
        found.signal for methods in found_by().values() for found in methods
    }


def test_a_method_says_its_place_and_the_best_come_first():
    best, *_, worst = ranking()
    assert short_hint(best) == "1st"
    assert ranking()[worst].place >= ranking()[best].place
    assert best in best_known()
    assert "chance" in long_hint(best)
    assert "networks" in long_hint(best)
    assert short_hint("random") == long_hint("random") == ""


def test_the_sentence_of_a_signal():
    found = Found("complex_i_loss", 0.62, 0.48, 0.76, 0.22, 3, 19, above_chance=True, channel_named=1.0)
    assert found.sentence() == (
        "Complex I loss: 62 % (48 to 76, chance 22 %), 3rd of 19, the right protein named in 100 % of the patches"
    )
    nothing = Found("complex_i_loss", 0.2, 0.1, 0.3, 0.22, 19, 19, above_chance=False, channel_named=None)
    assert (
        nothing.sentence() == "Complex I loss: 20 % (10 to 30, chance 22 %), 19th of 19, not told from chance"
    )


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st")],
)
def test_ordinals(number, said):
    assert ordinal(number) == said
