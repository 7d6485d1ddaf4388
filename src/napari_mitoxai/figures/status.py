"""The colours of OXPHOS status and of classes, the same in plots and in the image."""

# Okabe and Ito: apart for every reader
STATUS_COLOURS = {
    "deficient": "#d55e00",
    "normal": "#56b4e9",
    "over-expressed": "#cc79a7",
    "not called": "#999999",
    "not analysable": "#dddddd",
}
CLASS_COLOURS = {
    "analysable": "#009e73",
    "not transverse": "#e69f00",
    "freezing artefact": "#0072b2",
    "folded": "#cc79a7",
}
CONTROL_COLOUR = "#999999"
