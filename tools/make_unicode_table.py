"""Write text/unicode_table.c: where the Unicode of pcre2 and utf8proc differs from that of the `tokenizers` package.

Needs Python 3.11 (its unicodedata is Unicode 14, as pcre2 10.42 is) with the packages tokenizers and unicodedata2:
    python tools/make_unicode_table.py > text/unicode_table.c
"""
import unicodedata

import tokenizers
import unicodedata2
from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", "the base of the table is Unicode 14"
CATEGORIES = "Lu Ll Lt Lm Lo Nd Nl No Mn Mc Me Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp".split()
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def matched(pattern):
    """The code points that a pattern matches in the package's regex engine."""
    split = pre_tokenizers.Split(Regex(pattern + "+"), "removed", invert=True)
    found = set()
    for i in range(0, len(CODE_POINTS), 4096):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, CODE_POINTS[i : i + 4096]))):
            found.update(map(ord, piece))
    return found


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def newer():
    """What the package's \\p{...} classes hold beyond Unicode 14."""
    rows = []
    for category in CATEGORIES:
        base = {c for c in CODE_POINTS if unicodedata.category(chr(c)) == category}
        rows += [(a, b, category) for a, b in ranges(matched(r"\p{%s}" % category) - base)]
    return sorted(rows)


def numeric():
    """What its Digits step holds to be numbers beyond its own \\p{N}."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    isolated = {c for c in CODE_POINTS if len(digits.pre_tokenize_str("a" + chr(c) + "a")) == 3}
    return [(a, b, "N") for a, b in ranges(isolated - matched(r"\p{N}"))]


def inert():
    """What its NFC leaves alone although Unicode (or utf8proc) reorders, decomposes or composes it."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    points = {0x11A7}  # utf8proc takes the filler before the first Hangul final for a final
    for c in CODE_POINTS:
        s = chr(c)
        if unicodedata2.combining(s) and nfc(s + "\u0334") == s + "\u0334" and nfc("\u0345" + s) == "\u0345" + s:
            points.add(c)
        parts = unicodedata2.decomposition(s)
        if parts and "<" not in parts and nfd(s) == s:
            points.update(c for c in [c] + [int(x, 16) for x in parts.split()[1:]] if not unicodedata.combining(chr(c)))
    return [(a, b, "") for a, b in ranges(points)]


def table(name, rows):
    cells = ['{0x%04x, 0x%04x, "%s"}' % row for row in rows]
    lines = [", ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    print("const UnicodeRange %s[] = {\n    %s,\n};" % (name, ",\n    ".join(lines)))
    print("const size_t %s_count = sizeof %s / sizeof *%s;\n" % (name, name, name))


print("// Made by tools/make_unicode_table.py from tokenizers %s and Unicode %s.\n// clang-format off"
      % (tokenizers.__version__, unicodedata2.unidata_version))
print('#include "text/unicode_table.h"\n')
table("unicode_newer", newer())
table("unicode_numeric", numeric())
table("unicode_inert", inert())
