# A data folder of made-up items and rows, for measuring:
#   awk -v items=N -v rows=R -v words=H -v out=FOLDER -f bench/make_world.awk
# N titles of 3 to 10 words and a number, the words by Zipf's law; R rows with ten titles of H words in their histories.

function word(k,    s) { # number k, of syllables: frequent words are short
    do {
        s = s substr("bdfghklmnprstvz", 1 + k % 15, 1) substr("aeiou", 1 + int(k / 15) % 5, 1)
        k = int(k / 75)
    } while (k > 0)
    return s
}

function text(n,    s, i) {
    for (i = 0; i < n; i++) s = s (i ? " " : "") word(int(50000 ^ rand()) - 1)
    return s
}

BEGIN {
    srand(1)
    for (i = 0; i < items; i++) printf "%s %d\t%d\n", text(3 + int(8 * rand())), i % 1000, i >(out "/info.txt")
    print "user_id,history_item_id,item_id,history_item_title,item_title,timestamp" >(out "/valid.csv")
    for (r = 0; r < rows; r++) {
        titles = ids = ""
        for (h = 0; h < 10; h++) { # whose titles are the row's own, for the length's sake
            titles = titles (h ? ", " : "") "'" text(words) "'"
            ids = ids (h ? ", " : "") h
        }
        printf "u%d,\"[%s]\",%d,\"[%s]\",%s,%d\n", r, ids, r % items, titles, text(6), 1500000000 + r >(out "/valid.csv")
    }
}
