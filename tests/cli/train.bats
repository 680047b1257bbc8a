#!/usr/bin/env bats
# sft, rl, eval, recommend and score on a small world that `synth` makes: what they write, their JSON forms, interruption.

load common

setup_file() {
    load common
    setup
    export WORLD=$BATS_FILE_TMPDIR
    "$LATENTR3" synth --out "$WORLD/world" --items 60 --rows 1200
    "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$WORLD/sft" "${quick[@]}" --max-steps 6
}

quick=(--threads 1 --batch 16 --lr 1e-3 --warmup 2 --valid-rows 20 --dtype f32)

train() {
    "$LATENTR3" "$1" --data "$WORLD/world/data" --out "$TMP/$2" "${@:3}"
}

@test "sft: a model folder with its log and metrics" {
    for file in config.json model.safetensors generation_config.json tokenizer.json tokenizer_config.json \
        special_tokens_map.json log.jsonl metrics.json; do [ -s "$WORLD/sft/$file" ]; done
    [ "$(jq -s 'map(select(.event == "step")) | length' "$WORLD/sft/log.jsonl")" -eq 6 ]
    jq -se 'map(select(.event == "step")) | all(.loss > 0 and .gradient_norm > 0 and .learning_rate >= 0 and .thought_norm > 0
        and .tokens_per_s > 0 and .seconds > 0)' "$WORLD/sft/log.jsonl"
    jq -e '.command == "sft" and .configuration.batch == 16 and .configuration["lr-schedule"] == "linear" and .seed == 42
        and (.data["train.csv"] | length) == 32 and (.model_hash_before | length) == 32 and .versions.latentr3 and .steps == 6
        and .validation_loss_kept < .validation_loss_before' "$WORLD/sft/metrics.json"
    "$LATENTR3" inspect --json "$WORLD/sft" | jq -e '.kind == "model" and .latent_layer and .run.command == "sft"
        and .configuration.latentr3.thoughts == 1'
}

@test "sft: the same seed gives the same bytes, another seed others" {
    for seed in 1 1 2; do
        train sft "seed$seed" --model "$WORLD/world/model" "${quick[@]}" --max-steps 2 --seed "$seed" --force
        sha256sum <"$TMP/seed$seed/model.safetensors" >>"$TMP/sums"
    done
    [ "$(sort -u "$TMP/sums" | wc -l)" -eq 2 ]
    [ "$(head -n 2 "$TMP/sums" | sort -u | wc -l)" -eq 1 ]
}

@test "sft --order users: an epoch has the same answers and fewer positions; the same bits for any threads" {
    for run in 'rows 1' 'users 1' 'users 2'; do
        read -r order threads <<<"$run"
        train sft "$order$threads" --model "$WORLD/world/model" "${quick[@]:2}" --order "$order" --epochs 1 --threads "$threads" 2>"$TMP/said"
    done
    said='s/.*of \([0-9]*\) positions \([0-9]*\) are the beginning of the user.s row before$/\1 \2/p'
    read -r all joined < <(sed -n "$said" "$TMP/said")
    [ "$joined" -gt $((all / 4)) ] && [ "$joined" -lt "$all" ]
    answers() { jq -s 'map(.answer_tokens // 0) | add' "$TMP/$1/log.jsonl"; }
    [ "$(answers rows1)" -eq "$(answers users1)" ]
    jq -se '.[1].tokens_forward < .[0].tokens_forward * 0.9' "$TMP/rows1/metrics.json" "$TMP/users1/metrics.json"
    cmp "$TMP/users1/model.safetensors" "$TMP/users2/model.safetensors"
    not cmp "$TMP/rows1/model.safetensors" "$TMP/users1/model.safetensors"
}

@test "sft: without a thought, with two, with the hidden state itself" {
    for thoughts in '--thoughts 0' '--thoughts 2' '--thought hidden' '--thought-window 3' '--thought-layer 1' '--answer-sees thought --thought-rms 0.25'; do
        # shellcheck disable=SC2086
        train sft model --model "$WORLD/world/model" "${quick[@]}" --max-steps 2 $thoughts --force
        jq -c '.latentr3' "$TMP/model/config.json" >>"$TMP/saved"
    done
    diff "$TMP/saved" - <<'END'
{"thoughts":0,"thought_window":0,"thought_hidden":false,"answer_sees_thought":false,"add_bos":false,"category":"book"}
{"thoughts":2,"thought_window":0,"thought_hidden":false,"answer_sees_thought":false,"add_bos":false,"category":"book"}
{"thoughts":1,"thought_window":0,"thought_hidden":true,"answer_sees_thought":false,"add_bos":false,"category":"book"}
{"thoughts":1,"thought_window":3,"thought_hidden":false,"answer_sees_thought":false,"add_bos":false,"category":"book"}
{"thoughts":1,"thought_window":0,"thought_hidden":false,"answer_sees_thought":false,"thought_layer":1,"add_bos":false,"category":"book"}
{"thoughts":1,"thought_window":0,"thought_hidden":false,"answer_sees_thought":true,"thought_rms":0.25,"add_bos":false,"category":"book"}
END
    # Training on keeps what was saved.
    train sft again --model "$TMP/model" "${quick[@]}" --max-steps 1
    jq -e '.latentr3 | .answer_sees_thought and .thought_rms == 0.25' "$TMP/again/config.json"
    jq -se 'map(select(.event == "step")) | length > 0 and all(.[]; .thought_norm / 2 - 1 | fabs < 1e-3)' "$TMP/again/log.jsonl" # width 64
    refuses 2 '*answer-sees*' "$LATENTR3" eval --model "$TMP/model" --data "$WORLD/world/data" --thoughts 0
    refuses 2 '*--thought-layer 4: the model has 4 layers, 0 stands for all of them' \
        "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/none" --thought-layer 4
}

