"""transformers loads a model folder that latentr3 wrote, and gives latentr3's log-probabilities.

    check_saved.py MODEL DATA SPLIT < output of `latentr3 score --json --dtype f32`

The arithmetic is the method's, written literally: no cache, no shared prefixes, the thought from the attention.* tensors.
"""
import ast
import csv
import json
import math
import sys

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

INSTRUCTION = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request. \n\n### Instruction:\n"
    "Given a list of {c} the user recetenly enjoy, please write a new {c} that the user may bought\n"
)
INPUT = "### User Input: \nThe user has palyed the following {c}s before: {h}\n\n### Response: \n"
TOLERANCE = 1e-4


def rotate(x):
    """Rotary embedding over the whole width of x (T, D), base 1000, half-split pairs."""
    t, d = x.shape
    angle = torch.arange(t)[:, None] * 1000.0 ** (-torch.arange(0, d, 2) / d)[None]
    cos, sin = torch.cat([angle, angle], 1).cos(), torch.cat([angle, angle], 1).sin()
    return x * cos + torch.cat([-x[:, d // 2:], x[:, : d // 2]], 1) * sin


def thought(h, latent):
    """The vector (D,) that follows hidden states h (T, D)."""
    q, k, v = (h @ latent[f"attention.{n}.weight"].T + latent[f"attention.{n}.bias"] for n in ("query", "key", "value"))
    return (rotate(k) @ rotate(q)[-1] / math.sqrt(h.shape[1])).softmax(0) @ v


def states(model, sequence, layer):
    """What a thought is made of (T, D): hidden states behind the first `layer` layers (0: all) and the final norm."""
    out = model.model(inputs_embeds=sequence[None], output_hidden_states=True)
    return model.model.norm(out.hidden_states[layer])[0] if layer else out.last_hidden_state[0]


def answer_logprob(model, latent, thoughts, layer, prompt, answer):
    table = model.get_input_embeddings().weight
    sequence = table[torch.tensor(prompt)]
    for _ in range(thoughts):
        sequence = torch.cat([sequence, thought(states(model, sequence, layer), latent)[None]])
    first = len(sequence) - 1
    sequence = torch.cat([sequence, table[torch.tensor(answer)]])
    logits = model(inputs_embeds=sequence[None]).logits[0, first:-1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).sum().item()


@torch.no_grad()
def main(folder, data, split):
    scores = json.load(sys.stdin)["rows"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with open(f"{folder}/config.json", encoding="utf8") as f:
        own = json.load(f)["latentr3"]
    thoughts, layer = own["thoughts"], own.get("thought_layer", 0)
    index = {}
    if own.get("item_text"):
        with open(f"{data}/info.txt", encoding="utf8") as f:
            index = {fields[1]: fields[2] for fields in (line.rstrip("\n").split("\t") for line in f) if len(fields) > 2 and fields[2]}
        assert index, "no index texts"
    with safe_open(f"{folder}/model.safetensors", "pt") as f:
        latent = {name: f.get_tensor(name).float() for name in f.keys() if name.startswith("attention.")}
    with open(f"{data}/dataset.json", encoding="utf8") as f:
        category = json.load(f)["category"]
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer), "embedding and tokenizer differ in size"
    worst = 0.0
    with open(f"{data}/{split}.csv", encoding="utf8", newline="") as f:
        for row, got in zip(csv.DictReader(f), scores):
            history = list(zip(ast.literal_eval(row["history_item_title"]), ast.literal_eval(row["history_item_id"])))[-10:]
            if own.get("history_titles"):
                history = [(title, None) for title, _ in history]
            titles = ", ".join(f'"{index.get(str(item), title)}"' for title, item in history)
            target = index.get(row["item_id"], row["item_title"])
            prompt = bos + encode(INSTRUCTION.format(c=category)) + encode(INPUT.format(c=category, h=titles))
            answer = encode(f'"{target}"\n') + [tokenizer.eos_token_id]
            wanted = answer_logprob(model, latent, thoughts, layer, prompt, answer)
            assert got["tokens"] == len(answer), f"row {got['row']}: {got['tokens']} answer tokens, not {len(answer)}"
            difference = abs(got["logprob"] - wanted) / abs(wanted)
            assert difference <= TOLERANCE, f"row {got['row']}: log-probability {got['logprob']}, not {wanted}"
            worst = max(worst, difference)
    assert scores, "no rows"
    print(f"{len(scores)} rows, {thoughts} thoughts: log-probabilities differ by at most {worst:.1e} relative")


if __name__ == "__main__":
    main(*sys.argv[1:])
