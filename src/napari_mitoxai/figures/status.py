"""The colours of OXPHOS status, the same in plots and in the image."""

# Okabe and Ito: apart for every reader
STATUS_COLOURS = {
    "deficient": "#d55e00",
    "normal": "#56b4e9",
    "over-expressed": "#cc79a7",
    "not called": "#999999",
}
CONTROL_COLOUR = "#999999"