@test "--category: saved with the model, told of where another is used, carried into the next command" {
    mkdir "$TMP/bare" # a folder that names none
    cp "$WORLD"/world/data/{train,valid,test}.csv "$WORLD/world/data/info.txt" "$TMP/bare"
    exits 0 train sft film --model "$WORLD/world/model" "${quick[@]}" --max-steps 1 --category 'old film'
    says "*next: latentr3 rl --model * --data * --category 'old film' --out runs/rl"
    jq -e '.latentr3.category == "old film"' "$TMP/film/config.json"
    "$LATENTR3" convert --model "$TMP/film" --out "$TMP/copy"
    score() { "$LATENTR3" score --data "$1" --max-rows 4 --dtype f32 --threads 1 --json "${@:2}"; }
    score "$TMP/bare" --model "$TMP/copy" >"$TMP/own" 2>"$TMP/log"
    not grep warning "$TMP/log"
    score "$WORLD/world/data" --model "$TMP/film" --category 'old film' | cmp - "$TMP/own"
    score "$WORLD/world/data" --model "$TMP/film" >"$TMP/book" 2>"$TMP/log"
    differ "$TMP/book" "$TMP/own"
    grep 'warning: .*film was trained with the category "old film", and the prompt says "book"' "$TMP/log"
    for file in train.csv valid.csv test.csv info.txt; do # the name of a published file says less than the model
        mkdir -p "$TMP/games/${file%.*}"
        cp "$TMP/bare/$file" "$TMP/games/${file%.*}/Video_Games.${file#*.}"
    done
    score "$TMP/games" --model "$TMP/copy" | cmp - "$TMP/own"
    exits 0 "$LATENTR3" rl --model "$TMP/film" --data "$TMP/bare" --out "$TMP/rl" --threads 1 --max-rows 8 --eval-rows 4 --batch 4 --samples 2 --max-steps 1
    says "*next: latentr3 eval --model * --data * --save *"
    jq -e '.latentr3.category == "old film"' "$TMP/rl/config.json"
    exits 0 score "$TMP/bare" --model "$WORLD/world/model" --thoughts 0
    says '*bare: no category phrase is known, the prompt says "item"*'
    jq '.latentr3.category = "a\tb"' "$TMP/film/config.json" >"$TMP/copy/config.json"
    refuses 3 '*copy: category phrase*' "$LATENTR3" score --data "$TMP/bare" --model "$TMP/copy"
}

@test "sft --lora-rank: adapters train, a plain model is saved" {
    train sft lora --model "$WORLD/sft" "${quick[@]}" --max-steps 6 --lora-rank 4 --lora-targets q,v,down
    jq -e '.validation_loss_kept < .validation_loss_before and .configuration["lora-rank"] == 4' "$TMP/lora/metrics.json"
    differ "$WORLD/sft/model.safetensors" "$TMP/lora/model.safetensors"
    "$LATENTR3" score --model "$TMP/lora" --data "$WORLD/world/data" --split valid --max-rows 4 --dtype f32
    "$LATENTR3" inspect --json "$TMP/lora" >"$TMP/lora.json"
    diff <(jq '[.tensors[].name]' "$TMP/lora.json") <("$LATENTR3" inspect --json "$WORLD/sft" | jq '[.tensors[].name]')
    refuses 2 "*--lora-targets: 'head' is none of q, k, v, o, gate, up, down*" "$LATENTR3" sft --model "$WORLD/sft" \
        --data "$WORLD/world/data" --out "$TMP/other" --lora-rank 4 --lora-targets q,head
}

@test "sft --recompute: the same bytes" {
    train sft kept --model "$WORLD/sft" "${quick[@]}" --max-steps 4
    train sft again --model "$WORLD/sft" "${quick[@]}" --max-steps 4 --recompute
    cmp "$TMP/kept/model.safetensors" "$TMP/again/model.safetensors"
}

@test "sft --lean: learns, the same seed gives the same bytes; what it cannot do is refused" {
    refuses 2 "*--lean is for training the whole model*" "$LATENTR3" sft --model "$WORLD/sft" --data "$WORLD/world/data" \
        --out "$TMP/other" --lean --lora-rank 4
    refuses 2 "*--lean needs --dtype bf16*" "$LATENTR3" sft --model "$WORLD/sft" --data "$WORLD/world/data" \
        --out "$TMP/other" --lean --dtype f32
    "$LATENTR3" score --model "$WORLD/sft" --data "$WORLD/world/data" --split valid --max-rows 1 --dtype bf16 || skip "no bf16 here"
    for run in lean again; do train sft $run --model "$WORLD/sft" "${quick[@]:0:8}" --max-steps 6 --lean --dtype bf16; done
    cmp "$TMP/lean/model.safetensors" "$TMP/again/model.safetensors"
    jq -e '.validation_loss_kept < .validation_loss_before' "$TMP/lean/metrics.json"
}

