"""What `latentr3 recommend --decode ground` writes and how far it finds the items, against transformers' generate.

    check_ground.py LATENTR3 MODEL DATA ROWS [OPTIONS...]

OPTIONS go to latentr3. Four beams, 128 tokens, embeddings from the last hidden state of the last token, as BIGRec has it.
"""
import ast
import csv
import json
import subprocess
import sys

import torch
from check_saved import INPUT, INSTRUCTION, thought
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

BEAMS, TOKENS, TOLERANCE = 4, 128, 1e-4


def clean(text):
    return text.replace("\0", " ").strip().strip('"')  # our texts hold no NUL


class Model:
    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with safe_open(f"{folder}/model.safetensors", "pt") as f:
            self.latent = {name: f.get_tensor(name).float() for name in f.keys() if name.startswith("attention.")}
        with open(f"{folder}/config.json", encoding="utf8") as f:
            self.thoughts = json.load(f)["latentr3"]["thoughts"]
        self.table = self.model.get_input_embeddings().weight
        self.bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def write(self, category, titles):
        history = ", ".join(f'"{title}"' for title in titles)
        prompt = self.bos + self.encode(INSTRUCTION.format(c=category)) + self.encode(INPUT.format(c=category, h=history))
        sequence = self.table[torch.tensor(prompt)]
        for _ in range(self.thoughts):
            h = self.model.model(inputs_embeds=sequence[None]).last_hidden_state[0]
            sequence = torch.cat([sequence, thought(h, self.latent)[None]])
        ids = self.model.generate(
            inputs_embeds=sequence[None], attention_mask=torch.ones(1, len(sequence)), num_beams=BEAMS, do_sample=False,
            max_new_tokens=TOKENS, eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.eos_token_id,
        )
        return clean(self.tokenizer.decode(ids[0], skip_special_tokens=True))

    def embed(self, text):
        ids = self.bos + self.encode(text) or [self.tokenizer.eos_token_id]
        return self.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]


@torch.no_grad()
def main(latentr3, folder, data, rows, *options):
    model = Model(folder)
    with open(f"{data}/dataset.json", encoding="utf8") as f:
        category = json.load(f)["category"]
    with open(f"{data}/info.txt", encoding="utf8") as f:
        title = {fields[1]: fields[0] for fields in (line.rstrip("\n").split("\t") for line in f)}
    items = {id: model.embed(clean(text)) for id, text in title.items()}
    worst, texts, tokens = 0.0, set(), 0
    with open(f"{data}/test.csv", encoding="utf8", newline="") as f:
        tests = list(csv.DictReader(f))[: int(rows)]
    for test in tests:
        history = ast.literal_eval(test["history_item_title"])[-10:]
        command = [latentr3, "recommend", "--model", folder, "--data", data, "--dtype", "f32", "--json", "--decode", "ground"]
        command += ["--beams", str(BEAMS), *options, *(f"--history={title}" for title in history)]
        got = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        wanted = model.write(category, history)
        assert got["written"] == wanted, f"written {got['written']!r}, not {wanted!r}"
        here = model.embed(wanted)
        distance = {id: (here - there).norm().item() for id, there in items.items()}
        nearest = sorted(distance.values())
        assert len(got["items"]) == 10
        for item, near in zip(got["items"], nearest):
            for value in distance[item["id"]], near:
                worst = max(worst, abs(-item["score"] - value) / nearest[-1])
        texts.add(wanted)
        tokens += len(model.encode(wanted))
    assert worst <= TOLERANCE, f"a distance differs by {worst} of the largest"
    print(f"{len(tests)} rows, {model.thoughts} thoughts: {len(texts)} texts of {tokens / len(tests):.0f} tokens the same, distances to {worst:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
