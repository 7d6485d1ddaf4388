"""What a user can ask for, one module a task: its parameter model and the few calls that do it.

The window and the command line call the same `run` with the same parameter model.
"""

from napari_mitoxai.tasks.parameters import TaskParameters, validated

__all__ = ["TaskParameters", "validated"]
