"""Everything that touches napari or Qt: reader, layers, forms, docks, the task runner, sample data.

The name shadows nothing as long as imports are absolute: ``import napari`` is the viewer, and
``napari_mitoxai.napari`` is this room.
"""
