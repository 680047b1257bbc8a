// LatentRATT: one attention head over a timeline's final hidden states makes the thought vector (method, section 2), or over
// those of an earlier layer (config's thought_layer).
#ifndef MODEL_LATENT_H
#define MODEL_LATENT_H

#include "model/session.h"

typedef struct LatentPass { // one thought of B timelines, kept for backward
    int B;
    int slots;                // slots taken when it was made
    int32_t *last_slot;       // (B) host
    int32_t *slot_position;   // (slots) device
    int32_t *position;        // (B) device: position of the query
    act *h_last, *q, *pooled; // (B, D)
    float *lse;               // (B)
    float *made, *rstd;       // (B, D), (B): what is scaled to r where the model's thoughts have one size, else NULL
    float *r;                 // (B, D) the thought vectors, device
    AttnPlan plan;
} LatentPass;

// The thoughts of B timelines, each seen from the last position of node[b]. Keys of all slots not yet made are made here.
// The pass can go back until the session is reset to before it.
void latent_forward(Session *s, LatentPass *p, const int *node, int B);
// From dr (B, D) device: s->ratt_dh += (where it exists), and LatentRATT's weight gradients where it trains. For the passes of
// several thoughts, in reverse order.
void latent_backward(Session *s, LatentPass *p, const float *dr);
// Attention over the timeline's positions for pass row b: weight (host, oldest position first); returns how many
// (the timeline's length, or the window's; 0 for hidden-state thoughts).
int latent_weights(Session *s, const LatentPass *p, int b, float *weight, int cap);

#endif
