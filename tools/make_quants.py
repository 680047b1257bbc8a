#!/usr/bin/env python3
"""Write tests/data/quants.gguf: random blocks of each type and, as NAME.f32, what the gguf package makes of them."""
import sys

import numpy as np
from gguf import GGUFWriter, GGMLQuantizationType as Type, GGML_QUANT_SIZES
from gguf.quants import dequantize

ROWS, COLUMNS = 2, 512
HALVES = {  # where the f16 numbers of a block lie: their random bits must not make NaN or Inf
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def random_blocks(rng, name):
    values, size = GGML_QUANT_SIZES[Type[name]]
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // values, size), dtype=np.uint8)
    for at in HALVES[name]:
        half = rng.normal(0, 0.05, len(blocks)).astype(np.float16)
        blocks[:, at:at + 2] = half.view(np.uint8).reshape(-1, 2)
    blocks[0, HALVES[name][0]:HALVES[name][0] + 2] = [1, 0]  # the least subnormal
    return blocks.reshape(ROWS, -1)


def main(path):
    rng = np.random.default_rng(20250519)
    writer = GGUFWriter(path, "test")
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.strings", ["a", "", "\u00e9\u4e2d"])
    writer.add_bool("test.bool", True)
    writer.add_float64("test.f64", 0.1)
    writer.add_uint64("test.u64", 1 << 40)
    writer.add_int8("test.i8", -5)
    pairs = [(name, random_blocks(rng, name)) for name in HALVES]
    plain = rng.normal(0, 1, (ROWS, COLUMNS)).astype(np.float32)
    plain[0, :4] = [0, -0.0, 6e-8, 65504]
    pairs.append(("F16", plain.astype(np.float16)))
    pairs.append(("BF16", (plain.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(ROWS, -1)))
    pairs.append(("F32", plain))
    for name, data in pairs:
        writer.add_tensor(name, data, raw_dtype=Type[name])
        writer.add_tensor(name + ".f32", dequantize(data, Type[name]).astype(np.float32).reshape(ROWS, COLUMNS))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tests/data/quants.gguf")
