"""What a server must live through: soak.py PROGRAM MODEL DATA [SHARE [PART...]]

Malformed requests, slow clients of several kinds beside fast ones, more clients than it can serve, reloads and catalogue changes under load, and
ends under load. SHARE (1) scales how many of each: `make soak` runs all of it (SOAK_SHARE=0.02: two minutes), tests/cli/serve.bats a five-hundredth.
PART: those alone, by the names of the functions below. DATA is copied before it is changed. Nothing is judged by the clock but that fast clients are
not held up by slow ones: their p99 is compared with what it was before.
"""

import atexit
import http.client
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlparse

PROGRAM, MODEL, DATA = sys.argv[1:4]
SHARE = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
ASK = json.dumps({"history_ids": ["2", "3"], "k": 5})
JSON = {"Content-Type": "application/json"}


def share(n, least=2):
    return max(least, int(n * SHARE))


def check(condition, what):
    if not condition:
        raise SystemExit("soak: " + what)


class Server:
    def __init__(self, data=DATA, *options):
        command = [PROGRAM, "serve", "--model", MODEL, "--data", data, "--threads", os.environ.get("SOAK_THREADS", "1"), "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)  # where a check fails: nothing is left then, and no thread is waited for
        self.where = urlparse(self.process.stdout.readline().strip())
        check(self.where.port, "the server does not start")
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def connect(self):
        return http.client.HTTPConnection(self.where.hostname, self.where.port, timeout=120)

    def socket(self):
        return socket.create_connection((self.where.hostname, self.where.port), timeout=120)

    def once(self, method="POST", path="/v1/recommend", body=ASK):
        connection = self.connect()
        connection.request(method, path, body, JSON if body is not None else {})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, text, reply.headers

    def metric(self, name):
        for line in self.once("GET", "/metrics", None)[1].decode().splitlines():
            if line.startswith("latentr3_" + name + " "):
                return float(line.split()[1])
        raise SystemExit("soak: no metric " + name)

    def memory(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=300)
        self.reader.join()
        check(code == 143 and "all requests are answered\n" in self.log, "an end with code %d: %s" % (code, self.log[-3:]))


class Load:
    """Clients that ask one request after the other, until they are stopped; all must be answered with 200."""

    def __init__(self, server, clients=2, pause=0.0, ask=lambda: ASK):
        self.server, self.times, self.wrong, self.on, self.pause, self.ask = server, [], [], True, pause, ask
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]
        for t in self.threads:
            t.start()

    def run(self):
        connection = self.server.connect()
        while self.on:
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/recommend", self.ask(), JSON)
                reply = connection.getresponse()
                items = json.loads(reply.read()).get("items")
                if reply.status != 200 or len(items) != 5:
                    self.wrong.append(reply.status)
            except Exception as error:  # whatever it is, an answer was lost
                self.wrong.append(repr(error))
                connection = self.server.connect()
            self.times.append(time.monotonic() - began)
            time.sleep(self.pause)

    def stop(self):
        self.on = False
        for t in self.threads:
            t.join()
        return self


def p99_for(server, seconds):
    """One fast client in a process of its own, so that the slow ones here do not hold it up. Its 99th percentile, when asked for."""

    def measure(out):
        load = Load(server, 1, 0.01)
        time.sleep(seconds)
        load.stop()
        times = sorted(load.times)
        out.put((times[min(len(times) - 1, int(0.99 * len(times)))], load.wrong[:3]))

    fork = multiprocessing.get_context("fork")
    out = fork.Queue()
    fork.Process(target=measure, args=(out,)).start()
    return out.get


# ---- malformed requests ----------------------------------------------------------------------------------------------


