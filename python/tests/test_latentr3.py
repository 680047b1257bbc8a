"""The package over the world that `latentr3 synth` makes: WORLD names it, LATENTR3 the program. Run by tests/cli/library.bats."""

import ast
import copy
import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import tempfile
import threading
import traceback
import unittest
from unittest import mock

try:
    import numpy
except ImportError:
    numpy = None

import latentr3
from latentr3 import Recommender, _library

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

    @unittest.skipUnless(numpy, "NumPy is missing")
    def test_numpy(self):
        histories = numpy.full((4, 6), -1)
        for u in range(4):
            histories[u, 6 - u - 1:] = range(3 * u, 3 * u + u + 1)
        lists = self.r.recommend(histories, k=5)
        self.assertEqual(lists, self.r.recommend(self.titles, k=5))
        self.assertEqual(lists[1], self.r.recommend(histories[1], k=5))
        self.assertEqual(lists[1], self.r.recommend(list(histories[1]), k=5))
        ragged = numpy.empty(4, object)
        ragged[:] = [[3 * u + i for i in range(u + 1)] for u in range(4)]
        self.assertEqual(lists, self.r.recommend(ragged, k=5))
        ids = numpy.array([self.r.id(i) for i in range(4)])
        self.assertEqual(self.r.evaluate(ragged, ids, at=(5,)), self.r.evaluate(self.titles, ids, at=(5,)))
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

    def test_targets(self):
        """As ids that are text; one that the catalogue lacks, or has no more, is told from a miss."""
        with tempfile.TemporaryDirectory() as folder:
            data = shutil.copytree(DATA, folder + "/data")
            subprocess.run([PROGRAM, "catalog", "remove", "--data", data, "--id", self.r.id(7)], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with Recommender.load("popularity", data) as r:
                likely = r.recommend(self.titles[0], k=1)[0].id
                got = r.evaluate(self.titles[:1] * 4, [likely, r.id(7), "none", likely], at=(n for n in (1, 2)))
                self.assertEqual(got, {"HR@1": 0.5, "NDCG@1": 0.5, "HR@2": 0.5, "NDCG@2": 0.5, "targets_outside": 2})
                self.assertRaises(TypeError, lambda: r.evaluate(self.titles[:1], [int(likely)]))
        for wrong in ("53", 53.9):
            self.assertRaises(TypeError, lambda: self.r.score(self.titles[0], [wrong]))

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
        with self.assertRaisesRegex(latentr3.UsageError, "user 1: an empty history"):
            self.r.recommend([[1], []])
        for wrong in ([1, "a"], [[2], ["a", 1]], [[1], [2, None]]):
            self.assertRaisesRegex(TypeError, "user [01]: some entries are numbers, others are not", self.r.recommend, wrong)
        with self.assertRaisesRegex(latentr3.UsageError, "did you mean popularity"):
            Recommender.load("popularty", DATA)
        title, score = self.titles[0][0], self.r.score
        arrays = self.r.recommend_arrays if numpy else lambda h, k=5: self.r._rank_flat(h, self.r._length(k, 0))
        for wrong in (lambda: self.r.recommend([["a"], [1]]), lambda: self.r.recommend([b"a"]),
                      # One text is no list, neither of its letters nor of numbers that are its bytes.
                      lambda: self.r.recommend(title), lambda: self.r.recommend(b"ab"),
                      lambda: self.r.recommend([[title], title]), lambda: self.r.recommend([title], allow="53"),
                      lambda: self.r.recommend([title], deny="53"), lambda: score(title, [1]), lambda: score(b"ab", [1]),
                      lambda: score([title], "53"), lambda: self.r.evaluate([[title]], "5"),
                      lambda: self.r.evaluate([title], ["5"]),
                      lambda: arrays([title]), lambda: arrays(title)):
            self.assertRaises(TypeError, wrong)
        self.assertRaises(ValueError, lambda: self.r.recommend(["a\0b"]))
        for wrong in (0, -1, 1001, 2**32 + 3):
            self.assertRaisesRegex(ValueError, f"k is {wrong}", lambda: self.r.recommend(["a"], k=wrong))
            self.assertRaisesRegex(ValueError, f"k is {wrong}", lambda: arrays([["a"]], k=wrong))
        for wrong in (-1, 1001, 2**32 + 12, -2**32 + 12):
            self.assertRaisesRegex(ValueError, f"beams is {wrong}", lambda: self.r.recommend(["a"], beams=wrong))
        self.assertEqual(self.r.search(title, most=2**32 + 3), self.r.search(title, most=len(self.r)))
        self.assertEqual(self.r.search(title, most=-1), [])
        for model, data in ((MODEL + "\0a", DATA), (MODEL, DATA + "\0a"), (os.fsencode(MODEL) + b"\0a", DATA)):
            self.assertRaisesRegex(ValueError, "NUL", Recommender.load, model, data)
        closed = Recommender.load("popularity", DATA, strict=True)
        closed.close()
        closed.close()
        self.assertRaises(ValueError, lambda: closed.recommend(["a"]))

    def test_one_owner(self):
        """A handle is closed once: where opening or that very call is interrupted too, and not by a copy."""
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(TypeError, "load it again"):
                copied(self.r)
        library, closed = _library.load(), []
        real = library.latentr3_close

        def interrupted(handle):
            closed.append(handle.value)
            if len(closed) == 1:
                real(handle)
            raise KeyboardInterrupt

        r = Recommender.load("popularity", DATA)
        with mock.patch.object(library, "latentr3_close", interrupted):
            self.assertRaises(KeyboardInterrupt, r.close)
            r.close()
            del r
            self.assertEqual(len(closed), 1)
            opens, closed[:] = library.latentr3_open, []

            def opened(*arguments):
                opens(*arguments)
                raise KeyboardInterrupt

            with mock.patch.object(library, "latentr3_open", opened):
                self.assertRaises(KeyboardInterrupt, Recommender.load, "popularity", DATA)
        self.assertEqual(len(closed), 1)

    def test_slices(self):
        """A call goes over its users, and its items, in batches, and Ctrl-C ends it behind one of them."""
        library = _library.load()
        real, done = {name: getattr(library, name) for name in ("latentr3_recommend", "latentr3_score")}, []

        def recommend(*arguments):
            done.append(arguments[2])
            return real["latentr3_recommend"](*arguments)

        def score(*arguments):
            done.append(arguments[5])
            return real["latentr3_score"](*arguments)

        # A shell's background job, as these tests may be part of, ignores it.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))

        def interrupted(*arguments):
            code = recommend(*arguments)
            os.kill(os.getpid(), signal.SIGINT)
            return code

        def calls(f):
            del done[:]
            with mock.patch.multiple(library, latentr3_recommend=recommend, latentr3_score=score):
                return f(), done[:]

        want = self.r.recommend(self.titles, k=5)
        some, scores = [8, 3, 7, 9, 1], self.r.score(self.titles[3], [8, 3, 7, 9, 1])
        self.assertEqual(scores, [self.r.score(self.titles[3], [i])[0] for i in some])
        # Scoring no items is how all histories are checked first.
        self.assertEqual(calls(lambda: self.r.recommend(self.titles, k=5)), (want, [0, 1, 1, 1, 1]))
        with Recommender.load(MODEL, DATA, thoughts=1, batch=3) as r:
            self.assertEqual(calls(lambda: r.recommend(self.titles))[1], [0, 3, 1])
            got, sizes = calls(lambda: r.score(self.titles[3], some))
            self.assertEqual(sizes, [3, 2])
            for (a, tokens), (b, want_tokens) in zip(got, scores):
                self.assertAlmostEqual(a, b, delta=1e-3)
                self.assertEqual(tokens, want_tokens)
        with Recommender.load("random", DATA) as r:
            self.assertEqual(calls(lambda: r.recommend(self.titles))[1], [0, 4])
            self.assertNotEqual(*r.recommend([self.titles[0]] * 2))
            self.assertEqual(calls(lambda: r.score(self.titles[0], some))[1], [1, 4])
        with self.assertRaisesRegex(latentr3.UsageError, "user 3"):
            calls(lambda: self.r.recommend(self.titles[:3] + [[]]))
        self.assertEqual(done, [0])
        del done[:]
        with mock.patch.object(library, "latentr3_recommend", interrupted), self.assertRaises(KeyboardInterrupt):
            self.r.evaluate(self.titles, ["1"] * 4)
        self.assertEqual(done, [1])
        self.assertEqual(self.r.recommend(self.titles, k=5), want)

    def test_users_of_messages(self):
        """A call's user 0 is the first of a slice."""
        for said, want in (("user 2: user 1", "user 7: user 1"), ("users 0 to 3: a 1", "users 5 to 8: a 1"), ("k 1", "k 1")):
            def fails(error):
                error._obj.message = said.encode()
                return 3

            with self.assertRaisesRegex(latentr3.DataError, f"^{want}$"):
                _library.check(fails, first=5)

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

    def test_fork(self):
        """A child goes on with its parent's recommender, and opens others; so does the parent."""
        want = self.r.recommend(self.titles), self.r.score(self.titles[0], [1, 2])

        def child():
            self.assertEqual((self.r.recommend(self.titles), self.r.score(self.titles[0], [1, 2])), want)
            with Recommender.load(MODEL, DATA, thoughts=1, threads=3) as r:
                self.assertEqual([x.id for x in r.recommend(self.titles[0])], [x.id for x in want[0][0]])

        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            try:
                child()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        self.assertEqual((self.r.recommend(self.titles), self.r.score(self.titles[0], [1, 2])), want)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_versions(self):
        program = subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
        self.assertEqual(program.split()[1], latentr3.version())
        self.assertEqual(len(self.r.model_version), 32)


if __name__ == "__main__":
    unittest.main()
