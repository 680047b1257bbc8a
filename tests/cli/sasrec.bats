#!/usr/bin/env bats
# sasrec, and what eval and recommend do with its models, over the world that synth makes.

load common

tiny=(--width 16 --feed-forward 16 --layers 1 --epochs 12 --warmup 10 --batch 16 --valid-rows 40 --dtype f32 --threads 1)

setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world
    local program=${LATENTR3:-$BATS_TEST_DIRNAME/../../build/latentr3}
    "$program" synth --items 150 --rows 1500 --out "$WORLD" 2>/dev/null
    "$program" sasrec --data "$WORLD/data" --out "$WORLD/sasrec" "${tiny[@]}" 2>/dev/null
}

@test "sasrec: a model folder, with the configuration and a falling loss" {
    items=$(wc -l <"$WORLD/data/info.txt")
    jq -e --argjson n "$items" '.model_type == "sasrec" and .hidden_size == 16 and .vocab_size == $n and .latentr3.thoughts == 0' \
        "$WORLD/sasrec/config.json"
    jq -r '.ids[]' "$WORLD/sasrec/items.json" | cmp - <(cut -f2 "$WORLD/data/info.txt")
    jq -e '.stage == "sasrec" and .steps > 0 and .validation_loss_kept < .validation_loss_before' "$WORLD/sasrec/metrics.json"
    jq -e -s 'map(select(.predictions)) | .[-1].loss < .[0].loss and all(.[]; .refused == false)' "$WORLD/sasrec/log.jsonl"
}

@test "inspect: a SASRec, which has no tokenizer, by its path and as a model" {
    for path in "$WORLD/sasrec" "--model=$WORLD/sasrec"; do
        "$LATENTR3" inspect "$path" --json | jq -e '.kind == "model" and .configuration.model_type == "sasrec" and .parameters > 0 and (has("tokenizer") | not)'
        exits 0 "$LATENTR3" inspect "$path"
        says '*model_type: sasrec*'
    done
}

@test "sasrec: the same seed gives the same bytes, micro-batches or not the same loss" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/again" "${tiny[@]}" 2>/dev/null
    cmp "$WORLD/sasrec/model.safetensors" "$TMP/again/model.safetensors"
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/micro" "${tiny[@]}" --micro-rows 8 2>/dev/null
    paste <(jq 'select(.predictions).loss' "$WORLD/sasrec/log.jsonl") <(jq 'select(.predictions).loss' "$TMP/micro/log.jsonl") |
        awk '{ d = $1 - $2; if (!(d < 1e-3 && d > -1e-3)) exit 1 } END { exit NR == 0 }'
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/other" "${tiny[@]}" --seed 7 2>/dev/null
    differ "$WORLD/sasrec/model.safetensors" "$TMP/other/model.safetensors"
}

@test "sasrec: the binary loss, and what does not go together" {
    exits 0 "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/bce" "${tiny[@]}" --loss bce --negatives 3
    says '*sasrec: *; validation 1 - NDCG@10 * before, * kept*'
    jq -e -s 'map(select(.predictions)) | .[-1].loss < .[0].loss' "$TMP/bce/log.jsonl"
    refuses 2 '*--width 16 does not divide by --heads 3*' "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/x" --width 16 --heads 3
    refuses 2 '*SASRec*score works on language models*' "$LATENTR3" score --model "$WORLD/sasrec" --data "$WORLD/data"
    refuses 2 '*--lean is for language models' "$LATENTR3" sft --model "$WORLD/sasrec" --data "$WORLD/data" --out "$TMP/x" --lean
    refuses 2 '*answers are items*' "$LATENTR3" sft --model "$WORLD/sasrec" --data "$WORLD/data" --out "$TMP/x" --item-text
    [ ! -e "$TMP/x" ]
}

