#!/usr/bin/env bats
# Items that answer by an index text of their own ("<a_3><b_7>"), whose pieces are tokens.

load common

# A world whose items but the first have index texts; two of them the same. A model that learnt a little.
setup_file() {
    export WORLD=$BATS_FILE_TMPDIR/world LATENTR3_LOG=error
    latentr3=${LATENTR3:-$BATS_TEST_DIRNAME/../../build/latentr3}
    "$latentr3" synth --items 60 --rows 900 --out "$WORLD"
    awk -F'\t' 'NR > 1 {i = $2 == 30 ? 31 : $2; printf "%s\t<a_%d><b_%d>\n", $2, i / 8, i % 8}' "$WORLD/data/info.txt" >"$WORLD/texts"
    "$latentr3" catalog text --data "$WORLD/data" --file "$WORLD/texts"
    "$latentr3" sft --model "$WORLD/model" --data "$WORLD/data" --out "$WORLD/sft" --item-text --max-steps 4 --batch 16 --dtype f32
}

use() { "$LATENTR3" "$1" --model "$WORLD/sft" --data "$WORLD/data" --dtype f32 "${@:2}"; }

@test "sft --item-text: pieces are tokens in the order of info.txt, <|Thought|> is the last id, the model says so" {
    jq -c '.latentr3 | [.item_text, .history_titles]' "$WORLD/sft/config.json" | grep -qx '\[true,false\]'
    jq -r '.added_tokens[] | select(.content | test("^<[ab]_")) | "\(.content) \(.special) \(.normalized)"' "$WORLD/sft/tokenizer.json" >"$TMP/tokens"
    cut -f3 "$WORLD/data/info.txt" | grep -o '<[^<>]*>' | awk '!seen[$0]++ {print $0, "false", "false"}' | cmp - "$TMP/tokens"
    jq -e '.added_tokens | (max_by(.id).content == "<|Thought|>") and ([.[].id] | . == sort)' "$WORLD/sft/tokenizer.json"
    size=$(jq '[.added_tokens[].id] | max + 1' "$WORLD/sft/tokenizer.json")
    [ "$(jq .vocab_size "$WORLD/sft/config.json")" -eq "$size" ]
    # The answer is a quote, two tokens, the rest of the answer as it was.
    [ "$(echo '<a_1><b_2>' | "$LATENTR3" tokenize --model "$WORLD/sft" | jq length)" -eq 2 ]
}

@test "beams as wide as the catalogue give every item once, with the score that score gives" {
    leaves=$(($(wc -l <"$WORLD/data/info.txt") - 1)) # two items share a text
    use eval --beams "$leaves" --max-rows 6 --results "$TMP/results" --json >"$TMP/json"
    jq -es --argjson n "$leaves" 'all(.[]; (.items | length) == $n and ([.items[].id] | unique | length) == $n)' "$TMP/results"
    use score --max-rows 6 --json >"$TMP/score"
    ids=$(tail -n +2 "$WORLD/data/test.csv" | head -6 | sed -E 's/.*\]",([0-9]+),"\[.*\]",[^"]*,"\[[0-9., ]*\]",.*/\1/')
    jq -es --slurpfile s "$TMP/score" --arg ids "$ids" '($ids | split("\n")) as $ids | [.[] | .row as $row | $s[0].rows[$row] as $r |
        .items[] | select(.id == (if $ids[$row] == "31" then "30" else $ids[$row] end)).score - $r.logprob / $r.tokens | fabs] |
        length == 6 and max < 1e-4' "$TMP/results"
    use recommend --history "$(head -1 "$WORLD/data/info.txt" | cut -f1)" --history "$(sed -n 9p "$WORLD/data/info.txt" | cut -f1)" \
        -k "$leaves" --beams "$leaves" --json >"$TMP/json"
    jq -e --argjson n "$leaves" '(.items | length) == $n and (.items | map(select(.id == "30" or .id == "31")) | length) == 1' "$TMP/json"
    jq -r '.items[] | "\(.title)\t\(.id)"' "$TMP/json" | sort >"$TMP/listed"
    cut -f1,2 "$WORLD/data/info.txt" | grep -vP '\t31$' | sort | cmp - "$TMP/listed"
}

