#!/usr/bin/env bats
# Commands that use a model: eval, recommend, score, over the world that synth makes.

load common

setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world
    "${LATENTR3:-$BATS_TEST_DIRNAME/../../build/latentr3}" synth --items 120 --rows 1500 --out "$WORLD" 2>/dev/null
    tail -n +2 "$WORLD/data/test.csv" | wc -l >"$BATS_FILE_TMPDIR/rows"
}

# use COMMAND OPTIONS...: the command over the world, in f32, quietly, with thoughts.
use() {
    local command=$1
    shift
    "$LATENTR3" "$command" --model "$WORLD/model" --data "$WORLD/data" --dtype f32 --thoughts 1 "$@" 2>"$TMP/log"
}

@test "eval: every row counts once, results and metrics agree" {
    rows=$(cat "$BATS_FILE_TMPDIR/rows")
    use eval --json --results "$TMP/results" >"$TMP/json"
    [ "$(jq .rows "$TMP/json")" -eq "$rows" ]
    [ "$(wc -l <"$TMP/results")" -eq "$rows" ]
    [ "$(jq .illegal_beams "$TMP/json")" -eq 0 ]
    jq -e '.baselines | .popularity."HR@10" > 0 and .random."HR@10" > 0 and has("repeat_last")' "$TMP/json"
    # Hit rates out of the results file, for every K.
    for k in 1 3 5 10; do
        jq -s --argjson k $k 'map(select(.rank != null and .rank <= $k)) | length' "$TMP/results" >"$TMP/hits"
        jq --argjson k $k '.rows * .title["HR@\($k)"] | round' "$TMP/json" | cmp - "$TMP/hits"
    done
    # The rank is where the target stands, and null where it does not.
    jq -e -s 'all(.[]; . as $r | if .rank == null then all(.items[]; .title != $r.target) else .items[.rank - 1].title == .target end)' \
        "$TMP/results"
    jq -e -s 'all(.[]; (.items | length) == 10 and (.items | map(.id) | unique | length) == 10)' "$TMP/results"
}

@test "threads: as many as OpenMP gives, and more are refused" {
    use score --json --max-rows 8 --threads 1 | jq -c .rows >"$TMP/one"
    for limit in OMP_THREAD_LIMIT=1 OMP_MAX_ACTIVE_LEVELS=0; do
        (export "${limit?}" && use score --json --max-rows 8) | jq -c .rows | cmp - "$TMP/one"
        grep -q 'cpu, 1 threads' "$TMP/log"
    done
    OMP_THREAD_LIMIT=2 refuses 2 '*3 threads: OpenMP gives 2 here*OMP_THREAD_LIMIT*' \
        env LATENTR3_LOG=error "$LATENTR3" score --model "$WORLD/model" --data "$WORLD/data" --threads 3
}

@test "threads: OMP_NUM_THREADS is not heeded, and so not told as if it counted" {
    use score --json --max-rows 1 >/dev/null
    threads=$(grep -o 'cpu, [0-9]* threads' "$TMP/log")
    OMP_NUM_THREADS=7 use score --json --max-rows 1 >/dev/null
    grep -q "$threads" "$TMP/log"
    OMP_NUM_THREADS=7 OMP_DYNAMIC=false exits 0 "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/sasrec" --width 16 --layers 1 --max-steps 1 --threads 1
    jq -e '.environment == {"OMP_DYNAMIC": "false"}' "$TMP/sasrec/metrics.json"
}

@test "a model's max_position_embeddings: what a prompt has beyond it is not read, and 1,536 are there in any case" {
    long=$(printf 'a title of many words %.0s' {1..30})
    local titles=()
    for i in {1..10}; do titles+=(--history "$long$i"); done
    for positions in 512 1536 4096 131072; do
        cp -r "$WORLD/model" "$TMP/$positions"
        sed -i "s/\"max_position_embeddings\": [0-9]*/\"max_position_embeddings\": $positions/" "$TMP/$positions/config.json"
        LATENTR3_LOG=error exits 0 "$LATENTR3" recommend --model "$TMP/$positions" --data "$WORLD/data" --dtype f32 --json "${titles[@]}"
        echo "$output" >"$TMP/$positions.json"
    done
    cmp "$TMP/512.json" "$TMP/1536.json"
    cmp "$TMP/4096.json" "$TMP/131072.json"
    not cmp -s "$TMP/1536.json" "$TMP/4096.json"
}