@test "rl: only the latent layer changes, the better model is kept" {
    train rl rl --model "$WORLD/sft" --max-steps 3 --batch 8 --samples 4 --warmup 1 --lr 1e-2 --eval-rows 20 --dtype f32 --threads 1
    jq -se 'map(select(.event == "step")) | length == 3 and all(.reward_mean < 0 and .advantage_norm >= 0
        and .reward_spread_within_groups >= 0 and .reward_spread_between_prompts >= 0)' "$TMP/rl/log.jsonl"
    jq -e '.command == "rl" and .validation_loss_kept <= .validation_loss_before' "$TMP/rl/metrics.json"
    # The first validation stands before the first step.
    [ "$(head -n 1 "$TMP/rl/log.jsonl" | jq -r '.event + (.step | tostring)')" = validation0 ]
    if [ "$(jq .kept_step "$TMP/rl/metrics.json")" -eq 0 ]; then
        cmp "$TMP/rl/model.safetensors" "$WORLD/sft/model.safetensors"
    else
        differ "$TMP/rl/model.safetensors" "$WORLD/sft/model.safetensors"
    fi
}

rl() { # NAME OPTION...: two quick steps
    train rl "$1" --model "$WORLD/sft" --max-steps 2 --batch 8 --samples 4 --warmup 0 --lr "${rate:-1e-2}" --eval-rows 20 --dtype f32 \
        --threads 1 --force "${@:2}"
    jq -c 'select(.event == "step")' "$TMP/$1/log.jsonl" >"$TMP/steps"
}

@test "rl: one update a batch has a ratio of 1; with --inner it moves and the clip acts; --objective latent" {
    rl one
    jq -se 'length == 2 and all(.ratio_min == 1 and .ratio_max == 1 and .clip_fraction == 0 and .zero_variance_groups == 0
        and .reward_length_correlation < 1)' "$TMP/steps"
    for objective in token latent; do
        rl many --objective "$objective" --inner 4 --epsilon-low 0.01 --epsilon-high 0.01 --advantage group --beta 0.1
        jq -se 'all(.ratio_min < 1 and .ratio_max > 1 and .clip_fraction > 0 and .clip_fraction < 1 and .kl > 0 and .gradient_norm > 0)' \
            "$TMP/steps"
    done
    refuses 2 '*--sigma above 0*' "$LATENTR3" rl --model "$WORLD/sft" --data "$WORLD/world/data" --out "$TMP/other" \
        --objective latent --sigma 0
}

@test "rl --reward: log-probabilities, hits and ranks in the beams" {
    rl logprob --reward logprob
    jq -se 'all(.reward_mean < 0 and .reward_mean > -100 and .reward_std > 0)' "$TMP/steps"
    for objective in token latent; do
        rl hit --reward hit --beams 20 --objective "$objective"
        jq -se 'all(.reward_mean > 0 and .reward_mean < 1 and .zero_variance_groups > 0)' "$TMP/steps"
        rl rank --reward rank --beams 20 --objective "$objective"
        jq -se 'all(.reward_mean > 0 and .reward_mean < 0.7 and .reward_std > 0 and .gradient_norm > 0)' "$TMP/steps"
    done
}

# The groups of tensors that differ between two models: "backbone", "latent".
changed() {
    "$LATENTR3" inspect --json "$1" | jq -r '.tensors[].name' >"$TMP/names"
    python3 - "$1/model.safetensors" "$2/model.safetensors" <<'END' | sort -u | tr '\n' ' '
import json, struct, sys
def tensors(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(size)), f.read()
    return {k: data[slice(*v["data_offsets"])] for k, v in header.items() if k != "__metadata__"}
a, b = map(tensors, sys.argv[1:])
assert a.keys() == b.keys()
for k in a:
    if a[k] != b[k]: print("latent" if k.startswith("attention.") else "backbone")
END
}

@test "rl --train: the latent layer, with it adapters, or the whole model" {
    rate=1e-3
    for which in latent 'lora --lora-rank 2' all; do
        # shellcheck disable=SC2086
        rl "${which%% *}" --objective latent --reward logprob --train $which
        jq -se 'all(.gradient_norm > 0 and (.refused | not))' "$TMP/steps"
        jq -s '.[-1].loss' "$TMP/${which%% *}/log.jsonl" >>"$TMP/losses"
    done
    [ "$(sort -u "$TMP/losses" | wc -l)" -eq 3 ]
    # These two were better than the model as it came, and kept.
    [ "$(changed "$WORLD/sft" "$TMP/latent")" = 'latent ' ]
    [ "$(changed "$WORLD/sft" "$TMP/lora")" = 'backbone latent ' ]
    # The frozen network's prompts run once and nothing of them goes back.
    jq -e '.tokens_backward == 0 and .tokens_forward > 0' "$TMP/latent/metrics.json"
    jq -e '.tokens_backward > 0' "$TMP/all/metrics.json"
    # Its embeddings do not change, those of the whole model do.
    jq -se 'map(.embedding_norm // empty) | unique | length == 1' "$TMP/latent/log.jsonl"
    jq -se 'map(.embedding_norm // empty) | length > 1 and (unique | length) == length' "$TMP/all/log.jsonl"
    # The whole model with a KL to itself as it came, through several updates.
    rl kl --train all --inner 2 --beta 0.1
    jq -se 'all(.kl > 0)' "$TMP/steps"
    for wrong in '--train lora' '--lora-rank 2' '--train all --lora-rank 2'; do
        # shellcheck disable=SC2086
        refuses 2 '*--train lora and --lora-rank R go together*' "$LATENTR3" rl --model "$WORLD/sft" --data "$WORLD/world/data" \
            --out "$TMP/other" $wrong
    done
}

