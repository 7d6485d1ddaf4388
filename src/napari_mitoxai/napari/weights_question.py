"""Nothing is downloaded unasked: where the starting weights of a protocol come from."""

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget


def ask_for_weights(parent: QWidget, protocol: str) -> str:
    """Ask where the ImageNet weights that a protocol starts from come from.

    Returns
    -------
    str
        ``imagenet`` to download them, a path, ``random``, or empty if the user would rather not train.
    """
    box = QMessageBox(
        QMessageBox.Icon.Question,
        "Starting weights",
        f"{protocol} starts from ImageNet weights, which are not on this machine unless they were downloaded before.",
        parent=parent,
    )
    box.setObjectName("weights_question")
    download = box.addButton("Download", QMessageBox.ButtonRole.AcceptRole)
    file = box.addButton("Choose a file…", QMessageBox.ButtonRole.ActionRole)
    random = box.addButton("Random weights", QMessageBox.ButtonRole.ActionRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    chosen = box.clickedButton()
    if chosen is file:
        return QFileDialog.getOpenFileName(parent, "Choose the weights", "", "Weights (*.safetensors *.pth)")[
            0
        ]
    return {id(download): "imagenet", id(random): "random"}.get(id(chosen), "")