@test "a target that shares its index text counts under the title, and as an item under the first" {
    leaves=$(($(wc -l <"$WORLD/data/info.txt") - 1))
    title=$(grep -P '\t31\t' "$WORLD/data/info.txt" | cut -f1)
    use eval --beams "$leaves" --results "$TMP/results" --json >"$TMP/json"
    jq -es --arg t "$title" 'map(select(.target == $t)) | all(.[]; .rank != null and .rank_item == null) and length > 0' "$TMP/results"
    jq -e '.title."HR@20" >= .item."HR@20"' "$TMP/json"
}

@test "items of one title that differ in their index texts: a baseline guides to all; what was seen is no place by title" {
    # A third of the items under titles of others.
    cp -r "$WORLD/data" "$TMP/data"
    awk -F'\t' -v OFS='\t' 'NR > 1 && NR % 3 == 0 {$1 = before} {before = $1; print}' "$WORLD/data/info.txt" >"$TMP/data/info.txt"
    rm "$TMP/data/dataset.json"
    leaves=$(($(wc -l <"$TMP/data/info.txt") - 1))
    of() { "$LATENTR3" "$1" --model "$WORLD/sft" --data "$TMP/data" --category book --dtype f32 "${@:2}"; }
    for guide in popularity item-knn; do
        of recommend --history-id 3 --history-id 9 --guidance $guide -k "$leaves" --beams "$leaves" --json >"$TMP/json"
        jq -e --argjson n "$leaves" '(.items | length) == $n' "$TMP/json"
    done
    for decode in trie ground; do
        of eval --exclude-seen --beams 20 --decode $decode --save "$TMP/$decode" --max-rows 60 >"$TMP/said"
        jq -es '[.[] | select(.rank != null)] | length > 0' "$TMP/$decode/results-test.jsonl"
        # A target whose title stands in the history is a miss by title, as for the baselines beside it.
        python3 - "$TMP/data/test.csv" "$TMP/$decode/results-test.jsonl" "$TMP/data/info.txt" <<'PY'
import ast, csv, json, sys
title = {line.rstrip("\n").split("\t")[1]: line.split("\t")[0] for line in open(sys.argv[3])}
rows = list(csv.DictReader(open(sys.argv[1])))[:60]
misses = 0
for row, line in zip(rows, map(json.loads, open(sys.argv[2]))):
    if title[row["item_id"]] in {title[str(i)] for i in ast.literal_eval(row["history_item_id"])}:
        assert line["rank"] is None, line
        misses += 1
assert misses > 0
PY
    done
}

@test "an item that was seen and is removed since: what answers as it did stays out, what only bears its title does not" {
    cp -r "$WORLD/data" "$TMP/data"
    "$LATENTR3" catalog add --data "$TMP/data" --id 900 --title "$(grep -P '\t30\t' "$WORLD/data/info.txt" | cut -f1)"
    printf '900\t<a_7><b_7>\n' >"$TMP/text"
    "$LATENTR3" catalog text --data "$TMP/data" --file "$TMP/text"
    listed() {
        "$LATENTR3" recommend --model "$WORLD/sft" --data "$TMP/data" --category book --dtype f32 --history-id 30 --exclude-seen -k 100 --beams 100 \
            "$@" --json | jq -c '[.items[].id | tostring] | sort' >"$TMP/ids"
        jq -e '(index("31") | not) and (index("900") | type) == "number"' "$TMP/ids"
    }
    listed --index "$TMP/index"
    cp "$TMP/ids" "$TMP/before"
    "$LATENTR3" catalog remove --data "$TMP/data" --id 30
    listed
    cmp "$TMP/ids" "$TMP/before"
    listed --index "$TMP/index" # which was the one before
    listed --index "$TMP/index"
    cmp "$TMP/ids" "$TMP/before"
}

