"""Guided backpropagation and Deconvnet by editing the graph that autograd recorded, as a reference.

Nothing of the forward pass is changed: every ReLU is a node of the graph, however it was called, and gets another rule there.
"""

import torch

_RECTIFIERS = {
    "ReluBackward0",
    "ClampBackward1",
    "ClampMinBackward0",
    "ThresholdBackward0",
}  # all max(x, 0) in these tests


def rectifiers(root):
    """The ReLU nodes that a result came through, each once."""
    seen, found, waiting = {root}, [], [root]
    while waiting:
        node = waiting.pop()
        if node.name() in _RECTIFIERS:
            found.append(node)
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return found


def ruled_gradient(net, x, target, guided):
    """The guided or the Deconvnet map (N, C, H, W) of a class's logit."""
    leaf = x.clone().requires_grad_()
    logits = net(leaf.clone())  # a network may change its input in place
    for node in rectifiers(logits.grad_fn):
        if guided:
            node.register_prehook(lambda signals: (signals[0].clamp(min=0),))
        else:
            node.register_hook(lambda _, signals: (signals[0].clamp(min=0),))
    return torch.autograd.grad(logits[:, target].sum(), leaf)[0]