@test "sasrec: nothing of a training step depends on validation rows, negatives neither" {
    for rows in 500 2; do
        mkdir "$TMP/$rows"
        cp "$WORLD/data/info.txt" "$WORLD/data/train.csv" "$TMP/$rows"
        head -$rows "$WORLD/data/valid.csv" >"$TMP/$rows/valid.csv"
        "$LATENTR3" sasrec --data "$TMP/$rows" --out "$TMP/$rows/sasrec" "${tiny[@]}" --loss bce --negatives 20 --max-steps 3 2>/dev/null
        jq -c 'select(.predictions) | [.step, .loss, .gradient_norm]' "$TMP/$rows/sasrec/log.jsonl" >"$TMP/$rows/steps"
    done
    [ "$(wc -l <"$TMP/2/steps")" -gt 0 ]
    cmp "$TMP/500/steps" "$TMP/2/steps"
}

@test "sft of a SASRec without thoughts: histories of one item, many to a micro-batch" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/one" "${tiny[@]}" --max-length 1 2>/dev/null
    for rows in 64 2048; do
        exits 0 "$LATENTR3" sft --data "$WORLD/data" --model "$TMP/one" --out "$TMP/sft-$rows" --micro-rows $rows --max-steps 3 --valid-rows 40 --threads 1 --dtype f32
    done
    paste <(jq 'select(.gradient_norm).loss' "$TMP/sft-64/log.jsonl") <(jq 'select(.gradient_norm).loss' "$TMP/sft-2048/log.jsonl") |
        awk '{ d = $1 - $2; if (!(d < 1e-4 && d > -1e-4)) exit 1 } END { exit NR != 3 }'
}

@test "sasrec with thoughts: saved with their kind, used as saved" {
    for kind in ratt hidden; do
        exits 0 "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/$kind" "${tiny[@]}" --thoughts 2 --thought $kind
        jq -e --arg kind $kind '.latentr3.thoughts == 2 and .latentr3.thought_hidden == ($kind == "hidden")' "$TMP/$kind/config.json"
        jq -e -s 'map(select(.predictions)) | .[-1].loss < .[0].loss and all(.[]; .thought_norm > 0)' "$TMP/$kind/log.jsonl"
        "$LATENTR3" eval --model "$TMP/$kind" --data "$WORLD/data" --json 2>/dev/null | jq -e '.title."HR@10" > 0'
        "$LATENTR3" recommend --model "$TMP/$kind" --data "$WORLD/data" --history-id 1 2>/dev/null >"$TMP/$kind/list"
        refuses 2 '*trained with 2 thoughts*' "$LATENTR3" eval --model "$TMP/$kind" --data "$WORLD/data" --thoughts 1
    done
    differ "$TMP/ratt/list" "$TMP/hidden/list"
    refuses 2 '*trained with 2 thoughts (ratt)*' "$LATENTR3" eval --model "$TMP/ratt" --data "$WORLD/data" --thought hidden
    refuses 2 '*--answer-sees prompt*' "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/x" --answer-sees thought
}

@test "the thought test of a SASRec: own thoughts give what eval gives" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/ratt" "${tiny[@]}" --thoughts 1 2>/dev/null
    "$LATENTR3" eval --model "$TMP/ratt" --data "$WORLD/data" --json --thought-test 2>/dev/null >"$TMP/json"
    "$LATENTR3" eval --model "$TMP/ratt" --data "$WORLD/data" --json 2>/dev/null >"$TMP/plain"
    jq -e --slurpfile plain "$TMP/plain" '.thought_test.own["HR@10"] == $plain[0].title["HR@10"] and .thought_test.own.loss > 0
        and ([.thought_test | .other, .zero, .noise | .against_own.loss.gain] | all(. != 0))' "$TMP/json"
}

@test "the thought test of a SASRec that knows no target is refused" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/ratt" "${tiny[@]}" --thoughts 1 --max-steps 1 2>/dev/null
    jq -c '.ids |= .[:1] + (.[1:] | map("no-" + .))' "$TMP/ratt/items.json" >"$TMP/items.json" # knows one, which nobody meets twice
    mv "$TMP/items.json" "$TMP/ratt/items.json"
    LATENTR3_LOG=error refuses 3 '*test: the model knows the target and history of no row*' \
        "$LATENTR3" eval --model "$TMP/ratt" --data "$WORLD/data" --thought-test
}

