// The contract: mathematics on device memory, and that memory. A backend implements this header (ops/cpu, ops/cuda);
// nothing above it reads or writes a tensor's memory. Host data crosses by ops_upload and ops_download. Where a build has
// several backends, ops/dispatch.c chooses one by the name of its device.
//
// Dimension letters, the same everywhere:
//   B sequences   N packed rows of a segment   S slots of a KV cache   D width   H query heads   G key/value heads
//   K head size   F feed-forward width         V vocabulary            L layers  M rows gathered from N
// Tensors are row-major. `act` marks a tensor of activations in the compute type (ops_dtype: f32 or bf16); all others
// are f32 or int32 as typed. Arguments: outputs, inputs, weights, sizes, scalars.
// Forward stands beside backward. Backward *accumulates* (+=) into every gradient but those marked (=); a NULL gradient
// means "not wanted". Sums run in an order that depends on the shapes alone, never on the number of threads.
#ifndef OPS_OPS_H
#define OPS_OPS_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum Dtype { DTYPE_F32 = 0, DTYPE_BF16 = 1 } Dtype;
static inline size_t dtype_bytes(Dtype t) {
    return t == DTYPE_BF16 ? 2 : 4;
}

typedef void act;       // element of the compute type
typedef struct Ops Ops; // one backend in use by one thread at a time

// device: "cpu" or "cuda"; NULL: what LATENTR3_DEVICE names, else the processor. threads 0: all processors. dtype bf16 asks for
// hardware that multiplies bf16 and is refused where there is none.
int ops_open(Ops **ops, const char *device, int threads, Dtype dtype, Err *err);
void ops_close(Ops *ops);
Dtype ops_dtype(const Ops *ops);
int ops_threads(const Ops *ops);
int ops_has_bf16(const char *device);    // whether it multiplies bf16 (a processor: AMX or AVX512-BF16)
size_t ops_memory_bytes(const Ops *ops); // of the device, in all: what its ranges can ever be backed by
size_t ops_free_bytes(const Ops *ops);   // of those, what nothing has taken yet (a processor: all, its system judges)
int ops_rows_at_once(const Ops *ops);    // rows that fill the device where a product's result is large: more gain nothing
// The calling thread hands its work to another one and goes on: the helpers it computed with end, and it gets new ones when it
// computes again. Left asleep they would cost whoever computes next: libgomp counts all helpers of the process, and where those
// are more than the processors, none waits for its next work awake. The helpers of a thread that ends end with it.
void ops_rest(Ops *ops);
const char *ops_description(const Ops *ops); // e.g. "cpu, 2 threads, bf16 on AVX512-BF16, oneDNN 2.6.3"

// Device memory: a range of addresses, backed as ops write there. For the arenas of the layers above. Ops run in the order of
// their calls, not always before the call returns; what a call reads of the host's memory it has read by then. What
// ops_download writes there is there when it returns; what ops_fetch writes, when the next ops_wait has returned.
void *ops_reserve(Ops *ops, size_t bytes, Err *err);
void ops_release(Ops *ops, void *range, size_t bytes);
void ops_upload(Ops *ops, void *device, const void *host, size_t bytes);
void ops_download(Ops *ops, void *host, const void *device, size_t bytes);
void ops_fetch(Ops *ops, void *host, const void *device, size_t bytes);
void ops_wait(Ops *ops);
void ops_copy(Ops *ops, void *to, const void *from, size_t bytes);
void ops_zero(Ops *ops, void *device, size_t bytes);
// Convert n values between f32 and the compute type.
void op_to_act(Ops *ops, act *out, const float *x, size_t n);
void op_from_act(Ops *ops, float *out, const act *x, size_t n);

// ---- linear -------------------------------------------------------------------------------------------------------

// Rows [first, first + rows) of a weight that is kept outside device memory (a file), as (rows, I) of `type` on the host.
// Called from several threads at once.
typedef void MatrixRead(const void *context, void *out, Dtype type, int first, int rows);

