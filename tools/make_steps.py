#!/usr/bin/env python3
"""Write steps.json and steps.safetensors beside a golden model: what ten AdamW steps of PyTorch make of it.

    make_steps.py REFERENCE_DIR MODEL_DIR

REFERENCE_DIR holds latentr3_reference.py; MODEL_DIR a Hugging Face folder with latentratt.safetensors and golden.json, whose
rows are one batch, the same each step. All arithmetic is float32 on one thread.
  sft.NAME  weights after ten steps minus those before, all parameters
  rl.NAME   the same for LatentRATT in the second stage (from the weights of MODEL_DIR, not from those after SFT)
  rl.noise  (steps, rows, samples, width) of unit variance; the first sample of a row gets none
in float16: a change is at most a few thousandths, so this rounds weights by less than 1e-5 of their largest entry. steps.json
has the losses and gradient norms of each step, and the settings.
"""
import json
import os
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

STEPS, WARMUP, CLIP, SAMPLES, SIGMA = 10, 2, 1.0, 4, 1.5
SFT_RATE, RL_RATE = 1e-3, 5e-4


def load(ref, path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    ratt = ref.LatentRATT(model.config.hidden_size)
    ratt.load_state_dict({k.removeprefix("attention."): v
                          for k, v in load_file(os.path.join(path, "latentratt.safetensors")).items()})
    return model, ratt


def run(named, rate, schedule, loss_of):
    """Ten steps on the named parameters; returns (losses, gradient norms, changes by name)."""
    before = {name: p.detach().clone() for name, p in named}
    optimizer = torch.optim.AdamW([p for _, p in named], lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    rates = schedule(optimizer, WARMUP, STEPS)
    losses, norms = [], []
    for step in range(STEPS):
        loss = loss_of(step)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_([p for _, p in named], CLIP)))
        optimizer.step(), rates.step(), optimizer.zero_grad()
        losses.append(loss.item())
    return losses, norms, {name: (p.detach() - before[name]).half() for name, p in named}


def main(reference, path):
    sys.path.insert(0, reference)
    import latentr3_reference as ref

    torch.manual_seed(10), torch.set_num_threads(1)
    with open(os.path.join(path, "golden.json"), encoding="utf8") as f:
        rows = [(r["prompt_ids"], r["answer_ids"]) for r in json.load(f)["rows"]]
    tensors = {}

    model, ratt = load(ref, path)
    latent = [(f"attention.{k}", p) for k, p in ratt.named_parameters()]
    sft_losses, sft_norms, changes = run(list(model.named_parameters()) + latent, SFT_RATE, get_linear_schedule_with_warmup,
                                         lambda step: ref.sft_loss(model, ratt, rows))
    tensors.update({f"sft.{k}": v for k, v in changes.items()})

    model, ratt = load(ref, path)
    model.requires_grad_(False)
    noise = torch.randn(STEPS, len(rows), SAMPLES, model.config.hidden_size).half()
    noise[:, :, 0] = 0
    rewards = []

    def rl_loss(step):
        loss, reward, _ = ref.rl_loss(model, ratt, rows, noise[step].float() * SIGMA)
        rewards.append(reward.mean().item())
        return loss

    latent = [(f"attention.{k}", p) for k, p in ratt.named_parameters()]
    rl_losses, rl_norms, changes = run(latent, RL_RATE, get_cosine_schedule_with_warmup, rl_loss)
    tensors.update({f"rl.{k}": v for k, v in changes.items()}, **{"rl.noise": noise})

    save_file(tensors, os.path.join(path, "steps.safetensors"))
    with open(os.path.join(path, "steps.json"), "w", encoding="utf8") as f:
        json.dump({"steps": STEPS, "warmup": WARMUP, "clip": CLIP, "samples": SAMPLES, "sigma": SIGMA, "torch": torch.__version__,
                   "sft": {"lr": SFT_RATE, "schedule": "linear", "losses": sft_losses, "norms": sft_norms},
                   "rl": {"lr": RL_RATE, "schedule": "cosine", "losses": rl_losses, "norms": rl_norms, "rewards": rewards}},
                  f, indent=1)
    print(sft_losses, rewards)


if __name__ == "__main__":
    main(*sys.argv[1:3])