@test "rl on a SASRec: LatentRATT alone moves, and what cannot be is refused" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/ratt" "${tiny[@]}" --thoughts 1 2>/dev/null
    rl=("$LATENTR3" rl --max-steps 4 --batch 16 --samples 4 --sigma 0.5 --warmup 0 --lr 1e-2 --eval-rows 40 --dtype f32 --threads 1)
    for reward in perplexity logprob rank; do
        exits 0 "${rl[@]}" --data "$WORLD/data" --model "$TMP/ratt" --out "$TMP/$reward" --reward $reward
        cmp "$TMP/ratt/items.json" "$TMP/$reward/items.json"
        jq -e -s 'map(select(.event == "step")) | length == 4 and all(.[]; .refused == false and .gradient_norm > 0)' "$TMP/$reward/log.jsonl"
        exits 0 "$LATENTR3" eval --model "$TMP/$reward" --data "$WORLD/data" --exclude-seen
    done
    python3 - "$TMP/ratt" "$TMP/logprob" "$(jq .kept_step "$TMP/logprob/metrics.json")" <<'PY'
import json, sys
def tensors(folder):
    data = open(folder + "/model.safetensors", "rb").read()
    n = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in head.items()}
a, b = tensors(sys.argv[1]), tensors(sys.argv[2])
assert a.keys() == b.keys() and len(a) > 10
moved = {k for k in a if a[k] != b[k]}
assert all(k.startswith("attention.") for k in moved), moved
assert bool(moved) == (sys.argv[3] != "0")
PY
    # The control: more SFT of LatentRATT alone.
    exits 0 "$LATENTR3" sft --train latent --data "$WORLD/data" --model "$TMP/ratt" --out "$TMP/more" --max-steps 4 --batch 16 --warmup 0 \
        --valid-rows 40 --dtype f32 --threads 1
    cmp "$TMP/ratt/items.json" "$TMP/more/items.json"
    jq -e -s 'map(select(.event == "step")) | length == 4 and all(.[]; .refused == false and .answer_tokens == 16)' "$TMP/more/log.jsonl"
    exits 2 "${rl[@]}" --data "$WORLD/data" --model "$WORLD/sasrec" --out "$TMP/x"
    says '*needs a model with a thought: sasrec --thoughts 1 trains one'
    refuses 2 '*adapters go on language models*' "${rl[@]}" --data "$WORLD/data" --model "$TMP/ratt" --out "$TMP/y" --train lora --lora-rank 2
    cp -r "$WORLD/data" "$TMP/blind"
    rm "$TMP/blind/test.csv"
    mkfifo "$TMP/blind/test.csv"
    exits 0 timeout 60 "${rl[@]}" --model "$TMP/ratt" --out "$TMP/blind-rl" --data "$TMP/blind" --reward logprob
    cmp "$TMP/logprob/model.safetensors" "$TMP/blind-rl/model.safetensors"
}

@test "eval of a SASRec: whole histories, none of them recommended with --exclude-seen" {
    "$LATENTR3" eval --model "$WORLD/sasrec" --data "$WORLD/data" --json --results "$TMP/results" 2>/dev/null >"$TMP/json"
    rows=$(tail -n +2 "$WORLD/data/test.csv" | wc -l)
    jq -e --argjson rows "$rows" '.rows == $rows and .protocol == "full" and .title."HR@10" > 0' "$TMP/json"
    for k in 1 10; do
        jq -s --argjson k $k 'map(select(.rank != null and .rank <= $k)) | length' "$TMP/results" >"$TMP/hits"
        jq --argjson k $k '.rows * .title["HR@\($k)"] | round' "$TMP/json" | cmp - "$TMP/hits"
    done
    # Each row's own history is a part of what is left out.
    "$LATENTR3" eval --model "$WORLD/sasrec" --data "$WORLD/data" --json --exclude-seen --results "$TMP/unseen" 2>/dev/null >"$TMP/json"
    python3 - "$WORLD/data" "$TMP/unseen" <<'PY'
import ast, csv, json, sys
seen = {}
for split in ("train", "valid"):
    for row in csv.DictReader(open(f"{sys.argv[1]}/{split}.csv", encoding="utf8")):
        seen.setdefault(row["user_id"], set()).update([*map(str, ast.literal_eval(row["history_item_id"])), row["item_id"]])
rows = list(csv.DictReader(open(f"{sys.argv[1]}/test.csv", encoding="utf8")))
lists = [json.loads(line) for line in open(sys.argv[2], encoding="utf8")]
assert len(rows) == len(lists) > 0
long = 0
for row, got in zip(rows, lists):
    own = set(map(str, ast.literal_eval(row["history_item_id"])))
    before = seen.setdefault(row["user_id"], set())
    before |= own
    assert not before & {item["id"] for item in got["items"]}, row
    long += len(before) > len(own)
    before.add(row["item_id"])
assert long > 0  # histories longer than a row holds
PY
}

