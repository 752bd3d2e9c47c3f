"""Models of a shape with random weights in the files that other engines read, for measuring them beside this one.

Four-bit blocks of 32 weights with one f16 scale (Q4_0 there, Q40 elsewhere): 4.5 bits a weight, like 4 bit in groups of
64 with a bf16 scale and bias. Formats: GGUF version 3 (ggml's docs/gguf.md), and distributed-llama's `.m` and `.t`."""

import os
import random
import struct
from dataclasses import dataclass

BLOCK_WEIGHTS = 32
SCALE = 0.01
CHUNK_BLOCKS = 1 << 15


@dataclass(frozen=True)
class Shape:
    """Of a dense model of the Llama family whose head is its embedding."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int

    @property
    def query(self):
        return self.heads * self.head_dim

    @property
    def kv(self):
        return self.kv_heads * self.head_dim


SHAPES = {  # as src/cli/synthetic_model.cc
    "0.5b": Shape(16, 1536, 24, 8, 64, 4096, 32000),
    "1b": Shape(16, 2048, 32, 8, 64, 8192, 128256),
}


def _q4_chunk():
    bits = random.Random(1)
    scale = struct.pack("<e", SCALE)
    return b"".join(scale + bits.randbytes(BLOCK_WEIGHTS // 2) for _ in range(CHUNK_BLOCKS))


def _q8_chunk():
    bits = random.Random(1)
    scale = struct.pack("<e", SCALE / 16)
    return b"".join(scale + bits.randbytes(BLOCK_WEIGHTS) for _ in range(CHUNK_BLOCKS))


def _repeated(chunk, size):
    """Pieces of `chunk`, over and over, `size` bytes in all."""
    while size > 0:
        yield chunk[:size]
        size -= len(chunk)


@dataclass(frozen=True)
class _Blocks:
    ggml_type: int
    bytes: int  # a block
    chunk: bytes

    def size(self, weights):
        return weights // BLOCK_WEIGHTS * self.bytes


def _blocks(bits):
    return _Blocks(2, 18, _q4_chunk()) if bits == 4 else _Blocks(8, 34, _q8_chunk())


def _whole(path, write):
    """A file that is there only once `write(file)` has ended."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    return path


# ---- GGUF ----

_GGUF_ALIGNMENT = 32
_F32 = 0
_UINT32, _FLOAT32, _STRING = 4, 6, 8


def _gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _gguf_pair(key, value):
    if isinstance(value, str):
        return _gguf_string(key) + struct.pack("<I", _STRING) + _gguf_string(value)
    if isinstance(value, float):
        return _gguf_string(key) + struct.pack("<If", _FLOAT32, value)
    return _gguf_string(key) + struct.pack("<II", _UINT32, value)


def _gguf_metadata(shape):
    return {
        "general.architecture": "llama",
        "llama.block_count": shape.layers,
        "llama.context_length": 131072,
        "llama.embedding_length": shape.width,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.head_dim,
        "llama.rope.freq_base": 500000.0,
        "llama.vocab_size": shape.vocabulary,
        "tokenizer.ggml.model": "no_vocab",
    }


def _gguf_tensors(shape):
    """Name and dimensions, the fastest first; one dimension: a norm in f32."""
    yield "token_embd.weight", (shape.width, shape.vocabulary)
    yield "output_norm.weight", (shape.width,)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (shape.width,)
        yield block + "attn_q.weight", (shape.width, shape.query)
        yield block + "attn_k.weight", (shape.width, shape.kv)
        yield block + "attn_v.weight", (shape.width, shape.kv)
        yield block + "attn_output.weight", (shape.query, shape.width)
        yield block + "ffn_norm.weight", (shape.width,)
        yield block + "ffn_gate.weight", (shape.width, shape.feed_forward)
        yield block + "ffn_up.weight", (shape.width, shape.feed_forward)
        yield block + "ffn_down.weight", (shape.feed_forward, shape.width)


