"""MLX affine quantisation (8 bit, groups of 64) and safetensors files, in numpy."""
import json
import struct

import numpy

BITS, GROUP = 8, 64


def to_bf16(x):
    """uint16 bit patterns, rounded to nearest even."""
    bits = numpy.ascontiguousarray(x, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def from_bf16(bits):
    return (bits.astype(numpy.uint32) << 16).view(numpy.float32)


def quantize(weight):
    """(codes as U32 words with the first column in the lowest bits, scales, biases); value = scale * code + bias."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // GROUP, GROUP)
    biases = to_bf16(groups.min(-1))
    scales = to_bf16(numpy.maximum(groups.max(-1) - from_bf16(biases), 1e-8) / (2**BITS - 1))
    codes = numpy.rint((groups - from_bf16(biases)[..., None]) / from_bf16(scales)[..., None])
    codes = codes.clip(0, 2**BITS - 1).astype(numpy.uint8).reshape(rows, columns)
    return codes.view("<u4"), scales, biases


def dequantize(words, scales, biases):
    codes = numpy.ascontiguousarray(words).view(numpy.uint8)
    groups = codes.reshape(codes.shape[0], -1, GROUP).astype(numpy.float32)
    return (groups * from_bf16(scales)[..., None] + from_bf16(biases)[..., None]).reshape(codes.shape)


DTYPES = {"U32": "<u4", "BF16": "<u2"}


def write(path, tensors):
    """`tensors`: {name: array of uint32 (U32) or uint16 (BF16)}"""
    header, offset = {"__metadata__": {"format": "mlx"}}, 0
    for name, array in tensors.items():
        dtype = {4: "U32", 2: "BF16"}[array.dtype.itemsize]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())


def read(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def read_float32(path):
    """{parameter name without `model.`: float32 array}, every quantised matrix widened."""
    tensors, out = read(path), {}
    for name, array in tensors.items():
        if name.endswith((".scales", ".biases")):
            continue
        base = name.removesuffix(".weight")
        if base + ".scales" in tensors:
            array = dequantize(array, tensors[base + ".scales"], tensors[base + ".biases"])
        else:
            array = from_bf16(array)
        out[name.removeprefix("model.")] = array
    return out
