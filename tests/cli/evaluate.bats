#!/usr/bin/env bats
# What eval measures beside the plain metrics (docs/evaluation.md), over the world that synth makes.

load common

setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world
    local latentr3=${LATENTR3:-$BATS_TEST_DIRNAME/../../build/latentr3}
    "$latentr3" synth --items 120 --rows 1500 --out "$WORLD" 2>/dev/null
    "$latentr3" convert --model "$WORLD/model" --out "$WORLD/thinks" --add-thought 2>/dev/null
}

# use COMMAND OPTIONS...: the command over the world, in f32, quietly.
use() {
    local command=$1
    shift
    "$LATENTR3" "$command" --model "$WORLD/thinks" --data "$WORLD/data" --dtype f32 "$@" 2>"$TMP/log"
}

@test "thought test: own is the plain evaluation and the plain score, the others differ" {
    for thoughts in 1 2; do
        args=(--thoughts $thoughts --max-rows 40)
        use eval "${args[@]}" --json >"$TMP/plain"
        use eval "${args[@]}" --json --thought-test >"$TMP/json"
        use score "${args[@]}" --json >"$TMP/score"
        [ "$(jq -S '[.title, .item, .baselines]' "$TMP/plain")" = "$(jq -S '[.title, .item, .baselines]' "$TMP/json")" ]
        jq -e --slurpfile s "$TMP/score" 'def near(a; b): a - b | fabs < 1e-6;
            .title as $t | .thought_test as $x
            | ($x.own | del(.loss, .interval.loss)) == $t and near($x.own.loss; $s[0].loss)
            and all($x.other, $x.zero, $x.noise; .loss as $l | .against_own as $a
                | $a.loss.other == $x.own.loss and near($a.loss.gain; $l - $x.own.loss) and ($a.loss.interval | length == 2)
                and $a.loss.gain != 0 and near($a["HR@10"].gain; .["HR@10"] - $t["HR@10"]))' "$TMP/json"
    done
    jq -e '.thought_test.same_user == 0' "$TMP/json"
    use eval --thoughts 1 --max-rows 40 --thought-test >"$TMP/table"
    [ "$(grep -c -E "^(own|another row's|zero|own and noise) " "$TMP/table")" -eq 4 ]
}

@test "thought test: the exchange follows --seed, the users at a time change nothing" {
    args=(--thoughts 1 --max-rows 30 --thought-test --json)
    for batch in 1 7; do
        use eval "${args[@]}" --batch $batch >"$TMP/json"
        jq -S '.thought_test | map_values(if type == "object" then [.["HR@10"], (.loss * 1e4 | round)] else . end)' "$TMP/json" >"$TMP/batch.$batch"
    done
    cmp "$TMP/batch.1" "$TMP/batch.7"
    use eval "${args[@]}" --seed 1 >"$TMP/one"
    use eval "${args[@]}" --seed 2 >"$TMP/two"
    jq -e --slurpfile o "$TMP/one" '.thought_test.own.loss == $o[0].thought_test.own.loss
        and .thought_test.other.loss != $o[0].thought_test.other.loss and .thought_test.noise.loss != $o[0].thought_test.noise.loss
        and .thought_test.zero.loss == $o[0].thought_test.zero.loss' "$TMP/two"
}

@test "thought test: with a hidden state for a thought, and answers that see the thoughts alone" {
    use eval --thoughts 2 --thought hidden --answer-sees thought --max-rows 20 --thought-test --json >"$TMP/json"
    jq -e '.thought_test | .own.loss != .other.loss and .own.loss != .zero.loss' "$TMP/json"
}

@test "thought test: refused where there are no thoughts, or one row alone" {
    export LATENTR3_LOG=error
    refuses 2 '*--thought-test goes with a model that thinks*popularity*' "$LATENTR3" eval --model popularity --data "$WORLD/data" --thought-test
    refuses 2 '*--thought-test: *model has no thoughts*' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --thoughts 0 --thought-test
    refuses 2 '*one row is not enough*' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --thoughts 1 --max-rows 1 --thought-test
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/sasrec" --max-steps 1 --width 8 --layers 1 2>/dev/null
    refuses 2 '*--thought-test: *sasrec has no thoughts*' "$LATENTR3" eval --model "$TMP/sasrec" --data "$WORLD/data" --thought-test
}

@test "grounding: lists of all items, the same for any users at a time; a guide; the thought test" {
    args=(--thoughts 1 --max-rows 12 --decode ground --beams 2 --json)
    for batch in 1 5; do
        use eval "${args[@]}" --batch $batch --results "$TMP/results.$batch" >"$TMP/json"
        jq -c '[.row, .rank, [.items[].id]]' "$TMP/results.$batch" >"$TMP/lists.$batch"
    done
    cmp "$TMP/lists.1" "$TMP/lists.5"
    jq -e '.list == 20 and (.title | has("HR@20")) and .short_lists == 0 and .beams == 2' "$TMP/json"
    jq -e -s 'all(.[]; (.items | length) == 20 and ([.items[].score] | . == (sort | reverse)))' "$TMP/results.1"
    use eval "${args[@]}" --guidance popularity --guidance-power 100 --results "$TMP/guided" >"$TMP/json"
    differ "$TMP/guided" "$TMP/results.1"
    use eval "${args[@]}" --guidance popularity --guidance-power 0 --results "$TMP/guided" >"$TMP/json"
    jq -c '[.row, .rank, [.items[].id]]' "$TMP/guided" | cmp - "$TMP/lists.1"
    use eval "${args[@]}" --thought-test >"$TMP/json"
    jq -e '.thought_test.own["HR@20"] == .title["HR@20"]' "$TMP/json"
}

@test "grounding: a baseline guides to items of one title alike" {
    "$LATENTR3" synth --items 60 --rows 900 --layers 1 --width 16 --out "$TMP/w" 2>/dev/null
    # The last twenty items under titles of the first.
    awk -F'\t' -v OFS='\t' 'NR <= 20 { title[NR] = $1 } NR > 40 { $1 = title[NR - 40] } { print }' "$TMP/w/data/info.txt" >"$TMP/info.txt"
    cp "$TMP/info.txt" "$TMP/w/data/info.txt"
    rm "$TMP/w/data/dataset.json"
    for guide in popularity item-knn; do
        exits 0 "$LATENTR3" eval --model "$TMP/w/model" --data "$TMP/w/data" --category book --decode ground --beams 2 --dtype f32 --max-rows 30 \
            --guidance $guide --protocol uniform-100 --results "$TMP/results"
        jq -es '[.[].items | group_by(.title)[] | select(length > 1)] | length > 10 and all(map(.score) | unique | length == 1)' "$TMP/results"
    done
}

@test "grounding: recommend says what was written; more items than beams; the history left out" {
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    items=$(wc -l <"$WORLD/data/info.txt")
    use recommend --history "$title" --decode ground --beams 2 -k "$items" --json >"$TMP/json"
    jq -e --argjson n "$items" '(.items | length) == $n and (.written | type) == "string"' "$TMP/json"
    use recommend --history "$title" --decode ground --beams 2 -k "$items" --exclude-seen --json >"$TMP/unseen"
    jq -c --arg t "$title" '[.items[] | select(.title != $t).id]' "$TMP/json" >"$TMP/a"
    jq -c '[.items[].id]' "$TMP/unseen" | cmp - "$TMP/a"
    use recommend --history "$title" --decode ground --beams 1 -k 3 >"$TMP/table"
    grep -q '^written: ' "$TMP/table"
}

@test "grounding: refusals" {
    export LATENTR3_LOG=error
    args=(--data "$WORLD/data" --decode ground)
    refuses 2 '*--decode ground*language model*' "$LATENTR3" eval --model popularity "${args[@]}"
    refuses 2 '*--ghost-tokens goes with --decode trie*' "$LATENTR3" eval --model m "${args[@]}" --ghost-tokens skip
    refuses 2 '*--guidance-weight goes with --decode trie*' "$LATENTR3" eval --model m "${args[@]}" --guidance-weight 0.3
    refuses 2 '*--guidance-power goes with --decode ground*' "$LATENTR3" eval --model m --data "$WORLD/data" --guidance-power 2
}

# What docs/evaluation.md lists as pitfalls, where it needs the whole program.

@test "pitfalls: ten beams find what scoring all items finds" {
    "$LATENTR3" sft --model "$WORLD/model" --data "$WORLD/data" --out "$TMP/sft" --max-steps 40 --batch 16 --lr 2e-3 --valid-rows 16 \
        --dtype f32 2>/dev/null
    items=$(wc -l <"$WORLD/data/info.txt")
    for beams in 10 "$items"; do
        "$LATENTR3" eval --model "$TMP/sft" --data "$WORLD/data" --dtype f32 --beams "$beams" --results "$TMP/beams.$beams" >/dev/null 2>&1
    done
    jq -e -n --slurpfile a "$TMP/beams.10" --slurpfile b "$TMP/beams.$items" '[range(0; $a | length) as $i
        | ($b[$i].items[0:10] | map(.id)) as $all | ($a[$i].items | map(.id)) as $found | ($all - ($all - $found) | length)]
        | add / (length * 10) >= .99' || { echo "recall of ten beams below .99"; false; }
}

@test "pitfalls: a row that is left out is counted and named, and refused with --strict" {
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/dataset.json" # its hash would refuse the change
    { cat "$WORLD/data/test.csv"; printf 'u,bad\r\n'; } >"$TMP/data/test.csv"
    rows=$(tail -n +2 "$WORLD/data/test.csv" | wc -l)
    "$LATENTR3" eval --model popularity --data "$TMP/data" --category item --json 2>"$TMP/log" >"$TMP/json"
    jq -e --argjson n "$rows" '.rows == $n and .targets_outside == 0' "$TMP/json"
    grep -q 'test.csv: line .*2 fields' "$TMP/log"
    export LATENTR3_LOG=error
    refuses 3 '*test.csv: line *2 fields*' "$LATENTR3" eval --model popularity --data "$TMP/data" --category item --strict
}

@test "pitfalls: popularity and item-kNN count train rows alone" {
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    title=$(head -1 "$WORLD/data/info.txt" | cut -f1)
    for split in valid test; do head -3 "$WORLD/data/$split.csv" >"$TMP/data/$split.csv"; done
    for model in popularity item-knn; do
        for data in "$WORLD/data" "$TMP/data"; do
            "$LATENTR3" recommend --model $model --data "$data" --category item --history "$title" --json 2>/dev/null >"$TMP/$(basename "$(dirname "$data")").$model"
        done
        cmp "$TMP/world.$model" "$TMP/$(basename "$TMP").$model"
    done
}

@test "pitfalls: sampled candidates are named, and rank higher" {
    "$LATENTR3" eval --model popularity --data "$WORLD/data" --json 2>/dev/null >"$TMP/full"
    "$LATENTR3" eval --model popularity --data "$WORLD/data" --json --protocol uniform-100 2>/dev/null >"$TMP/sampled"
    jq -e '.protocol == "full" and .baselines.random != null' "$TMP/full"
    jq -e --slurpfile f "$TMP/full" '.protocol == "uniform-100" and (.baselines | length) == 0 and .title["HR@10"] >= $f[0].title["HR@10"]' "$TMP/sampled"
    "$LATENTR3" eval --model popularity --data "$WORLD/data" --protocol uniform-100 2>/dev/null | head -1 | grep -q 'uniform-100 ranking'
    "$LATENTR3" eval --model popularity --data "$WORLD/data" --protocol uniform-100 --results "$TMP/drawn" >/dev/null 2>&1
    export LATENTR3_LOG=error
    refuses 3 '*drawn: line 1: ranked among drawn candidates*' "$LATENTR3" eval --model popularity --data "$WORLD/data" --against "$TMP/drawn"
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/valid.csv"
    LATENTR3_LOG=warn exits 0 "$LATENTR3" eval --model popularity --data "$TMP/data" --protocol uniform-100
    says '*has no valid.csv: histories are without its items*'
    says '*--protocol uniform-100: * rows are ranked among fewer than 100 drawn items*'
    refuses 2 '*--protocol uniform-100 does not go with it' "$LATENTR3" eval --model popularity --data "$WORLD/data" --protocol uniform-100 --against "$TMP/drawn"
}

# The world's next item follows from the last one of its theme, so a model that learnt it needs the order.
@test "pitfalls: with shuffled histories a sequential model loses, what counts sets does not" {
    "$LATENTR3" sasrec --data "$WORLD/data" --out "$TMP/sasrec" --width 32 --layers 1 --epochs 30 --batch 16 --dtype f32 2>/dev/null
    for model in "$TMP/sasrec" item-knn; do
        for shuffle in "" --shuffle-history; do
            "$LATENTR3" eval --model "$model" --data "$WORLD/data" --dtype f32 $shuffle --json 2>/dev/null >"$TMP/of.$(basename "$model")$shuffle"
        done
    done
    jq -e --slurpfile s "$TMP/of.sasrec--shuffle-history" '.title["NDCG@10"] - $s[0].title["NDCG@10"] > .1' "$TMP/of.sasrec"
    [ "$(jq -S .title "$TMP/of.item-knn")" = "$(jq -S .title "$TMP/of.item-knn--shuffle-history")" ]
    use score --max-rows 5 --json >"$TMP/kept"
    use score --max-rows 5 --json --shuffle-history >"$TMP/shuffled"
    use score --max-rows 5 --json --shuffle-history --seed 7 >"$TMP/otherwise"
    jq -e --slurpfile s "$TMP/shuffled" --slurpfile o "$TMP/otherwise" '.loss != $s[0].loss and $s[0].loss != $o[0].loss' "$TMP/kept"
}

@test "eval, rl, sft: options that do nothing are told of" {
    world=$WORLD/data
    idle() { # PATTERN COMMAND...
        exits 0 env LATENTR3_LOG=warn "${@:2}"
        says "$1"
    }
    idle '*--length-penalty does nothing with a baseline*--thoughts does nothing with a baseline*' \
        "$LATENTR3" eval --model popularity --data "$world" --thoughts 2 --length-penalty 0.5
    exits 0 env LATENTR3_LOG=warn "$LATENTR3" eval --model popularity --data "$world" --length-penalty 1
    [[ $output != *nothing* ]] # what holds without it
    "$LATENTR3" sasrec --data "$world" --out "$TMP/sasrec" --width 16 --epochs 1 --warmup 1 2>/dev/null
    idle '*--ghost-tokens does nothing with a SASRec*--thought does nothing with a SASRec that has no thoughts*' \
        "$LATENTR3" eval --model "$TMP/sasrec" --data "$world" --ghost-tokens skip --thought hidden
    idle '*--beams does nothing without --reward hit or rank*' \
        "$LATENTR3" rl --model "$WORLD/thinks" --data "$world" --out "$TMP/rl" --beams 4 --max-steps 1 --batch 4 --eval-rows 4 --warmup 1
    idle '*--bos does nothing with a SASRec*--history-text does nothing with a SASRec*--order does nothing with a SASRec*' \
        "$LATENTR3" sft --model "$TMP/sasrec" --data "$world" --out "$TMP/more" --bos yes --history-text title --order users --max-steps 1 --batch 4 --valid-rows 4
    "$LATENTR3" sft --model "$WORLD/thinks" --data "$world" --out "$TMP/hidden" --thought hidden --max-steps 1 --batch 4 --valid-rows 4
    idle '*--thought-window does nothing with a model that has no LatentRATT*' \
        "$LATENTR3" score --model "$TMP/hidden" --data "$world" --thought-window 3 --max-rows 2
    idle '*--latent-lr does nothing with a model that has no LatentRATT*--thought-window does nothing with a model that has no LatentRATT*' \
        "$LATENTR3" sft --model "$TMP/hidden" --data "$world" --out "$TMP/again" --latent-lr 1e-2 --thought-window 3 --max-steps 1 --batch 4 --valid-rows 4
    jq -se 'map(select(.latent_learning_rate)) == []' "$TMP/again/log.jsonl"
    idle '*--epochs does nothing beside --max-tokens*' \
        "$LATENTR3" sft --model "$WORLD/thinks" --data "$world" --out "$TMP/sft" --epochs 2 --max-tokens 30000 --batch 64 --warmup 1 --valid-rows 4
}

@test "eval and score: histories longer than a prompt count as what the prompt holds" {
    for n in 10 25; do
        "$LATENTR3" prepare --data "$WORLD/log" --category book --item-ids number --max-history $n --out "$TMP/$n" 2>/dev/null
        "$LATENTR3" eval --model "$WORLD/thinks" --data "$TMP/$n" --dtype f32 --exclude-seen --shuffle-history --results "$TMP/results-$n" \
            --json 2>/dev/null | jq -c '[.title, .baselines]' >"$TMP/eval-$n"
        "$LATENTR3" score --model "$WORLD/thinks" --data "$TMP/$n" --dtype f32 --shuffle-history --max-rows 20 --json >"$TMP/score-$n" 2>/dev/null
    done
    not cmp -s "$TMP/10/test.csv" "$TMP/25/test.csv"
    for what in results eval score; do cmp "$TMP/$what-10" "$TMP/$what-25"; done
}

@test "score and the thought test: the target of an item with another title is that title" {
    cp -r "$WORLD/data" "$TMP/data"
    id=$(tail -n +2 "$TMP/data/test.csv" | head -1 | sed -E 's/.*\]",([0-9]+),"\[.*/\1/')
    score() { "$LATENTR3" score --model "$WORLD/thinks" --data "$TMP/data" --dtype f32 --max-rows 1 --json 2>/dev/null; }
    before=$(score)
    "$LATENTR3" catalog remove --data "$TMP/data" --id "$id" 2>/dev/null
    "$LATENTR3" catalog add --data "$TMP/data" --id "$id" --title "Wholly New Name" 2>/dev/null
    after=$(score)
    [ "$before" != "$after" ]
    "$LATENTR3" score --model "$WORLD/thinks" --data "$TMP/data" --dtype f32 --max-rows 1 2>/dev/null | grep -q 'Wholly New Name'
}

@test "an output is not written over an input, nor over a part of a model, of data or of a run" {
    cp -r "$WORLD/data" "$TMP/data"
    cp -r "$WORLD/model" "$TMP/model"
    echo '{"history": ["Luvi Pera"]}' >"$TMP/users"
    cp "$TMP/users" "$TMP/same"
    quiet=(env LATENTR3_LOG=error "$LATENTR3")
    refuses 2 '*test.csv: there already, and by its name a part of*' "${quiet[@]}" eval --model popularity --data "$TMP/data" --results "$TMP/data/test.csv"
    refuses 2 '*config.json: there already*' "${quiet[@]}" eval --model "$TMP/model" --data "$TMP/data" --trec-run "$TMP/model/config.json"
    refuses 2 '*model.safetensors: there already*' "${quiet[@]}" report "$TMP/model" --out "$TMP/model/model.safetensors"
    refuses 2 '*users: the input itself*' "${quiet[@]}" recommend --model popularity --data "$TMP/data" --users "$TMP/users" --out "$TMP/users" --force
    refuses 2 '*train.csv: there already*' "${quiet[@]}" recommend --model popularity --data "$TMP/data" --users "$TMP/users" --out "$TMP/data/train.csv" --force
    diff -r "$WORLD/data" "$TMP/data"
    diff -r "$WORLD/model" "$TMP/model"
    cmp "$TMP/users" "$TMP/same"
}

@test "titles that the tokenizer normalizes to the same answer: a warning that one of them is never listed" {
    mkdir "$TMP/data"
    printf 'Caf\xc3\xa9\t0\nCafe\xcc\x81\t1\nTea\t2\n' >"$TMP/data/info.txt"
    head -n 1 "$WORLD/data/test.csv" | tee "$TMP/data/train.csv" >"$TMP/data/test.csv"
    printf "7,['a'],b,[2],1,['Tea'],Cafe\xcc\x81,[5.0],5.0,[1],2\n" >>"$TMP/data/test.csv"
    exits 0 "$LATENTR3" eval --model tests/golden/tiny-qwen2 --data "$TMP/data" --threads 1
    says "*warning: never listed, as the tokenizer makes the answer of another title of theirs: 1 of the items, \"$(printf 'Cafe\xcc\x81')\" the first*"
}

@test "eval: one file cannot hold two outputs" {
    refuses 2 '*--trec-run and --trec-qrels name one file*' env LATENTR3_LOG=error "$LATENTR3" eval --model popularity --data "$WORLD/data" \
        --trec-run "$TMP/one" --trec-qrels "$TMP/one"
    # By whatever name, and where --index keeps the catalogue.
    cd "$TMP"
    export LATENTR3_LOG=error
    refuses 2 '*--results and --trec-run name one file*' "$LATENTR3" eval --model popularity --data "$WORLD/data" --results one --trec-run ./one
    refuses 2 '*--results and --trec-run name one file*' "$LATENTR3" eval --model popularity --data "$WORLD/data" --results one --trec-run "$TMP/one"
    refuses 2 '*--results and --trec-run name one file*' "$LATENTR3" eval --model popularity --data "$WORLD/data" --results new/er/one --trec-run ./new/er/one
    refuses 2 '*one: where --index keeps the catalogue*' "$LATENTR3" eval --model "$WORLD/model" --data "$WORLD/data" --results one --index ./one
    refuses 2 '*one: where --index keeps the catalogue*' "$LATENTR3" recommend --model "$WORLD/model" --data "$WORLD/data" --all-users --out one --index one
    mkdir other
    exits 0 "$LATENTR3" eval --model popularity --data "$WORLD/data" --results one --trec-run other/one --trec-qrels 1/../one2
    cmp -s one other/one && false
    [ ! -e one2 ] || [ -d 1 ]
}

@test "recommend: a guide that has nothing left gives an empty list, no error" {
    "$LATENTR3" synth --items 60 --rows 400 --out "$TMP/w" 2>/dev/null
    "$LATENTR3" sasrec --data "$TMP/w/data" --out "$TMP/guide" --width 16 --epochs 1 --warmup 1 2>/dev/null
    ids=() n=$(wc -l <"$TMP/w/data/info.txt")
    for ((i = 0; i < n; i++)); do ids+=(--history-id "$i"); done
    for i in 1 2 3; do "$LATENTR3" catalog add --data "$TMP/w/data" --id "new$i" --title "New $i" 2>/dev/null; done
    exits 0 env LATENTR3_LOG=error "$LATENTR3" recommend --model "$TMP/w/model" --data "$TMP/w/data" --dtype f32 --guidance "$TMP/guide" --exclude-seen "${ids[@]}" --json
    [ "$(jq -c .items <<<"$output")" = '[]' ]
}