@test "rl alone: from a base model that never saw sft" {
    "$LATENTR3" convert --model "$WORLD/world/model" --out "$TMP/base" --add-thought
    train rl only --model "$TMP/base" --max-steps 3 --batch 8 --samples 4 --warmup 0 --lr 1e-3 --eval-rows 20 --dtype f32 --threads 1
    jq -e '.steps == 3 and .refused_updates == 0 and .validation_loss_kept <= .validation_loss_before' "$TMP/only/metrics.json"
    exits 0 "$LATENTR3" recommend --model "$TMP/only" --data "$WORLD/world/data" --history "$(title 1)" -k 3
}

@test "sft --train latent: more of it for the latent layer alone; --latent-lr" {
    for way in one two; do
        options=(--train latent)
        [ "$way" = one ] || options+=(--latent-lr 1e-2)
        train sft "$way" --model "$WORLD/sft" "${quick[@]}" --max-steps 4 "${options[@]}"
        [ "$(changed "$WORLD/sft" "$TMP/$way")" = 'latent ' ]
        jq -e '.tokens_forward > 5 * .tokens_backward and .tokens_backward > 0 and .kept_step == 4' "$TMP/$way/metrics.json"
    done
    differ "$TMP/one/model.safetensors" "$TMP/two/model.safetensors"
    train sft whole --model "$WORLD/sft" "${quick[@]}" --max-steps 1
    jq -e '.tokens_forward == .tokens_backward' "$TMP/whole/metrics.json"
    # A budget of tokens, both ways: within an update of it.
    for which in all latent 'all --deterministic'; do
        # shellcheck disable=SC2086
        train sft budget --model "$WORLD/sft" "${quick[@]}" --train $which --max-tokens 20000 --no-early-stop --force
        jq -e '(.tokens_forward + .tokens_backward) as $n | $n > 20000 - 1.2 * $n / .steps and $n < 20000 + 0.2 * $n / .steps
            and .steps > 1' "$TMP/budget/metrics.json"
    done
    refuses 2 '*--train latent trains no adapters*' "$LATENTR3" sft --model "$WORLD/sft" --data "$WORLD/world/data" \
        --out "$TMP/other" --train latent --lora-rank 2
    exits 2 "$LATENTR3" sft --model "$WORLD/sft" --data "$WORLD/world/data" --out "$TMP/other" --train latent --thought hidden
    says '*this model has none*'
    [ ! -e "$TMP/other" ]
}

@test "swapped, wrong and missing folders and models are named for what they are" {
    refuses 4 '*world/model: a model folder, not a data folder' "$LATENTR3" sft --model "$WORLD/world/data" --data "$WORLD/world/model" --out "$TMP/o"
    refuses 4 '*world/log: holds no info.txt; `latentr3 prepare`*' "$LATENTR3" eval --model popularity --data "$WORLD/world/log"
    refuses 4 '*world/data: holds no config.json: it is a data folder*' "$LATENTR3" inspect --model "$WORLD/world/data"
    for name in item-kNN itemknn 'item knn'; do
        refuses 2 '*no such file or folder; did you mean item-knn?' "$LATENTR3" eval --model "$name" --data "$WORLD/world/data"
    done
    refuses 4 '*x: No such file or directory' "$LATENTR3" eval --model "$TMP/$(printf 'x%.0s' {1..120})" --data "$WORLD/world/data"
    refuses 4 '*: no such file or folder; if a model of the Hugging Face hub is meant: hf download Qwen/Qwen2.5-0.5B --local-dir Qwen2.5-0.5B' "$LATENTR3" sft --model Qwen/Qwen2.5-0.5B --data "$WORLD/world/data" --out "$TMP/o"
    cp -r "$WORLD/world/model" "$TMP/model"
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n' >"$TMP/model/model.safetensors"
    refuses 3 '*model.safetensors: a pointer of git-lfs*' "$LATENTR3" inspect --model "$TMP/model"
    mv "$TMP/model/model.safetensors" "$TMP/model/pytorch_model.bin"
    refuses 4 '*pytorch_model.bin is not read*save_pretrained*' "$LATENTR3" inspect --model "$TMP/model"
}

