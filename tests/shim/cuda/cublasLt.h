// cuBLASLt's product as three loops. It has an algorithm where rows are multiples of 16 bytes and k is not one more than a
// multiple of 16, as the real one may have none elsewhere.
#ifndef SHIM_CUBLASLT_H
#define SHIM_CUBLASLT_H

#include <cuda_bf16.h>
#include <vector>

enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS,
    CUBLAS_STATUS_ALLOC_FAILED,
    CUBLAS_STATUS_NOT_SUPPORTED,
    CUBLAS_STATUS_INVALID_VALUE
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cudaDataType_t { CUDA_R_32F, CUDA_R_16BF };
enum { CUBLAS_COMPUTE_32F, CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB };
enum { CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE };
enum cublasLtMatmulPreferenceAttributes_t {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
};
typedef struct ShimProduct {
    int turned[2];
} * cublasLtMatmulDesc_t;
typedef struct ShimLayout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t stride;
} * cublasLtMatrixLayout_t;
typedef void *cublasLtHandle_t, *cublasLtMatmulPreference_t;
struct cublasLtMatmulAlgo_t {};
struct cublasLtMatmulHeuristicResult_t {
    cublasLtMatmulAlgo_t algo;
    cublasStatus_t state;
};

static inline cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
    return *h = NULL, CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t) {
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    return *p = NULL, CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) {
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                                  cublasLtMatmulPreferenceAttributes_t, const void *, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, int, cudaDataType_t) {
    return *d = new ShimProduct{{0, 0}}, CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, int name, const cublasOperation_t *value,
                                                            size_t) {
    return d->turned[name == CUBLASLT_MATMUL_DESC_TRANSB] = *value == CUBLAS_OP_T, CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    return delete d, CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows,
                                                        uint64_t columns, int64_t stride) {
    return *l = new ShimLayout{type, rows, columns, stride}, CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
    return delete l, CUBLAS_STATUS_SUCCESS;
}

static inline size_t shim_bytes(cudaDataType_t type) {
    return type == CUDA_R_16BF ? 2 : 4;
}

static inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                                            cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                                            cublasLtMatmulPreference_t, int,
                                                            cublasLtMatmulHeuristicResult_t *result, int *n) {
    *n = (product->turned[0] ? a->rows : a->columns) % 16 != 1, result->state = CUBLAS_STATUS_SUCCESS;
    for (const ShimLayout *l : {a, b, c})
        if ((size_t)l->stride * shim_bytes(l->type) % 16) *n = 0;
    return *n ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static inline float shim_value(const void *x, cudaDataType_t type, size_t i) {
    return type == CUDA_R_16BF ? __bfloat162float(((const __nv_bfloat16 *)x)[i]) : ((const float *)x)[i];
}

// x (rows, columns) as floats by columns; turned: its transpose.
static inline std::vector<float> shim_floats(const void *x, const ShimLayout *l, int turned) {
    std::vector<float> out((size_t)(l->rows * l->columns));
    for (size_t c = 0; c < l->columns; c++)
        for (size_t r = 0; r < l->rows; r++)
            out[turned ? r * l->columns + c : c * l->rows + r] = shim_value(x, l->type, c * (size_t)l->stride + r);
    return out;
}

struct ShimMatmul {
    ShimProduct product;
    ShimLayout a_layout, b_layout, c_layout;
    const void *a, *b;
    void *c;
    float alpha, beta;
};

static inline void shim_matmul(const ShimMatmul &p) {
    const size_t m = p.c_layout.rows, n = p.c_layout.columns, k = p.product.turned[0] ? p.a_layout.rows : p.a_layout.columns;
    const std::vector<float> x = shim_floats(p.a, &p.a_layout, p.product.turned[0]),
                             y = shim_floats(p.b, &p.b_layout, p.product.turned[1]);
    std::vector<float> sum(m);
    for (size_t j = 0; j < n; j++) {
        const size_t at = j * (size_t)p.c_layout.stride;
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (size_t l = 0; l < k; l++)
            for (size_t i = 0; i < m; i++) sum[i] += x[l * m + i] * y[j * k + l];
        for (size_t i = 0; i < m; i++) {
            const float value = p.alpha * sum[i] + (p.beta != 0 ? p.beta * shim_value(p.c, p.c_layout.type, at + i) : 0);
            if (p.c_layout.type == CUDA_R_16BF)
                ((__nv_bfloat16 *)p.c)[at + i] = __float2bfloat16_rn(value);
            else
                ((float *)p.c)[at + i] = value;
        }
    }
}

extern "C" int shim_products; // that were done

// A single column is refused although it was offered.
static inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const float *alpha, const void *a,
                                            cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                                            const float *beta, const void *, cublasLtMatrixLayout_t, void *c,
                                            cublasLtMatrixLayout_t c_layout, const cublasLtMatmulAlgo_t *, void *, size_t,
                                            cudaStream_t stream) {
    if (stream->device != shim_device) return CUBLAS_STATUS_INVALID_VALUE;
    if (c_layout->columns == 1) return CUBLAS_STATUS_NOT_SUPPORTED;
    const ShimMatmul p = {*d, *a_layout, *b_layout, *c_layout, a, b, c, *alpha, *beta};
    shim_products++;
    stream->work.push_back([=] { shim_matmul(p); });
    return CUBLAS_STATUS_SUCCESS;
}

#endif
