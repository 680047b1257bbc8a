#!/usr/bin/env bats
# What there is to look at: curves and event files of a training run, kept evaluations, reports, model cards.

load common

setup_file() {
    load common
    setup
    export WORLD=$BATS_FILE_TMPDIR LATENTR3_LOG=warn
    "$LATENTR3" synth --out "$WORLD/world" --items 60 --rows 1200
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$WORLD/sft" --threads 1 --batch 16 --lr 1e-2 \
        --warmup 2 --valid-rows 20 --dtype f32 --max-steps 6
}

# The log's finite numbers as the lines of curves.csv.
curves_of() {
    jq -r '. as $e | (if .event == "step" then "train" else .event end) as $curve | to_entries[]
        | select((.value | type) == "number" and .key != "step" and .key != "seconds")
        | [$curve + "/" + .key, $e.step, $e.seconds, .value] | @csv' "$1" | tr -d '"'
}

@test "curves.csv holds every number of the log" {
    # As jq writes numbers on both sides.
    diff <(curves_of "$WORLD/sft/log.jsonl") \
        <(tail -n +2 "$WORLD/sft/curves.csv" | jq -Rr 'split(",") | [.[0], (.[1:][] | tonumber)] | @csv' | tr -d '"')
    [ "$(head -n 1 "$WORLD/sft/curves.csv")" = curve,step,seconds,value ]
    [ "$(grep -c '^train/loss,' "$WORLD/sft/curves.csv")" -eq 6 ]
    grep -q '^validation/loss,0,' "$WORLD/sft/curves.csv"
}

@test "the event file: TensorBoard reads the values of the log" {
    [ "$(ls "$WORLD"/sft/events.out.tfevents.* | wc -l)" -eq 1 ]
    "${LATENTR3_PYTHON:-false}" -c 'import tensorboard' || skip "LATENTR3_PYTHON names no Python with tensorboard"
    exits 0 "$LATENTR3_PYTHON" tests/oracle/check_events.py "$WORLD/sft"
}

@test "a run made anew leaves one event file" {
    cp -r "$WORLD/sft" "$TMP/run"
    mv "$TMP"/run/events.out.tfevents.* "$TMP/run/events.out.tfevents.1.latentr3"
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/run" --force --threads 1 --batch 8 \
        --valid-rows 5 --dtype f32 --max-steps 1
    [ "$(ls "$TMP"/run/events.out.tfevents.* | wc -l)" -eq 1 ]
    [ ! -e "$TMP/run/events.out.tfevents.1.latentr3" ]
    [ "$(grep -c '^train/loss,' "$TMP/run/curves.csv")" -eq 1 ]
}

evaluate() { # MODEL DIR OPTION...
    "$LATENTR3" eval --model "$1" --data "$WORLD/world/data" --threads 1 --dtype f32 --max-rows 40 --save "$2" --json "${@:3}"
}

@test "eval --save: what --json prints and the results, with hashes, histories and attention" {
    evaluate "$WORLD/sft" "$TMP/kept" >"$TMP/json"
    jq -e --slurpfile printed "$TMP/json" '. as $kept | $printed[0] | to_entries | all(.value == $kept[.key])' "$TMP/kept/eval-test.json"
    jq -e '(.model_hash | length) == 32 and (.data["test.csv"] | length) == 32 and .configuration["max-rows"] == 40
        and (.samples | length) == 12 and all(.samples[]; (.history | length) == (.weights | length)
            and ((.weights | add) + .rest - 1 | fabs) < 1e-3)
        and .attention.rows == 40 and (.attention.positions | length) > 0
        and all(.attention.positions[]; .weight >= 0 and .rows <= 40)' "$TMP/kept/eval-test.json"
    "$LATENTR3" eval --model "$WORLD/sft" --data "$WORLD/world/data" --threads 1 --dtype f32 --max-rows 40 --results "$TMP/lines"
    cmp "$TMP/lines" "$TMP/kept/results-test.jsonl"
    # Without a thought there is nothing to attend with; a baseline has no weights to hash.
    evaluate popularity "$TMP/popular" --split valid
    jq -e '(has("attention") or has("model_hash") | not) and all(.samples[]; has("weights") | not)' "$TMP/popular/eval-valid.json"
    [ "$(wc -l <"$TMP/popular/results-valid.jsonl")" -eq 40 ]
}

@test "eval --save: refused before any work where it cannot be kept" {
    touch "$TMP/file"
    refuses 4 "*$TMP/file*" evaluate popularity "$TMP/file"
    refuses 2 '*--save keeps the results too*' evaluate popularity "$TMP/kept" --results "$TMP/results"
    [ ! -e "$TMP/kept" ]
}