@test "Ctrl-C: the step is finished, the model saved, exit 130; SIGTERM 143" {
    for signal in INT:130 TERM:143; do
        # A shell in the background ignores SIGINT, and so would its child.
        (exec env --default-signal=INT "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/out" "${quick[@]}" \
            --epochs 1000 --force 2>"$TMP/log") &
        pid=$!
        for _ in $(seq 300); do
            [ "$(cat "$TMP/out/log.jsonl" 2>/dev/null | wc -l)" -lt 3 ] || break
            sleep 0.1
        done
        kill -s "${signal%:*}" "$pid"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq "${signal#*:}" ]
        jq -e '.interrupted and .steps > 0' "$TMP/out/metrics.json"
        grep -q "the model of step $(jq .steps "$TMP/out/metrics.json") kept, not yet measured; stopped by a signal\$" "$TMP/log"
        exits 0 "$LATENTR3" recommend --model "$TMP/out" --data "$WORLD/world/data" --history "$(title 1)" -k 1
        says "*warning: $TMP/out: its training was stopped at step $(jq .steps "$TMP/out/metrics.json"), before its end: *--resume*"
        rm -r "$TMP/out"
    done
}

@test "the model of a training that was stopped is used with a warning; of one that went on, none" {
    for kind in sft sasrec; do
        options=(--threads 1 --dtype f32 --max-steps 2 --data "$WORLD/world/data")
        case $kind in
            sft) "$LATENTR3" sft --model "$WORLD/world/model" --out "$TMP/$kind" --batch 4 --valid-rows 4 "${options[@]}" ;;
            sasrec) "$LATENTR3" sasrec --thoughts 1 --width 8 --layers 1 --out "$TMP/$kind" "${options[@]}" ;;
        esac
        cp "$TMP/$kind/metrics.json" "$TMP/whole"
        for use in 'eval --max-rows 2' 'recommend --all-users --out lists' "rl --batch 2 --samples 2 --eval-rows 2 --max-steps 1 --out rl"; do
            # shellcheck disable=SC2086
            for stopped in true false; do
                jq ".interrupted = $stopped" "$TMP/whole" >"$TMP/$kind/metrics.json"
                exits 0 "$LATENTR3" $(sed "s|--out |&$TMP/|" <<<"$use") --model "$TMP/$kind" --data "$WORLD/world/data" --threads 1 $([[ $use = eval* ]] || echo --force)
                [ "$(grep -c "warning: $TMP/$kind: its training was stopped at step 2, before its end: .* --resume" <<<"$output")" -eq "$([ $stopped = true ] && echo 1 || echo 0)" ]
            done
        done
    done
    # Killed, it has not said how far it came.
    jq 'del(.steps, .interrupted)' "$TMP/whole" >"$TMP/sasrec/metrics.json"
    exits 0 "$LATENTR3" recommend --model "$TMP/sasrec" --data "$WORLD/world/data" --history "$(title 1)" -k 1
    says "*warning: $TMP/sasrec: its training has not come to its end*--resume*"
    # Of a command that made another model there, the run is not.
    jq '.interrupted = true' "$TMP/whole" >"$TMP/sft/metrics.json"
    "$LATENTR3" convert --model "$WORLD/sft" --out "$TMP/sft" --force
    exits 0 "$LATENTR3" eval --model "$TMP/sft" --data "$WORLD/world/data" --threads 1 --max-rows 2
    not says '*its training was stopped*'
}

@test "Ctrl-C that is not meant for it, as of a job in the background, is ignored; SIGTERM is not" {
    (exec env --ignore-signal=INT "$LATENTR3" sft --model "$WORLD/world/model" --data "$WORLD/world/data" --out "$TMP/out" "${quick[@]}" --epochs 1000 2>"$TMP/log") &
    pid=$!
    for lines in 3 6; do
        for _ in $(seq 300); do
            [ "$(cat "$TMP/out/log.jsonl" 2>/dev/null | wc -l)" -lt "$lines" ] || break
            sleep 0.1
        done
        [ "$lines" -eq 6 ] || kill -s INT "$pid"
    done
    kill -s TERM "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 143 ]
    jq -e '.interrupted and .steps >= 5' "$TMP/out/metrics.json"
}

@test "rl that is stopped before its validation: no word of a loss that it did not lower" {
    (exec "$LATENTR3" rl --model "$WORLD/sft" --data "$WORLD/world/data" --out "$TMP/out" --threads 1 --dtype f32 --batch 2 --samples 2 --eval-rows 5 \
        --epochs 1000 2>"$TMP/log") &
    for _ in $(seq 300); do
        [ "$(cat "$TMP/out/log.jsonl" 2>/dev/null | wc -l)" -lt 3 ] || break
        sleep 0.1
    done
    kill -s TERM $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 143 ]
    grep -q 'stopped by a signal$' "$TMP/log"
    not grep 'did not lower' "$TMP/log"
}

title() { sed -n "$1p" "$WORLD/world/data/info.txt" | cut -f1; }

