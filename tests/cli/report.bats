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
    "$LATENTR3" eval --model "$1" --threads 1 --dtype f32 --max-rows 40 --save "$2" --json "${@:3}" --data "${DATA:-$WORLD/world/data}"
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

@test "eval --save: an earlier evaluation stands until the next one is whole" {
    anew() { "$LATENTR3" eval --model "$WORLD/sft" --data "$WORLD/world/data" --threads 1 --dtype f32 --save "$TMP/kept" "$@"; }
    whole() { LATENTR3_LOG=error exits 0 "$LATENTR3" report "$TMP/kept" --out "$TMP/page"; }
    evaluate "$WORLD/sft" "$TMP/kept" >/dev/null
    cp -r "$TMP/kept" "$TMP/before"
    LATENTR3_LOG=error refuses 2 '*one row is not enough*' anew --max-rows 1 --thought-test
    diff -r "$TMP/before" "$TMP/kept"
    # Killed when its lists are there, and the thought test is not.
    anew --max-rows 100 --thought-test >/dev/null 3>&- &
    for _ in {1..3000}; do
        [ -e "$TMP/kept/results-test.jsonl.part" ] && break
        sleep 0.01
    done
    kill -9 "$(pgrep -P $! || echo $!)"
    wait $! || true
    [ -e "$TMP/kept/results-test.jsonl.part" ]
    cmp "$TMP/before/results-test.jsonl" "$TMP/kept/results-test.jsonl"
    whole
    anew --max-rows 39 >/dev/null
    [ ! -e "$TMP/kept/results-test.jsonl.part" ]
    [ "$(wc -l <"$TMP/kept/results-test.jsonl")" -eq 39 ]
    whole
}

