# Gains with their intervals as SVG, a group below the other, all on one axis. Input: lines of
# GROUP<TAB>LABEL<TAB>SEEDS<TAB>GAIN<TAB>LOW<TAB>HIGH, the last three in parts of the value that the gain is over.
function px(value) { return left + wide * (value - from) / (to - from) }
function percent(value) { return sprintf("%+.1f", 100 * value) }

BEGIN {
    FS = "\t"
    left = 330; wide = 330; high = 19; top = 40; rows = 0
    grey = "#777"; red = "#c0392b"; green = "#1e8449"
}

{
    if (!rows || $1 != group[rows - 1]) groups++
    group[rows] = $1; label[rows] = $2; seeds[rows] = $3; gain[rows] = $4; low[rows] = $5; upper[rows++] = $6
    if ($5 < from) from = $5
    if ($6 > to) to = $6
}

END {
    if (!rows) exit 1
    step = 0.2
    from = step * int(from / step - 0.999); to = step * int(to / step + 0.999)
    bottom = top + high * (rows + 2 * groups)
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"11\">\n", left + wide + 215, bottom + 10
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    for (mark = from; mark < to + step / 2; mark += step) {
        zero = mark > -step / 2 && mark < step / 2
        printf "<path d=\"M%.1f %dV%d\" stroke=\"%s\"/>", px(mark), top, bottom, zero ? "#333" : "#ddd"
        printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", px(mark), top - 6, zero ? "0" : sprintf("%+.0f %%", 100 * mark)
    }
    printf "<text x=\"%d\" y=\"%d\">gain of HR@10, 95 %% interval</text>\n", left + wide + 28, top - 6
    y = top
    for (i = 0; i < rows; i++) {
        if (i == 0 || group[i] != group[i - 1]) {
            y += 2 * high
            printf "<text x=\"10\" y=\"%d\" font-size=\"12\" font-weight=\"bold\">%s</text>\n", y - high / 2 + 4, group[i]
        }
        color = low[i] > 0 ? green : upper[i] < 0 ? red : grey
        middle = y + high / 2
        printf "<text x=\"20\" y=\"%.1f\">%s</text>", middle + 4, label[i]
        printf "<path d=\"M%.1f %.1fH%.1f\" stroke=\"%s\" stroke-width=\"2\"/>", px(low[i]), middle, px(upper[i]), color
        printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>", px(gain[i]), middle, color
        printf "<text x=\"%d\" y=\"%.1f\" fill=\"%s\">%s %% [%s, %s], %d seed%s</text>\n", left + wide + 28, middle + 4, color,
            percent(gain[i]), percent(low[i]), percent(upper[i]), seeds[i], seeds[i] == 1 ? "" : "s"
        y += high
    }
    print "</svg>"
}
