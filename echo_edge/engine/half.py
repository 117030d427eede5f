"""Half precision for TensorRT: a parsed network is changed so that matrices and what flows from them are float16.

TensorRT 11 has no flag for that (networks are strongly typed, their types are the file's), and with the flag of
TensorRT 10 the precision of a layer is the builder's guess. A second, half-precision model file would need a place in
the package, and ``onnx`` on the gateway wherever a package lacks it. The network itself can be changed with what both
versions have, and the package stays one file.

Half precision begins at a matrix product and lasts to the output. What is computed from the positions before they
join (the sines of a code whose angles reach hundreds) stays float32; norms take float16 and compute in float32, which
is TensorRT's default.
"""

from __future__ import annotations

from typing import Any


def to_half(trt: Any, network: Any) -> None:
    """Change a strongly typed network in place; its inputs and outputs keep their types."""
    casts: dict[str, Any] = {}

    def halved(tensor: Any) -> Any:
        if tensor.name not in casts:
            casts[tensor.name] = network.add_cast(tensor, trt.float16).get_output(0)
        return casts[tensor.name]

    # In the order of the file, which ONNX wants to be that of computation: inputs have their final types by then.
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.CAST:
            continue
        inputs = [(place, layer.get_input(place)) for place in range(layer.num_inputs)]
        floats = [(place, t) for place, t in inputs if t is not None and t.dtype in (trt.float16, trt.float32)]
        if layer.type == trt.LayerType.MATRIX_MULTIPLY or any(t.dtype == trt.float16 for _, t in floats):
            for place, tensor in floats:
                if tensor.dtype == trt.float32:
                    layer.set_input(place, halved(tensor))
    for tensor in [network.get_output(index) for index in range(network.num_outputs)]:
        if tensor.dtype == trt.float16:
            name = tensor.name
            network.unmark_output(tensor)
            tensor.name = f"{name}.half"
            whole = network.add_cast(tensor, trt.float32).get_output(0)
            whole.name = name
            network.mark_output(whole)
