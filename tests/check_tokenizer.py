"""Compare the program's token ids with those of the `tokenizers` package, line by line.

    python tests/check_tokenizer.py --command "build/latentr3 tokenize" [--json] [--gguf FILE] [--saved FILE] [--prompts N] [--torture FILE]

The command gets `--model PATH` appended, reads one text a line from stdin and writes one JSON list of ids a line. Texts: every title of
the data sets in the data folder (env LATENTR3_DATA, else ../shared/data), the prompts made of their histories, and the file of
tests/make_unicode.py. Models: the tiny ones of tests/golden, variants of them that use what else tokenizer.json can say, and with
--gguf the vocabulary of a GGUF file (needs the package gguf); --saved names the tokenizer.json that the program wrote for that file
(with tokens added or not). Line ends inside prompts split them; with --json the command gets --json too and reads JSON strings, so that
texts may hold line ends (and must be UTF-8). Ends with 1 where a single text differs.
"""
import argparse
import ast
import csv
import gzip
import json
import os
import shlex
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
INSTRUCTION = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request. \n\n### Instruction:\n"
    "Given a list of {c} the user recetenly enjoy, please write a new {c} that the user may bought\n"
)
INPUT = "### User Input: \nThe user has palyed the following {c}s before: {titles}\n\n### Response: \n"
SPLIT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
O200K = (
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
DEEPSEEK = [
    "\\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
]
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"


def jsonl(path):
    with gzip.open(path, "rt", encoding="utf8") as f:
        for line in f:
            try:
                yield json.loads(line)
            except ValueError:
                yield ast.literal_eval(line)


def tsv(path):
    with gzip.open(path, "rt", encoding="utf8") as f:
        yield from csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE)


def read_games(folder):
    titles = {r["asin"]: r.get("title", "") for r in jsonl(os.path.join(folder, "meta_Video_Games.json.gz"))}
    events = [(r["reviewerID"], r["unixReviewTime"], r["asin"]) for r in jsonl(os.path.join(folder, "Video_Games_5.json.gz"))]
    return titles, events


def read_ml_1m(folder):
    titles = {r["item_id"]: r["title"] for r in tsv(os.path.join(folder, "items.tsv.gz"))}
    events = [(r["user_id"], float(r["timestamp"]), r["item_id"]) for r in tsv(os.path.join(folder, "interactions.tsv.gz"))]
    return titles, events


def read_ml_100k(folder):
    with open(os.path.join(folder, "u.item"), encoding="latin-1") as f:
        titles = {line.split("|")[0]: line.split("|")[1] for line in f}
    with open(os.path.join(folder, "u.data"), encoding="ascii") as f:
        events = [(u, int(t), i) for u, i, _, t in (line.split() for line in f)]
    return titles, events


def histories(titles, events):
    users = {}
    for user, _, item in sorted(events, key=lambda e: (e[0], e[1])):
        users.setdefault(user, []).append(item)
    for items in users.values():
        for i in range(1, len(items)):
            yield [titles.get(x, "") for x in items[max(0, i - 10) : i]], titles.get(items[i], "")


def read_office(folder):
    titles, rows = [], []
    with open(os.path.join(folder, "info.txt"), encoding="utf8") as f:
        titles = [line.rstrip("\n").rsplit("\t", 1)[0] for line in f]
    for name in ("valid.csv", "test.csv"):
        with open(os.path.join(folder, name), encoding="utf8", newline="") as f:
            for r in csv.DictReader(f):
                rows.append((ast.literal_eval(r["history_item_title"]), r["item_title"]))
    return titles, rows


