#!/usr/bin/env python3
"""A model of a known shape with random weights, to measure what that shape costs: nothing is learnt from it.

    bench/make_shape.py SHAPE OUT TOKENIZER_FOLDER [TYPE]

SHAPE: qwen2.5-1.5b, llama-2-7b, llama-2-13b. TYPE: bf16 writes the Hugging Face folder OUT; q8_0 and q4_k the GGUF file OUT.
The vocabulary is that of the tokenizer, cut or filled up to the shape's own size. Needs numpy, and gguf for the last two.
"""
import json
import os
import shutil
import struct
import sys

import numpy as np

SHAPES = {
    "qwen2.5-1.5b": dict(model_type="qwen2", D=1536, F=8960, L=28, H=12, G=2, V=151936, tied=True, base=1e6, eps=1e-6),
    "llama-2-7b": dict(model_type="llama", D=4096, F=11008, L=32, H=32, G=32, V=32000, tied=False, base=1e4, eps=1e-5),
    "llama-2-13b": dict(model_type="llama", D=5120, F=13824, L=40, H=40, G=40, V=32000, tied=False, base=1e4, eps=1e-5),
}
random = np.random.default_rng(1)


def tensors(s, vocabulary):
    """(Hugging Face name, GGUF name, shape) of every tensor, in the order of the file."""
    D, F, K = s["D"], s["F"], s["D"] // s["H"]
    yield "model.embed_tokens.weight", "token_embd.weight", (vocabulary, D)
    if not s["tied"]:
        yield "lm_head.weight", "output.weight", (vocabulary, D)
    for i in range(s["L"]):
        h, g = f"model.layers.{i}.", f"blk.{i}."
        yield h + "input_layernorm.weight", g + "attn_norm.weight", (D,)
        for name, short, rows in (("q", "q", s["H"] * K), ("k", "k", s["G"] * K), ("v", "v", s["G"] * K)):
            yield f"{h}self_attn.{name}_proj.weight", f"{g}attn_{short}.weight", (rows, D)
            if s["model_type"] == "qwen2":
                yield f"{h}self_attn.{name}_proj.bias", f"{g}attn_{short}.bias", (rows,)
        yield h + "self_attn.o_proj.weight", g + "attn_output.weight", (D, D)
        yield h + "post_attention_layernorm.weight", g + "ffn_norm.weight", (D,)
        yield h + "mlp.gate_proj.weight", g + "ffn_gate.weight", (F, D)
        yield h + "mlp.up_proj.weight", g + "ffn_up.weight", (F, D)
        yield h + "mlp.down_proj.weight", g + "ffn_down.weight", (D, F)
    yield "model.norm.weight", "output_norm.weight", (D,)


def bf16_bytes(shape, name):
    """Values around 0.02 in size: random bits under a fixed exponent cost little to make."""
    n = int(np.prod(shape))
    if "norm" in name:
        return np.full(n, 0x3F80, np.uint16)
    bits = random.integers(0, 1 << 16, n, dtype=np.uint16)
    return (bits & np.uint16(0x807F)) | np.uint16(0x3C00)  # +- [2^-7, 2^-6)


def filled(folder, vocabulary):
    """The folder's tokenizer.json with names for all ids below `vocabulary`; the thought's token is left to be added behind them."""
    with open(os.path.join(folder, "tokenizer.json")) as f:
        t = json.load(f)
    known = set(t["model"]["vocab"].values())
    t["added_tokens"] = [x for x in t["added_tokens"] if x["id"] in known]
    taken = set(t["model"]["vocab"].values()) | {x["id"] for x in t["added_tokens"]}
    for i in range(vocabulary):
        if i not in taken:
            t["model"]["vocab"][f"<unused{i}>"] = i
    return t