@test "eval of a SASRec: sampled rows keep their whole histories, and so do validation rows" {
    for n in 0 60; do
        "$LATENTR3" eval --model "$WORLD/sasrec" --data "$WORLD/data" --sample $n --results "$TMP/$n" >/dev/null 2>&1
        jq -c 'del(.row)' "$TMP/$n" >"$TMP/$n-rows"
    done
    [ "$(wc -l <"$TMP/60-rows")" -eq 60 ]
    run grep -Fxvf "$TMP/0-rows" "$TMP/60-rows"
    [ -z "$output" ]
    exits 0 "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/few" "${tiny[@]}" --max-steps 1
    says '*valid: 40 rows; 0 rows do not go on*'
}

@test "eval of a SASRec: the baselines beside it are those of any model" {
    for more in "" "--exclude-seen --sample 60"; do
        # shellcheck disable=SC2086
        "$LATENTR3" eval --model "$WORLD/sasrec" --data "$WORLD/data" --json $more 2>/dev/null >"$TMP/sasrec"
        # shellcheck disable=SC2086
        "$LATENTR3" eval --model item-knn --data "$WORLD/data" --json $more 2>/dev/null >"$TMP/knn"
        jq -e --slurpfile knn "$TMP/knn" '.baselines == $knn[0].baselines and .baselines.item_knn.MRR == $knn[0].title.MRR' "$TMP/sasrec"
    done
}

# themes: the world's data with many items of one title, in $TMP/themes, and the SASRec that does not ask for titles, in $TMP/sasrec.
themes() {
    mkdir "$TMP/themes"
    cp -r "$WORLD/sasrec" "$TMP/sasrec"
    jq 'del(.titles)' "$WORLD/sasrec/items.json" >"$TMP/sasrec/items.json"
    for file in info.txt train.csv valid.csv test.csv; do
        sed -E 's/([A-Z][a-z]+) [A-Z][a-z]+/\1/g' "$WORLD/data/$file" >"$TMP/themes/$file"
    done
}

@test "eval of a SASRec: against its own shorter lists, of more items than titles, nothing is gained" {
    themes
    "$LATENTR3" eval --model "$TMP/sasrec" --data "$TMP/themes" --beams 5 --results "$TMP/results" >/dev/null 2>&1
    jq -e -s 'all(.[]; .list == 5) and any(.[]; .items | length > 5)' "$TMP/results"
    "$LATENTR3" eval --model "$TMP/sasrec" --data "$TMP/themes" --beams 20 --against "$TMP/results" --json 2>/dev/null |
        jq -e '.against | .MRR.gain == 0 and ."HR@5".gain == 0 and ."HR@10" == null'
}

@test "eval of a SASRec: by title the first places do not depend on the length of the list" {
    themes
    first() { jq '(.title, .item) | ."HR@1", ."HR@3", ."HR@5", ."NDCG@5"' "$1"; }
    for more in "" --exclude-seen "--protocol uniform-100"; do
        for beams in 5 40; do
            # shellcheck disable=SC2086
            "$LATENTR3" eval --model "$TMP/sasrec" --data "$TMP/themes" --beams $beams --json $more 2>/dev/null >"$TMP/$beams"
        done
        diff <(first "$TMP/5") <(first "$TMP/40")
    done
    # A language model lists titles: no list is to be longer, and what it lacks is something else.
    LATENTR3_LOG=error refuses 2 '*needs a score of every item, and this model only writes lists' \
        "$LATENTR3" eval --model "$WORLD/model" --data "$TMP/themes" --protocol uniform-100
}