def _aligned(size):
    return -(-size // _GGUF_ALIGNMENT) * _GGUF_ALIGNMENT


def _tensor_size(dimensions, blocks):
    return 4 * dimensions[0] if len(dimensions) == 1 else blocks.size(dimensions[0] * dimensions[1])


def _write_gguf(file, shape, blocks):
    metadata, tensors = _gguf_metadata(shape), list(_gguf_tensors(shape))
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(_gguf_pair(key, value) for key, value in metadata.items())
    offset = 0
    for name, dimensions in tensors:
        kind = _F32 if len(dimensions) == 1 else blocks.ggml_type
        header += _gguf_string(name) + struct.pack("<I", len(dimensions))
        header += struct.pack(f"<{len(dimensions)}Q", *dimensions) + struct.pack("<IQ", kind, offset)
        offset += _aligned(_tensor_size(dimensions, blocks))
    file.write(header.ljust(_aligned(len(header)), b"\0"))
    for _, dimensions in tensors:
        size = _tensor_size(dimensions, blocks)
        if len(dimensions) == 1:
            file.write(struct.pack("<f", 1.0) * dimensions[0])
        else:
            for piece in _repeated(blocks.chunk, size):
                file.write(piece)
        file.write(bytes(_aligned(size) - size))


def gguf(folder, shape_name, bits):
    """The shape's GGUF file below `folder`, written the first time. Every tensor, the head too, in 4 or 8 bit."""
    return _whole(folder / f"{shape_name}-q{bits}_0.gguf",
                  lambda file: _write_gguf(file, SHAPES[shape_name], _blocks(bits)))


# ---- distributed-llama ----

_MODEL_MAGIC, _TOKENIZER_MAGIC = 0xA00ABCD, 0x567124
_LLAMA, _SILU, _Q40, _LLAMA_ROPE = 0xABCD00, 1, 2, 0


def _key_values(magic, pairs):
    data = b"".join(struct.pack("<ii", key, value) for key, value in pairs)
    return struct.pack("<ii", magic, 8 + len(data)) + data


def _write_dllama(file, shape, blocks):
    file.write(_key_values(_MODEL_MAGIC, [
        (0, 1), (1, _LLAMA), (2, shape.width), (3, shape.feed_forward), (4, shape.layers), (5, shape.heads),
        (6, shape.kv_heads), (7, 0), (8, 0), (9, shape.vocabulary), (10, 4096), (11, _SILU), (12, 500000), (13, _Q40),
        (18, _LLAMA_ROPE), (19, shape.head_dim)]))
    norm = struct.pack("<f", 1.0) * shape.width

    def matrix(rows, columns):
        for piece in _repeated(blocks.chunk, blocks.size(rows * columns)):
            file.write(piece)

    for piece in _repeated(struct.pack("<f", SCALE) * (1 << 18), 4 * shape.vocabulary * shape.width):
        file.write(piece)
    for _ in range(shape.layers):
        matrix(shape.query, shape.width)
        matrix(shape.kv, shape.width)
        matrix(shape.kv, shape.width)
        matrix(shape.width, shape.query)
        matrix(shape.feed_forward, shape.width)
        matrix(shape.width, shape.feed_forward)
        matrix(shape.feed_forward, shape.width)
        file.write(norm + norm)
    file.write(norm)
    matrix(shape.vocabulary, shape.width)


def dllama(folder, shape_name):
    """The shape's `.m` file in Q40 below `folder`, written the first time."""
    return _whole(folder / f"{shape_name}-q40.m", lambda file: _write_dllama(file, SHAPES[shape_name], _blocks(4)))


def _write_tokenizer(file, vocabulary):
    """Bytes, then numbered words; `a` costs a token each."""
    tokens = [bytes([i]) for i in range(1, 256)]
    tokens += [b"<%d>" % i for i in range(len(tokens), vocabulary)]
    bos = vocabulary - 2
    file.write(_key_values(_TOKENIZER_MAGIC, [(0, 1), (1, vocabulary), (2, max(map(len, tokens))), (3, bos), (9, 1), (10, 1)]))
    file.write(struct.pack("<i", vocabulary - 1))
    for token in tokens:
        file.write(struct.pack("<fI", 0.0, len(token)) + token)


def dllama_tokenizer(folder, shape_name):
    """A `.t` file with as many tokens as the shape has."""
    return _whole(folder / f"{shape_name}.t", lambda file: _write_tokenizer(file, SHAPES[shape_name].vocabulary))
