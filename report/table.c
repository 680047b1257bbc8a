#include "report/table.h"
#include "report/markdown.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

// Whether any row is held against the baseline.
static int has_gains(const Table *t) {
    for (int i = 0; i < t->rows; i++)
        for (int j = 0; j < t->metrics; j++)
            if (t->row[i].value[j].pairs) return 1;
    return 0;
}

static int row_has_gains(const Table *t, int row) {
    for (int j = 0; j < t->metrics; j++)
        if (t->row[row].value[j].pairs) return 1;
    return 0;
}

// ---- Markdown ------------------------------------------------------------------------------------------------------------

static void markdown_head(Str *out, const Table *t, const char *first) {
    str_printf(out, "| %s |", first);
    for (int j = 0; j < t->metrics; j++) str_printf(out, " %s |", t->metric[j]);
    str_puts(out, "\n| --- |");
    for (int j = 0; j < t->metrics; j++) str_puts(out, " --- |");
    str_puts(out, "\n");
}

static void markdown_gain(Str *out, const SpreadValue *v) {
    if (!v->pairs) {
        str_puts(out, " - |");
        return;
    }
    const int drawn = isfinite(v->p);
    str_printf(out, " %+.4f", v->gain);
    if (drawn) str_printf(out, " [%+.4f, %+.4f]", v->low, v->high);
    if (v->other > 0) str_printf(out, ", %+.0f %%", 100 * v->gain / v->other);
    if (drawn) str_printf(out, ", p %.3f", v->p);
    str_puts(out, " |");
}

void table_markdown(Str *out, const Table *t) {
    markdown_head(out, t, t->title);
    for (int i = 0; i < t->rows; i++) {
        str_puts(out, "| ");
        markdown_text(out, t->row[i].label);
        str_puts(out, " |");
        for (int j = 0; j < t->metrics; j++) {
            const SpreadValue *v = &t->row[i].value[j];
            if (!v->n)
                str_puts(out, " - |");
            else if (v->n == 1)
                str_printf(out, " %.4f |", v->mean);
            else
                str_printf(out, " %.4f \xc2\xb1 %.4f (%d) |", v->mean, v->sd, v->n);
        }
        str_puts(out, "\n");
    }
    if (!has_gains(t)) return;
    Str head = {0};
    str_puts(&head, "gain over ");
    markdown_text(&head, t->baseline);
    str_puts(out, "\n");
    markdown_head(out, t, head.data);
    str_free(&head);
    for (int i = 0; i < t->rows; i++) {
        if (!row_has_gains(t, i)) continue;
        str_puts(out, "| ");
        markdown_text(out, t->row[i].label);
        str_puts(out, " |");
        for (int j = 0; j < t->metrics; j++) markdown_gain(out, &t->row[i].value[j]);
        str_puts(out, "\n");
    }
}

// ---- CSV -----------------------------------------------------------------------------------------------------------------

static void csv_text(Str *out, const char *s) {
    str_puts(out, "\"");
    for (; *s; s++) str_append(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    str_puts(out, "\"");
}

static void csv_number(Str *out, double x) {
    if (isfinite(x))
        str_printf(out, ",%.9g", x);
    else
        str_puts(out, ",");
}

void table_csv(Str *out, const Table *t) {
    str_puts(out, "row,metric,runs,mean,sd,pairs,baseline,gain,low,high,p\n");
    for (int i = 0; i < t->rows; i++)
        for (int j = 0; j < t->metrics; j++) {
            const SpreadValue *v = &t->row[i].value[j];
            const double more[] = {v->other, v->gain, v->low, v->high, v->p};
            csv_text(out, t->row[i].label);
            str_printf(out, ",%s,%d", t->metric[j], v->n);
            csv_number(out, v->mean), csv_number(out, v->sd);
            str_printf(out, ",%d", v->pairs);
            for (size_t k = 0; k < sizeof more / sizeof *more; k++) csv_number(out, v->pairs ? more[k] : NAN);
            str_puts(out, "\n");
        }
}

// ---- LaTeX ---------------------------------------------------------------------------------------------------------------

static void latex_text(Str *out, const char *s) {
    static const char named[] = "\\<>|"; // in the oldest font encoding the last three print other signs
    static const char *const name[] = {"backslash", "less", "greater", "bar"};
    for (; *s; s++) {
        const char *found = strchr(named, *s);
        if (found)
            str_printf(out, "\\text%s{}", name[found - named]);
        else if (*s == '^' || *s == '~')
            str_printf(out, "\\%c{}", *s);
        else if (strchr("&%$#_{}", *s))
            str_printf(out, "\\%c", *s);
        else
            str_append(out, iscntrl((unsigned char)*s) ? " " : s, 1); // an empty line would end the table
    }
}

// A star where the interval of the gain leaves 0 out. {}: behind the end of a row TeX would take a label's "[" or "*" for an
// option.
void table_latex(Str *out, const Table *t) {
    str_puts(out, "% needs \\usepackage{booktabs}; *: the 95 % interval of the gain");
    if (t->baseline) {
        str_puts(out, " over ");
        latex_text(out, t->baseline);
    }
    str_puts(out, " leaves out 0\n\\begin{tabular}{l");
    for (int j = 0; j < t->metrics; j++) str_puts(out, "r");
    str_puts(out, "}\n\\toprule\n");
    for (int j = 0; j < t->metrics; j++) str_printf(out, " & %s", t->metric[j]);
    str_puts(out, " \\\\\n\\midrule\n");
    for (int i = 0; i < t->rows; i++) {
        str_puts(out, "{}");
        latex_text(out, t->row[i].label);
        for (int j = 0; j < t->metrics; j++) {
            const SpreadValue *v = &t->row[i].value[j];
            if (!v->n)
                str_puts(out, " & --");
            else if (v->n == 1)
                str_printf(out, " & $%.4f$", v->mean);
            else
                str_printf(out, " & $%.4f \\pm %.4f$", v->mean, v->sd);
            if (v->pairs && (v->low > 0 || v->high < 0)) str_puts(out, "*");
        }
        str_puts(out, " \\\\\n");
    }
    str_puts(out, "\\bottomrule\n\\end{tabular}\n");
}

// ---- JSON ----------------------------------------------------------------------------------------------------------------

static json_t *value_to_json(const SpreadValue *v) {
    json_t *json =
        json_pack("{s:i, s:o, s:o}", "runs", v->n, "mean", v->n ? json_real(v->mean) : json_null(), "sd", json_finite(v->sd));
    if (!v->pairs) return json;
    json_t *gain = json_pack("{s:i, s:f, s:f, s:o}", "pairs", v->pairs, "other", v->other, "gain", v->gain, "relative",
                             v->other > 0 ? json_real(v->gain / v->other) : json_null());
    if (isfinite(v->p)) {
        json_object_set_new(gain, "interval", json_pack("[f, f]", v->low, v->high));
        json_object_set_new(gain, "p", json_real(v->p));
    }
    json_object_set_new(json, "gain", gain);
    return json;
}

json_t *table_to_json(const Table *t) {
    json_t *rows = json_array();
    for (int i = 0; i < t->rows; i++) {
        json_t *metrics = json_object();
        for (int j = 0; j < t->metrics; j++) json_object_set_new(metrics, t->metric[j], value_to_json(&t->row[i].value[j]));
        json_array_append_new(rows, json_pack("{s:s, s:o}", "row", t->row[i].label, "metrics", metrics));
    }
    return rows;
}