def broken_http(rng, kind):
    """Bytes that are no request, or one that is cut short, or one with something of it changed."""
    good = ("POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(ASK), ASK)).encode()
    if kind == "noise":
        return rng.randbytes(rng.randrange(1, 2000))
    if kind == "cut":
        return good[: rng.randrange(1, len(good))]
    if kind == "changed":
        changed = bytearray(good)
        for _ in range(rng.randrange(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    if kind == "length":
        return good.replace(b"Content-Length: ", b"Content-Length: " + rng.choice([b"-", b"9" * 30, b"x", b"+", b"0x"]))
    if kind == "version":
        return good.replace(b"HTTP/1.1", rng.choice([b"HTTP/9.9", b"", b"http", b"HTTP/1.1 x"]))
    return b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n" + \
        rng.choice([b"zz\r\n", b"ffffffffffffffff\r\n", b"5\r\nabc", b"-1\r\n\r\n", b"3\r\n{}x0\r\n\r\n"])


def reply_to(server, sent, seconds):
    """The status, or what becomes of the connection instead."""
    with server.socket() as s:
        s.settimeout(seconds)
        try:
            s.sendall(sent)
            reply = s.recv(4096)
        except TimeoutError:
            return "waits"
        except OSError:
            return "closes"  # it may do so in the middle of our bytes
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", reply)
    return status[1].decode() if status else repr(reply) if reply else "closes"


def broken_json(rng):
    whole = {"history": ["A"], "k": 3, "beams": 5, "deny": ["1"], "exclude_seen": True}
    odd = [None, -1, 0, 1e300, "", "\u0000", [], {}, [[]], "x" * 5000, True, 10 ** 18, ["", "a"], [None]]
    whole[rng.choice(list(whole) + ["users", "other"])] = rng.choice(odd)
    text = json.dumps(whole)
    return text[: rng.randrange(len(text))] if rng.random() < 0.3 else text


def malformed():
    server, rng = Server(), random.Random(1)
    load = Load(server, 1)
    for _ in range(share(5000, 50)):
        kind = rng.choice(("noise", "cut", "changed", "length", "version", "chunks"))
        sent, whole = broken_http(rng, kind), kind in ("length", "version")
        reply = reply_to(server, sent, 60 if whole else 0.05)  # of the others it may wait for the rest
        also = "" if whole else "|waits|200" if kind == "changed" else "|waits"  # what has changed may still be a request
        check(re.fullmatch("4..|505|closes" + also, reply), "%s for the bytes %r" % (reply, sent))
    for _ in range(share(5000, 50)):
        body = broken_json(rng)
        status, text, _ = server.once(body=body)
        check(status in (200, 400, 413, 422), "status %d for the body %r" % (status, body))
        check(status == 200 or json.loads(text)["error"]["status"] == status, "an error that is no JSON")
    check(not load.stop().wrong, "others were disturbed by malformed requests: %s" % load.wrong[:3])
    server.end()


# ---- slow clients ----------------------------------------------------------------------------------------------------

HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "that say nothing": (b"", b""),
    "whose headers drip": (b"POST /v1/rec", b"o"),
    "whose body drips": (HEAD + b"Content-Length: 100000\r\n\r\n{", b" "),
    "that do not read": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40, b""),
}


def slow_clients():
    server = Server()
    seconds = max(2.0, 35 * min(1.0, 4 * SHARE))
    allowed = 0.1 if SHARE >= 0.25 else 1.0  # two seconds' p99 is their slowest answer; who is held up waits 10 s or more
    before, wrong = p99_for(server, seconds)()
    check(not wrong, "without slow clients some were not answered: %s" % wrong)
    for kind, (first, drip) in SLOW.items():
        # A client that waits to be cut off takes 10 to 30 s; all of a kind wait together.
        clients = []
        for _ in range(share(1000, 20)):
            s = server.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(first)
            clients.append(s)
        measured = p99_for(server, seconds)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            for s in clients:
                try:
                    s.sendall(drip)
                except OSError:
                    pass
            time.sleep(0.5)
        during, wrong = measured()
        check(not wrong, "clients %s: others were not answered: %s" % (kind, wrong))
        print("slow clients %s: p99 of the others %.1f ms, before %.1f ms" % (kind, 1000 * during, 1000 * before), flush=True)
        check(during < 5 * before + allowed, "clients %s: others were held up" % kind)
        for s in clients:
            s.close()
    if SHARE >= 0.25:
        check(server.metric("timeouts_total") >= 3 * share(1000, 20), "slow clients were not cut off")
    server.end()


# ---- too many, reloads, ends -----------------------------------------------------------------------------------------


def too_many():
    server = Server(DATA, "--queue", "8", "--batch", "2")
    statuses, faults, on, lock = {}, [], [True], threading.Lock()  # check() ends nothing but its own thread

    def client():
        while on[0]:
            try:
                status, _, headers = server.once()
            except Exception as error:  # whatever it is, an answer was lost
                faults.append(repr(error))
                return
            if status != 200 and not (status == 503 and re.fullmatch("[1-9][0-9]*", headers.get("Retry-After", ""))):
                faults.append("%d with %s" % (status, headers.items()))
            with lock:
                statuses[status] = statuses.get(status, 0) + 1

    threads = [threading.Thread(target=client, daemon=True) for _ in range(24)]
    for t in threads:
        t.start()
    time.sleep(max(2.0, 60 * SHARE))
    on[0] = False
    for t in threads:
        t.join()
    check(not faults, "where too many ask: %s" % faults[:3])
    check(statuses.get(200) and statuses.get(503), "where too many ask, not some are answered and some refused: %s" % statuses)
    print("too many: %s" % statuses)
    server.end()


def leavers():
    """Clients that do not wait for their answer take nobody's place."""
    server = Server(DATA, "--batch", "1")
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(ASK) + ASK.encode()
    for _ in range(share(2000, 60)):
        with server.socket() as s:
            s.sendall(request)
    for _ in range(100):
        if server.metric("queue_users") == 0:
            break
        time.sleep(0.1)
    check(server.metric("queue_users") == 0 and server.once()[0] == 200, "clients that left still wait")
    server.end()


def changes():
    with tempfile.TemporaryDirectory() as folder:
        data = shutil.copytree(DATA, os.path.join(folder, "data"))
        server = Server(data)
        load = Load(server, 3)
        for i in range(share(500, 5)):
            check(server.once("POST", "/v1/reload", None)[0] == 200, "a reload failed")
            check(server.once("PUT", "/v1/items/%d" % (9000 + i), '{"title": "Item %d"}' % i)[0] == 201, "an item was not added")
            if i % 2:
                check(server.once("DELETE", "/v1/items/%d" % (9000 + i), None)[0] == 200, "an item was not removed")
            if i == share(500, 5) // 2:
                memory = server.memory()
        check(not load.stop().wrong, "requests failed during reloads: %s" % load.wrong[:3])
        print("changes: %d answers meanwhile, memory %d -> %d KiB" % (len(load.times), memory, server.memory()))
        check(SHARE < 0.25 or server.memory() < 1.1 * memory + 20000, "memory grows with reloads")
        server.end()


def ends():
    for i in range(share(100, 2)):
        server, answers = Server(), []
        connections = [server.connect() for _ in range(8)]
        for c in connections:
            c.connect()
        check(server.once("GET", "/health", None)[0] == 200, "no health")  # so all of them are accepted
        for c in connections:
            c.request("POST", "/v1/recommend", ASK, JSON)
        time.sleep(0.001 * (i % 20))
        server.process.send_signal(signal.SIGTERM)
        for c in connections:
            reply = c.getresponse()
            answers.append(reply.status == 200 and len(json.loads(reply.read())["items"]) == 5)
        check(all(answers) and len(answers) == 8, "an answer was lost at the end")
        check(server.process.wait(timeout=60) == 143, "the end has another code")
        server.reader.join()


def flat():
    """An hour of users who are all new: once all caches are full, memory stays where it is."""
    server, minutes, rng = Server(DATA, "--prefix-cache", "1"), [], random.Random(1)
    load = Load(server, 4, 0.02, lambda: json.dumps({"history_ids": [str(i) for i in rng.sample(range(150), 10)], "k": 5}))
    for _ in range(60):
        time.sleep(60 * SHARE)
        minutes.append(server.memory())
    check(not load.stop().wrong, "requests failed: %s" % load.wrong[:3])
    print("load: %d requests, KiB of memory at each sixtieth of the time: %s" % (len(load.times), minutes))
    check(SHARE < 0.25 or max(minutes[15:]) < 1.02 * minutes[14] + 1000, "memory grows")
    server.end()


def main():
    parts = (malformed, slow_clients, too_many, leavers, changes, ends, flat)
    for part in [p for p in parts if p.__name__ in sys.argv[5:]] or parts:
        began = time.monotonic()
        part()
        print("%s: all is well, %.0f s" % (part.__name__, time.monotonic() - began), flush=True)


main()