// A weight (O, I) as written in a Hugging Face file: y = x W^T + b. The backend makes a copy in the layout and type its
// matrix kernel wants, from the master or, where `read` is set, from there. It is made again when `*version` has moved.
typedef struct Matrix {
    const float *w;          // (O, I) master, device; with `half` or `read` only an identity
    const uint16_t *half;    // (O, I) master in bf16, device; NULL: w counts
    const uint64_t *version; // host
    int O, I;
    int stream;                // make the copy for each product and keep none: memory for time
    MatrixRead *read;          // NULL: the master counts
    const void *context;       // of `read`
    struct Lora *lora;         // added to every product with this weight, or NULL
    struct MatrixCache *cache; // the backend's; NULL at first, released by ops_matrix_free, which releases those of `lora` too
} Matrix;

// A low-rank addition to a weight: y += scale (x A^T) B^T.  Hu et al. 2021. Where the weight is several matrices on top of
// each other (q, k, v), those that have an addition have factors of their own, R the same for all.
enum { LORA_PARTS = 3 };
typedef struct LoraPart {
    const float *b; // (rows, R), device
    int row, rows;  // of the weight
} LoraPart;
typedef struct Lora {
    Matrix down; // (parts R, I): the A of all parts
    Matrix up;   // (O, parts R): their B, each in the rows of its part and columns of its own; zero elsewhere. Made from `part`
    LoraPart part[LORA_PARTS];
    int parts;
    float scale;
} Lora;

// `up` from parts, down (whose version counts for both) and the number of the weight's rows. `l` may not move any more.
void ops_lora_bind(Ops *ops, Lora *l, int O);
// Make the copy now rather than with the first product.
void ops_matrix_prepare(Ops *ops, Matrix *m);
void ops_matrix_free(Ops *ops, Matrix *m);

// y (N, O) = x (N, I) W^T + bias (O, or NULL). The type of y is `y_type`.
void op_linear_forward(Ops *ops, void *y, Dtype y_type, const act *x, Matrix *w, const float *bias, int N);
// dx (N, I) (=) dy (N, O) W.
void op_linear_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Matrix *w, int N);
// dw (O, I) += dy^T x;  dbias (O) += sum over rows of dy, or NULL.
void op_linear_backward_weight(Ops *ops, float *dw, float *dbias, const act *dy, const act *x, int N, int O, int I);
// ddown (parts R, I) += ; dup[part] (rows, R) += . dy (N, O) is the gradient of the whole product.
void op_lora_backward_weight(Ops *ops, float *ddown, float *const *dup, const act *dy, const act *x, Lora *lora, int N);

// ---- rows ---------------------------------------------------------------------------------------------------------

// x (N, D) row n = table (V, D) row ids[n]; ids (N) < 0 leaves the row as it is. table is of table_type.
void op_embed_forward(Ops *ops, float *x, const void *table, Dtype table_type, const int32_t *ids, int N, int D);
// x (N, D) row n += table (V, D) row ids[n]; ids (N) < 0: nothing. op_embed_backward is its backward too.
void op_embed_add(Ops *ops, float *x, const float *table, const int32_t *ids, int N, int D);
// dtable (V, D) += dx (N, D).
void op_embed_backward(Ops *ops, float *dtable, const float *dx, const int32_t *ids, int N, int D);

// out (M, D) row m = x row index[m]; and the reverse: x row index[m] (=) or += in row m.  Element size in bytes.
void op_rows_gather(Ops *ops, void *out, const void *x, const int32_t *index, int M, int D, size_t element_bytes);
void op_rows_scatter(Ops *ops, void *x, const void *in, const int32_t *index, int M, int D, size_t element_bytes);
void op_rows_scatter_add(Ops *ops, float *x, const float *in, const int32_t *index, int M, int D);

// x += y, y scaled.
void op_add(Ops *ops, float *x, const float *y, float scale, size_t n);

// ---- norm ---------------------------------------------------------------------------------------------------------

// sum (N, D) = x + delta (delta may be NULL; sum may be x itself, and is not written where delta is NULL);
// rstd (N) = 1 / sqrt(mean(sum^2) + eps);  out (N, D) = sum * rstd * weight (D).  Zhang & Sennrich 2019.
void op_rmsnorm_forward(Ops *ops, act *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                        int N, int D, float eps);
// dx (N, D) += ; dweight (D) += (or NULL); dout (N, D) f32; x (N, D) is the forward's sum.
void op_rmsnorm_backward(Ops *ops, float *dx, float *dweight, const float *dout, const float *x, const float *rstd,
                         const float *weight, int N, int D);