@test "recommend --json: the documented form, items of the catalogue, best first" {
    "$LATENTR3" recommend --model "$WORLD/sft" --data "$WORLD/world/data" --history "$(title 1)" --history "$(title 2)" -k 5 --json >"$TMP/json"
    jq -e '(.items | length) == 5 and [.items[].rank] == [1, 2, 3, 4, 5] and .illegal_beams == 0
        and all(.items[]; (.id | type) == "string" and (.title | type) == "string")
        and ([.items[].score] | . == (sort | reverse)) and ([.items[].id] | unique | length) == 5' "$TMP/json"
    jq -r '.items[] | .title + "\t" + .id' "$TMP/json" >"$TMP/items"
    [ "$(grep -cFxf "$TMP/items" "$WORLD/world/data/info.txt")" -eq 5 ]
}

@test "recommend --exclude-seen" {
    everything=(--model "$WORLD/sft" --data "$WORLD/world/data" --beams 40 -k 40 --json --history "$(title 1)")
    "$LATENTR3" recommend "${everything[@]}" >"$TMP/all"
    "$LATENTR3" recommend "${everything[@]}" --exclude-seen >"$TMP/unseen"
    jq -e --arg seen "$(title 1)" '[.items[].title] | index($seen)' "$TMP/all"
    jq -e --arg seen "$(title 1)" '[.items[].title] | index($seen) == null' "$TMP/unseen"
}

@test "eval: the documented forms, results the same for any number of users at a time" {
    for batch in 1 7; do
        "$LATENTR3" eval --model "$WORLD/sft" --data "$WORLD/world/data" --max-rows 20 --dtype f32 --batch "$batch" \
            --results "$TMP/results$batch" --json >"$TMP/json$batch"
        jq -c 'walk(if type == "object" then del(.score) else . end)' "$TMP/results$batch" >"$TMP/lists$batch"
    done
    cmp "$TMP/lists1" "$TMP/lists7"
    jq -e '.rows == 20 and (.title | has("HR@1") and has("HR@10") and has("NDCG@10") and (has("HR@20") | not) and has("MRR"))
        and .item["HR@10"] >= 0 and .baselines.popularity["HR@10"] >= 0 and .title["HR@1"] <= .title["HR@10"]' "$TMP/json1"
    jq -se 'length == 20 and [.[].row] == [range(20)] and all(.[]; (.items | length) == 10 and (.rank == null or .rank <= 10)
        and (.target | type) == "string" and all(.items[]; has("id") and has("title") and has("score")))' "$TMP/results1"
    # The table's hits are those of the lines.
    jq -e --slurpfile rows "$TMP/results1" '(.title["HR@10"] * 20 | round) == ([$rows[] | select(.rank != null)] | length)' "$TMP/json1"
    exits 0 "$LATENTR3" eval --model "$WORLD/sft" --data "$WORLD/world/data" --max-rows 5
    says '*HR@10*popularity*'
}

@test "score: the documented form; perplexity is that of the log-probability" {
    "$LATENTR3" score --model "$WORLD/sft" --data "$WORLD/world/data" --max-rows 9 --dtype f32 --json >"$TMP/json"
    jq -e '(.rows | length) == 9 and [.rows[].row] == [range(9)]
        and all(.rows[]; .tokens > 1 and .logprob < 0 and ((-.logprob / .tokens | exp) - .perplexity | fabs) < 1e-3 * .perplexity)' "$TMP/json"
    "$LATENTR3" score --model "$WORLD/sft" --data "$WORLD/world/data" --max-rows 9 --dtype f32 --json --batch 1 >"$TMP/single"
    jq -e --slurpfile other "$TMP/single" '[.rows, $other[0].rows] | transpose | all(.[]; (.[0].logprob - .[1].logprob | fabs) < 1e-3)' "$TMP/json"
}

@test "a data folder that was changed, a model without its tokenizer: nothing is written" {
    cp -r "$WORLD/world/data" "$TMP/data"
    sed -i '3d' "$TMP/data/train.csv"
    exits 3 "$LATENTR3" sft --model "$WORLD/world/model" --data "$TMP/data" --out "$TMP/out" "${quick[@]}"
    says '*train.csv*'
    [ ! -e "$TMP/out" ]
    cp -r "$WORLD/world/model" "$TMP/model"
    rm "$TMP/model/tokenizer.json"
    exits 4 "$LATENTR3" sft --model "$TMP/model" --data "$WORLD/world/data" --out "$TMP/out" "${quick[@]}"
    [ ! -e "$TMP/out" ]
}

@test "a validation that is the training data is refused" {
    mkdir "$TMP/data"
    cp "$WORLD/world/data"/{train.csv,info.txt} "$TMP/data"
    cp "$TMP/data/train.csv" "$TMP/data/valid.csv"
    refuses 2 '*same file*' "$LATENTR3" sft --model "$WORLD/world/model" --data "$TMP/data" --category movie --out "$TMP/out"
    [ ! -e "$TMP/out" ]
}

