"""Kinds of layers: each is one file, with its way forward, back, and its gradient side by side.

Pieces of layers are of the families `layer_pass` and `layer_gradient`: they are given the records
of job, layer and thread, and a rectangle to compute. Those that touch no float themselves, but call
pieces that do, exist once for all element types.
"""