// The forward's out again, from x and rstd.
void op_rmsnorm_again(Ops *ops, act *out, const float *x, const float *rstd, const float *weight, int N, int D);

// The same with a mean: out = (sum - mean) * rstd * weight + bias, rstd of the variance.  Ba et al. 2016.
void op_layernorm_forward(Ops *ops, act *out, float *rstd, float *sum, const float *x, const float *delta, const float *weight,
                          const float *bias, int N, int D, float eps);
// dx +=; dweight, dbias (D) += (both or neither NULL).
void op_layernorm_backward(Ops *ops, float *dx, float *dweight, float *dbias, const float *dout, const float *x,
                           const float *rstd, const float *weight, int N, int D);
void op_layernorm_again(Ops *ops, act *out, const float *x, const float *rstd, const float *weight, const float *bias, int N,
                        int D);

// ---- dropout ------------------------------------------------------------------------------------------------------

// Which values fall out is decided by (seed, stream, key of the row, place in the row) alone.
typedef struct Dropout {
    float rate; // a multiple of 2^-16 is taken
    uint64_t seed;
    const uint64_t *key; // (N) device
} Dropout;
// x (N, D) of type in place: a share `rate` becomes 0, the others are divided by 1 - rate. This is its own backward.
void op_dropout(Ops *ops, void *x, Dtype type, const Dropout *d, uint64_t stream, int N, int D);

// ---- feed-forward -------------------------------------------------------------------------------------------------

// out (N, F) = silu(gate) * up, with gu (N, 2F) = [gate | up].  Shazeer 2020.
void op_swiglu_forward(Ops *ops, act *out, const act *gu, int N, int F);
// dgu (N, 2F) (=) from dout (N, F) and gu.
void op_swiglu_backward(Ops *ops, act *dgu, const act *dout, const act *gu, int N, int F);

// The other activations, of a feed-forward without gate: out (N, F) from x (N, F). GELU is the tanh form.
typedef enum Activation { ACTIVATION_SWIGLU, ACTIVATION_RELU, ACTIVATION_GELU } Activation;
void op_activation_forward(Ops *ops, act *out, const act *x, Activation kind, int N, int F);
// dx (N, F) (=) from dout (N, F) and x.
void op_activation_backward(Ops *ops, act *dx, const act *dout, const act *x, Activation kind, int N, int F);

// ---- attention ----------------------------------------------------------------------------------------------------

// cos and sin (positions, K/2) of rotary embedding.
typedef struct Rope {
    const float *cos, *sin; // (positions, K/2), device; NULL: nothing turns
    int positions, K;
} Rope;

// Split and rotate: qkv (N, (H + 2G) K) = [q | k | v] -> q (N, H K) rotated; row n of k (rotated) and v go to slot
// slot0 + n of the caches (S, G K).  position (N), device.
void op_qkv_forward(Ops *ops, act *q, act *k_cache, act *v_cache, const act *qkv, const int32_t *position, int slot0,
                    const Rope *rope, int N, int H, int G, int K);
// dqkv (N, (H + 2G) K) (=) from dq (N, H K) and dk, dv (N, G K), the gradients of the rows' own slots.
void op_qkv_backward(Ops *ops, act *dqkv, const float *dq, const float *dk, const float *dv, const int32_t *position,
                     const Rope *rope, int N, int H, int G, int K);
// x (N, K) rotated in place by its position; `inverse` undoes it, which is also the backward.
void op_rope(Ops *ops, act *x, const int32_t *position, const Rope *rope, int N, int inverse);
void op_rope_f32(Ops *ops, float *x, const int32_t *position, const Rope *rope, int N, int inverse);

// Which slots each query row attends to. Rows [row, row + rows) form a block; they attend to all slots of the block's
// spans, and, where own >= 0, causally to slots own .. own + (their index in the block).
typedef struct Span {
    int slot, len;
} Span;
typedef struct AttnBlock {
    int row, rows, own, span, spans; // spans: AttnPlan.span[span .. span + spans)
    int owner;                       // a block's bits do not depend on what blocks of other owners are in the plan
} AttnBlock;
typedef struct AttnPlan { // host memory; blocks do not share rows
    const AttnBlock *block;
    const Span *span;
    int blocks;
} AttnPlan;

