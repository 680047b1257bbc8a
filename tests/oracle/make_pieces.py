"""A small random Llama model as a GGUF file whose tokenizer is SentencePiece's: make_pieces.py OUT.gguf. Needs gguf and tokenizers."""
import sys

import gguf
import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

D, F, L, H, G, K, TITLES = 48, 96, 2, 4, 2, 12, "Below is an instruction that describes a task. Given a list of items the user enjoy, write a new item. Zuma's Film, 2: été"


def pieces():
    """Token texts, scores and types: marks, bytes, learnt pieces from the best down, characters."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    t.train_from_iterator([TITLES] * 3, trainers.BpeTrainer(vocab_size=160, show_progress=False))
    learnt = sorted(t.get_vocab(), key=t.get_vocab().get)
    whole, single = [x for x in learnt if len(x) > 1], [x for x in learnt if len(x) == 1]
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + whole + single
    scores = [0.0] * 259 + [-float(i) for i in range(len(whole) + len(single))]
    return tokens, scores, [2, 3, 3] + [6] * 256 + [1] * (len(whole) + len(single))


def main(path):
    tokens, scores, types = pieces()
    random = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(1024), w.add_embedding_length(D), w.add_block_count(L), w.add_feed_forward_length(F)
    w.add_head_count(H), w.add_head_count_kv(G), w.add_layer_norm_rms_eps(1e-5), w.add_rope_dimension_count(K), w.add_rope_freq_base(10000)
    w.add_tokenizer_model("llama"), w.add_token_list(tokens), w.add_token_scores(scores), w.add_token_types(types)
    w.add_bos_token_id(1), w.add_eos_token_id(2), w.add_unk_token_id(0)

    def put(name, *shape):
        w.add_tensor(name, np.ones(shape, np.float32) if len(shape) == 1 else random.normal(0, 0.1, shape).astype(np.float32))

    put("token_embd.weight", len(tokens), D), put("output_norm.weight", D), put("output.weight", len(tokens), D)
    for i in range(L):
        for name, shape in (("attn_norm", (D,)), ("attn_q", (H * K, D)), ("attn_k", (G * K, D)), ("attn_v", (G * K, D)), ("attn_output", (D, H * K)),
                            ("ffn_norm", (D,)), ("ffn_gate", (F, D)), ("ffn_up", (F, D)), ("ffn_down", (D, F))):
            put(f"blk.{i}.{name}.weight", *shape)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


if __name__ == "__main__":
    main(sys.argv[1])