def spread(rows, limit):
    rows = list(rows)
    return rows if limit == 0 or len(rows) <= limit else [rows[i * len(rows) // limit] for i in range(limit)]


def data_sets(folder, limit):
    """name, titles, rows of (history, target)"""
    for name, category, read in (
        ("games", "video games", read_games),
        ("ml-1m", "movie", read_ml_1m),
        ("ml-100k", "movie", read_ml_100k),
        ("d3-office", "office products", read_office),
    ):
        path = os.path.join(folder, name)
        if not os.path.isdir(path):
            print("%s: not there, skipped" % path)
            continue
        titles, rows = read(path)
        if read is not read_office:
            rows = histories(titles, rows)
            titles = list(titles.values())
        yield name, category, titles, spread(rows, limit)


def cut(texts, whole):
    """As bytes, each once; at line ends unless whole."""
    parts = texts if whole else (part for text in texts for part in text.split("\n"))
    return [part.encode() for part in dict.fromkeys(parts)]


def data_texts(folder, limit, whole):
    """name, list of texts"""
    for name, category, titles, rows in data_sets(folder, limit):
        yield name + " titles", cut(titles, whole)
        pieces = [INSTRUCTION.format(c=category)]
        for history, target in rows:
            quoted = ", ".join('"%s"' % t for t in history[-10:])
            pieces += [INPUT.format(c=category, titles=quoted), '"%s"\n' % target]
        yield "%s prompts (%d)" % (name, len(rows)), cut(pieces, whole)


def ids_of_command(command, model, lines):
    with tempfile.TemporaryFile() as texts, tempfile.TemporaryFile() as ids:
        if "--json" in command:
            lines = (json.dumps(line.decode("utf8", errors="replace")).encode() for line in lines)
        texts.writelines(line + b"\n" for line in lines)
        texts.seek(0)
        done = subprocess.run(shlex.split(command) + ["--model", model], stdin=texts, stdout=ids)
        if done.returncode:
            sys.exit("%s --model %s: exit code %d" % (command, model, done.returncode))
        ids.seek(0)
        yield from (json.loads(line) for line in ids)


def compare(name, command, model, oracle, what, lines):
    """Number of texts that differ."""
    got = ids_of_command(command, model, lines)
    wrong = tokens = 0
    for begin in range(0, len(lines), 4096):
        texts = [line.decode("utf8", errors="replace") for line in lines[begin : begin + 4096]]
        for text, encoding in zip(texts, oracle.encode_batch_fast(texts, add_special_tokens=False)):
            ids = next(got, None)
            tokens += len(encoding.ids)
            if ids != encoding.ids:
                wrong += 1
                if wrong <= 3:
                    print("  differs on %s\n    tokenizers %s\n    program    %s" % (ascii(text)[:300], encoding.ids[:60], (ids or [])[:60]))
    if next(got, None) is not None:
        wrong += 1
        print("  the program wrote more lists than it read texts")
    print("%-24s %-32s %8d texts %10d tokens %6d differ" % (name, what, len(lines), tokens, wrong), flush=True)
    return wrong


def added(id, content, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return dict(token, **flags)


def variants(base):
    """name, tokenizer.json: what the tiny models do not use."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}

    def chain(*steps):
        return {"type": "Sequence", "pretokenizers": list(steps)}

    def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
        return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}

    def make(pre=None, normalizer=None, tokens=(), legacy=False, **model):
        doc = json.loads(json.dumps(base))
        if pre:
            doc["pre_tokenizer"] = pre
        doc["normalizer"] = normalizer
        doc["added_tokens"] += tokens
        doc["model"].update(model)
        if legacy:
            doc["model"]["merges"] = [" ".join(m) for m in doc["model"]["merges"]]
        return doc

    yield "llama-3", make(chain(split(SPLIT % "\\p{N}{1,3}"), byte_level), ignore_merges=True)
    yield "no merges but whole", make(ignore_merges=True, merges=base["model"]["merges"][:300], legacy=True)
    yield "o200k", make(chain(split(O200K), byte_level))
    yield "deepseek", make(chain(*[split(p) for p in DEEPSEEK], byte_level))
    yield "bloom", make(chain(split(BLOOM), byte_level))
    yield "prefix space", make(dict(byte_level, add_prefix_space=True, use_regex=True))
    yield "digit runs", make(chain({"type": "Digits", "individual_digits": False}, dict(byte_level, add_prefix_space=True)))
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield behavior, make(chain(split("\\s|[.,]", behavior), byte_level))
        yield behavior + " inverted", make(chain(split("\\p{L}", behavior, invert=True), dict(byte_level, use_regex=True)))
    yield "literal", make(chain(split("a.", kind="String"), split(" ", "Removed", kind="String"), byte_level))
    first = max(t["id"] for t in base["added_tokens"]) + 1
    flags = [
        ("lo", {"single_word": True}), ("中文", {"single_word": True, "normalized": True}), ("1", {"single_word": True, "lstrip": True}),
        ("<s>", {"lstrip": True, "rstrip": True, "special": True}), ("e\u0301", {"normalized": True}), ("\u00e9x", {}), ("o\u0302", {}),
        ("[MASK]", {"lstrip": True, "special": True}), ("[MASK]]", {"rstrip": True}), ("  ", {"rstrip": True}), ("\u212b", {"normalized": True}),
        ("ab", {"normalized": True, "rstrip": True}), ("aba", {"single_word": True}), ("<|im_", {}), ("\u00a0", {"normalized": True}),
        ("\x00", {"special": True}), ("👩", {"lstrip": True}), ("ord", {"normalized": True, "special": True}),
    ]
    ids = {**base["model"]["vocab"]}
    tokens = [added(ids.setdefault(content, first + sum(i >= first for i in ids.values())), content, **f) for content, f in flags]
    yield "added tokens", make(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}, tokens=tokens)
    yield "added tokens, no NFC", make(tokens=tokens)
    vocab = {t: i for t, i in base["model"]["vocab"].items() if t not in "ĀāĐÀÁñòõö÷øùúûüýþÿó"}
    dropped = {t: i for i, t in enumerate(vocab)}
    merges = [m for m in base["model"]["merges"] if all(t in dropped for t in (*m, "".join(m)))]
    for name, model in (("bytes missing", {}), ("unknown", {"unk_token": "!"}), ("unknown fused", {"unk_token": "!", "fuse_unk": True})):
        doc = make(vocab=dropped, merges=merges, **model)
        doc["added_tokens"] = []
        yield name, doc


def characters(lines):
    """name, tokenizer.json: SentencePiece's way, in each of the forms that tokenizer.json has for it; merges learnt from the lines."""
    bytes_ = ["<0x%02X>" % byte for byte in range(256)]
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = legacy
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, limit_alphabet=400, show_progress=False)
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    t.train_from_iterator((line.decode("utf8", errors="replace").replace("\0", "") for line in lines), trainer)
    doc = json.loads(t.to_str())
    doc["added_tokens"] = doc["added_tokens"][:3]
    doc["pre_tokenizer"] = None
    yield "characters", doc
    for scheme, splits in (("first", False), ("always", True), ("never", False)):
        t.normalizer = normalizers.Sequence([])
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=splits)
        other = json.loads(t.to_str())
        yield "characters, %s" % scheme, dict(doc, normalizer=None, pre_tokenizer=other["pre_tokenizer"])
    yield "characters, whole words", dict(doc, model=dict(doc["model"], ignore_merges=True))


def gguf_oracle(path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    tokens, merges, kinds, pre = (fields["tokenizer.ggml." + k].contents() for k in ("tokens", "merges", "token_type", "pre"))
    if pre != "smollm":
        sys.exit("%s: pre-tokenizer %s: an oracle is written for smollm only" % (path, pre))
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, k in zip(tokens, kinds) if k == 3])
    return t


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--command", required=True)
    p.add_argument("--json", action="store_true")
    p.add_argument("--gguf")
    p.add_argument("--saved")
    p.add_argument("--torture", help="a file of tests/make_unicode.py; made where not given")
    p.add_argument("--prompts", type=int, default=2000, help="prompts of each data set, spread over it; 0: all")
    args = p.parse_args()
    data = os.environ.get("LATENTR3_DATA", os.path.join(ROOT, "..", "shared", "data"))

    if args.torture:
        with open(args.torture, "rb") as f:
            torture = f.read().split(b"\n")[:-1]
    else:
        torture = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "make_unicode.py")], stdout=subprocess.PIPE, check=True)
        torture = torture.stdout.split(b"\n")[:-1]
    if args.json:
        args.command += " --json"
        torture += [b"\n".join(torture[i : i + 3]) for i in range(0, len(torture), 3)]
        torture += [b"\r\n".join(torture[i : i + 2]) + b" \n \n" for i in range(1, len(torture), 9)]
    texts = [("unicode torture", torture)] + list(data_texts(data, args.prompts, args.json))

    runs = []
    for name in ("tiny-qwen2", "tiny-llama"):
        folder = os.path.join(ROOT, "tests", "golden", name)
        runs.append((name, folder, Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), texts))
    if args.gguf:
        oracle = gguf_oracle(args.gguf)
        runs.append((os.path.basename(args.gguf)[:24], args.gguf, oracle, texts))
        if args.saved:
            saved = Tokenizer.from_file(args.saved)
            runs.append(("saved = GGUF", args.gguf, saved, texts[1:]))  # not on the torture file: it spells tokens that may be added
            runs.append(("saved = read again", os.path.dirname(os.path.abspath(args.saved)), saved, texts))
    wrong = sum(compare(name, args.command, model, oracle, what, lines) for name, model, oracle, some in runs for what, lines in some)

    with open(os.path.join(ROOT, "tests", "golden", "tiny-qwen2", "tokenizer.json"), encoding="utf8") as f:
        base = json.load(f)
    decomposed = [unicodedata.normalize("NFD", line.decode("utf8", errors="replace")).encode() for line in torture[-14000:-2000:4]]
    for name, doc in list(variants(base)) + list(characters(torture)):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tokenizer.json")
            with open(path, "w", encoding="utf8") as f:
                json.dump(doc, f)
            wrong += compare(name, args.command, folder, Tokenizer.from_file(path), "unicode torture, a part, NFD", torture[::3] + decomposed)
    print("all equal" if wrong == 0 else "%d texts differ" % wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