@test "eval of a SASRec among sampled items" {
    "$LATENTR3" eval --model "$WORLD/sasrec" --data "$WORLD/data" --json --protocol uniform-100 2>/dev/null >"$TMP/json"
    jq -e '.protocol == "uniform-100" and .title."HR@10" > 0 and .baselines == {}' "$TMP/json"
    # The same items of a row for every model, whatever history it reads and whatever rows are drawn.
    "$LATENTR3" synth --items 600 --rows 4000 --out "$TMP/world" 2>/dev/null
    "$LATENTR3" sasrec --data "$TMP/world/data" --out "$TMP/sasrec" "${tiny[@]}" --max-steps 1 2>/dev/null
    among() {
        "$LATENTR3" eval --model "$1" --data "$TMP/world/data" --beams 101 --protocol uniform-100 --sample "$2" --results "$TMP/among" >/dev/null 2>&1
        jq -c '[.user, .target_id, ([.items[].id] | sort)]' "$TMP/among"
    }
    among "$TMP/sasrec" 0 >"$TMP/all"
    among random 0 | cmp - "$TMP/all"
    among popularity 50 >"$TMP/fifty"
    [ "$(wc -l <"$TMP/fifty")" -eq 50 ]
    not grep -Fxvf "$TMP/all" "$TMP/fifty"
}

@test "recommend with a SASRec: by title and by id the same, none of the history with --exclude-seen" {
    id=$(head -1 "$WORLD/data/info.txt" | cut -f2)
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    use=("$LATENTR3" recommend --model "$WORLD/sasrec" --data "$WORLD/data" --json)
    "${use[@]}" --history "$title" 2>/dev/null >"$TMP/title"
    "${use[@]}" --history-id "$id" 2>/dev/null | cmp - "$TMP/title"
    jq -e '(.items | length) == 10 and ([.items[].score] | . == (sort | reverse))' "$TMP/title"
    "${use[@]}" --history-id "$id" --exclude-seen 2>/dev/null | jq -e --arg id "$id" 'all(.items[]; .id != $id)'
}

@test "sasrec never opens test.csv: with a pipe in its place it does the same" {
    cp -r "$WORLD/data" "$TMP/blind"
    rm "$TMP/blind/test.csv"
    mkfifo "$TMP/blind/test.csv" # refused by whoever opens it
    exits 4 "$LATENTR3" eval --model "$WORLD/sasrec" --data "$TMP/blind"
    exits 0 timeout 60 "$LATENTR3" sasrec --data "$TMP/blind" --out "$TMP/model" "${tiny[@]}"
    cmp "$WORLD/sasrec/model.safetensors" "$TMP/model/model.safetensors"
}

@test "a SASRec of more items opens a larger items.json" {
    cp -r "$WORLD/sasrec" "$TMP/large"
    head -c $((256 << 20)) /dev/zero | tr '\0' ' ' >>"$TMP/large/items.json"
    "$LATENTR3" recommend --model "$WORLD/sasrec" --data "$WORLD/data" --history-id 1 >"$TMP/want" 2>/dev/null
    "$LATENTR3" recommend --model "$TMP/large" --data "$WORLD/data" --history-id 1 | cmp - "$TMP/want"
}

@test "a SASRec's folder that is damaged is refused by name" {
    cp -r "$WORLD/sasrec" "$TMP/bad"
    echo '["1"]' >"$TMP/bad/items.json"
    refuses 3 '*items.json: not a list of * ids*' "$LATENTR3" recommend --model "$TMP/bad" --data "$WORLD/data" --history-id 1
    jq '.ids[3] = 7' "$WORLD/sasrec/items.json" >"$TMP/bad/items.json"
    refuses 3 '*items.json: entry 3 is no string*' "$LATENTR3" recommend --model "$TMP/bad" --data "$WORLD/data" --history-id 1
    rm "$TMP/bad/items.json"
    refuses 4 '*items.json*' "$LATENTR3" recommend --model "$TMP/bad" --data "$WORLD/data" --history-id 1
}
