"""Confusion matrix, precision, recall, F1, and the permutation test, against independent ones."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from napari_mitoxai.training.permutation import permutation_test
from napari_mitoxai.training.scores import confusion, scores, wilson


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_figures_are_those_of_torchmetrics(classes):
    rng = np.random.default_rng(classes)
    names = [f"class {n}" for n in range(classes)]
    for _ in range(20):
        truth, called = rng.integers(0, classes, (2, 40))
        truth[:classes] = range(classes)
        matrix = confusion(truth, called, classes)
        t, c = torch.from_numpy(truth), torch.from_numpy(called)
        assert np.array_equal(matrix, multiclass_confusion_matrix(c, t, classes).numpy())
        result = scores(matrix, names)
        assert result["accuracy"] == pytest.approx((truth == called).mean())
        for key, reference in (
            ("precision", multiclass_precision), ("recall", multiclass_recall), ("f1", multiclass_f1_score),
        ):  # fmt: skip
            each = reference(c, t, classes, average="none").numpy()
            assert [result[key][name] for name in names] == pytest.approx(each.tolist(), abs=1e-6)
            assert result[key]["macro"] == pytest.approx(float(reference(c, t, classes, average="macro")), abs=1e-6)  # fmt: skip


def test_a_class_that_was_not_tested_does_not_count_in_the_mean():
    result = scores(np.array([[0, 0], [1, 3]]), ["control", "patient"])
    assert result["recall"] == {"control": 0.0, "patient": 0.75, "macro": 0.75}


def test_wilson_at_the_ends():
    assert wilson(0, 4)[0] == 0
    assert wilson(4, 4)[1] == 1
    assert wilson(1, 2) == pytest.approx((0.0945, 0.9055), abs=1e-3)  # Wilson 1927, by hand


def table(scores_of_patient):
    patient = np.asarray(scores_of_patient, float)
    return np.stack([1 - patient, patient], 1)


def test_two_and_three_subjects_cannot_do_better_than_one_in_ten():
    result = permutation_test(table([0.1, 0.2, 0.7, 0.8, 0.9]), [0, 0, 1, 1, 1])
    assert (result.p, result.smallest, result.labellings, result.exact) == (0.1, 0.1, 10, True)
    worst = permutation_test(table([0.8, 0.9, 0.1, 0.2, 0.3]), [0, 0, 1, 1, 1])
    assert worst.p == 1


def test_the_exact_p_is_that_of_every_order_of_the_labels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.integers(0, 3, 6)
        probabilities = rng.dirichlet([1, 1, 1], 6).round(1)  # rounded: ties
        observed = probabilities[range(6), labels].mean()
        orders = [probabilities[range(6), list(order)].mean() for order in permutations(labels)]
        expected = np.mean(np.array(orders) >= observed - 1e-9)
        assert permutation_test(probabilities, labels).p == pytest.approx(expected)


def test_many_subjects_are_drawn_and_agree_with_the_exact_test():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 8)  # 12,870 labellings: just above the limit
    probabilities = table(np.clip(0.45 + 0.1 * labels + rng.normal(0, 0.1, 16), 0, 1))
    drawn = permutation_test(probabilities, labels)
    assert (drawn.labellings, drawn.exact, drawn.smallest) == (10_000, False, 1e-4)
    from scipy.stats import permutation_test as by_scipy

    exact = by_scipy(
        (probabilities[8:, 1], probabilities[:8, 1]), lambda a, b: a.mean() - b.mean(),
        alternative="greater", n_resamples=20_000,
    ).pvalue  # fmt: skip
    assert drawn.p == pytest.approx(exact, abs=0.01)