@test "sft and rl never open test.csv: with a pipe in its place they do the same" {
    cp -r "$WORLD/world/data" "$TMP/blind"
    rm "$TMP/blind/test.csv"
    mkfifo "$TMP/blind/test.csv" # refused by whoever opens it
    exits 4 "$LATENTR3" eval --model "$WORLD/sft" --data "$TMP/blind" --sample 5
    for data in "$WORLD/world/data" "$TMP/blind"; do
        exits 0 timeout 60 "$LATENTR3" sft --model "$WORLD/world/model" --data "$data" --out "$TMP/model" "${quick[@]}" --max-steps 1 --force
        sha256sum <"$TMP/model/model.safetensors" >>"$TMP/sft"
        exits 0 timeout 60 "$LATENTR3" rl --model "$WORLD/sft" --data "$data" --out "$TMP/model" --max-steps 1 --batch 4 --samples 2 \
            --warmup 1 --eval-rows 5 --dtype f32 --threads 1 --force
        sha256sum <"$TMP/model/model.safetensors" >>"$TMP/rl"
    done
    [ "$(sort -u "$TMP/sft" | wc -l)" -eq 1 ]
    [ "$(sort -u "$TMP/rl" | wc -l)" -eq 1 ]
}

@test "what an ended run left is removed, and nothing beyond a link that is called like that" {
    mkdir "$TMP/victim" "$TMP/run"
    echo precious >"$TMP/victim/file"
    ln -s ../victim "$TMP/run/x.tmp-1"
    mkdir "$TMP/run/y.tmp-2" && touch "$TMP/run/y.tmp-2/file" "$TMP/run/z.tmp-3"
    train sft run --model "$WORLD/world/model" "${quick[@]}" --max-steps 1 --force
    [ "$(cat "$TMP/victim/file")" = precious ]
    [ "$(ls "$TMP/run" | grep -c 'tmp-')" -eq 0 ]
}

@test "rl: a batch beyond all rows takes the memory of those there are" {
    train rl wide --model "$WORLD/sft" --threads 1 --dtype f32 --max-rows 10 --batch 1048576 --eval-rows 5
    jq -e '.rows == 10' "$TMP/wide/metrics.json"
}