// out (N, H K) = softmax(q k^T * scale) v over the slots of the plan; lse (N, H) natural log of the normalizer.
// Value rows have K entries as the keys do. Head h reads key/value head h / (H/G).
void op_attention_forward(Ops *ops, act *out, float *lse, const act *q, const act *k_cache, const act *v_cache,
                          const AttnPlan *plan, int N, int H, int G, int K, float scale);
// dq (N, H K) (=);  dk, dv (S - grad_slot0, G K) += : row 0 is slot grad_slot0, the slots before it are not wanted; both
// may be NULL.
// dout is the gradient of out; out and lse are the forward's.
void op_attention_backward(Ops *ops, float *dq, float *dk, float *dv, const act *dout, const act *out, const float *lse,
                           const act *q, const act *k_cache, const act *v_cache, const AttnPlan *plan, int grad_slot0, int N,
                           int H, int G, int K, float scale);
// The weights themselves, for one head (H = G = 1): weight[m] (host) for block m, its slots in the order of its spans.
void op_attention_weights(Ops *ops, float *const *weight, const act *q, const act *k_cache, const float *lse,
                          const AttnPlan *plan, int K, float scale);

// ---- output -------------------------------------------------------------------------------------------------------

// lse (M) = log sum exp of logits (M, V);  logprob (M) = logits[target] - lse.  target may be NULL with logprob.
void op_logprob(Ops *ops, float *logprob, float *lse, const float *logits, const int32_t *target, int M, int V);
// dlogits (M, V) (=) dlogprob[m] * (onehot(target) - softmax): the gradient of sum dlogprob . logprob.
void op_logprob_backward(Ops *ops, act *dlogits, const float *logits, const float *lse, const int32_t *target,
                         const float *dlogprob, int M, int V);
// out (n) = logits[row[i], token[i]] - lse[row[i]]: the log-probabilities of chosen tokens.
void op_logprob_pick(Ops *ops, float *out, const float *logits, const float *lse, const int32_t *row, const int32_t *token,
                     size_t n, int V);

// logits (M, C) = h (M, D) . table (V, D) rows id (M, C).
void op_sampled_forward(Ops *ops, float *logits, const act *h, const float *table, const int32_t *id, int M, int C, int D);
// dh (M, D) (=);  dtable (V, D) += or NULL.
void op_sampled_backward(Ops *ops, float *dh, float *dtable, const float *dlogits, const act *h, const float *table,
                         const int32_t *id, int M, int C, int D);
// loss (M) = -log sigmoid(logits[m, 0]) - sum over the other columns of log(1 - sigmoid);  dlogits (M, C) (=) weight times
// its gradient, or NULL.
void op_binary(Ops *ops, float *loss, float *dlogits, const float *logits, int M, int C, float weight);

// ---- optimizer ----------------------------------------------------------------------------------------------------

// Decoupled weight decay, bias correction for `step` = 1, 2, ...; g is multiplied by g_scale first.  Loshchilov & Hutter 2019.
void op_adamw(Ops *ops, float *p, float *m, float *v, const float *g, size_t n, float lr, float beta1, float beta2, float eps,
              float decay, int64_t step, float g_scale);
// The same with weights and moments in bf16, each rounded at random so that its mean is the f32 result: what is smaller than
// half a step of bf16 adds up instead of being lost. The random bits are those of (seed, `stream`, index first ...), at most n
// indices from there on. `stream` must differ between steps and leave bits 8 and 9 free.  Gupta et al. 2015.
void op_adamw_half(Ops *ops, uint16_t *p, uint16_t *m, uint16_t *v, const float *g, size_t n, float lr, float beta1,
                   float beta2, float eps, float decay, int64_t step, float g_scale, uint64_t seed, uint64_t stream,
                   uint64_t first);
// Sum of squares in double, in chunks of fixed size: the same for any number of threads.
double op_sum_squares(Ops *ops, const float *x, size_t n);
// sum (1), device, += the same: nothing waits.
void op_add_squares(Ops *ops, double *sum, const float *x, size_t n);

#ifdef __cplusplus
}
#endif

#endif
