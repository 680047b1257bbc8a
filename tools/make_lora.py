#!/usr/bin/env python3
"""Write lora.json and lora.safetensors beside a golden model: what ten AdamW steps of PyTorch make of adapters on it.

    make_lora.py REFERENCE_DIR MODEL_DIR

As make_steps.py, with the backbone frozen, and trained beside LatentRATT the two factors of every linear layer,
y = x W^T + alpha / rank (x A^T) B^T, written out here. B starts at zero.
  init.NAME   A before the first step
  sft.NAME    weights after ten steps minus those before, adapters (named as PEFT names them) and LatentRATT
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import get_linear_schedule_with_warmup

from make_steps import CLIP, SFT_RATE, STEPS, WARMUP, load, run

RANK, ALPHA = 4, 6.0
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapt(layer):
    """Give an nn.Linear adapters; returns them."""
    down = torch.nn.Parameter(torch.empty(RANK, layer.in_features).uniform_(-1, 1) / layer.in_features ** 0.5)
    up = torch.nn.Parameter(torch.zeros(layer.out_features, RANK))
    plain = layer.forward
    layer.forward = lambda x: plain(x) + ALPHA / RANK * ((x @ down.T) @ up.T)
    return down, up


def main(reference, path):
    sys.path.insert(0, reference)
    import latentr3_reference as ref

    torch.manual_seed(11), torch.set_num_threads(1)
    with open(os.path.join(path, "golden.json"), encoding="utf8") as f:
        rows = [(r["prompt_ids"], r["answer_ids"]) for r in json.load(f)["rows"]]
    model, ratt = load(ref, path)
    model.requires_grad_(False)
    named = []
    for name, layer in model.named_modules():
        if name.rpartition(".")[2] in TARGETS:
            down, up = adapt(layer)
            named += [(f"{name}.lora_A.weight", down), (f"{name}.lora_B.weight", up)]
    tensors = {f"init.{name}": p.detach().half() for name, p in named if "lora_A" in name}
    for name, p in named:
        if "lora_A" in name:
            p.data = p.data.half().float()
    named += [(f"attention.{k}", p) for k, p in ratt.named_parameters()]
    losses, norms, changes = run(named, SFT_RATE, get_linear_schedule_with_warmup, lambda step: ref.sft_loss(model, ratt, rows))
    tensors.update({f"sft.{k}": v for k, v in changes.items()})
    save_file(tensors, os.path.join(path, "lora.safetensors"))
    with open(os.path.join(path, "lora.json"), "w", encoding="utf8") as f:
        json.dump({"steps": STEPS, "warmup": WARMUP, "clip": CLIP, "rank": RANK, "alpha": ALPHA, "torch": torch.__version__,
                   "sft": {"lr": SFT_RATE, "schedule": "linear", "losses": losses, "norms": norms}}, f, indent=1)
    print(losses)


if __name__ == "__main__":
    main(*sys.argv[1:3])