@test "eval: of one user there is no interval, printed or kept" {
    cp -r "$WORLD/world/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    user=$(tail -n 1 "$TMP/data/test.csv" | cut -d, -f1)
    awk -F, -v u="$user" 'NR == 1 || $1 == u' "$WORLD/world/data/test.csv" >"$TMP/data/test.csv"
    DATA=$TMP/data evaluate "$WORLD/sft" "$TMP/kept" --thought-test >"$TMP/json"
    jq -e '.rows > 1 and .users == 1 and ([.. | objects | select(has("interval"))] | length) == 0' "$TMP/json"
    "$LATENTR3" eval --model "$WORLD/sft" --data "$TMP/data" --threads 1 --dtype f32 --thought-test >"$TMP/printed"
    grep -q '^another row' "$TMP/printed"
    not grep -qF ' .. ' "$TMP/printed"
    cat >"$TMP/one.yaml" <<END
baseline: popularity
steps:
  a: {run: eval, row: popularity, model: popularity, data: "$TMP/data"}
  b: {run: eval, row: item-kNN, model: item-knn, data: "$TMP/data"}
END
    "$LATENTR3" experiment "$TMP/one.yaml" --out "$TMP/runs" >"$TMP/table"
    grep -qE '^\| item-kNN \| [+-][0-9.]+(, [+-][0-9]+ %)? \|' "$TMP/table"
    not grep -qE '\[|, p ' "$TMP/table"
    grep -qE '^"item-kNN",HR@5,1,[0-9.e-]+,,1,[0-9.e-]+,[0-9.e-]+,,,$' "$TMP/runs/table.csv"
    not grep -qF '*' <(grep '&' "$TMP/runs/table.tex")
    jq -e '[.. | objects | select(has("p") or has("interval"))] == []' "$TMP/runs/results.json"
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
    # However short.
    [ "$(xmllint --xpath "string(//tr[th='evaluation: time a user']/td[2])" "$TMP/page")" = "$(printf '%.3g s' "$(jq .seconds_per_user "$TMP/knn.json")")" ]
    # The bars of the thought's attention are shares of one whole: together as high as 1 would be, of which the axis shows a part.
    figure="//figure[starts-with(figcaption, 'attention')]"
    top=$(xmllint --xpath "string(($figure//text[@text-anchor='end'])[last()])" "$TMP/page")
    xmllint --xpath "sum($figure//rect/@height) * $top div ($figure//line/@y1 - ($figure//line)[last()]/@y1)" "$TMP/page" >"$TMP/sum"
    jq -e '. - 1 | fabs < .01' "$TMP/sum"
    [ "$(xmllint --xpath 'count(//figure)' "$TMP/page")" -ge 8 ]
    [ "$(xmllint --xpath 'count(//article)' "$TMP/page")" -eq 12 ]
    # Training and evaluation each name the files that they read.
    hash_at() { xmllint --xpath "string(//h3[.='$1']/following-sibling::div[1]//tr[th='$2']/td[1])" "$TMP/page"; }
    [ "$(hash_at 'Files of the training' train.csv)" = "$(jq -r '.data["train.csv"]' "$TMP/sft/metrics.json")" ]
    for file in test.csv info.txt; do
        [ "$(hash_at 'Files of the evaluation' $file)" = "$(jq -r --arg f $file '.data[$f]' "$TMP/sft/eval-test.json")" ]
    done
    [ "$(hash_at 'Files of the evaluation' model_hash)" = "$(jq -r .model_hash "$TMP/sft/eval-test.json")" ]
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
    ended() { xmllint --xpath "string(//tr[th='came to its end']/td)" "$TMP/page"; }
    [ "$(ended)" = yes ]
    jq '.interrupted = true' "$WORLD/sft/metrics.json" >"$TMP/cut/metrics.json"
    report "$TMP/page" "$TMP/cut"
    [ "$(ended)" = 'stopped before its end' ]
    jq 'del(.steps)' "$WORLD/sft/metrics.json" >"$TMP/cut/metrics.json"
    report "$TMP/page" "$TMP/cut"
    [[ $(ended) = 'no: it was killed'* ]]
    cp "$WORLD/sft/metrics.json" "$TMP/cut/"
    report "$TMP/page" "$TMP/cut"
    [ "$(xmllint --xpath "count(//section[h2='Metrics'])" "$TMP/page")" -eq 0 ]
    evaluate popularity "$TMP/popular" --split valid >"$TMP/json"
    report "$TMP/page" "$TMP/popular" --split valid
    [ "$(xmllint --xpath "count(//section[h2='Training'])" "$TMP/page")" -eq 0 ]
    [ "$(xmllint --xpath "count(//section[h2='Metrics'])" "$TMP/page")" -eq 1 ]
    refuses 3 "*neither a training run*nor an evaluation (eval-test.json*" report "$TMP/page" "$TMP/popular"
}

@test "report: a list is of titles, and bold is the target at its place" {
    mkdir "$TMP/data"
    for file in train.csv valid.csv test.csv info.txt; do # titles that some items share
        sed -E 's/([A-Z][a-z]{3} [A-Z])[a-z]{3}/\1/g' "$WORLD/world/data/$file" >"$TMP/data/$file"
    done
    "$LATENTR3" sasrec --data "$TMP/data" --out "$TMP/run" --width 8 --layers 1 --epochs 2 --threads 1
    "$LATENTR3" eval --model "$TMP/run" --data "$TMP/data" --threads 1 --save "$TMP/run" --json >"$TMP/json"
    report "$TMP/page" "$TMP/run"
    hits=0
    for i in $(seq 12); do
        row=$(jq ".samples[$i - 1].row" "$TMP/run/eval-test.json")
        line=$(sed -n "$((row + 1))p" "$TMP/run/results-test.jsonl")
        list="(//article)[$i]//div[h3='run']//li"
        xmllint --xpath "$list/bdi/text()" "$TMP/page" | diff - <(jq -r 'reduce .items[].title as $t ([]; if index($t) then . else . + [$t] end) | .[]' <<<"$line")
        [ "$(xmllint --xpath "count(${list}[@class])" "$TMP/page")" -eq "$(jq '.rank // 0 | if . > 0 then 1 else 0 end' <<<"$line")" ]
        rank=$(jq '.rank // 0' <<<"$line")
        [ "$rank" -gt 0 ] || continue
        [ "$(xmllint --xpath "string((${list})[$rank][@class='hit'])" "$TMP/page")" = "$(jq -r .target <<<"$line")" ]
        # An item's place is not its title's.
        jq -e '.items[.rank - 1].title == .target' <<<"$line" || hits=$((hits + 1))
    done
    [ "$hits" -gt 0 ]
}

@test "report: titles and names with markup in them are text" {
    mkdir "$TMP/data"
    for file in train.csv valid.csv test.csv info.txt; do
        sed 's/Luvi /<script>\&amp;<!--/g' "$WORLD/world/data/$file" >"$TMP/data/$file"
    done
    evil="$TMP/a_<b>\"&'\$(id)"
    "$LATENTR3" eval --model popularity --data "$TMP/data" --max-rows 20 --save "$evil" --json >"$TMP/json" || cat "$TMP/json"
    report "$TMP/page" "$evil"
    xmllint --noout "$TMP/page"
    not grep -qi '<script' "$TMP/page"
    for place in //h1 //li //table/thead//th[2]; do
        [ "$(xmllint --xpath "string($place)" "$TMP/page")" = "$(basename "$evil")" ]
    done
    grep -q 'a_<wbr/>&lt;b&gt;' "$TMP/page" # where a narrow table breaks it
    jq -r '[.samples[].history[]] | unique | map(select(contains("<script>"))) | .[0]' "$evil/eval-test.json" >"$TMP/title"
    grep -q '<script>&amp;<!--' "$TMP/title"
    [ "$(xmllint --xpath "count(//article//li/bdi[text() = '$(cat "$TMP/title")'])" "$TMP/page")" -gt 0 ]
}

@test "report: where a model's folder keeps the evaluation of another one, its label says so" {
    cp -r "$WORLD/sft" "$TMP/run"
    evaluate popularity "$TMP/run" >"$TMP/json"
    evaluate popularity "$TMP/alone" >"$TMP/json"
    report "$TMP/page" "$TMP/run" "$TMP/alone"
    for place in //h1 //title; do
        [ "$(xmllint --xpath "string($place)" "$TMP/page" | tr -d '\n')" = "run (metrics of popularity), alone" ]
    done
    [ "$(xmllint --xpath "string(//section[h2='Metrics']//tbody//th)" "$TMP/page")" = "run (metrics of popularity)" ]
    evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    report "$TMP/page" "$TMP/run"
    [ "$(xmllint --xpath "string(//h1)" "$TMP/page")" = run ]
}

@test "report: the ticks of a narrow curve differ" {
    cp -r "$WORLD/sft" "$TMP/run"
    for unit in 1e-6 1e-9 3e3; do
        jq -c --argjson unit "$unit" 'if .event == "validation" then .loss = 5.148 + .step * $unit else . end' "$WORLD/sft/log.jsonl" >"$TMP/run/log.jsonl"
        report "$TMP/page" "$TMP/run"
        xmllint --xpath "//figure[figcaption='validation loss']//text[@text-anchor='end' and @x < 100]/text()" "$TMP/page" >"$TMP/ticks"
        [ "$(wc -l <"$TMP/ticks")" -ge 3 ]
        [ -z "$(sort "$TMP/ticks" | uniq -d)" ]
    done
}

@test "report: where all is zero the bars have no height" {
    "$LATENTR3" eval --model repeat-last --data "$WORLD/world/data" --exclude-seen --save "$TMP/none" >/dev/null
    report "$TMP/page" "$TMP/none"
    figure="//figure[starts-with(figcaption, 'by title')]"
    [ "$(xmllint --xpath "string($figure//text[@text-anchor='end'][last()])" "$TMP/page")" = 1 ]
    [ -z "$(xmllint --xpath "$figure//rect/@height" "$TMP/page" | tr -d ' \n' | sed 's/height="0.0"//g')" ]
}

@test "report: a chart has one unit" {
    "$LATENTR3" sasrec --data "$WORLD/world/data" --out "$TMP/sas" --epochs 2 --width 8 --layers 1 --warmup 1 --threads 1
    "$LATENTR3" sft --model "$TMP/sas/" --data "$WORLD/world/data/" --out "$TMP/more" --epochs 1 --max-rows 40 --batch 8 --warmup 1 --threads 1
    report "$TMP/page" "$WORLD/sft" "$TMP/sas" "$TMP/more"
    lines_of() { xmllint --xpath "//figure[figcaption='$1']//polyline/@class" "$TMP/page" | tr -d '\n'; }
    [ "$(lines_of 'validation loss')" = ' class="s r0"' ]
    [ "$(lines_of 'validation: 1 - NDCG@10')" = ' class="s r1"' ]
    [ "$(lines_of loss)" = ' class="s r0"' ]
    [ "$(lines_of 'loss of an item')" = ' class="s r1" class="s r2"' ]
    [ "$(lines_of 'validation loss of an item')" = ' class="s r2"' ]
    grep -Fx 'base_model: "sas"' "$TMP/more/README.md" # not the folder that its path names
}

@test "report: a log beyond what is read takes its curves away, not the page" {
    cp -r "$WORLD/sft" "$TMP/run"
    truncate -s 129M "$TMP/run/log.jsonl"
    exits 0 report "$TMP/page" "$TMP/run"
    says "*run/log.jsonl: over 128 MiB, so its curves are left out"
    [ "$(xmllint --xpath "count(//section[h2='Training'])" "$TMP/page")" -eq 0 ]
    [ "$(xmllint --xpath "string(//tr[starts-with(th, 'rows')]/td)" "$TMP/page")" = 96 ]
}

@test "report: lists shorter than 5 have gains too" {
    evaluate "$WORLD/sft" "$TMP/a" --beams 3 >"$TMP/json"
    evaluate "$WORLD/sft" "$TMP/b" --beams 3 --length-penalty 0 --against "$TMP/a/results-test.jsonl" >"$TMP/json"
    report "$TMP/page" "$TMP/a" "$TMP/b"
    [ "$(xmllint --xpath "(//section[h2='Gains']//table)[1]//tr/td[1]/text()" "$TMP/page" | tr '\n' ' ')" = "HR@1 HR@3 NDCG@1 NDCG@3 " ]
    values "$TMP/page" "(//section[h2='Gains']//table)[1]" >"$TMP/shown"
    jq '.title as $t | .against as $a | ("HR@1", "HR@3", "NDCG@1", "NDCG@3") | $a[.].other, $t[.], $a[.].gain, $a[.].interval[]' "$TMP/json" >"$TMP/expected"
    same_numbers "$TMP/shown" "$TMP/expected"
    values "$TMP/page" "(//section[h2='Gains']//table)[2]//tr[td='unpopular']" >"$TMP/shown"
    jq '.against.unpopular | .rows, (.["HR@3", "NDCG@3"] | .gain, .interval[])' "$TMP/json" >"$TMP/expected"
    same_numbers "$TMP/shown" "$TMP/expected"
}

# wide FILE: by how many pixels a page is wider than a phone.
wide() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null || skip "no chromium and chromedriver"
    "${LATENTR3_PYTHON:-false}" -c 'import selenium' 2>/dev/null || skip "LATENTR3_PYTHON names no Python with selenium"
    "$LATENTR3_PYTHON" - "$1" <<'PY'
import shutil, sys
from selenium import webdriver
options = webdriver.ChromeOptions()
for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
    options.add_argument(argument)
driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
driver.get("file://" + sys.argv[1])
print(driver.execute_script("return document.scrollingElement.scrollWidth - 360"))
driver.quit()
PY
}

@test "report: names, titles and users that cannot break are no wider than a phone" {
    long=$(printf 'x%.0s' $(seq 120))
    mkdir "$TMP/data"
    for file in train.csv valid.csv test.csv info.txt; do
        sed "s/Luvi /$long/g" "$WORLD/world/data/$file" >"$TMP/data/$file"
    done
    for file in train.csv valid.csv test.csv; do sed -i "2,\$s/^/$long/" "$TMP/data/$file"; done
    "$LATENTR3" eval --model popularity --data "$TMP/data" --max-rows 20 --save "$TMP/$long" --json >"$TMP/json"
    cp -r "$TMP/$long" "$TMP/b$long"
    report "$TMP/page.html" "$TMP/$long" "$TMP/b$long"
    [ "$(xmllint --xpath "count(//article[contains(., '$long')])" "$TMP/page.html")" -gt 0 ]
    wide "$TMP/page.html" >"$TMP/wide"
    [ "$(cat "$TMP/wide")" -le 0 ]
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

@test "report and eval --against: what was ranked among other items is not compared, and another train.csv is named" {
    other() { "$LATENTR3" eval --model popularity --data "$TMP/data" --max-rows 40 --category item --json "$@"; }
    cp -r "$WORLD/world/data" "$TMP/data"
    evaluate popularity "$TMP/a" >"$TMP/json"
    "$LATENTR3" catalog remove --data "$TMP/data" --id 3
    other --save "$TMP/b" >"$TMP/json"
    refuses 3 '*b was measured with another catalogue than a' report "$TMP/page" "$TMP/a" "$TMP/b"
    refuses 3 '*results-test.jsonl: line 1: ranked among the items of another catalogue' other --against "$TMP/a/results-test.jsonl"
    refuses 3 '*results-test.jsonl: line 1: ranked among all items, and here without those of the history [(]--exclude-seen)' \
        other --exclude-seen --against "$TMP/b/results-test.jsonl"
    other --exclude-seen --results "$TMP/unseen" >"$TMP/json"
    refuses 3 '*unseen: line 1: ranked among the items without those of the history, unlike here*' other --against "$TMP/unseen"
    other --exclude-seen --against "$TMP/unseen" >"$TMP/json"
    # Index texts are no other items.
    cp -r "$WORLD/world/data" "$TMP/texts"
    printf '3\tthe third\n' >"$TMP/text"
    "$LATENTR3" catalog text --data "$TMP/texts" --file "$TMP/text"
    "$LATENTR3" eval --model popularity --data "$TMP/texts" --max-rows 40 --against "$TMP/a/results-test.jsonl" --json >"$TMP/json"
    # Fewer train rows.
    cp -r "$WORLD/world/data" "$TMP/few"
    rm "$TMP/few/dataset.json"
    sed -i '$d' "$TMP/few/train.csv"
    "$LATENTR3" eval --model popularity --data "$TMP/few" --max-rows 40 --category item --save "$TMP/c" --json >"$TMP/json"
    exits 0 report "$TMP/page" "$TMP/a" "$TMP/c"
    says '*c was measured with another train.csv than a'
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
    grep -qE '^6 steps on 96 rows over all passes; loss, nats a token, on the validation rows' "$WORLD/sft/README.md"
    grep -q '^    latentr3 synth .*--items 60 --rows 1200' "$WORLD/world/model/README.md"
    "$LATENTR3" convert --model "$WORLD/sft" --out "$TMP/converted"
    grep -q "^    latentr3 convert --model $WORLD/sft" "$TMP/converted/README.md"
    cp -r "$WORLD/sft" "$TMP/a: #b"
    evaluate "$TMP/a: #b" "$TMP/a: #b" >"$TMP/json"
    grep -qF "| this model | $(jq '.title["HR@1"] | . * 10000 | round / 10000' "$TMP/json" | xargs printf %.4f) (" "$TMP/a: #b/README.md"
    "$LATENTR3" sasrec --data "$WORLD/world/data" --out "$TMP/sasrec" --max-steps 1 --width 8 --layers 1
    grep -q '^library_name: latentr3' "$TMP/sasrec/README.md"
    # The command runs as it stands there, and makes the same model (on as many threads).
    made=$(sed -n 's/^    latentr3 \(sasrec .*\)/\1/p' "$TMP/sasrec/README.md")
    eval "\"$LATENTR3\" $made --out \"$TMP/again\""
    cmp "$TMP/sasrec/model.safetensors" "$TMP/again/model.safetensors"
    card "$TMP/a: #b/README.md" >"$TMP/card"
    jq -e --slurpfile e "$TMP/json" '.base_model == "model" and .library_name == "transformers" and .["model-index"][0].name == "a: #b"
        and (.tags | index("recommendation")) and ([.results | to_entries[] | select(.key | startswith("test HR@10 (--max-rows ")) | .value][0] - $e[0].title["HR@10"] | fabs) < 1e-5' "$TMP/card"
}

@test "model card: one that cannot be written does not take the evaluation with it" {
    cp -r "$WORLD/sft" "$TMP/run"
    printf '{' >"$TMP/run/eval-valid.json"
    exits 0 evaluate popularity "$TMP/run"
    says '*the model card was not written: *eval-valid.json*'
    jq -e '.rows == 40' "$TMP/run/eval-test.json"
}

@test "model card: a metric below one in ten thousand is a number in YAML too" {
    cp -r "$WORLD/sft" "$TMP/run"
    evaluate "$TMP/run" "$TMP/run" --split valid >"$TMP/json"
    jq '.title["HR@1"] = 5e-5' "$TMP/run/eval-valid.json" >"$TMP/small" && mv "$TMP/small" "$TMP/run/eval-valid.json"
    evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    grep -qxF '      value: 0.000050000' "$TMP/run/README.md"
    not grep -qE '^ *value: .*e' "$TMP/run/README.md"
}

@test "model card: what was ranked among, and how, is named" {
    "$LATENTR3" sasrec --data "$WORLD/world/data" --out "$TMP/run" --max-steps 1 --width 8 --layers 1
    evaluate "$TMP/run" "$TMP/run" --protocol popularity-100 >"$TMP/json"
    grep -qF 'type: "HR@10 (popularity-100, --max-rows 40, --dtype f32)"' "$TMP/run/README.md"
    grep -qF 'ranked among drawn candidates (popularity-100)' "$TMP/run/README.md"
    not grep -qF 'type: "HR@10"' "$TMP/run/README.md"
    cp -r "$WORLD/sft" "$TMP/sft"
    evaluate "$TMP/sft" "$TMP/sft" --exclude-seen --guidance item-knn --shuffle-history >"$TMP/json"
    grep -qF 'type: "HR@10 (--max-rows 40, --dtype f32, --guidance item-knn, --exclude-seen, --shuffle-history)"' "$TMP/sft/README.md"
    grep -qF 'ranked among all items but those of the history; hits by title, with 95 % intervals. Measured with --max-rows 40, --dtype f32, --guidance' "$TMP/sft/README.md"
    report "$TMP/page" "$TMP/sft"
    grep -qF 'ranked among all items but those of the history. By title' "$TMP/page"
}

@test "model card: every setting that moves the numbers is named, and no other" {
    cp -r "$WORLD/sft" "$TMP/run"
    "$LATENTR3" sasrec --data "$WORLD/world/data" --out "$TMP/the-guide" --max-steps 1 --width 8 --layers 1
    measured() { # AS OPTION...
        "$LATENTR3" eval --model "$TMP/run" --data "${DATA:-$WORLD/world/data}" --save "$TMP/run" --threads 1 --json "${@:2}" >"$TMP/json"
        grep -qF "with 95 % intervals.$1" "$TMP/run/README.md" || {
            grep -F 'with 95 % intervals.' "$TMP/run/README.md"
            return 1
        }
    }
    measured ' Measured with --sample 20, --thoughts 0.' --sample 20 --thoughts 0
    grep -qF 'type: "HR@10 (--sample 20, --thoughts 0)"' "$TMP/run/README.md"
    measured ' Measured with --sample 20, --beams 4, --length-penalty 0.0, --ghost-tokens skip, --guidance the-guide, --guidance-weight 0.25.' \
        --sample 20 --beams 4 --length-penalty 0 --ghost-tokens skip --guidance "$TMP/the-guide" --guidance-weight 0.25
    measured ' Measured with --sample 20, --seed 7, --decode ground.' --sample 20 --seed 7 --decode ground
    # Another prompt, whoever said so.
    cp -r "$WORLD/world/data" "$TMP/data"
    jq '.category = "old film"' "$WORLD/world/data/dataset.json" >"$TMP/data/dataset.json"
    DATA="$TMP/data" measured " Measured with --sample 20, --category 'old film'." --sample 20 --bos auto
    # Defaults, what the model was saved with, and what moves nothing.
    measured '' --thoughts 1 --thought ratt --thought-window 0 --answer-sees prompt --bos no --beams 10 --decode trie --seed 42 \
        --device cpu --batch 7 --index "$TMP/index" --strict --weights-memory 1
    not grep -q 'Measured with' "$TMP/run/README.md"
    grep -qF 'type: "HR@10"' "$TMP/run/README.md"
    # An evaluation that an earlier version saved.
    jq 'del(.settings)' "$TMP/run/eval-test.json" >"$TMP/json" && mv "$TMP/json" "$TMP/run/eval-valid.json"
    measured ''
    grep -qF ' Measured with options that an earlier version did not tell.' "$TMP/run/README.md"
}

@test "model card: rows of other data than it learnt from are told of, with their hashes" {
    hash_of() { jq -r ".data[\"$1\"]" "$TMP/run/eval-test.json"; }
    cp -r "$WORLD/sft" "$TMP/run"
    cp -r "$WORLD/world/data" "$TMP/data"
    DATA="$TMP/data" evaluate "$TMP/run" "$TMP/run" >"$TMP/json" # the same, elsewhere
    not grep -qE 'the data it learnt from:|other data' "$TMP/run/README.md"
    "$LATENTR3" synth --out "$TMP/other" --items 60 --rows 1200 --seed 7
    DATA="$TMP/other/data" evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    [ "$(hash_of train.csv)" != "$(jq -r '.data["train.csv"]' "$WORLD/sft/metrics.json")" ]
    grep -qF "These are not rows of the data it learnt from: train.csv there is $(hash_of train.csv), test.csv is $(hash_of test.csv)." "$TMP/run/README.md"
    grep -qF 'type: "HR@10 (other data than it learnt from, --max-rows 40, --dtype f32)"' "$TMP/run/README.md"
    rm "$TMP/data/train.csv"
    DATA="$TMP/data" evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    grep -qF "the data it learnt from: train.csv there is missing, test.csv is $(hash_of test.csv)." "$TMP/run/README.md"
}

@test "model card: a path that is no UTF-8 stands in it with replacement characters" {
    cp -r "$WORLD/world/model" "$TMP/"$'m\xffdel'
    cp -r "$WORLD/world/data" "$TMP/"$'d\xe2\x82ta'
    "$LATENTR3" sft --model "$TMP/"$'m\xffdel' --data "$TMP/"$'d\xe2\x82ta' --out "$TMP/"$'r\xff' --threads 1 --batch 8 --valid-rows 5 --max-steps 1
    mv "$TMP/"$'r\xff' "$TMP/run"
    jq -e --arg model "$TMP/m"$'\ufffd'"del" --arg data "$TMP/d"$'\ufffd'"ta" '.configuration | .model == $model and .data == $data' "$TMP/run/metrics.json"
    grep -qF "    latentr3 sft --model '$TMP/m"$'\ufffd'"del' --data '$TMP/d"$'\ufffd'"ta'" "$TMP/run/README.md"
    grep -qF 'base_model: "m'$'\ufffd''del"' "$TMP/run/README.md"
    iconv -f utf-8 -t utf-8 "$TMP/run/README.md" >"$TMP/same"
}

@test "model card: a SASRec is one whichever command trained it last" {
    "$LATENTR3" sasrec --data "$WORLD/world/data" --out "$TMP/sas" --max-steps 1 --width 8 --layers 1 --thoughts 1 --threads 1
    "$LATENTR3" rl --model "$TMP/sas" --data "$WORLD/world/data" --out "$TMP/rl" --max-steps 1 --batch 2 --eval-rows 4 --threads 1
    "$LATENTR3" sft --model "$TMP/sas" --data "$WORLD/world/data" --out "$TMP/sft" --train latent --max-steps 1 --batch 2 --valid-rows 4 --threads 1
    for folder in sas rl sft; do
        grep -q '^library_name: latentr3' "$TMP/$folder/README.md"
        grep -q '^A sequential recommender (SASRec)' "$TMP/$folder/README.md"
        not grep -qE 'language model|transformers|titles that do not exist|base model' "$TMP/$folder/README.md"
    done
    grep -q '; 1 - NDCG@10 on the validation rows' "$TMP/sas/README.md"
    grep -q '; loss, nats an item, on the validation rows' "$TMP/rl/README.md"
}

@test "model card: of synth and convert too, with the numbers of the folder's own model alone" {
    cp -r "$WORLD/sft" "$TMP/run"
    evaluate item-knn "$TMP/run" >"$TMP/json"
    [ -e "$TMP/run/eval-test.json" ]
    grep -q 'Not measured yet' "$TMP/run/README.md"
    not grep -qE 'this model|model-index' "$TMP/run/README.md"
    evaluate "$TMP/run" "$TMP/run/" >"$TMP/json"
    grep -q '^| this model' "$TMP/run/README.md"
    # Another model in its place: neither the numbers nor the training are its own.
    "$LATENTR3" convert --model "$WORLD/world/model" --out "$TMP/run" --force
    [ ! -e "$TMP/run/eval-test.json" ]
    grep -q '^    latentr3 convert ' "$TMP/run/README.md"
    not grep -qE 'this model|model-index|6 updates' "$TMP/run/README.md"
    evaluate "$TMP/run" "$TMP/run" >"$TMP/json"
    grep -q '^| this model' "$TMP/run/README.md"
    grep -q '^    latentr3 convert ' "$TMP/run/README.md"
    not grep -q '6 updates' "$TMP/run/README.md"
    "$LATENTR3" synth --data "$WORLD/world/data" --out "$TMP/run" --force
    [ ! -e "$TMP/run/eval-test.json" ]
    grep -q '^    latentr3 synth ' "$TMP/run/README.md"
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/run" --force --threads 1 --batch 16 --lr 1e-2 \
        --valid-rows 5 --dtype f32 --max-steps 2
    grep -q '^    latentr3 sft ' "$TMP/run/README.md"
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

@test "report: no evaluation of the split that is asked for is told of" {
    exits 0 "$LATENTR3" report "$WORLD/sft" --out "$TMP/page.html" --split valid
    says '*no run has an evaluation of --split valid: eval --split valid --save RUN makes one*'
    exits 0 "$LATENTR3" report "$WORLD/sft" --out "$TMP/page.html"
    [ -z "$output" ]
}