@test "ulimit -v: the same lists and weights in fewer addresses, and one line where there are too few" {
    (ulimit -v 8000000 && "$LATENTR3" --version) || skip "a sanitizer's build wants all addresses"
    title=$(sed -n '5s/\t.*//p' "$WORLD/data/info.txt")
    train() { "$LATENTR3" sft --model "$WORLD/model" --data "$WORLD/data" --dtype f32 --threads 2 --max-steps 2 --batch 8 --out "$1" 2>"$TMP/log"; }
    for limit in unlimited 60000000 8000000; do
        (
            ulimit -v "$limit"
            use recommend --json --history "$title" --threads 2 >"$TMP/list.$limit"
            use score --json --max-rows 8 --threads 2 | jq -c .rows >"$TMP/rows.$limit"
            train "$TMP/trained.$limit"
        )
        cmp "$TMP/list.unlimited" "$TMP/list.$limit"
        cmp "$TMP/rows.unlimited" "$TMP/rows.$limit"
        cmp "$TMP/trained.unlimited/model.safetensors" "$TMP/trained.$limit/model.safetensors"
    done
    few() { (ulimit -v 250000 && LATENTR3_LOG=error "$LATENTR3" score --model "$WORLD/model" --data "$WORLD/data" --threads 1); }
    refuses 5 'latentr3: *; addresses are limited to 244 MiB (ulimit -v)' few
}

@test "eval: no K above the number of beams" {
    use eval --json --beams 4 --max-rows 20 >"$TMP/json"
    jq -e '.title | has("HR@3") and (has("HR@5") | not) and (has("NDCG@10") | not)' "$TMP/json"
    use eval --json --beams 20 --max-rows 20 >"$TMP/json"
    jq -e '.title | has("HR@20") and has("NDCG@20")' "$TMP/json"
    use eval --beams 4 --max-rows 20 >"$TMP/table"
    grep -q '^HR@3 ' "$TMP/table"
    run grep -q '^HR@5 ' "$TMP/table"
    [ "$status" -eq 1 ]
}

@test "eval: users at a time change nothing" {
    for batch in 1 7 64; do
        use eval --json --max-rows 60 --batch $batch --results "$TMP/results.$batch" >"$TMP/json"
        jq -S '{rows, title, item, baselines}' "$TMP/json" >"$TMP/metrics.$batch"
        jq -c '[.row, .rank, [.items[].id]]' "$TMP/results.$batch" >"$TMP/lists.$batch"
        cmp "$TMP/metrics.1" "$TMP/metrics.$batch"
        cmp "$TMP/lists.1" "$TMP/lists.$batch"
    done
}

@test "eval: the table" {
    use eval --max-rows 30 >"$TMP/table"
    grep -q 'by title  95 % interval' "$TMP/table"
    grep -q '^NDCG@10 ' "$TMP/table"
    grep -q '^MRR ' "$TMP/table"
}

@test "eval: baselines come from the train rows, and are left out without them" {
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/train.csv" "$TMP/data/dataset.json"
    "$LATENTR3" eval --model "$WORLD/model" --data "$TMP/data" --category item --max-rows 5 --json 2>"$TMP/log" >"$TMP/json"
    grep -q 'no train.csv' "$TMP/log"
    jq -e '.baselines | (has("popularity") | not) and has("repeat_last") and has("random")' "$TMP/json"
}

@test "eval and recommend: a baseline in the model's place" {
    for name in popularity item-knn repeat-last; do
        "$LATENTR3" eval --model $name --data "$WORLD/data" --json 2>/dev/null >"$TMP/json"
        jq -e --arg b "${name//-/_}" '.title["HR@10"] == .baselines[$b]["HR@10"] and .title.MRR == .baselines[$b].MRR and .model_calls == 0' \
            "$TMP/json"
    done
    "$LATENTR3" eval --model random --data "$WORLD/data" 2>/dev/null | grep -q 'repeat-last *random'
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    "$LATENTR3" recommend --model item-knn --data "$WORLD/data" --history "$title" -k 3 --exclude-seen --json 2>/dev/null >"$TMP/json"
    jq -e --arg t "$title" '(.items | length) == 3 and all(.items[]; .title != $t and .score > 0)' "$TMP/json"
}

