"""The package over the world that `latentr3 synth` makes: WORLD names it, LATENTR3 the program. Run by tests/cli/library.bats."""

import ast
import csv
import json
import os
import subprocess
import tempfile
import threading
import unittest

import latentr3
from latentr3 import Recommender

WORLD, PROGRAM = os.environ["WORLD"], os.environ["LATENTR3"]
MODEL, DATA = WORLD + "/model", WORLD + "/data"


def command(*arguments):
    out = subprocess.run([PROGRAM, *arguments, "--model", MODEL, "--data", DATA, "--json"], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, check=True)
    return json.loads(out.stdout)


class TestRecommender(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.r = Recommender.load(MODEL, DATA, thoughts=1)
        cls.titles = [[cls.r.title(3 * u + i) for i in range(u + 1)] for u in range(4)]

    @classmethod
    def tearDownClass(cls):
        cls.r.close()

    def test_same_as_the_command(self):
        for titles in self.titles:
            history = [x for t in titles for x in ("--history", t)]
            want = command("recommend", "--thoughts", "1", "--exclude-seen", "-k", "7", *history)["items"]
            got = self.r.recommend(titles, k=7, exclude_seen=True)
            self.assertEqual([x["id"] for x in want], [x.id for x in got])
            self.assertEqual([x["title"] for x in want], [x.title for x in got])
            self.assertEqual([x["score"] for x in want], [float(f"{x.score:.9g}") for x in got])

    def test_several_users(self):
        lists = self.r.recommend(self.titles, k=5)
        self.assertEqual(lists, [self.r.recommend(t, k=5) for t in self.titles])
        ids = [[self.r.id(3 * u + i) for i in range(u + 1)] for u in range(4)]
        self.assertEqual(self.r.recommend(ids, k=5, by_id=True), lists)
        numbers = [[3 * u + i for i in range(u + 1)] for u in range(4)]
        self.assertEqual(self.r.recommend(numbers, k=5), lists)
        self.assertEqual(self.r.recommend(numbers[2], k=5), lists[2])
        self.assertEqual(self.r.recommend([tuple(t) for t in self.titles], k=5), lists)
        self.assertEqual(self.r._rank([], 5, 0, False, False, None, ()), [])

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("NumPy is missing")
        histories = numpy.full((4, 6), -1)
        for u in range(4):
            histories[u, 6 - u - 1:] = range(3 * u, 3 * u + u + 1)
        lists = self.r.recommend(histories, k=5)
        self.assertEqual(lists, self.r.recommend(self.titles, k=5))
        self.assertEqual(lists[1], self.r.recommend(histories[1], k=5))
        self.assertEqual(lists[1], self.r.recommend(list(histories[1]), k=5))
        item, score, found = self.r.recommend_arrays(histories, k=5, allow=[self.r.id(i) for i in range(3)])
        self.assertEqual((item.shape, item.dtype, score.shape, score.dtype), ((4, 5), numpy.int32, (4, 5), numpy.float32))
        self.assertEqual(found.tolist(), [3] * 4)
        self.assertEqual(sorted(item[0].tolist()), [-1, -1, 0, 1, 2])
        for nobody in ([], numpy.zeros((0, 5), int)):
            item, score, found = self.r.recommend_arrays(nobody, k=5)
            self.assertEqual((item.shape, score.shape, found.shape), ((0, 5), (0, 5), (0,)))
        item, score, found = self.r.recommend_arrays(histories, k=5)
        self.assertEqual(item.tolist(), [[x.number for x in one] for one in lists])
        self.assertEqual(score.tolist(), [[x.score for x in one] for one in lists])

    def test_allow_and_deny(self):
        ids = [self.r.id(i) for i in (30, 31, 32)]
        got = {x.id for x in self.r.recommend(self.titles[0], allow=ids, deny=[ids[1]])}
        self.assertEqual(got, {ids[0], ids[2]})
        self.assertEqual(self.r.recommend(self.titles[0], allow=[]), [])

    def test_items(self):
        with open(DATA + "/info.txt", encoding="utf-8") as f:
            lines = [line.rstrip("\n").split("\t") for line in f]
        self.assertEqual(len(self.r), len(lines))
        self.assertEqual([(self.r.title(i), self.r.id(i)) for i in range(len(lines))], [tuple(x[:2]) for x in lines])
        self.assertEqual(self.r.number(id=lines[9][1]), 9)
        self.assertEqual(self.r.search(lines[9][0].lower())[0], (lines[9][1], lines[9][0]))
        with self.assertRaises(KeyError):
            self.r.number(title="No Such Title")
        with self.assertRaises(IndexError):
            self.r.title(len(lines))
        with self.assertRaises(TypeError):
            self.r.number()

    def test_own_ids(self):
        """The same items and titles, but the shop calls them s/1, s/2, ..."""
        with Recommender.load(MODEL, WORLD + "/shop", thoughts=1) as r:
            lists = r.recommend(self.titles, k=5)
            self.assertEqual([[x._replace(id="") for x in one] for one in lists],
                             [[x._replace(id="") for x in one] for one in self.r.recommend(self.titles, k=5)])
            for x in lists[0]:
                self.assertRegex(x.id, "^s/[0-9]+$")
                self.assertEqual((r.number(id=x.id), r.id(x.number)), (x.number, x.id))
            ids = [[r.id(r.number(title=t)) for t in titles] for titles in self.titles]
            self.assertEqual(r.recommend(ids, k=5, by_id=True), lists)
            deny, allow = lists[0][0].id, [x.id for x in lists[0]]
            self.assertEqual([x.id for x in r.recommend(ids[0], by_id=True, allow=allow, deny=[deny])], allow[1:])
            with open(WORLD + "/shop/test.csv", encoding="utf-8", newline="") as f:
                rows = list(csv.DictReader(f))[:20]
            histories = [ast.literal_eval(row["item_asins"]) for row in rows]
            got = r.evaluate(histories, [row["item_asin"] for row in rows], at=(50,), beams=50, by_id=True)
            titles = [ast.literal_eval(row["history_item_title"]) for row in rows]
            want = self.r.evaluate(titles, [row["item_id"] for row in rows], at=(50,), beams=50)
        self.assertGreater(got["HR@50"], 0)
        self.assertEqual(got, want)

    def test_score_and_evaluate(self):
        with open(DATA + "/test.csv", encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))[:20]
        histories = [ast.literal_eval(row["history_item_title"]) for row in rows]
        with Recommender.load(MODEL, DATA, thoughts=1, dtype="f32") as r:
            want = command("score", "--thoughts", "1", "--dtype", "f32", "--batch", "1", "--max-rows", "5")["rows"]
            for row, history, s in zip(rows, histories, want):
                (logprob, tokens), = r.score(history, [r.number(id=row["item_id"])])
                self.assertEqual(tokens, s["tokens"])
                self.assertAlmostEqual(logprob, s["logprob"], delta=1e-6)
            want = command("eval", "--thoughts", "1", "--dtype", "f32", "--max-rows", "20", "--beams", "50")["item"]
            got = r.evaluate(histories, [row["item_id"] for row in rows], at=(10, 50), beams=50)
        self.assertGreater(got["HR@50"], 0)
        for name, value in got.items():
            if name in want:
                self.assertAlmostEqual(value, want[name], delta=1e-6)
        self.assertTrue({"HR@10", "NDCG@10"} <= set(want))

    def test_few_beams(self):
        with Recommender.load(MODEL, DATA, thoughts=1, beams=4, max_beams=6) as r:
            self.assertEqual([len(x) for x in r.recommend(self.titles)], [4] * 4)
            self.assertEqual([len(r.recommend(self.titles[0], **q)) for q in ({"beams": 3}, {"beams": 6}, {"k": 5})], [3, 6, 5])

    def test_one_index(self):
        """Handles that are opened at the same time, all of which find no index yet."""
        with tempfile.TemporaryDirectory() as folder:
            for attempt in range(5):
                opened, path = [], f"{folder}/{attempt}.idx"
                threads = [threading.Thread(target=lambda: opened.append(Recommender.load(MODEL, DATA, index=path)))
                           for _ in range(4)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
                self.assertEqual([len(r) for r in opened], [len(self.r)] * 4)
                for r in opened:
                    r.close()
            self.assertEqual(sorted(os.listdir(folder)), [f"{attempt}.idx" for attempt in range(5)])

    def test_errors(self):
        with self.assertRaisesRegex(latentr3.UsageError, "beans"):
            Recommender.load(MODEL, DATA, beans=3)
        with self.assertRaises(latentr3.FileError) as caught:
            Recommender.load(MODEL, WORLD + "/none")
        self.assertIsInstance(caught.exception, OSError)
        self.assertEqual(caught.exception.code, 4)
        with self.assertRaisesRegex(ValueError, "max-beams"):
            self.r.recommend(self.titles[0], k=51)
        with self.assertRaisesRegex(latentr3.UsageError, "user 1"):
            self.r.recommend([self.titles[0], []])
        with self.assertRaisesRegex(latentr3.UsageError, "no item"):
            self.r.recommend(["no such id"], by_id=True)
        title, score, arrays = self.titles[0][0], self.r.score, self.r.recommend_arrays
        for wrong in (lambda: self.r.recommend([["a"], [1]]), lambda: self.r.recommend([b"a"]),
                      # One text is no list, neither of its letters nor of numbers that are its bytes.
                      lambda: self.r.recommend(title), lambda: self.r.recommend(b"ab"),
                      lambda: self.r.recommend([[title], title]), lambda: self.r.recommend([title], allow="53"),
                      lambda: self.r.recommend([title], deny="53"), lambda: score(title, [1]), lambda: score(b"ab", [1]),
                      lambda: score([title], "53"), lambda: self.r.evaluate([[title]], "5"),
                      lambda: arrays([title]), lambda: arrays(title)):
            self.assertRaises(TypeError, wrong)
        self.assertRaises(ValueError, lambda: self.r.recommend(["a\0b"]))
        self.assertRaises(ValueError, lambda: self.r.recommend(["a"], k=0))
        closed = Recommender.load("popularity", DATA, strict=True)
        closed.close()
        closed.close()
        self.assertRaises(ValueError, lambda: closed.recommend(["a"]))

    def test_threads(self):
        want, got = self.r.recommend(self.titles), [None] * 4

        def run(i):
            got[i] = self.r.recommend(self.titles)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(got, [want] * 4)

    def test_versions(self):
        program = subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
        self.assertEqual(program.split()[1], latentr3.version())
        self.assertEqual(len(self.r.model_version), 32)


if __name__ == "__main__":
    unittest.main()