report() { # OUT RUN...
    "$LATENTR3" report --out "$1" "${@:2}"
}

# values FILE XPATH: the exact values of the numbers there.
values() {
    xmllint --xpath "$2//data/@value" "$1" | sed -E 's/.*value="([^"]*)".*/\1/'
}

# same_numbers FILE FILE: numbers, a line each, to the digits that JSON and the page keep.
same_numbers() {
    [ -s "$1" ]
    diff <(jq -n '[inputs] | map(. * 1e8 | round) | .[]' "$1") <(jq -n '[inputs] | map(. * 1e8 | round) | .[]' "$2")
}

@test "report: a page by itself whose numbers are those of eval and eval --against" {
    cp -r "$WORLD/sft" "$TMP/sft"
    evaluate "$TMP/sft" "$TMP/sft" >"$TMP/sft.json"
    evaluate item-knn "$TMP/knn" --against "$TMP/sft/results-test.jsonl" >"$TMP/knn.json"
    exits 0 report "$TMP/page" "$TMP/sft" "$TMP/knn/"
    [ -z "$output" ]
    xmllint --noout "$TMP/page"
    # Nothing runs, nothing comes from elsewhere.
    not grep -qiE '<script|src=|href=|url\(|@import|https?:' "$TMP/page"
    names='["HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"]'
    for run in sft knn; do
        for by in title item; do
            table=$([ $by = title ] && echo 1 || echo 2)
            values "$TMP/page" "(//section[h2='Metrics']//table)[$table]//tr[th='$run']" >"$TMP/shown"
            jq ".$by as \$m | $names[] | \$m[.], \$m.interval[.][]" "$TMP/$run.json" >"$TMP/expected"
            same_numbers "$TMP/shown" "$TMP/expected"
        done
    done
    values "$TMP/page" "(//section[h2='Gains']//table)[1]" >"$TMP/shown"
    jq '.title as $t | .against as $a | ("HR@5", "HR@10", "NDCG@5", "NDCG@10") | $a[.].other, $t[.], $a[.].gain, $a[.].interval[]' \
        "$TMP/knn.json" >"$TMP/expected"
    same_numbers "$TMP/shown" "$TMP/expected"
    # By popularity of the target: behind the count of rows, gain and interval of both metrics.
    values "$TMP/page" "(//section[h2='Gains']//table)[2]//tr[td='unpopular' or td='1st fifth']" >"$TMP/shown"
    jq '.against | (.unpopular, .buckets[0]) | .rows, (.["HR@10", "NDCG@10"] | .gain, .interval[])' "$TMP/knn.json" >"$TMP/expected"
    same_numbers "$TMP/shown" "$TMP/expected"
    values "$TMP/page" "//section[starts-with(h2, 'Popular')]//tr[th='unpopular']" >"$TMP/shown"
    jq -s '.[0].unpopular.items, .[0].unpopular.rows, (.[].unpopular | .["HR@10", "NDCG@10"])' "$TMP/sft.json" "$TMP/knn.json" >"$TMP/expected"
    same_numbers "$TMP/shown" "$TMP/expected"
    values "$TMP/page" "//tr[th='steps']" | grep -qx 6
    [ "$(xmllint --xpath 'count(//figure)' "$TMP/page")" -ge 8 ]
    [ "$(xmllint --xpath 'count(//article)' "$TMP/page")" -eq 12 ]
    report "$TMP/again" "$TMP/sft" "$TMP/knn/"
    cmp "$TMP/page" "$TMP/again"
}

@test "report: a gain that is not given has no interval either" {
    evaluate "$WORLD/sft" "$TMP/short" --beams 5 --thought-test >"$TMP/json"
    report "$TMP/page" "$TMP/short"
    cells() { xmllint --xpath "count(//section[h2 = 'Does the thought think?']//td[$1]//span)" "$TMP/page"; }
    [ "$(cells 3)" -eq 3 ] # the loss of the other thoughts
    [ "$(cells 5)" -eq 0 ] # HR@10
}