@test "recommend: a title that the catalogue lacks: what may have been meant, and what becomes of it" {
    read -r title id < <(awk -F'\t' 'NR == 4 {gsub(" ", "_", $1); print $1, ($5 == "" ? $2 : $5)}' "$WORLD/world/data/info.txt")
    title=${title//_/ }
    ask() { "$LATENTR3" recommend --data "$WORLD/world/data" -k 3 "$@"; }
    exits 0 ask --model "$WORLD/sft" --threads 1 --history "${title,,}"
    says "*\"${title,,}\" is not in the catalogue; it stands in the prompt as it is. Did you mean \"$title\" (id $id)?*"
    for typo in "${title:0:3}${title:4}" "${title:0:3}x${title:3}" "${title:0:2}${title:3:1}${title:2:1}${title:4}" "${title:0:3}~${title:4} (1999)"; do
        exits 0 ask --model popularity --history "$typo"
        says "*\"$typo\" is not in the catalogue; it is left out. Did you mean \"$title\" (id $id)[?]*"
    done
    exits 0 ask --model item-knn --history "$id" --history "$title"
    says "*\"$id\" is not in the catalogue; it is left out. An item has this id: --history-id $id*"
    LATENTR3_LOG=error refuses 3 '*nothing of the history is in the catalogue, and item-knn goes by its items alone' ask --model item-knn --history 'no such title'
    exits 0 ask --model popularity --history 'no such title'
}

@test "a training that ends worse than it began says so" {
    exits 0 "$LATENTR3" sft --model "$WORLD/sft" --data "$WORLD/world/data" --out "$TMP/worse" --threads 1 --dtype f32 --batch 16 --valid-rows 20 \
        --lr 1 --warmup 0 --max-steps 2
    says '*warning: sft: the model that was kept has a higher validation loss than the one that came*'
    jq -e '.validation_loss_kept > .validation_loss_before' "$TMP/worse/metrics.json"
    # Where no loss is a number the last model is kept, and nothing comes next.
    python=${LATENTR3_PYTHON:-python3}
    command -v "$python" >/dev/null || skip "Python is missing"
    cp -r "$WORLD/sft" "$TMP/huge"
    "$python" - "$TMP/huge/model.safetensors" <<'CODE'
import json, struct, sys
with open(sys.argv[1], "r+b") as f:
    head = json.loads(f.read(n := struct.unpack("<Q", f.read(8))[0]))
    norm = head["model.norm.weight"]
    first, last = norm["data_offsets"]
    f.seek(8 + n + first)
    f.write(struct.pack("<f", 1e38) * ((last - first) // 4) if norm["dtype"] == "F32" else b"\x96\x7e" * ((last - first) // 2))
CODE
    exits 0 train sft none --model "$TMP/huge" "${quick[@]}" --max-steps 2 --sample 40
    says '*warning: sft: no validation loss was a number: the model of the last step was kept*'
    [[ $output != *next:* ]]
    [[ $output == *"loss nan"* || $output == *"loss -nan"* ]]
    jq -se 'map(select(.event == "step")) | length == 2 and all(.refused and has("loss") and .loss == null)
        and (map(.batch[]) | length == 32 and max >= 40)' "$TMP/none/log.jsonl" # rows of train.csv, not of the sample
}

@test "a row that does not fit: named as it stands in train.csv, whatever was sampled" {
    cp -r "$WORLD/world/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    long=$(printf 'Luvi %.0s' $(seq 600))
    sed -i "s/^/$long/" "$TMP/data/info.txt"
    head -n 31 "$WORLD/world/data/train.csv" | sed "2,\$s/,\([A-Z]\)/,$long\1/" >"$TMP/data/train.csv" # targets
    exits 3 "$LATENTR3" sft --data "$TMP/data" --model "$WORLD/world/model" --out "$TMP/long" "${quick[@]}" --sample 1 --seed 4
    says '*train row [1-9]*: an answer of*tokens does not fit in 512*'
}

@test "rows whose answer does not fit: left out, counted and named; with --strict, and before a thought test, refused" {
    cp -r "$WORLD/world/data" "$TMP/data"
    rm "$TMP/data/dataset.json"
    long=$(printf 'Luvi %.0s' $(seq 600))
    often=$(python3 -c '
import csv, sys
train, test = ([row["item_title"] for row in csv.DictReader(open(sys.argv[1] + "/" + name))] for name in ("train.csv", "test.csv"))
print(max(set(test), key=train.count))' "$TMP/data")
    sed -i "s/^$often	/$long&/" "$TMP/data/info.txt"
    sed -i "s/,$often,/,$long$often,/" "$TMP"/data/{train,valid,test}.csv
    left=$(grep -c "$long" "$TMP/data/train.csv")
    [ "$left" -gt 5 ]
    args=(--data "$TMP/data" --model "$WORLD/world/model")
    exits 0 "$LATENTR3" sft "${args[@]}" --out "$TMP/left-out" "${quick[@]}" --max-steps 2
    says '*warning: train row [1-9]*: an answer of*tokens does not fit in 512*passed over*'
    says "*train: $left bad lines passed over in all*"
    says "*train: $(($(wc -l <"$TMP/data/train.csv") - 1 - left)) rows*"
    exits 3 "$LATENTR3" sft "${args[@]}" --out "$TMP/strict" "${quick[@]}" --max-steps 2 --strict
    says '*latentr3: train row [1-9]*: an answer of*tokens does not fit in 512*'
    exits 0 "$LATENTR3" score "${args[@]}" --split test --threads 1 --json
    says '*warning: test row [1-9]*does not fit in 512*'
    exits 3 "$LATENTR3" eval "${args[@]}" --thoughts 1 --threads 1 --thought-test
    says '*latentr3: test row [1-9]*does not fit in 512*'
    [[ $output != *rows/s* ]]
}

@test "steps that all lie within the warm-up: a warning" {
    exits 0 train sft warm --model "$WORLD/world/model" --threads 1 --sample 8 --batch 4 --epochs 1 --valid-rows 4
    says '*warning: 2 steps, all within the warm-up of 20, hardly teach: --warmup N*'
    exits 0 train sft warm --model "$WORLD/world/model" --threads 1 --sample 8 --batch 4 --epochs 1 --valid-rows 4 --warmup 1 --force
    [[ $output != *warm-up* ]]
}

@test "rl on a model without a thought is refused before anything is written" {
    train sft plain --model "$WORLD/world/model" "${quick[@]}" --max-steps 1 --thoughts 0
    exits 2 "$LATENTR3" rl --model "$TMP/plain" --data "$WORLD/world/data" --out "$TMP/none"
    says "*rl needs a model with a thought: sft makes one*"
    [[ $output != *train:* ]] # no rows were read for it
    [ ! -e "$TMP/none" ]
}

# documented SECTION WHAT: docs/commands.md names in that section each word on stdin, as code or as a JSON name.
documented() {
    section=$(sed -n "/^## $1\$/,/^## /p" docs/commands.md)
    words=$(sort -u)
    [ -n "$words" ]
    for word in $words; do
        [[ $section == *"\`$word\`"* || $section == *"\"$word\""* ]] || {
            echo "docs/commands.md, section $1: $word of $2 is missing"
            return 1
        }
    done
}

@test "docs/commands.md names every field of log.jsonl, metrics.json and eval --json" {
    train rl rl --model "$WORLD/sft" --threads 1 --batch 2 --samples 2 --eval-rows 4 --max-steps 1
    train sasrec sasrec --width 8 --layers 1 --threads 1 --thoughts 1 --max-steps 1
    train sft sft --model "$WORLD/world/model" --threads 1 --batch 4 --valid-rows 4 --latent-lr 1e-4 --max-steps 2
    for run in rl sasrec sft; do
        jq -r 'keys[]' "$TMP/$run/log.jsonl" | documented 'What a training run leaves' "$run, log.jsonl"
        jq -r 'keys[]' "$TMP/$run/metrics.json" | documented 'What a training run leaves' "$run, metrics.json"
        for option in --thought-test "--against $TMP/$run/results-test.jsonl"; do
            # shellcheck disable=SC2086
            "$LATENTR3" eval --model "$TMP/$run" --data "$WORLD/world/data" --threads 1 --max-rows 6 --save "$TMP/$run" $option >/dev/null
            jq -r '(.configuration, .settings, .data, .versions) = 0 | [paths[] | strings | sub("@[0-9]+$"; "@10")] | unique[]' \
                "$TMP/$run/eval-test.json" | documented eval "eval --save $option"
        done
    done
}