@test "rl, and sft again, follow what the model says" {
    exits 0 "$LATENTR3" rl --model "$WORLD/sft" --data "$WORLD/data" --out "$TMP/rl" --max-steps 1 --batch 4 --eval-rows 4
    cmp <(jq .latentr3 "$WORLD/sft/config.json") <(jq .latentr3 "$TMP/rl/config.json")
    cmp "$WORLD/sft/tokenizer.json" "$TMP/rl/tokenizer.json"
    # More pieces later: they come before <|Thought|>, which moves behind them; the other ids stay.
    cp -r "$WORLD/data" "$TMP/data"
    printf 'New one\t900\t<a_3><z_1>\nNew two\t901\t<a_3><z_2>\n' >"$TMP/items"
    "$LATENTR3" catalog add --data "$TMP/data" --file "$TMP/items"
    exits 0 env LATENTR3_LOG=warn "$LATENTR3" score --model "$WORLD/sft" --data "$TMP/data" --max-rows 2
    says '*2 pieces of index texts (<z_1>, ...) are no tokens of*read as plain text*'
    "$LATENTR3" sft --model "$WORLD/sft" --data "$TMP/data" --out "$TMP/more" --max-steps 1 --batch 4
    last=$(jq '.added_tokens | max_by(.id).id' "$WORLD/sft/tokenizer.json")
    jq -c --argjson last "$last" '[.added_tokens[] | select(.id >= $last) | [.id - $last, .content]]' "$TMP/more/tokenizer.json" |
        grep -qxF '[[0,"<z_1>"],[1,"<z_2>"],[2,"<|Thought|>"]]'
    cmp <(jq --argjson last "$last" '.added_tokens | map(select(.id < $last))' "$WORLD/sft/tokenizer.json") \
        <(jq --argjson last "$last" '.added_tokens | map(select(.id < $last))' "$TMP/more/tokenizer.json")
    "$LATENTR3" recommend --model "$TMP/more" --data "$TMP/data" --history x --beams 59 -k 59 --json | jq -e 'any(.items[]; .title == "New two")'
}

@test "--history-text title: other prompts, the same answers" {
    exits 0 "$LATENTR3" sft --model "$WORLD/model" --data "$WORLD/data" --out "$TMP/title" --item-text --history-text title --max-steps 1 --batch 4
    jq -e '.latentr3.history_titles' "$TMP/title/config.json"
    "$LATENTR3" score --model "$TMP/title" --data "$WORLD/data" --max-rows 4 --json | jq -c '[.rows[].tokens]' >"$TMP/a"
    use score --max-rows 4 --json | jq -c '[.rows[].tokens]' | cmp - "$TMP/a"
}

@test "index texts: refusals" {
    cut -f1,2 "$WORLD/data/info.txt" >"$TMP/info"
    cp -r "$WORLD/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    cp "$TMP/info" "$TMP/data/info.txt"
    refuses 3 '*: sft --item-text answers with index texts, and no item of info.txt has one*' "$LATENTR3" sft --model "$WORLD/model" --data "$TMP/data" \
        --category book --out "$TMP/out" --item-text
    refuses 3 '*/sft answers with index texts*' "$LATENTR3" eval --model "$WORLD/sft" --data "$TMP/data" --category book
    refuses 2 '*--history-text says nothing without --item-text' "$LATENTR3" sft --model "$WORLD/model" --data "$WORLD/data" \
        --out "$TMP/out" --history-text title
    refuses 2 '*a frozen backbone keeps its embedding: the 16 new tokens*' "$LATENTR3" sft --model "$WORLD/model" --data "$WORLD/data" \
        --out "$TMP/out" --item-text --lora-rank 4
    refuses 2 "*eval has no option 'item-text'*" "$LATENTR3" eval --model "$WORLD/sft" --data "$WORLD/data" --item-text
}