def write_folder(s, vocabulary, out, tokenizer):
    os.makedirs(out, exist_ok=True)
    config = dict(architectures=["Qwen2ForCausalLM" if s["model_type"] == "qwen2" else "LlamaForCausalLM"],
                  model_type=s["model_type"], hidden_size=s["D"], intermediate_size=s["F"], num_hidden_layers=s["L"],
                  num_attention_heads=s["H"], num_key_value_heads=s["G"], vocab_size=vocabulary, hidden_act="silu",
                  max_position_embeddings=4096, rms_norm_eps=s["eps"], rope_theta=s["base"], torch_dtype="bfloat16",
                  tie_word_embeddings=s["tied"])
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        if os.path.exists(os.path.join(tokenizer, name)):
            shutil.copy(os.path.join(tokenizer, name), out)
    with open(os.path.join(out, "tokenizer.json"), "w") as f:
        json.dump(filled(tokenizer, vocabulary), f)
    header, at = {}, 0
    for name, _, shape in tensors(s, vocabulary):
        end = at + 2 * int(np.prod(shape))
        header[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[at, end])
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, _, shape in tensors(s, vocabulary):
            bf16_bytes(shape, name).tofile(f)


def blocks(shape, kind):
    """Random blocks whose values lie around 0.01."""
    n = int(np.prod(shape))
    if kind == "q8_0":  # f16 scale, 32 bytes
        raw = random.integers(0, 256, (n // 32, 34), dtype=np.uint8)
        raw[:, :2] = np.frombuffer(np.float16(1e-4).tobytes(), np.uint8)
        return raw.reshape(*shape[:-1], shape[-1] // 32 * 34)
    raw = random.integers(0, 256, (n // 256, 144), dtype=np.uint8)  # q4_k: f16 scale and minimum, 12 + 128 bytes
    raw[:, :2] = np.frombuffer(np.float16(6e-5).tobytes(), np.uint8)
    raw[:, 2:4] = np.frombuffer(np.float16(4e-4).tobytes(), np.uint8)
    return raw.reshape(*shape[:-1], shape[-1] // 256 * 144)


def write_gguf(s, vocabulary, out, tokenizer, kind):
    import gguf

    w = gguf.GGUFWriter(out, "llama" if s["model_type"] == "llama" else "qwen2")
    w.add_context_length(4096)
    w.add_embedding_length(s["D"])
    w.add_block_count(s["L"])
    w.add_feed_forward_length(s["F"])
    w.add_head_count(s["H"])
    w.add_head_count_kv(s["G"])
    w.add_layer_norm_rms_eps(s["eps"])
    w.add_rope_freq_base(s["base"])
    w.add_vocab_size(vocabulary)
    t = filled(tokenizer, vocabulary)
    token = ["<unused%d>" % i for i in range(vocabulary)]
    kinds = [gguf.TokenType.UNUSED] * vocabulary
    special = {x["id"]: x["content"] for x in t["added_tokens"]}
    for text, i in t["model"]["vocab"].items():
        if i < vocabulary:
            token[i], kinds[i] = text, gguf.TokenType.NORMAL
    for i, text in special.items():
        if i < vocabulary:
            token[i], kinds[i] = text, gguf.TokenType.CONTROL
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(token)
    w.add_token_types(kinds)
    merges = [m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]]
    known = set(token)
    w.add_token_merges([m for m in merges if m.replace(" ", "") in known])
    w.add_eos_token_id(2), w.add_bos_token_id(1)
    types = dict(q8_0=gguf.GGMLQuantizationType.Q8_0, q4_k=gguf.GGMLQuantizationType.Q4_K)
    todo = list(tensors(s, vocabulary))
    for _, name, shape in todo:
        if len(shape) == 1:
            w.add_tensor_info(name, shape, np.float32, 4 * shape[0])
        else:
            per, size = (32, 34) if kind == "q8_0" else (256, 144)
            packed = (*shape[:-1], shape[-1] // per * size)
            w.add_tensor_info(name, packed, np.uint8, int(np.prod(packed)), raw_dtype=types[kind])
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_ti_data_to_file()
    for _, name, shape in todo:
        w.write_tensor_data(np.full(shape, "norm" in name, np.float32) if len(shape) == 1 else blocks(shape, kind))
    w.close()


def main():
    shape, out, tokenizer = sys.argv[1:4]
    kind = sys.argv[4] if len(sys.argv) > 4 else "bf16"
    s = SHAPES[shape]
    if kind == "bf16":
        write_folder(s, max(s["V"], 1 + max(filled(tokenizer, 0)["model"]["vocab"].values())), out, tokenizer)
    else:
        write_gguf(s, s["V"], out, tokenizer, kind)


main()
