"""Write a text file that is hard on tokenizers: python tests/make_unicode.py > FILE. The same bytes each time.

Lines end with \\n; a \\r may stand inside one, and some lines are no UTF-8.
"""
import random
import sys

PLANES = list(range(0x20, 0xD800)) + list(range(0xE000, 0x323B0)) + list(range(0xE0000, 0xE01F0))
BLANKS = [" ", "  ", "   ", "\t", "\t\t", " \t ", "\u00a0", "\u00a0 ", " \u00a0", "\u2003", "\u3000", "\u200b", "\u180e", "\u1680", "\u2028",
          "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1f", "\r", "\r\r", " \r", "\r ", "\u205f", "\u202f", "\ufeff", " " * 17, "\t" * 9]
WORDS = ["hello", "World", "iPhone", "naïve", "Straße", "ſtraße", "ﬁne", "ﬆ", "Ångström", "İstanbul", "ǅungla", "Łódź", "Ελλάδα", "Москва",
         "Ёлка", "Հայաստան", "საქართველო", "שלום", "שָׁלוֹם", "مرحبا", "مُحَمَّد", "हिन्दी", "क्षत्रिय", "বাংলা", "தமிழ்", "ไทย", "ภาษาไทย", "ລາວ", "မြန်မာ", "ខ្មែរ",
         "中文", "漢字かな交じり文", "カタカナ", "ﾊﾝｶｸ", "한국어", "각", "가\u11a7", "\u1112\u1161\u11ab", "\u1100\u1161\u11a7", "𝒜𝓁𝓅𝒽𝒶", "𐍈", "𠮷野家",
         "\U00031350", "ＦＵＬＬ", "x²", "H₂O", "½", "Ⅷ", "№", "™", "a\u00adb", "e\u0301", "é", "o\u0323\u0302", "o\u0302\u0323", "\u212b", "\u2126", "\ufb1d",
         "\u0958", "\U0001d15e", "q\u0307\u0323", "\u0344", "\u0f73", "z\u200dz", "z\u200cz", "\u1e9b\u0323", "ệ", "DON", "I", "they", "we", "y'all"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'lL", "'D", "'M", "'ſ", "’s", "’ll", "'K", "''s", "'", "'x", " 's", "' s"]
DIGITS = ["0", "7", "42", "123", "2024", "1234567", "٣", "٤٥٦", "۷۸۹", "१२३", "৪৫", "๙", "０１２３", "𝟘𝟙", "₁₂", "¹", "ⅷ", "㊿", "万", "〇", "௧௨", "\U00011de3",
          "\U00011f53", "1.5", "3,000", "1e9", "0x1F", "1/2", "12:30"]
PUNCTUATION = ["!", "?!", "...", "…", "--", "—", "(", ")", "[x]", "{y}", "<", ">", "</s>", "&amp;", "&quot;", '"', "``", "~~~", "#", "@you", "$5", "%", "^",
               "&", "*", "+", "=", "|", "\\", "/", "_", "__init__", ";", ":", ",", ".", "。", "、", "「」", "¿", "¡", "«»", "§", "€", "£9", "•", "→", "∑", "≠", "\x00",
               "\x01", "\x04", "\x07", "\x1b[31m", "\x7f", "\u0080", "\u009f", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\U000f0000", "\U000e0041"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇩🇪🇫", "❤️", "☺", "1️⃣", "🧑🏿‍🚀", "🫨", "🐦‍🔥", "\U0001f9d1\u200d", "\u200d", "\ufe0f", "✂︎"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|Thought|>", "<|im_end|", "<|im_end|>>", "|im_end|>", "<|IM_END|>", "<|im_\u200bend|>",
            "<|endoftext|><|im_start|>", "<repo_name>", "<file_sep>", "<empty_output>", "<jupyter_code>", "<s>", "[MASK]", "<<|im_start|>", "<|imend|>"]
BROKEN = [b"\x80", b"\xbf\xbf", b"\xc0\xaf", b"\xc1", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2(\xa1", b"\xe0\x80\xaf", b"\xe0\xa0", b"\xed\xa0\x80", b"\xed\xb0\x80",
          b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff\xff", b"\xf1\x80\x80",
          b"\xe4\xb8", b"\xe4", b"\xf4\x8f\xbf", b"\xef\xbf"]


def marks(rng):
    """A letter under a heap of combining marks in any order: also ones that Unicode has gained lately."""
    newer = [0x07FD, 0x0898, 0x08CA, 0x0C3C, 0x1ABF, 0x1AC1, 0x1DF6, 0x10EFD, 0x11070, 0x1E4EC, 0x0897, 0x1611E, 0x11F41]
    picks = [rng.choice(newer) if rng.random() < 0.2 else rng.randrange(0x300, 0x370) for _ in range(rng.randrange(1, 9))]
    return rng.choice("aeouAnq\u0915\u05d0\u0627") + "".join(map(chr, picks))


def jamo(rng):
    parts = [rng.randrange(0x1100, 0x1113), rng.randrange(0x1161, 0x1176), rng.randrange(0x11A7, 0x11C4), rng.randrange(0xAC00, 0xD7A4)]
    return "".join(chr(rng.choice(parts)) for _ in range(rng.randrange(1, 6)))


def any_character(rng):
    return "".join(chr(rng.choice(PLANES)) for _ in range(rng.randrange(1, 6)))


def mixed(rng):
    groups = [BLANKS, WORDS, CONTRACTIONS, DIGITS, PUNCTUATION, EMOJI, SPECIALS]
    out = []
    for _ in range(rng.randrange(1, 30)):
        kind = rng.random()
        if kind < 0.08:
            out.append(marks(rng))
        elif kind < 0.12:
            out.append(jamo(rng))
        elif kind < 0.16:
            out.append(any_character(rng))
        else:
            out.append(rng.choice(rng.choice(groups)))
        if rng.random() < 0.3:
            out.append(" ")
    return "".join(out)


def lines():
    # Every character that is assigned, and many that are not: bare, after a letter and a mark, and between blank and digit.
    for begin in range(0, len(PLANES), 64):
        points = [chr(c) for c in PLANES[begin : begin + 64]]
        yield "".join(points).encode()
        yield "".join("a" + c + "\u0301" for c in points).encode()
        yield "".join(" " + c + "1\u0345" + c + "\u0334" for c in points).encode()
    yield b""
    for n in (1, 2, 3, 5, 8, 64, 1000):
        for s in (" ", "\t", "\u00a0", "\r", " \r", "a", "aB", "0", "'", "中", "👍", "e\u0301", "<", "\u0301\u0323"):
            yield (s * n).encode()
            yield (s * n + "x").encode()
            yield ("x" + s * n).encode()
    for word in CONTRACTIONS:
        for after in ("", " ", "x", "1", ".", "\u0301"):
            yield ("it" + word + after).encode()
            yield (word + after).encode()
    for special in SPECIALS:
        for a in ("", " ", "a", "\u00a0", "1", "\u0301"):
            for b in ("", " ", "b", "\t", "\u0301"):
                yield (a + special + b).encode()
    rng = random.Random(20)
    for _ in range(12000):
        yield mixed(rng).encode()
    for _ in range(1500):
        line = bytearray(mixed(rng).encode())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(line) + 1)
            line[at:at] = rng.choice(BROKEN)
        yield bytes(line)
    for broken in BROKEN:
        for a in (b"", b"a", b" ", "é".encode()):
            for b in (b"", b"b", b"\x80", "中".encode()):
                yield a + broken + b


for line in lines():
    assert b"\n" not in line
    sys.stdout.buffer.write(line + b"\n")
