"""On simulated tissue with planted concepts, axes are pure and cost no accuracy."""

import pytest

from napari_mitoxai.simulate import concept_cohort
from napari_mitoxai.tasks.train import TrainParameters, run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


def test_planted_concepts_are_found_and_the_classes_too(tmp_path):
    table = concept_cohort(tmp_path / "cohort", 4, 448, 0, patch_size=64)
    shared = {
        "cohort": table, "patch_size": 64, "input_size": 32, "overlap": 0.0, "device": "cpu", "jitter": 0.1,
        "hold_out": ["C04", "P04"],
    }  # fmt: skip
    plain = run(TrainParameters(**shared, out=tmp_path / "plain", epochs=5)).metrics
    whitened = run(
        TrainParameters(
            **shared, out=tmp_path / "whitened", epochs=8, learning_rate=5e-4, start_from=tmp_path / "plain",
            concepts=table.parent / "concepts.csv", concept_every=1,
        )
    ).metrics  # fmt: skip
    assert whitened["patch_accuracy"] >= plain["patch_accuracy"] - 0.02
    assert whitened["subject_accuracy"] == plain["subject_accuracy"] == 1
    purities = {(row["subjects"], row["concept"]): row["auc"] for row in whitened["concepts"]}
    assert len(purities) == 6
    assert min(purities.values()) >= 0.9, purities
