"""What the tests of all rooms share: real data where it is, one simulated cohort, one trained run; nothing of Qt."""

import os
from pathlib import Path

import pytest

# the tests' networks are small: more threads cost more than they give, and several runs may share the machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def one_thread():
    """One thread for torch, so that timings and sums do not depend on the machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with published sections; tests skip where it is absent."""
    folder = Path(os.environ.get("MITOXAI_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set MITOXAI_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def simulated_cohort(tmp_path_factory) -> Path:
    """The table of three controls and three patients, 288 px; read only."""
    from napari_mitoxai.simulate import cohort

    return cohort(tmp_path_factory.mktemp("cohort"), 3, "complex_i_loss", 288, 0)


@pytest.fixture(scope="session")
def trained_run(simulated_cohort, one_thread, tmp_path_factory) -> Path:
    """A ResNet18 trained for one epoch on the simulated cohort, C03 and P03 held out; read only."""
    from napari_mitoxai.tasks.train import TrainParameters, run

    out = tmp_path_factory.mktemp("runs") / "run"
    run(
        TrainParameters(
            cohort=simulated_cohort, out=out, epochs=1, hold_out=["C03", "P03"],
            patch_size=128, input_size=32, batch_size=8, device="cpu",
        )
    )  # fmt: skip
    return out
