"""latentr3's token ids are those of the tokenizers package.

    check_tokens.py PROGRAM MODEL [FILE...]

Compares 12,000 lines made to be hard, and every line of the files (titles, prompts).
"""
import json
import random
import subprocess
import sys

from tokenizers import Tokenizer

PARTS = [
    "the", " a", "Don't", "I'LL", "we've", "'s", "'S", "naïve", "Ångström", "e\u0301", "é", "\u1e9b\u0323", "ﬁ", "Ǆ", "İ", "ß",
    "日本語", "テスト", "한국어", "\u1100\u1161\u11a8", "中文", "ไทย", "नमस्ते", "שלום", "مرحبا", "\u202e", "\u200f", "👍🏽", "👩\u200d👩\u200d👧", "🇩🇪", "❤\ufe0f",
    "\u200b", "\u200d", "\ufeff", "\u00a0", "\u3000", "\u2028", "\u0085", "\u000b", "\u000c", "\u001f", "\u0000", "\ufffd", "\U0010ffff",
    " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", " \n", "\n ", "0", "7", "42", "1995", "1234567", "Ⅷ", "½", "²", "٣", "१२",
    ".", "...", ",", "!?", "'", '"', "''", "(", ")", "--", "—", "_", "__init__", "#", "$9.99", "C++", "<|", "|>", "<|endoftext|>",
    "<|im_start|>", "<|im_end|>", "<|Thought|>", "<|Thought", "<|im_end|><|im_end|>", "a\u0300\u0301\u0302\u0303", "\u0344", "K", "Ω", "豈", "x" * 40,
]


def hard_lines(count):
    draw = random.Random(1)
    lines = ["", " ", "\n", "\u0301", *PARTS]
    while len(lines) < count:
        kind = draw.random()
        if kind < 0.7:
            lines.append("".join(draw.choice(PARTS) for _ in range(draw.randrange(1, 12))))
        elif kind < 0.9:
            code_points = (draw.choice((draw.randrange(0x20, 0x250), draw.randrange(0x300, 0x3000), draw.randrange(0x110000))) for _ in range(12))
            lines.append("".join(chr(c) for c in code_points if not 0xD800 <= c < 0xE000))
        else:
            lines.append(draw.choice(PARTS) * draw.randrange(1, 30))
    return lines


def main(program, folder, *files):
    lines = hard_lines(12000)
    for name in files:
        with open(name, encoding="utf8") as f:
            lines += f.read().split("\n")
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = subprocess.run([program, "tokenize", "--json", "--model", folder], input=text.encode(), stdout=subprocess.PIPE, check=True)
    got = [json.loads(ids) for ids in run.stdout.splitlines()]
    assert len(got) == len(lines), f"{len(got)} answers to {len(lines)} lines"
    wrong = 0
    for line, ids, encoding in zip(lines, got, tokenizer.encode_batch(lines, add_special_tokens=False)):
        if ids != encoding.ids:
            wrong += 1
            if wrong <= 5:
                print(f"{json.dumps(line)}\n  got    {ids}\n  wanted {encoding.ids}")
    print(f"{len(lines)} lines, {wrong} with other ids")
    sys.exit(wrong > 0)


main(*sys.argv[1:])
