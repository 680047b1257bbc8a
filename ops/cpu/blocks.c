// Matrix products in f32 for processors for which oneDNN has no kernels of its own (before AVX512). Its general product deals
// shapes and sums to threads in ways that depend on how many there are, and with them the last bits. So the result is cut into
// blocks, by its shape alone, and each block is a product of one thread.
#include "ops/cpu/cpu.h"

#include <dnnl.h>
#include <string.h>

// Of oneDNN's own threads there is one, also where our team is of one and no thread is inside a team.
static int team_of_one(void) {
    const int theirs = omp_get_max_threads();
    omp_set_num_threads(1);
    return theirs;
}

// c (m, n), `stride` apart, = or += a (m, K) b (K, n). b_turned: b lies as (N, K), else as (K, N).
static void block(float *c, int stride, const float *a, const float *b, int b_turned, int m, int n, int N, int K, int add) {
    const dnnl_status_t status =
        dnnl_sgemm('N', b_turned ? 'T' : 'N', m, n, K, 1, a, K, b, b_turned ? K : N, add ? 1.0f : 0.0f, c, stride);
    CHECK(status == dnnl_success);
}

// A kernel takes six rows at a time, and what is left in other ways of its own unless that is four or five: rows of zeros are
// added, so that a row's bits do not depend on how many there are beside it, nor where it stands among them.
static int padded(int m) {
    return m % 6 >= 1 && m % 6 <= 3 ? m / 6 * 6 + 4 : m;
}

static void block_padded(Arena *own, float *c, const float *a, const float *b, int b_turned, int m, int n, int N, int K,
                         int add) {
    const size_t mark = arena_mark(own), rows = (size_t)padded(m), width = (size_t)n * sizeof(float);
    float *a_rows = ARENA_NEW(own, float, rows *(size_t)K), *c_rows = ARENA_NEW(own, float, rows *(size_t)n);
    memset(a_rows, 0, rows * (size_t)K * sizeof *a_rows);
    memcpy(a_rows, a, (size_t)m * (size_t)K * sizeof *a_rows);
    memset(c_rows, 0, rows * width);
    for (int r = 0; add && r < m; r++) memcpy(c_rows + r * n, c + (size_t)r * (size_t)N, width);
    block(c_rows, n, a_rows, b, b_turned, (int)rows, n, N, K, add);
    for (int r = 0; r < m; r++) memcpy(c + (size_t)r * (size_t)N, c_rows + r * n, width);
    arena_reset(own, mark);
}

// Few rows are the steps of a beam search: then there must be blocks enough of the columns, and the head's, in bytes of the
// weight, are best read in longer ones.
void blocks_product(Ops *ops, float *c, const float *a, const float *b, int b_turned, const float *bias, int M, int N, int K,
                    int add) {
    CHECK(!(bias && add));
    enum { ROWS = 72, COLUMNS = 384, COLUMNS_OF_FEW = 96, FEW = 256, MANY_COLUMNS = 16384 };
    const int columns = M <= FEW && N < MANY_COLUMNS ? COLUMNS_OF_FEW : COLUMNS, across = (N + columns - 1) / columns,
              down = (M + ROWS - 1) / ROWS, theirs = team_of_one();
    PARALLEL_TASKS
    for (int t = 0; t < across * down; t++) {
        const int first = t % down * ROWS, left = t / down * columns, m = M - first < ROWS ? M - first : ROWS,
                  n = N - left < columns ? N - left : columns, onto = add || bias;
        const float *rows = a + (size_t)first * (size_t)K, *part = b + (b_turned ? (size_t)left * (size_t)K : (size_t)left);
        float *to = c + (size_t)first * (size_t)N + left;
        for (int r = 0; bias && r < m; r++) memcpy(to + (size_t)r * (size_t)N, bias + left, (size_t)n * sizeof *bias);
        if (padded(m) == m)
            block(to, N, rows, part, b_turned, m, n, N, K, onto);
        else
            block_padded(&ops->own[omp_get_thread_num()], to, rows, part, b_turned, m, n, N, K, onto);
    }
    omp_set_num_threads(theirs);
}

// to (columns, K) of the columns of a (K, M).
static void turn(float *to, const float *a, int columns, int K, int M) {
    enum { TILE = 16 };
    for (int k = 0; k < K; k += TILE)
        for (int i = 0; i < columns; i += TILE)
            for (int ii = i; ii < columns && ii < i + TILE; ii++)
                for (int kk = k; kk < K && kk < k + TILE; kk++)
                    to[(size_t)ii * (size_t)K + (size_t)kk] = a[(size_t)kk * (size_t)M + (size_t)ii];
}

// oneDNN's product is slow where the columns of its first factor lie far apart.
void blocks_add_turned(Ops *ops, float *c, const float *a, const float *b, int M, int N, int K) {
    enum { ROWS = 64, COLUMNS = 384 };
    const int theirs = team_of_one();
    PARALLEL_TASKS
    for (int first = 0; first < M; first += ROWS) {
        Arena *own = &ops->own[omp_get_thread_num()];
        const size_t mark = arena_mark(own);
        const int m = M - first < ROWS ? M - first : ROWS;
        float *rows = ARENA_NEW(own, float, (size_t)m *(size_t)K); // (m, K)
        turn(rows, a + first, m, K, M);
        for (int left = 0; left < N; left += COLUMNS)
            block(c + (size_t)first * (size_t)N + left, N, rows, b + left, 0, m, N - left < COLUMNS ? N - left : COLUMNS, N, K,
                  1);
        arena_reset(own, mark);
    }
    omp_set_num_threads(theirs);
}