@test "eval: held against another model, slice by slice; files for trec_eval" {
    "$LATENTR3" eval --model item-knn --data "$WORLD/data" --results "$TMP/knn" --json 2>/dev/null >"$TMP/knn.json"
    "$LATENTR3" eval --model popularity --data "$WORLD/data" --against "$TMP/knn" --trec-run "$TMP/run" --trec-qrels "$TMP/qrels" \
        --json 2>/dev/null >"$TMP/json"
    jq -e --slurpfile o "$TMP/knn.json" 'def near(a; b): a - b | fabs < 1e-8;
        near(.against["HR@10"].other; $o[0].title["HR@10"]) and near(.against["HR@10"].gain; .title["HR@10"] - $o[0].title["HR@10"])
        and near(.against.popular.MRR.other; $o[0].popular.MRR) and (.against.unpopular["HR@10"].interval | length == 2)
        and ([.buckets[].rows] | add) == .rows and .warm.rows + .cold.rows == .rows and (.against.buckets | length) == 5' "$TMP/json"
    # HR@10 out of the two files.
    hits=$(awk 'NR == FNR {want[$1] = $3; next} want[$1] == $3 && $4 <= 10' "$TMP/qrels" "$TMP/run" | wc -l)
    jq -e --argjson h "$hits" '.rows * .title["HR@10"] | round == $h' "$TMP/json"
    "$LATENTR3" eval --model popularity --data "$WORLD/data" --against "$TMP/knn" 2>/dev/null | grep -q '^last fifth '
    export LATENTR3_LOG=error
    refuses 3 "*knn*more than the 20 rows*" "$LATENTR3" eval --model popularity --data "$WORLD/data" --max-rows 20 --against "$TMP/knn"
}

@test "eval: a guide beside the model, and ghost tokens" {
    use eval --json --max-rows 30 --length-penalty 0 >"$TMP/plain"
    use eval --json --max-rows 30 --length-penalty 0 --guidance item-knn --guidance-weight 1 >"$TMP/one"
    [ "$(jq -c '[.title, .item]' "$TMP/plain")" = "$(jq -c '[.title, .item]' "$TMP/one")" ] # the guide has no say
    use eval --json --max-rows 30 --length-penalty 0 --guidance item-knn --guidance-weight 0.1 --ghost-tokens skip >"$TMP/guided"
    jq -e --slurpfile p "$TMP/plain" '.title.MRR != $p[0].title.MRR and .illegal_beams == 0' "$TMP/guided"
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    use recommend --history "$title" --guidance popularity --json | jq -e '.items | length == 10'
    export LATENTR3_LOG=error
    refuses 2 '*language model*' "$LATENTR3" eval --model popularity --data "$WORLD/data" --guidance item-knn
    for guide in random repeat-last; do
        refuses 2 '*popularity or item-knn is expected' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --guidance $guide
    done
    refuses 2 '*--guidance-weight goes with --guidance' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --guidance-weight 0.3
    refuses 2 '*--guidance*SASRec*' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --guidance "$WORLD/model"
}

@test "eval: refusals" {
    export LATENTR3_LOG=error
    touch "$TMP/file"
    refuses 4 '*file is no folder*' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --max-rows 2 --results "$TMP/file/r"
    refuses 4 '*nothing*' "$LATENTR3" eval --model "$TMP/nothing" --data "$WORLD/data"
    # Where no file can be written is known before anything is measured; what is there stays.
    mkdir "$TMP/folder"
    mkfifo "$TMP/pipe"
    refuses 4 '*/folder: a folder, where a file is to be written' "$LATENTR3" eval --model "$TMP/nothing" --data "$WORLD/data" --results "$TMP/folder"
    refuses 4 '*/pipe: not a regular file' "$LATENTR3" eval --model "$TMP/nothing" --data "$WORLD/data" --trec-run "$TMP/pipe"
    refuses 4 '*/pipe: not a regular file' "$LATENTR3" report "$TMP/nothing" --out "$TMP/pipe"
    [ -p "$TMP/pipe" ]
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    head -1 "$WORLD/data/test.csv" >"$TMP/data/test.csv"
    refuses 3 '*no rows*' "$LATENTR3" eval --model "$WORLD/model" --data "$TMP/data" --category item
}

@test "recommend: k items, best first, none of them seen" {
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    use recommend --history "$title" -k 5 --json >"$TMP/json"
    [ "$(use recommend --history "$title" --beams 4 --json | jq '.items | length')" = 4 ]
    jq -e '(.items | length) == 5 and .illegal_beams == 0 and [.items[].rank] == [1, 2, 3, 4, 5]' "$TMP/json"
    jq -e '[.items[].score] | . == (sort | reverse)' "$TMP/json"
    # Every item of the catalogue can be asked for; then the history's own is there, unless it is left out.
    items=$(wc -l <"$WORLD/data/info.txt")
    use recommend --history "$title" -k "$items" --beams "$items" --json >"$TMP/all"
    use recommend --history "$title" -k "$items" --beams "$items" --json --exclude-seen >"$TMP/unseen"
    [ "$(jq '.items | length' "$TMP/all")" -eq "$items" ]
    [ "$(jq '.items | length' "$TMP/unseen")" -eq $((items - 1)) ]
    jq -e --arg t "$title" 'all(.items[]; .title != $t)' "$TMP/unseen"
    jq -c --arg t "$title" '[.items[] | select(.title != $t).id]' "$TMP/all" >"$TMP/a"
    jq -c '[.items[].id]' "$TMP/unseen" | cmp - "$TMP/a"
    use recommend --history "$title" -k 2 >"$TMP/table"
    [ "$(wc -l <"$TMP/table")" -eq 3 ]
}

