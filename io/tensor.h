// A tensor as a file holds it: a name, a type, a shape and bytes. No meaning.
#ifndef IO_TENSOR_H
#define IO_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum TensorType {
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16, // plain
    TENSOR_Q8_0,
    TENSOR_Q4_0,
    TENSOR_Q4_1,
    TENSOR_Q5_0,
    TENSOR_Q5_1,
    TENSOR_Q4_K,
    TENSOR_Q5_K,
    TENSOR_Q6_K, // GGUF blocks
    TENSOR_I32,
    TENSOR_I64,
    TENSOR_U8, // carried, not read as numbers of a model
    TENSOR_TYPES
} TensorType;

enum { TENSOR_DIMS = 8 };

typedef struct Tensor {
    const char *name; // borrowed from the open file
    TensorType type;
    int n_dims;                // 0: a scalar
    int64_t dims[TENSOR_DIMS]; // outermost first, as PyTorch prints them (GGUF's order reversed)
    const void *data;          // borrowed; may be misaligned
    size_t count, bytes;
} Tensor;

const char *tensor_type_name(TensorType t);
int tensor_block_values(TensorType t);   // values in a block (1 for plain types)
size_t tensor_block_bytes(TensorType t); // bytes of a block

// Values [first, first + n) as f32; `first` and `n` are multiples of the block. Plain and quantized types.
void tensor_to_f32(float *out, const Tensor *t, size_t first, size_t n);

// n values, each to the nearest bf16 (even); NaN stays NaN.
void tensor_to_bf16(uint16_t *out, const float *x, size_t n);

// Index of the first value that is NaN or Inf, or n.
size_t tensor_first_not_finite(const float *x, size_t n);

float f16_to_f32(uint16_t h);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float x); // round to nearest even; NaN stays NaN

#endif
