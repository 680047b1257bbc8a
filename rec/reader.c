#include "rec/reader.h"

#include <string.h>

// Prompts are packed up to this many rows: enough to keep the matrix kernels busy, few enough for memory.
enum { READER_ROWS = 4096 };

static int positions_left(const Llm *llm, int reach) {
    return llm->rope.positions - llm->config.thoughts - reach;
}

static int check_room(const Llm *llm, int room, int head, Err *err) {
    if (room > head) return 0;
    return err_set(err, ERR_DATA, "of %d positions the answers leave %d for the prompt; what all begin with has %d",
                   llm->rope.positions, room > 0 ? room : 0, head);
}

int reader_fits(const Llm *llm, const Tokenizer *t, const PromptStyle *style, int reach, Err *err) {
    PromptCommon common;
    int status = prompt_common(&common, t, style, err);
    if (status == 0) status = check_room(llm, positions_left(llm, reach), (int)common.ids.len, err);
    ints_free(&common.ids);
    return status;
}

static int reader_check(const Reader *r, const Llm *llm, int tail, size_t *slots, Err *err) {
    int head = (int)r->common.ids.len;
    if (check_room(llm, r->room, head, err)) return -1;
    *slots = (size_t)head + (size_t)r->users * ((size_t)r->room + (size_t)llm->config.thoughts + (size_t)tail);
    if (*slots > INT32_MAX)
        return err_set(err, ERR_USAGE, "%d users at a time would need %zu cache slots; at most %d", r->users, *slots,
                       INT32_MAX);
    return 0;
}

static void common_forward(Reader *r) {
    Session *s = &r->session;
    SessionMark begin = session_mark(s);
    Segment g;
    segment_begin(s, &g, 1, (int)r->common.ids.len);
    r->node = segment_add_shared(s, &g, r->common.ids.data, (int)r->common.ids.len);
    segment_forward(s, &g, NULL, 0);
    if (s->llm->config.thoughts > 0) { // makes its keys for LatentRATT
        LatentPass pass;
        latent_forward(s, &pass, &r->node, 1);
    }
    reader_drop_scratch(s, begin);
    r->clean = session_mark(s);
}

int reader_open(Reader *r, Llm *llm, const Tokenizer *t, const PromptStyle *style, int users, int room, int tail, int reach,
                Err *err) {
    CHECK(users > 0 && room > 0 && tail >= 0 && reach >= 0);
    const int left = positions_left(llm, reach);
    size_t slots = 0;
    *r = (Reader){.tokenizer = t, .style = *style, .users = users, .room = left < room ? left : room};
    if (prompt_common(&r->common, t, style, err) || reader_check(r, llm, tail, &slots, err) ||
        session_init(&r->session, llm, (int)slots, err)) {
        ints_free(&r->common.ids);
        return -1;
    }
    common_forward(r);
    return 0;
}

void reader_close(Reader *r) {
    if (r->users) session_free(&r->session);
    ints_free(&r->common.ids);
    ints_free(&r->text);
    *r = (Reader){0};
}

void reader_drop_scratch(Session *s, SessionMark begin) {
    begin.slots_used = s->slots_used;
    begin.nodes = s->nodes;
    begin.ratt_made = s->ratt_made;
    session_reset(s, begin);
}

void reader_end(Reader *r) {
    session_reset(&r->session, r->clean);
}

// ---- histories -------------------------------------------------------------------------------------------------------

// What of a prompt behind the common beginning is known becomes a node; the rest is left to be computed.
static void use_prefix(Reader *r, ThinkPrompt *p) {
    const void *rows;
    int saved, n = r->prefixes ? prefix_find(r->prefixes, p->ids, p->len, &rows, &saved) : 0;
    if (n == 0) return;
    p->prefix = session_restore_rows(&r->session, r->node, rows, saved, n);
    p->ids += n;
    p->len -= n;
}

// Prompts that were not known to their end are kept.
static void keep_prompts(Reader *r, const ThinkPrompt *whole, const ThinkPrompt *prompt, int users, const int *node) {
    const int head = (int)r->common.ids.len;
    for (int u = 0; u < users && r->prefixes; u++) {
        void *rows = prompt[u].shared && prompt[u].len > 0
                         ? prefix_put(r->prefixes, whole[u].ids, whole[u].len, session_row_bytes(&r->session))
                         : NULL;
        if (rows) session_save_rows(&r->session, node[u], head, whole[u].len, rows);
    }
}

// Instruction and input of every user, one behind the other in r->text: of a prompt that is too long the last tokens are
// taken, which may begin inside the instruction.
int reader_histories(Reader *r, const History *history, int users, int *node, Err *err) {
    Arena *host = &r->session.host;
    const SessionMark before = session_mark(&r->session);
    ThinkPrompt *prompt = ARENA_NEW(host, ThinkPrompt, users), *whole = ARENA_NEW(host, ThinkPrompt, users);
    size_t *end = ARENA_NEW(host, size_t, users);
    int *number = ARENA_NEW(host, int, users);
    const int instruction = prompt_instruction_len(&r->common);
    r->text.len = 0;
    for (int u = 0; u < users; u++) {
        const History *h = &history[u];
        size_t begin = r->text.len;
        ints_append(&r->text, r->common.ids.data, (size_t)instruction);
        if (prompt_input(&r->text, r->tokenizer, &r->style, h->title, h->text, h->n, err)) {
            session_reset(&r->session, before);
            return -1;
        }
        end[u] = r->text.len;
        const size_t input = begin + (size_t)instruction;
        whole[u] = (ThinkPrompt){0};
        whole[u].shared = prompt_shares(&r->common, r->text.data + input, (int)(end[u] - input), r->room, &whole[u].len);
        number[u] = h->number;
    }
    for (int u = 0; u < users; u++) {
        whole[u].ids = r->text.data + end[u] - whole[u].len; // the memory no longer moves
        prompt[u] = whole[u];
        if (prompt[u].shared) use_prefix(r, &prompt[u]);
    }
    reader_prompts(r, prompt, number, users, node);
    keep_prompts(r, whole, prompt, users, node);
    return 0;
}

// ---- prompts and thoughts --------------------------------------------------------------------------------------------

static void prompts_forward(Reader *r, const ThinkPrompt *prompt, const int *number, int users, int *node) {
    Session *s = &r->session;
    SessionMark begin = session_mark(s);
    Think t;
    think_prompts(s, &t, r->node, &r->common.ids, prompt, users, NULL, NULL, THINK_FORWARD, 0);
    thoughts_give(&r->thoughts, s, &t, number);
    think_thoughts(s, &t, THINK_FORWARD, 0);
    thoughts_take(&r->thoughts, s, &t, number);
    for (int u = 0; u < users; u++) node[u] = t.node[u];
    if (t.r) { // the last thought is yet to be fed in
        Segment g;
        segment_begin(s, &g, users, users);
        for (int u = 0; u < users; u++) node[u] = think_follow(s, &t, u, &g, (const int32_t[]){-1}, 1);
        segment_forward(s, &g, t.r, 0);
    }
    reader_drop_scratch(s, begin);
}

// In parts of READER_ROWS.
void reader_prompts(Reader *r, const ThinkPrompt *prompt, const int *number, int users, int *node) {
    CHECK(users > 0 && users <= r->users);
    for (int u = 0, end; u < users; u = end) {
        int rows = 0;
        for (end = u; end < users; end++) {
            if (end > u && rows + prompt[end].len > READER_ROWS) break;
            rows += prompt[end].len;
        }
        prompts_forward(r, prompt + u, number + u, end - u, node + u);
    }
}