@test "recommend: a title that leaves little room for prompts is named" {
    cp -r "$WORLD/data" "$TMP/data"
    long=("$LATENTR3" recommend --model "$WORLD/model" --data "$TMP/data" --history x --beams 1 -k 1)
    "$LATENTR3" catalog add --data "$TMP/data" --id 900 --title "$(printf '?%.0s' {1..3000})" 2>/dev/null
    exits 0 "${long[@]}"
    says '*warning: item 900 is an answer of * tokens: it leaves *positions*'
    "$LATENTR3" catalog add --data "$TMP/data" --id 901 --title "$(printf '?%.0s' {1..5000})" 2>/dev/null
    exits 3 "${long[@]}"
    says '*item 901, an answer of * tokens: *positions the answers leave*for the prompt*'
}

@test "recommend: refusals" {
    export LATENTR3_LOG=error
    "$LATENTR3" recommend --model popularity --data "$WORLD/data" --history x -k 30 --json | jq -e '.items | length == 30' # no beams
    refuses 2 '*beams*' "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --history x -k 11 --beams 10
    refuses 2 '*--history, entry 1: no UTF-8' "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --history "$(printf 'x\xff')"
}

@test "score: perplexities of the rows and of all" {
    use score --max-rows 12 --json >"$TMP/json"
    [ "$(jq '.rows | length' "$TMP/json")" -eq 12 ]
    jq -e 'def near(a; b): (a - b) / b | fabs < 1e-6;
        all(.rows[]; near(.perplexity; (-.logprob / .tokens) | exp)) and
        near(.loss; -([.rows[].logprob] | add) / ([.rows[].tokens] | add)) and [.rows[].row] == [range(12)]' "$TMP/json"
    use score --max-rows 12 --batch 5 --json >"$TMP/again"
    jq -s -e '[.[0].rows, .[1].rows] | transpose | all(.[]; ((.[0].logprob - .[1].logprob) | fabs) < 1e-3)' "$TMP/json" "$TMP/again"
    use score --max-rows 3 >"$TMP/table"
    [ "$(wc -l <"$TMP/table")" -eq 5 ]
}

@test "recommend and score agree where both see the same answer" {
    # One row's target, scored, and the same title in a search over everything.
    use score --max-rows 1 --json >"$TMP/score"
    items=$(wc -l <"$WORLD/data/info.txt")
    use eval --max-rows 1 --beams "$items" --results "$TMP/results" --json >"$TMP/json"
    jq -e --slurpfile s "$TMP/score" '.target as $t | $s[0].rows[0] as $r |
        (.items[] | select(.title == $t).score - $r.logprob / $r.tokens) | fabs < 1e-4' "$TMP/results"
}

@test "bench: one JSON object for each part; the parts of a search are all of it" {
    for what in sft rl beam write gemm trie load; do
        use bench "$what" --split valid --rows 5 --batch 3 --tokens 4 --json >"$TMP/$what"
        [ "$(jq -s length "$TMP/$what")" -eq 1 ]
    done
    for what in sft rl beam write; do
        jq -e '.rows == 5 and (.s_per_row, .tokens_per_s, .gmac_per_s, .peak_share, .peak_mib) > 0' "$TMP/$what"
    done
    jq -e '.search | .network + .head + .softmax + .select + .trie - 1 | fabs < 1e-6' "$TMP/beam"
    jq -e '.search | .calls_per_user >= 1 and .rows_per_user > .calls_per_user and .s_per_user > 0' "$TMP/beam"
    exits 2 "$LATENTR3" bench nothing --model "$WORLD/model" --data "$WORLD/data"
    says "*say what: sft, rl, beam, write, gemm, trie or load*"
}

@test "made-up data for bench/scaling.sh is a data folder" {
    awk -v items=300 -v rows=7 -v words=2 -v out="$TMP" -f bench/make_world.awk
    "$LATENTR3" bench trie --model "$GOLDEN/tiny-llama" --data "$TMP" --json 2>/dev/null >"$TMP/trie"
    [ "$(jq .items "$TMP/trie")" -eq 300 ]
    "$LATENTR3" bench beam --model "$GOLDEN/tiny-llama" --data "$TMP" --split valid --rows 7 --json 2>/dev/null >"$TMP/beam"
    [ "$(jq .rows "$TMP/beam")" -eq 7 ]
}