@test "report: a training alone, an evaluation alone, an interrupted log" {
    cp -r "$WORLD/sft" "$TMP/cut"
    printf '{"event":"step","step":7,"lo' >>"$TMP/cut/log.jsonl"
    report "$TMP/page" "$TMP/cut"
    [ "$(xmllint --xpath "count(//section[h2='Metrics'])" "$TMP/page")" -eq 0 ]
    evaluate popularity "$TMP/popular" --split valid >"$TMP/json"
    report "$TMP/page" "$TMP/popular" --split valid
    [ "$(xmllint --xpath "count(//section[h2='Training'])" "$TMP/page")" -eq 0 ]
    [ "$(xmllint --xpath "count(//section[h2='Metrics'])" "$TMP/page")" -eq 1 ]
    refuses 3 "*neither a training run*nor an evaluation (eval-test.json*" report "$TMP/page" "$TMP/popular"
}

@test "report: titles and names with markup in them are text" {
    mkdir "$TMP/data"
    for file in train.csv valid.csv test.csv info.txt; do
        sed 's/Luvi /<script>\&amp;<!--/g' "$WORLD/world/data/$file" >"$TMP/data/$file"
    done
    evil="$TMP/a<b>\"&'\$(id)"
    "$LATENTR3" eval --model popularity --data "$TMP/data" --max-rows 20 --save "$evil" --json >"$TMP/json" || cat "$TMP/json"
    report "$TMP/page" "$evil"
    xmllint --noout "$TMP/page"
    not grep -qi '<script' "$TMP/page"
    [ "$(xmllint --xpath 'string(//h1)' "$TMP/page")" = "$(basename "$evil")" ]
    jq -r '[.samples[].history[]] | unique | map(select(contains("<script>"))) | .[0]' "$evil/eval-test.json" >"$TMP/title"
    grep -q '<script>&amp;<!--' "$TMP/title"
    [ "$(xmllint --xpath "count(//article//li[text() = '$(cat "$TMP/title")'])" "$TMP/page")" -gt 0 ]
}

@test "report: folders that are none, damaged files, other rows: one line, no page" {
    evaluate popularity "$TMP/good" >"$TMP/json"
    refuse() { # PATTERN CODE: $TMP/bad is refused
        refuses "$2" "$1" report "$TMP/page" "$TMP/bad"
        [ ! -e "$TMP/page" ]
        rm -rf "$TMP/bad"
    }
    refuse '*no such folder*' 4
    mkdir "$TMP/bad"
    refuse '*neither a training run*' 3
    for text in '' '{' '[]' '{"rows": 40}' '{"rows": 1e99, "list": 10, "title": {}, "results_hash": ""}' "$(printf '[%.0s' $(seq 100))"; do
        cp -r "$TMP/good" "$TMP/bad"
        printf '%s' "$text" >"$TMP/bad/eval-test.json"
        refuse '*eval-test.json*' 3
        mkdir "$TMP/bad"
        printf '%s' "$text" >"$TMP/bad/metrics.json"
        [ "${text:0:3}" = '{"r' ] && rm -r "$TMP/bad" || refuse '*metrics.json*' 3
    done
    cp -r "$TMP/good" "$TMP/bad"
    sed -i '$d' "$TMP/bad/results-test.jsonl"
    refuse '*results-test.jsonl: not of the evaluation beside it*' 3
    cp -r "$TMP/good" "$TMP/bad"
    rm "$TMP/bad/results-test.jsonl"
    refuse '*results-test.jsonl*' 4
    cp -r "$WORLD/sft" "$TMP/bad"
    sed -i '2s/.*/[1]/' "$TMP/bad/log.jsonl"
    refuse '*log.jsonl: line 2: an object is expected*' 3
    cp -r "$WORLD/sft" "$TMP/bad"
    sed -i 's/"loss":[-0-9.e]*/"loss":1e308/; s/"step":[0-9]*/"step":-1e308/' "$TMP/bad/log.jsonl"
    exits 0 report "$TMP/page" "$TMP/bad"
    rm -r "$TMP/bad" "$TMP/page"
    mkdir "$TMP/bad"
    mkfifo "$TMP/bad/metrics.json"
    refuse '*not a regular file*' 4
    "$LATENTR3" eval --model popularity --data "$WORLD/world/data" --max-rows 20 --save "$TMP/bad" --json >"$TMP/json"
    refuses 3 '*bad has 20 rows, good 40*' report "$TMP/page" "$TMP/good" "$TMP/bad"
    evaluate popularity "$TMP/drawn" --protocol uniform-100 >"$TMP/json"
    refuses 3 '*drawn was measured with --protocol uniform-100, good with full*' report "$TMP/page" "$TMP/good" "$TMP/drawn"
    evaluate popularity "$TMP/unseen" --exclude-seen >"$TMP/json"
    refuses 3 '*unseen was measured with --exclude-seen, good without*' report "$TMP/page" "$TMP/good" "$TMP/unseen"
    refuses 2 '*a RUN is missing*' report "$TMP/page"
    refuses 2 '*at most 8 runs*' report "$TMP/page" 1 2 3 4 5 6 7 8 9
    [ ! -e "$TMP/page" ]
}

# card FILE: the header of a model card as JSON.
card() {
    "${LATENTR3_PYTHON:-false}" -c 'import huggingface_hub, yaml' 2>/dev/null || skip "LATENTR3_PYTHON names no Python with huggingface_hub"
    "$LATENTR3_PYTHON" - "$1" <<'PY'
import json, sys
from huggingface_hub import ModelCard
card = ModelCard(open(sys.argv[1]).read())
data = card.data.to_dict()
data["results"] = {r.dataset_split + " " + r.metric_type: r.metric_value for r in card.data.eval_results or []}
print(json.dumps(data))
PY
}

@test "model card: in every saved model, with command, hashes, limits; eval --save puts the metrics in" {
    for folder in "$WORLD/world/model" "$WORLD/sft"; do
        [ "$(head -n 1 "$folder/README.md")" = --- ]
        grep -q '^## Limits' "$folder/README.md"
        grep -q 'Not measured yet' "$folder/README.md"
    done
    grep -qE "^    latentr3 sft --model $WORLD/world/model .*--max-steps 6" "$WORLD/sft/README.md"
    not grep -q -e '--[a-z-]* -1' "$WORLD/sft/README.md" # no option at the value that stands for none
    grep -qF "| train.csv | $(jq -r '.data["train.csv"]' "$WORLD/sft/metrics.json") |" "$WORLD/sft/README.md"
    grep -qE '^6 updates on 96 rows; loss, nats a token, on the validation rows' "$WORLD/sft/README.md"
    grep -q '^    latentr3 synth .*--items 60 --rows 1200' "$WORLD/world/model/README.md"
    "$LATENTR3" convert --model "$WORLD/sft" --out "$TMP/converted"
    grep -q "^    latentr3 convert --model $WORLD/sft" "$TMP/converted/README.md"
    cp -r "$WORLD/sft" "$TMP/a: #b"
    evaluate "$TMP/a: #b" "$TMP/a: #b" >"$TMP/json"
    grep -qF "| this model | $(jq '.title["HR@1"] | . * 10000 | round / 10000' "$TMP/json" | xargs printf %.4f) (" "$TMP/a: #b/README.md"
    "$LATENTR3" sasrec --data "$WORLD/world/data" --out "$TMP/sasrec" --max-steps 1 --width 8 --layers 1
    grep -q '^library_name: latentr3' "$TMP/sasrec/README.md"
    card "$TMP/a: #b/README.md" >"$TMP/card"
    jq -e --slurpfile e "$TMP/json" '.base_model == "model" and .library_name == "transformers" and .["model-index"][0].name == "a: #b"
        and (.tags | index("recommendation")) and (.results["test HR@10"] - $e[0].title["HR@10"] | fabs) < 1e-5' "$TMP/card"
}

@test "model card: one that cannot be written does not take the evaluation with it" {
    cp -r "$WORLD/sft" "$TMP/run"
    printf '{' >"$TMP/run/eval-valid.json"
    exits 0 evaluate popularity "$TMP/run"
    says '*the model card was not written: *eval-valid.json*'
    jq -e '.rows == 40' "$TMP/run/eval-test.json"
}

@test "model card: numbers among drawn candidates are called so" {
    cp -r "$WORLD/sft" "$TMP/run"
    evaluate popularity "$TMP/run" --protocol popularity-100 >"$TMP/json"
    grep -qF 'type: "HR@10 (popularity-100)"' "$TMP/run/README.md"
    grep -qF 'ranked among drawn candidates (popularity-100)' "$TMP/run/README.md"
    not grep -qF 'type: "HR@10"' "$TMP/run/README.md"
}

@test "model card: one that somebody wrote stays; metrics of an earlier model do not" {
    cp -r "$WORLD/sft" "$TMP/run"
    evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    [ -e "$TMP/run/eval-test.json" ]
    echo mine >"$TMP/run/README.md"
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/run" --force --threads 1 --batch 8 \
        --valid-rows 5 --dtype f32 --max-steps 1
    [ "$(cat "$TMP/run/README.md")" = mine ]
    [ ! -e "$TMP/run/eval-test.json" ]
    [ ! -e "$TMP/run/results-test.jsonl" ]
    evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    [ "$(cat "$TMP/run/README.md")" = mine ]
}
