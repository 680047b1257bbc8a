#!/usr/bin/env python3
"""Write a tiny SASRec and what PyTorch makes of it: losses, every gradient, and a few optimizer steps.

    make_sasrec.py FOLDER

The network is written here in plain torch, one sequence and one prediction at a time: with thoughts each prefix of a sequence
runs on its own, which is the literal form of what the engine does in one pass. All arithmetic is float32 on one thread.
  model.safetensors   the weights, LatentRATT and the tables for two thoughts included
  golden.safetensors  CASE.NAME: gradients of the mean loss; steps.NAME: weights after the steps minus those before, float16
  golden.safetensors also rl_THOUGHTS.NAME: LatentRATT's gradients of an LR-GRPO update, rl.noise
  golden.json         sequences, negatives, losses, rewards, advantages
"""
import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

ITEMS, WIDTH, LAYERS, HEADS, HIDDEN, POSITIONS, THOUGHTS, NEGATIVES = 37, 8, 2, 2, 12, 7, 2, 3
STEPS, WARMUP, RATE, CLIP = 5, 1, 1e-2, 1.0
SAMPLES = 4


def weights():
    g = torch.Generator().manual_seed(11)
    shapes = {"model.embed_tokens.weight": (ITEMS, WIDTH), "model.embed_positions.weight": (POSITIONS, WIDTH),
              "model.embed_thoughts.weight": (THOUGHTS, WIDTH), "model.norm.weight": (WIDTH,), "model.norm.bias": (WIDTH,)}
    for part in ("query", "key", "value"):
        shapes |= {f"attention.{part}.weight": (WIDTH, WIDTH), f"attention.{part}.bias": (WIDTH,)}
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {p + norm + ".weight": (WIDTH,), p + norm + ".bias": (WIDTH,)}
        for name, o, n in (("self_attn.q_proj", WIDTH, WIDTH), ("self_attn.k_proj", WIDTH, WIDTH),
                           ("self_attn.v_proj", WIDTH, WIDTH), ("self_attn.o_proj", WIDTH, WIDTH),
                           ("mlp.up_proj", HIDDEN, WIDTH), ("mlp.down_proj", WIDTH, HIDDEN)):
            shapes |= {p + name + ".weight": (o, n), p + name + ".bias": (o,)}
    w = {name: 0.4 * torch.randn(shape, generator=g) for name, shape in shapes.items()}
    for name in w:
        if "norm.weight" in name:
            w[name] += 1
    return w


def network(w, x, activation):
    """x (T, D) -> hidden states after the final norm (T, D)."""
    norm = lambda name, x: F.layer_norm(x, (WIDTH,), w[name + ".weight"], w[name + ".bias"], 1e-8)
    linear = lambda name, x: F.linear(x, w[name + ".weight"], w[name + ".bias"])
    act = F.relu if activation == "relu" else lambda x: F.gelu(x, approximate="tanh")
    T, K = x.shape[0], WIDTH // HEADS
    mask = torch.full((T, T), -math.inf).triu(1)
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        n = norm(p + "input_layernorm", x)
        q, k, v = (linear(p + f"self_attn.{c}_proj", n).view(T, HEADS, K).transpose(0, 1) for c in "qkv")
        a = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(K) + mask, -1) @ v
        x = x + linear(p + "self_attn.o_proj", a.transpose(0, 1).reshape(T, WIDTH))
        x = x + linear(p + "mlp.down_proj", act(linear(p + "mlp.up_proj", norm(p + "post_attention_layernorm", x))))
    return norm("model.norm", x)


def rotate(x, base=1000.0):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[0]).float()[:, None] * base ** (-torch.arange(half).float() * 2 / x.shape[-1])
    a, b, c, s = x[:, :half], x[:, half:], angle.cos(), angle.sin()
    return torch.cat([a * c - b * s, b * c + a * s], -1)


def thought(w, h, kind):
    if kind == "hidden":
        return h[-1]
    q, k, v = (F.linear(h, w[f"attention.{c}.weight"], w[f"attention.{c}.bias"]) for c in ("query", "key", "value"))
    return torch.softmax(rotate(q)[-1] @ rotate(k).T / math.sqrt(WIDTH), -1) @ v


def predict(w, items, thoughts, kind, activation, noise=0.0):
    """The hidden state that predicts what follows `items`; noise is added to the last thought."""
    x = w["model.embed_tokens.weight"][items] + w["model.embed_positions.weight"][:len(items)]
    h = network(w, x, activation)
    for n in range(thoughts):
        r = thought(w, h, kind) + (noise if n == thoughts - 1 else 0.0)
        x = torch.cat([x, (r + w["model.embed_thoughts.weight"][n])[None]])
        h = network(w, x, activation)
    return h[-1]


