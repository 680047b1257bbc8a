// The low-rank addition to a product. The middle, scale x A^T, is rounded to the compute type as activations are; backward
// makes it again rather than keep it: it costs R / O of the product.
#include "ops/cuda/cuda.cuh"

static int rank(const Lora *l) {
    return l->down.O / l->parts;
}

// Only a mark: `up` is made from device memory by lora_up.
static void up_read(const void *context, void *out, Dtype type, int first, int rows) {
    (void)context, (void)out, (void)type, (void)first, (void)rows;
    CHECK(!"a low-rank addition is read by lora_up");
}

int lora_is_up(const Matrix *w) {
    return w->read == up_read;
}

void ops_lora_bind(Ops *ops, Lora *l, int O) {
    (void)ops;
    l->up = (Matrix){};
    l->up.w = l->part[0].b;
    l->up.version = l->down.version;
    l->up.O = O;
    l->up.I = l->down.O;
    l->up.read = up_read;
    l->up.context = l;
}

template <typename T> static void up_fill(Ops *ops, T *out, const Matrix *w) {
    const Lora l = *(const Lora *)w->context;
    const size_t width = (size_t)w->I, R = (size_t)rank(&l);
    each(ops, (size_t)w->O * width, [=] __device__(size_t i) {
        const int row = (int)(i / width);
        const LoraPart p = l.part[i % width / R];
        const int mine = row >= p.row && row < p.row + p.rows;
        store(out + i, mine ? p.b[(size_t)(row - p.row) * R + i % R] : 0);
    });
}

void lora_up(Ops *ops, act *out, const Matrix *w) {
    BY_TYPE(ops->dtype, T, up_fill<T>(ops, (T *)out, w));
}

// scale x, in the compute type, in the scratch arena.
static act *scaled_act(Ops *ops, const float *x, float scale, size_t n) {
    char *out = scratch_get<char>(ops, n * dtype_bytes(ops->dtype));
    BY_TYPE(ops->dtype, T, T *to = (T *)out; each(ops, n, [=] __device__(size_t i) { store(to + i, scale * x[i]); }));
    return out;
}

// scale x A^T (N, parts R)
static act *middle_forward(Ops *ops, const act *x, Lora *l, int N) {
    const size_t n = (size_t)N * (size_t)l->down.O;
    float *sum = scratch_get<float>(ops, n);
    linear_forward(ops, sum, DTYPE_F32, 0, x, &l->down, NULL, N);
    return scaled_act(ops, sum, l->scale, n);
}

// scale dy B
static act *middle_backward(Ops *ops, const act *dy, Lora *l, int N) {
    const size_t n = (size_t)N * (size_t)l->down.O;
    float *sum = scratch_get<float>(ops, n);
    linear_backward_input(ops, sum, DTYPE_F32, 0, dy, &l->up, N);
    return scaled_act(ops, sum, l->scale, n);
}

void lora_forward(Ops *ops, void *y, Dtype y_type, const act *x, Lora *l, int N) {
    const size_t mark = arena_mark(&ops->scratch);
    linear_forward(ops, y, y_type, 1, middle_forward(ops, x, l, N), &l->up, NULL, N);
    arena_reset(&ops->scratch, mark);
}

void lora_backward_input(Ops *ops, void *dx, Dtype dx_type, const act *dy, Lora *l, int N) {
    const size_t mark = arena_mark(&ops->scratch);
    linear_backward_input(ops, dx, dx_type, 1, middle_backward(ops, dy, l, N), &l->down, N);
    arena_reset(&ops->scratch, mark);
}

void op_lora_backward_weight(Ops *ops, float *ddown, float *const *dup, const act *dy, const act *x, Lora *l, int N) {
    if (N == 0) return;
    const size_t mark = arena_mark(&ops->scratch), R = (size_t)rank(l), width = (size_t)l->up.I, O = (size_t)l->up.O;
    act *u = middle_forward(ops, x, l, N), *du = middle_backward(ops, dy, l, N);
    float *all = scratch_get<float>(ops, O * width); // (O, parts R), of which the parts' own count
    ops_zero(ops, all, O * width * sizeof *all);
    op_linear_backward_weight(ops, all, NULL, dy, u, N, l->up.O, l->up.I);
    for (int i = 0; i < l->parts; i++) {
        const float *from = all + (size_t)l->part[i].row * width + (size_t)i * R;
        float *to = dup[i];
        each(ops, (size_t)l->part[i].rows * R, [=] __device__(size_t j) { to[j] += from[j / R * width + j % R]; });
    }
    op_linear_backward_weight(ops, ddown, NULL, du, x, N, l->down.O, l->down.I);
    arena_reset(&ops->scratch, mark);
}
