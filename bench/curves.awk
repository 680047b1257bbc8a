# Curves as SVG, one panel beside the other, both axes logarithmic. Input: lines of PANEL<TAB>SERIES<TAB>X<TAB>Y.
function log10(x) { return log(x) / log(10) }
function number(x) { return x >= 1000000 ? x / 1000000 "M" : x >= 1000 ? x / 1000 "k" : x }
function px(p, x) { return left + p * step + wide * (log10(x) - x0[p]) / (x1[p] - x0[p]) }
function py(p, y) { return top + high * (y1[p] - log10(y)) / (y1[p] - y0[p]) }

BEGIN {
    FS = "\t"
    wide = 250; high = 200; left = 52; top = 40; step = 340
    split("#1f77b4 #9ecae1 #d62728 #ff9896 #2ca02c #98df8a", color, " ")
}

{
    if (!($1 in panel)) { panel[$1] = panels + 0; title[panels++] = $1 }
    p = panel[$1]
    if (!((p, $2) in series)) { series[p, $2] = count[p] + 0; name[p, count[p]++] = $2 }
    s = series[p, $2]
    n = points[p, s]++
    x[p, s, n] = $3; y[p, s, n] = $4
    if (!(p in x0) || log10($3) < x0[p]) x0[p] = log10($3)
    if (!(p in x1) || log10($3) > x1[p]) x1[p] = log10($3)
    if (!(p in y0) || log10($4) < y0[p]) y0[p] = log10($4)
    if (!(p in y1) || log10($4) > y1[p]) y1[p] = log10($4)
}

END {
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"11\">\n",
        panels * step, top + high + 110
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    for (p = 0; p < panels; p++) {
        spare = y1[p] - y0[p] < 0.9 ? (1 - y1[p] + y0[p]) / 2 : 0.05 # at least a decade, so that noise looks like noise
        y0[p] -= spare; y1[p] += spare
        printf "<text x=\"%d\" y=\"%d\" font-size=\"13\">%s</text>\n", left + p * step, top - 16, title[p]
        printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#999\"/>\n", left + p * step, top, wide, high
        for (n = 0; n < points[p, 0]; n++) if (n == 0 || x[p, 0, n] != x[p, 0, n - 1])
            printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", px(p, x[p, 0, n]), top + high + 15, number(x[p, 0, n])
        for (e = -4; e < 7; e++) for (m = 1; m < 10; m += m < 2 ? 1 : m < 5 ? 3 : 5) { # 1, 2, 5
            v = m * 10 ^ e
            if (log10(v) < y0[p] || log10(v) > y1[p]) continue
            printf "<path d=\"M%d %.1fh%d\" stroke=\"#ddd\"/>", left + p * step, py(p, v), wide
            printf "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", left + p * step - 5, py(p, v) + 4, number(v)
        }
        for (s = 0; s < count[p]; s++) {
            path = ""
            for (n = 0; n < points[p, s]; n++) path = path (n ? "L" : "M") sprintf("%.1f %.1f", px(p, x[p, s, n]), py(p, y[p, s, n]))
            model = name[p, s] ~ /alone$/
            printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s/>\n", path, color[1 + s % 6], model ? " stroke-dasharray=\"5 4\"" : ""
            printf "<path d=\"M%d %dh20\" stroke=\"%s\" stroke-width=\"2\"%s/><text x=\"%d\" y=\"%d\">%s</text>\n", left + p * step,
                top + high + 32 + 15 * s, color[1 + s % 6], model ? " stroke-dasharray=\"5 4\"" : "", left + p * step + 26, top + high + 36 + 15 * s, name[p, s]
        }
    }
    print "</svg>"
}