def losses(w, sequences, negatives, case):
    h = torch.stack([predict(w, s[:i], case["thoughts"], case["thought"], case["activation"])
                     for s in sequences for i in range(1, len(s))])
    target = torch.tensor([s[i] for s in sequences for i in range(1, len(s))])
    logits = h @ w["model.embed_tokens.weight"].T
    if case["loss"] == "ce":
        return F.cross_entropy(logits, target)
    true = logits.gather(1, target[:, None])
    false = logits.gather(1, torch.tensor(negatives))
    return -(F.logsigmoid(true).sum() + F.logsigmoid(-false).sum()) / len(target)


def lr_grpo(w, sequences, thoughts, noise):
    """One update of LatentRATT alone on the last item of each sequence (method, section 4): rewards, advantages, loss."""
    p = {name: x.clone().requires_grad_(name.startswith("attention.")) for name, x in w.items()}
    head = w["model.embed_tokens.weight"]
    logp = torch.stack([torch.stack([F.log_softmax(predict(p, s[:-1], thoughts, "ratt", "relu", z) @ head.T, -1)[s[-1]] for z in group])
                        for s, group in zip(sequences, noise)])  # (prompts, K); an answer is one token
    reward = -torch.exp(-logp.detach())
    difference = reward - reward[:, 0].mean()
    advantage = difference / (difference.norm() + 1e-6)
    loss = -(advantage * torch.exp(logp - logp.detach())).mean()
    loss.backward()
    return reward, advantage, loss, {name: x.grad for name, x in p.items() if x.grad is not None}


def main(folder):
    torch.set_num_threads(1), torch.manual_seed(3)
    w, tensors = weights(), {}
    sequences = [torch.randint(ITEMS, (n,)).tolist() for n in (8, 2, 5, 3, 8)]
    predictions = sum(len(s) - 1 for s in sequences)
    negatives = torch.randint(ITEMS, (predictions, NEGATIVES)).tolist()
    cases = [{"name": f"{loss}_{thoughts}_{kind}_{act}", "loss": loss, "thoughts": thoughts, "thought": kind, "activation": act}
             for loss, thoughts, kind, act in (("ce", 0, "hidden", "relu"), ("ce", 0, "hidden", "gelu"), ("bce", 0, "hidden", "relu"),
                                               ("ce", 1, "ratt", "relu"), ("ce", 2, "ratt", "gelu"), ("ce", 2, "hidden", "relu"))]
    for case in cases:
        p = {name: x.clone().requires_grad_() for name, x in w.items()}
        loss = losses(p, sequences, negatives, case)
        loss.backward()
        case["value"] = loss.item()
        tensors |= {f"{case['name']}.{name}": x.grad for name, x in p.items() if x.grad is not None}

    p = {name: x.clone().requires_grad_() for name, x in w.items()}
    optimizer = torch.optim.AdamW(p.values(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    steps = []
    for step in range(STEPS):
        for group in optimizer.param_groups: # linear warm-up and decay, as train/optimizer.c
            group["lr"] = RATE * (step / WARMUP if step < WARMUP else (STEPS - step) / (STEPS - WARMUP))
        loss = losses(p, sequences, negatives, cases[0])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(p.values(), CLIP)
        optimizer.step(), optimizer.zero_grad()
        steps.append(loss.item())
    tensors |= {f"steps.{name}": (x.detach() - w[name]).half() for name, x in p.items() if (x.detach() - w[name]).abs().max() > 0}
    noise = 0.7 * torch.randn(len(sequences), SAMPLES, WIDTH)
    noise[:, 0] = 0
    tensors["rl.noise"] = noise
    rl = []
    for thoughts in (1, 2):
        reward, advantage, loss, gradients = lr_grpo(w, sequences, thoughts, noise)
        tensors |= {f"rl_{thoughts}.{name}": g for name, g in gradients.items()}
        rl.append({"thoughts": thoughts, "rewards": reward.tolist(), "advantages": advantage.tolist(), "loss": loss.item()})
    save_file(w, os.path.join(folder, "model.safetensors"))
    save_file(tensors, os.path.join(folder, "golden.safetensors"))
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf8") as f:
        json.dump({"torch": torch.__version__, "sequences": sequences, "negatives": negatives, "cases": cases,
                   "rl": rl, "steps": {"warmup": WARMUP, "lr": RATE, "clip": CLIP, "losses": steps}}, f)
    config = {"architectures": ["SASRec"], "model_type": "sasrec", "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "intermediate_size": HIDDEN, "vocab_size": ITEMS, "max_position_embeddings": POSITIONS,
              "hidden_act": "relu", "layer_norm_eps": 1e-8, "tie_word_embeddings": True,
              "latentr3": {"thoughts": THOUGHTS, "thought_window": 0, "thought_hidden": False}}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf8") as f:
        json.dump(config, f, indent=1)
    print(steps, [c["value"] for c in cases])


if __name__ == "__main__":
    main(sys.argv[1])
