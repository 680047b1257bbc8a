#!/usr/bin/env python3
"""Write ablations.json and ablations.safetensors beside a golden model: what ten AdamW steps of PyTorch make of it in
the ways of training that are not the published ones.

    make_ablations.py REFERENCE_DIR MODEL_DIR

As make_steps.py. The surrogates are written out here, with ratios that move: every set of samples serves INNER updates.
  token.NAME    changes of LatentRATT, tokens' ratios, advantages of the group, KL to the policy before
  latent.NAME   the same with the ratios of the Gaussians, advantages of the batch, log-probability as reward
  joint.NAME    as `token` with advantages of the batch, and adapters (make_lora.py) beside LatentRATT; init.NAME their A
  sft.NAME      SFT of LatentRATT alone
  rl.noise      (steps / INNER, rows, samples, hidden), of unit variance
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import get_cosine_schedule_with_warmup

from make_lora import ALPHA, RANK, TARGETS, adapt
from make_steps import CLIP, STEPS, WARMUP, load, run

INNER, SAMPLES, SIGMA, LOW, HIGH, BETA, RATE = 2, 4, 0.5, 0.01, 0.02, 0.1, 1e-3


def clipped(ratio, advantage):
    return torch.min(ratio * advantage, ratio.clamp(1 - LOW, 1 + HIGH) * advantage)


class Rl:
    """One loss an inner update; rewards and advantages of a set of samples are those of its first."""

    def __init__(self, ref, model, ratt, rows, noise, objective, scope, reward, beta):
        self.ref, self.model, self.ratt, self.rows, self.noise = ref, model, ratt, rows, noise.float() * SIGMA
        self.objective, self.scope, self.reward, self.beta = objective, scope, reward, beta
        self.rewards, self.clips = [], []
        self.weights = [p.detach().clone() for p in ratt.parameters()]

    def say(self, batch):
        """Thoughts, and log-probabilities of each sample's answer tokens."""
        r = [self.ref.thought(self.model, self.ratt, prompt)[0] for prompt, _ in self.rows]
        logps = [[self.ref.answer_logps(self.model, prompt, rb + zk, answer) for zk in z]
                 for (prompt, answer), rb, z in zip(self.rows, r, self.noise[batch])]
        return r, logps

    def before(self, batch):
        with torch.no_grad():
            now = [p.clone() for p in self.ratt.parameters()]
            for p, w in zip(self.ratt.parameters(), self.weights):
                p.copy_(w)
            said = self.say(batch)
            for p, w in zip(self.ratt.parameters(), now):
                p.copy_(w)
        return said

    def advantages(self, logps):
        mean = torch.stack([torch.stack([lp.mean() for lp in group]) for group in logps])
        R = -(-mean).exp() if self.reward == "perplexity" else mean
        self.rewards.append(R.mean().item())
        if self.scope == "group":
            return (R - R.mean(1, keepdim=True)) / (R.std(1, keepdim=True) + 1e-4)
        A = R - R[:, 0].mean()
        return A / (A.norm() + 1e-6)

    def __call__(self, step):
        batch = step // INNER
        r, logps = self.say(batch)
        if step % INNER == 0:
            self.old = [x.detach() for x in r], [[lp.detach() for lp in g] for g in logps]
            self.A = self.advantages(self.old[1])
            self.reference = self.before(batch) if self.beta else None
        old_r, old = self.old
        loss, ratios, stopped = 0, 0, 0
        for b in range(len(self.rows)):
            terms = []
            for k in range(SAMPLES):
                A = self.A[b, k]
                if self.objective == "token":
                    ratio = (logps[b][k] - old[b][k]).exp()
                    term = -clipped(ratio, A)
                    if self.beta:
                        d = self.reference[1][b][k] - logps[b][k]
                        term = term + self.beta * (d.exp() - d - 1)
                elif k == 0:
                    continue
                else:
                    at = old_r[b] + self.noise[batch, b, k]
                    density = torch.distributions.Normal(r[b].double(), SIGMA).log_prob(at.double()).sum()
                    before = torch.distributions.Normal(old_r[b].double(), SIGMA).log_prob(at.double()).sum()
                    ratio = (density - before).exp().reshape(1)
                    term = -clipped(ratio, A)
                terms.append(term)
                ratios += ratio.numel()
                stopped += ((ratio > 1 + HIGH) & (A > 0) | (ratio < 1 - LOW) & (A < 0)).sum().item()
            loss = loss + torch.cat(terms).mean() / len(self.rows)
            if self.beta and self.objective == "latent":
                loss = loss + self.beta * ((r[b] - self.reference[0][b]) ** 2).sum() / (2 * SIGMA ** 2) / len(self.rows)
        self.clips.append(stopped / ratios)
        return loss


def main(reference, path):
    sys.path.insert(0, reference)
    import latentr3_reference as ref

    torch.manual_seed(12), torch.set_num_threads(1)
    with open(os.path.join(path, "golden.json"), encoding="utf8") as f:
        rows = [(r["prompt_ids"][-24:], r["answer_ids"][:6]) for r in json.load(f)["rows"]]
    hidden = load(ref, path)[0].config.hidden_size
    noise = torch.randn(STEPS // INNER, len(rows), SAMPLES, hidden).half()
    noise[:, :, 0] = 0
    tensors, told = {"rl.noise": noise}, {}

    def save(name, result, **more):
        losses, norms, changes = result
        tensors.update({f"{name}.{k}": v for k, v in changes.items()})
        told[name] = {"losses": losses, "norms": norms, **more}
        print(name, losses, norms, more)

    for name, objective, scope, reward, beta in (("token", "token", "group", "perplexity", BETA),
                                                 ("latent", "latent", "batch", "logprob", BETA),
                                                 ("joint", "token", "batch", "perplexity", 0)):
        model, ratt = load(ref, path)
        model.requires_grad_(False)
        named = []
        for module, layer in model.named_modules():
            if name == "joint" and module.rpartition(".")[2] in TARGETS:
                down, up = adapt(layer)
                down.data = down.data.half().float()
                tensors[f"init.{module}.lora_A.weight"] = down.detach().half()
                named += [(f"{module}.lora_A.weight", down), (f"{module}.lora_B.weight", up)]
        named += [(f"attention.{k}", p) for k, p in ratt.named_parameters()]
        loss = Rl(ref, model, ratt, rows, noise, objective, scope, reward, beta)
        save(name, run(named, RATE, get_cosine_schedule_with_warmup, loss), rewards=loss.rewards, clips=loss.clips)

    model, ratt = load(ref, path)
    model.requires_grad_(False)
    save("sft", run([(f"attention.{k}", p) for k, p in ratt.named_parameters()], RATE, get_cosine_schedule_with_warmup,
                    lambda step: ref.sft_loss(model, ratt, rows)))

    save_file(tensors, os.path.join(path, "ablations.safetensors"))
    with open(os.path.join(path, "ablations.json"), "w", encoding="utf8") as f:
        json.dump({"steps": STEPS, "warmup": WARMUP, "clip": CLIP, "inner": INNER, "samples": SAMPLES, "sigma": SIGMA,
                   "epsilon_low": LOW, "epsilon_high": HIGH, "beta": BETA, "lr": RATE, "rank": RANK, "alpha": ALPHA,
                   "prompt": 24, "answer": 6, "torch": torch.__version__, **told}, f, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
