"""The plain names of tensor functions by what relevance propagation does with them; see `trace`."""

# Of one activation, element by element: relevance is passed on unchanged.
ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid",
    "logsigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "tanhshrink", "softshrink", "hardshrink", "threshold", "clamp", "clip",
    "clamp_min", "clamp_max", "abs", "neg",
}  # fmt: skip
# The identity in evaluation mode.
DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
# Activations whose result weights another tensor when multiplied with it.
GATES = {"sigmoid", "hardsigmoid"}
# Linear in an activation, with weights that another argument gives: epsilon.
WEIGHTED_MAPS = {"matmul", "mm", "bmm", "mv", "einsum", "tensordot", "addmm", "baddbmm"}
# Linear in an activation, with constant weights: epsilon.
LINEAR_MAPS = {
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "mean", "sum",
    "interpolate", "upsample", "upsample_nearest", "upsample_bilinear", "fold", *WEIGHTED_MAPS,
}  # fmt: skip
# Copy, rearrange or select values: their gradient moves relevance to where the values came from.
MOVES = {
    "get", "view", "view_as", "reshape", "reshape_as", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "expand", "expand_as", "broadcast_to", "repeat", "tile",
    "repeat_interleave", "cat", "stack", "hstack", "vstack", "dstack", "chunk", "split", "split_with_sizes", "tensor_split",
    "unsafe_chunk", "unsafe_split", "unbind", "narrow", "select", "index_select", "gather", "take", "take_along_dim", "diagonal",
    "getitem", "setitem", "masked_fill", "masked_select", "where", "pad", "constant_pad_nd", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle", "roll", "flip", "fliplr", "flipud", "rot90", "unfold", "clone", "contiguous", "to",
    "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda", "alias", "requires_grad", "retain_grad", "register_hook",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices", "max", "amax", "maximum", "min", "amin", "minimum", "topk",
    "sort", "copy",
}  # fmt: skip
# Give the input of the network another shape and nothing else; what iNNvestigate still takes for the input.
RESHAPES = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis", "t", "clone", "contiguous", "to", "float", "double", "alias",
}  # fmt: skip
