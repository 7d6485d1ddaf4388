"""What a planted signal, and none, report: leaving subjects out, and splitting patches at random.

    python benchmarks/nothing_to_learn.py [--subjects 5] [--cohorts 3] [--size 512] [--epochs 15] [--input-size 64] [--folds 5]

Simulated cohorts, each once with a signal planted in the patients and once without. Every subject is called by a network that
never saw it; beside it stands the accuracy over patches that were held out at random, as the papers split, for a network without
intensity jitter. The intervals are Wilson's over the subjects of all cohorts. With a signal, the first figure should reach 95 %;
without one, its interval should cover 50 %, while the second looks excellent.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import fmean

from napari_mitoxai import simulate
from napari_mitoxai.tasks.train import TrainParameters, run
from napari_mitoxai.training.scores import wilson


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=5, help="of each group")
    parser.add_argument("--cohorts", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--input-size", type=int, default=64)
    parser.add_argument("--folds", default="5", help="a number, or leave-one-out")
    parser.add_argument("--signal", default="complex_i_loss")
    options = parser.parse_args()
    shared = {"patch_size": 128, "input_size": options.input_size, "overlap": 0.0, "device": "cpu"}
    print(
        "| planted | cohorts | subjects left out, called right | 95 % interval | patches at random (optimistic) | minutes |"
    )
    print("|---|---|---|---|---|---|")
    for signal in (options.signal, None):
        started, calls, by_patch = time.monotonic(), [], []
        for seed in range(options.cohorts):
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                table = simulate.cohort(place / "cohort", options.subjects, signal, options.size, seed)
                left_out = TrainParameters(
                    cohort=table, out=place / "left_out", folds=options.folds, epochs=options.epochs, seed=seed, **shared
                )  # fmt: skip
                at_random = TrainParameters(
                    cohort=table, out=place / "at_random", split="patch-random", epochs=2 * options.epochs, jitter=0.0,
                    test_share=0.2, seed=seed, **shared,
                )  # fmt: skip
                calls += run(left_out).metrics["subject_calls"]
                by_patch.append(run(at_random).metrics["patch_accuracy"])
        right = sum(call["call"] == call["group"] for call in calls)
        low, high = wilson(right, len(calls))
        print(
            f"| {signal or 'nothing'} | {options.cohorts} | {right} of {len(calls)} ({right / len(calls):.0%}) | "
            f"{low:.0%} to {high:.0%} | {fmean(by_patch):.0%} | {(time.monotonic() - started) / 60:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
