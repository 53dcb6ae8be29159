#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""servers.py DIRECTORY [WORD...]: the example servers in DIRECTORY under friendly and hostile clients. Loopback only.

Hostile: partial and pipelined requests, garbage, drips (slow-loris), resets in the middle of a reply, half-open
connections, floods that nobody reads, no descriptors left. Friendly: curl, wrk, redis-cli and redis-benchmark where they
are installed. Afterwards the server must still serve, hold no descriptor more than before, and end on SIGTERM."""

import concurrent.futures
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

DIRECTORY = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build/examples"
SEED = int(os.environ.get("GMP_TEST_SEED", time.time()))
RESET = struct.pack("ii", 1, 0) # SO_LINGER: close with a RST
STOP_SECONDS = 15 # most that a server takes to end: it may drain for ten


class Server:
    def __init__(self, *arguments, descriptors=None):
        command = [os.path.join(DIRECTORY, arguments[0]), *arguments[1:]]
        if descriptors: # not by preexec_fn: there are threads
            command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if not select.select([self.process.stdout], [], [], 20)[0]:
            raise AssertionError(f"{command}: silent for 20 s")
        line = self.process.stdout.readline().decode()
        match = re.fullmatch(r"listening on .*:(\d+)\n", line)
        if not match:
            raise AssertionError(f"{command}: said {line!r} and {self.process.stderr.read()!r}")
        self.port = int(match.group(1))

    def connect(self, receive_buffer=None):
        s = socket.socket()
        if receive_buffer: # later it would not limit the window
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(20)
        try:
            s.connect(("127.0.0.1", self.port))
        except OSError:
            s.close()
            raise
        return s

    def ask(self, data, shut=False):
        """Everything that comes back until the server closes."""
        with self.connect() as s:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
            return read_all(s)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        """None under a sanitizer, whose shadow memory grows as it likes."""
        with open(f"/proc/{self.process.pid}/maps", encoding="utf-8") as f:
            if re.search("lib[at]san", f.read()):
                return None
        try: # statm's number is inexact, the more so with many CPUs
            with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="utf-8") as f:
                return int(re.search(r"^Rss: *(\d+) kB", f.read(), re.M).group(1)) * 1024
        except OSError:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as f:
                return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        """Exit status and seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS + 5)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.errors = self.process.stderr.read().decode()
            self.process.stdout.close()
            self.process.stderr.close()
        return self.process.returncode, time.monotonic() - start


def installed(tool):
    return unittest.skipUnless(shutil.which(tool), f"no {tool}")


def output_of(*command, text=None):
    """What a client prints. It must succeed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise AssertionError(f"{command}: {done.returncode}, {done.stdout!r}, {done.stderr!r}")
    return done.stdout + done.stderr


def read_all(s):
    parts = []
    while True:
        try:
            data = s.recv(65536)
        except ConnectionResetError:
            break
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        piece = s.recv(n - len(data))
        if not piece:
            raise AssertionError(f"ended after {data!r}")
        data += piece
    return data


class ServerTest(unittest.TestCase):
    command = ()

    def setUp(self):
        self.server = Server(*self.command)
        self.baseline = None

    def tearDown(self):
        status, seconds = self.server.stop()
        self.assertEqual((status, self.server.errors), (0, ""))
        self.assertLess(seconds, STOP_SECONDS)

    def assert_no_descriptor_left(self, before):
        for _ in range(100):
            if self.server.descriptors() <= before:
                return
            time.sleep(0.1)
        self.assertLessEqual(self.server.descriptors(), before)

    def torture(self, valid, works):
        """Garbage, half requests and resets; `works` checks that the server still does its job."""
        rng = random.Random(SEED)
        works()
        before = self.server.descriptors()
        held = [self.server.connect() for _ in range(50)] # half-open for all that the server knows
        for i in range(300):
            data = bytearray(valid[: rng.randrange(len(valid) + 1)] if rng.random() < 0.7 else b"")
            data += rng.randbytes(rng.randrange(200)) if rng.random() < 0.5 else valid
            with self.server.connect() as s:
                for _ in range(rng.randrange(1, 4)):
                    at = rng.randrange(len(data) + 1)
                    try:
                        s.sendall(data[:at])
                    except ConnectionError: # it has seen enough of us
                        break
                    del data[:at]
                if rng.random() < 0.5:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if i % 50 == 0:
                works()
        for s in held:
            s.close()
        works()
        self.assert_no_descriptor_left(before)


class Echo(ServerTest):
    command = ("echo", "0")

    def works(self):
        data = os.urandom(100000)
        with self.server.connect() as s:
            s.sendall(data[:1])
            self.assertEqual(read_exactly(s, 1), data[:1])
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(s), data)

    def test_torture(self):
        self.torture(b"hello", self.works)

    def test_resets_while_writing(self):
        for _ in range(20):
            with self.server.connect() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                s.settimeout(0.2)
                try:
                    while True: # until both directions are full, as we read nothing
                        s.send(bytes(1 << 20))
                except TimeoutError:
                    pass
        self.works()


class IdleEcho(Echo):
    command = ("echo", "-i", "0")


class Proxy(Echo):
    def setUp(self):
        self.target = Server("echo", "0")
        self.command = ("proxy", "0", f"localhost:{self.target.port}")
        super().setUp()

    def tearDown(self):
        try:
            super().tearDown()
        finally:
            status, _ = self.target.stop()
        self.assertEqual(status, 0)

    def test_target_gone(self):
        self.target.stop()
        self.assertEqual(self.server.ask(b"x"), b"")
        status, _ = self.server.stop()
        self.assertEqual(status, 0)
        self.assertIn("Connection refused", self.server.errors)
        self.setUp()


class Httpd(ServerTest):
    request = b"GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n"

    def setUp(self):
        self.root = tempfile.TemporaryDirectory()
        self.big = os.urandom(3000000)
        self.write("index.html", b"<p>index</p>")
        self.write("big", self.big)
        self.write("sub/a b.txt", b"text")
        os.mkfifo(os.path.join(self.root.name, "fifo"))
        self.command = ("httpd", "-d", self.root.name, "0")
        super().setUp()

    def tearDown(self):
        super().tearDown()
        self.root.cleanup()

    def write(self, name, data):
        path = os.path.join(self.root.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)

    def status(self, request):
        """Status of the last reply on a connection that the request ends."""
        return [int(s) for s in re.findall(rb"HTTP/1.1 (\d+) ", self.server.ask(request))][-1]

    def get(self, target, fields=""):
        answer = self.server.ask(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode(), body

    def works(self):
        status, head, body = self.get("/plaintext")
        self.assertEqual((status, body), (200, b"Hello, World!"))
        self.assertRegex(head, r"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")
        self.assertIn("\r\nContent-Length: 13\r\n", head)

    def test_torture(self):
        self.torture(self.request, self.works)

    def test_files(self):
        self.assertEqual(self.get("/")[2], b"<p>index</p>")
        self.assertEqual(self.get("/big?x")[2], self.big)
        self.assertEqual(self.get("//sub/./a%20b.txt")[2], b"text")
        for target in ("/none", "/sub", "/fifo", "/index.html/x", "/" + "x" * 300):
            self.assertEqual(self.get(target)[0], 404, target)
        for target in ("/../x", "/sub/../../etc/passwd", "/%2e%2e/x", "/%2E./x", "/a%2fb", "/a%00", "x"):
            self.assertEqual(self.get(target)[0], 400, target)
        self.assertEqual(self.get("/" + "x" * 8000)[0], 414)
        answer = self.server.ask(b"HEAD /big HTTP/1.0\r\n\r\n")
        self.assertTrue(answer.endswith(b"\r\n\r\n"))
        self.assertIn(b"Content-Length: 3000000\r\n", answer)

    def test_refusals(self):
        post = b"POST / HTTP/1.1\r\nHost: x\r\n"
        self.assertEqual(self.status(b"GET / HTTP/1.1\r\n\r\n"), 400)
        self.assertEqual(self.status(b"\x16\x03\x01\x02\x00"), 400)
        self.assertEqual(self.status(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 17000 + b"\r\n\r\n"), 431)
        self.assertEqual(self.status(b"GET / HTTP/3.0\r\n"), 505)
        self.assertEqual(self.status(post + b"Connection: close\r\n\r\n"), 405)
        self.assertEqual(self.status(post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 411)
        self.assertEqual(self.status(post + b"Transfer-Encoding: gzip\r\n\r\n"), 501)
        self.assertEqual(self.status(b"BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 501)
        # The refusal has to arrive although the client keeps on sending.
        self.assertEqual(self.status(post + b"Content-Length: 100000\r\n\r\n" + bytes(60000)), 413)

    def test_hides_no_request(self):
        """What one reader takes for a body and another one for a request: refused, and nothing behind it is answered."""
        hidden = b"GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n"
        chunked = b"0\r\n\r\n" + hidden
        for fields, body in (
            (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked),
            (b"Transfer-Encoding: chunked\r\n", chunked),
            (b"Transfer-Encoding: xchunked\r\n", chunked),
            (b"Transfer-Encoding: identity, chunked\r\n", chunked),
            (b"Transfer-Encoding : chunked\r\n", chunked),
            (b"Transfer-Encoding:\x0bchunked\r\n", chunked),
            (b"X: y\r\n Transfer-Encoding: chunked\r\n", chunked),
            (b"X: y\nTransfer-Encoding: chunked\r\n", chunked),
            (b"Content-Length: 5\r\nContent-Length: 44\r\n", hidden),
            (b"Content-Length: +5\r\n", hidden),
            (b"Content-Length: 0x5\r\n", hidden),
            (b"Content-Length: 5,5\r\n", hidden),
            (b"Content-Length: -0\r\n", hidden),
            (b"Content-Length: 18446744073709551617\r\n", hidden),
            (b"Content-Length: 5 5\r\n", hidden),
            (b"Content-Length: 100000\r\n", hidden),
        ):
            for method in (b"POST", b"GET"):
                answer = self.server.ask(method + b" / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n" + body, shut=True)
                statuses = re.findall(rb"HTTP/1.1 (\d+) ", answer)
                self.assertEqual(len(statuses), 1, (fields, answer))
                self.assertIn(statuses[0], (b"400", b"411", b"413", b"501"), fields)
        body = b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden # this one is a body, and only that
        answer = self.server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + body + hidden, shut=True)
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 2)

    def test_links(self):
        """They are followed, wherever they point to, but not round and round."""
        with tempfile.NamedTemporaryFile() as outside:
            outside.write(b"outside")
            outside.flush()
            os.symlink(outside.name, os.path.join(self.root.name, "link"))
            os.symlink("loop", os.path.join(self.root.name, "loop"))
            os.symlink("/dev/zero", os.path.join(self.root.name, "device"))
            self.assertEqual(self.get("/link")[2], b"outside")
            self.assertEqual(self.get("/loop")[0], 404)
            self.assertEqual(self.get("/device")[0], 404)

    @installed("curl")
    def test_curl(self):
        url = f"http://127.0.0.1:{self.server.port}"
        quiet = ("curl", "--silent", "--show-error", "--max-time", "20")
        text = output_of(*quiet, "--include", f"{url}/plaintext", f"{url}/sub/a%20b.txt", f"{url}/", "--write-out", "%{num_connects}")
        self.assertEqual((text.count("HTTP/1.1 200 OK"), text.count("Hello, World!"), text.count("<p>index</p>")), (3, 1, 1))
        self.assertTrue(text.endswith("</p>0"), text) # the last of them needed no connection of its own
        self.assertIn("Content-Length: 3000000", output_of(*quiet, "--head", f"{url}/big"))
        self.assertIn("HTTP/1.1 404 ", output_of(*quiet, "--http1.0", "--include", f"{url}/none"))
        code = ("--output", "/dev/null", "--write-out", "%{http_code}")
        self.assertEqual(output_of(*quiet, *code, "--data", "x" * 2000, f"{url}/"), "405")
        self.assertEqual(output_of(*quiet, *code, "--header", "Transfer-Encoding: chunked", "--data", "x", f"{url}/"), "411")

    @installed("wrk")
    def test_wrk(self):
        for connections in ("64", "1000"):
            url = f"http://127.0.0.1:{self.server.port}/plaintext"
            text = output_of("wrk", "-t", "1", "-c", connections, "-d", "1s", "--timeout", "20s", url)
            self.assertRegex(text, r"\n *\d+ requests in ")
            self.assertNotRegex(text, "Socket errors|Non-2xx")

    def test_browser(self):
        """Six connections at a time, kept alive, a page and what is on it, again and again."""
        targets = (b"/", b"/big", b"/sub/a%20b.txt", b"/plaintext", b"/none", b"/favicon.ico")
        conns = [self.server.connect() for _ in range(6)]
        for turn in range(10):
            for i, s in enumerate(conns):
                s.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n" % targets[(turn + i) % 6])
            for i, s in enumerate(conns):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += read_exactly(s, 1)
                body = read_exactly(s, int(re.search(rb"Content-Length: (\d+)", head).group(1)))
                target = targets[(turn + i) % 6]
                self.assertEqual(head.split()[1], b"404" if target in (b"/none", b"/favicon.ico") else b"200")
                self.assertEqual(body == self.big, target == b"/big")
        for s in conns:
            s.close()

    def test_flood(self):
        """Requests without end from clients that read nothing: they wait, and cost no more than their buffers."""
        self.server.stop()
        self.server = Server("httpd", "-p", "2", "0") # each P keeps memory: no more of them than that
        self.works()
        before = self.server.resident_bytes()
        conns = [self.server.connect() for _ in range(20)]
        for s in conns:
            s.setblocking(False)
        for _ in range(200):
            for s in conns:
                try:
                    s.send(self.request * 2000)
                except BlockingIOError:
                    pass
        self.works()
        if before:
            self.assertLess(self.server.resident_bytes() - before, 4 << 20)
        for s in conns:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            s.close()
        self.works()

    def test_keeps_alive(self):
        with self.server.connect() as s:
            for _ in range(3):
                s.sendall(self.request)
                answer = read_exactly(s, len(self.server.ask(self.request, shut=True)))
                self.assertTrue(answer.endswith(b"Hello, World!"))
            s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + bytes(60000) + self.request)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(re.findall(rb"HTTP/1.1 (\d+) ", read_all(s)), [b"405", b"200"])
        answer = self.server.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", shut=True)
        self.assertIn(b"Connection: keep-alive", answer)

    def test_pipelines(self):
        requests = self.request * 500 + b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" + self.request * 3
        answer = self.server.ask(requests, shut=True)
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 504)
        self.assertIn(self.big, answer)
        with self.server.connect() as s: # in pieces of every size
            for size in range(1, len(self.request) + 1):
                for at in range(0, len(self.request), size):
                    s.send(self.request[at : at + size])
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(s).count(b"Hello, World!"), len(self.request))

    def test_resets_while_writing(self):
        self.works()
        before = self.server.descriptors()
        for _ in range(50):
            with self.server.connect() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                s.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
                s.recv(1000)
        self.works()
        self.assert_no_descriptor_left(before)

    def test_drips(self):
        start = time.monotonic()
        drips = [self.server.connect() for _ in range(100)]
        for s in drips:
            s.sendall(b"GET / HTTP/1.1\r\n")
        while time.monotonic() - start < 8:
            for s in drips:
                s.sendall(b"X")
            self.works()
            time.sleep(0.5)
        for s in drips:
            self.assertIn(b" 408 ", read_all(s))
            s.close()
        self.assertLess(time.monotonic() - start, 15)

    def test_stops_gracefully(self):
        huge = os.urandom(1 << 20) * 8 # more than the sockets hold, so that the server is not done at once
        self.write("huge", huge)
        idle = [self.server.connect() for _ in range(20)]
        with self.server.connect(receive_buffer=1 << 16) as s:
            s.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
            head = s.recv(1000) # and the rest has to come although the server is told to stop
            self.server.process.send_signal(signal.SIGTERM)
            with self.assertRaises((ConnectionRefusedError, ConnectionResetError)): # the latter: closed in that moment
                for _ in range(100): # until it has taken notice
                    self.server.connect().close()
                    time.sleep(0.1)
            self.assertIsNone(self.server.process.poll())
            self.assertEqual((head + read_all(s)).partition(b"\r\n\r\n")[2], huge)
        for s in idle:
            self.assertEqual(s.recv(1), b"")
            s.close()
        self.server.process.wait(STOP_SECONDS)


class Kvd(ServerTest):
    command = ("kvd", "0")

    def expect(self, *pairs):
        """Each inline command with its answer, one by one and then all at once."""
        with self.server.connect() as s:
            for command, answer in pairs:
                s.sendall(command.encode() + b"\r\n")
                self.assertEqual(read_exactly(s, len(answer)).decode(), answer, command)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(s), b"")

    def works(self):
        self.expect(("SET k v", "+OK\r\n"), ("GET k", "$1\r\nv\r\n"), ("DEL k k", ":1\r\n"), ("GET k", "$-1\r\n"))

    def test_torture(self):
        self.torture(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", self.works)

    def test_commands(self):
        self.expect(
            ("PING", "+PONG\r\n"), ("ping x", "$1\r\nx\r\n"), ("ECHO x", "$1\r\nx\r\n"), ("SELECT 0", "+OK\r\n"),
            ("SELECT 1", "-ERR DB index is out of range\r\n"), ("SET a 1 NX", "+OK\r\n"), ("SET a 2 NX", "$-1\r\n"),
            ("SET b 2 XX", "$-1\r\n"), ("SET a 3 XX", "+OK\r\n"), ("SET a 1 NX XX", "-ERR syntax error\r\n"),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command\r\n"), ("INCR a", ":4\r\n"),
            ("INCR c", ":1\r\n"), ("SET a x", "+OK\r\n"),
            ("INCR a", "-ERR value is not an integer or out of range\r\n"),
            ("SET a 9223372036854775807", "+OK\r\n"), ("INCR a", "-ERR increment or decrement would overflow\r\n"),
            ("MSET x 1 y 2", "+OK\r\n"), ("MSET x", "-ERR wrong number of arguments for 'MSET' command\r\n"),
            ("MSET x 1 y", "-ERR wrong number of arguments for 'MSET' command\r\n"),
            ("MGET x y z", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"), ("EXISTS x x z", ":2\r\n"), ("DBSIZE", ":4\r\n"),
            ("TTL x", ":-1\r\n"), ("TTL z", ":-2\r\n"), ("EXPIRE x 100", ":1\r\n"),
            ("EXPIRE z 100", ":0\r\n"), ("SET x 1", "+OK\r\n"), ("TTL x", ":-1\r\n"), ("EXPIRE x -1", ":1\r\n"),
            ("GET x", "$-1\r\n"), ("EXPIRE y 9999999999999", "-ERR value is not an integer or out of range\r\n"),
            ("KEYS [x-y]", "*1\r\n$1\r\ny\r\n"), ("SCAN x", "-ERR invalid cursor\r\n"),
            ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
            ("NOSUCH", "-ERR unknown command 'NOSUCH'\r\n"), ("FLUSHALL", "+OK\r\n"), ("DBSIZE", ":0\r\n"),
            ("COMMAND DOCS", "*0\r\n"), ("QUIT", "+OK\r\n"),
        )
        self.assertIn(b"db0:keys=0,expires=0", self.server.ask(b"INFO\r\nQUIT\r\n"))
        answer = self.server.ask(b"SET x 1\r\nEXPIRE x 100\r\nTTL x\r\nQUIT\r\n")
        self.assertIn(answer, [b"+OK\r\n:1\r\n:%d\r\n+OK\r\n" % left for left in (99, 100)])

    def test_expiry(self):
        self.expect(("SET p 1 PX 200", "+OK\r\n"), ("SET q 1 EX 1000", "+OK\r\n"), ("SET r 1", "+OK\r\n"))
        time.sleep(0.3)
        self.expect(("GET p", "$-1\r\n"), ("EXISTS p q r", ":2\r\n"), ("PEXPIRE q 200", ":1\r\n"))
        for _ in range(200): # DBSIZE counts what is in the table: that nobody asks for q is the sweeper's work
            if self.server.ask(b"DBSIZE\r\n", shut=True) == b":1\r\n":
                break
            time.sleep(0.1)
        self.expect(("DBSIZE", ":1\r\n"), ("GET r", "$1\r\n1\r\n"))

    def test_scan(self):
        with self.server.connect() as s:
            s.sendall(b"".join(b"SET key:%d v\r\n" % i for i in range(3000)))
            read_exactly(s, 3000 * 5)
            seen, cursor = set(), b"0"
            while True:
                s.sendall(b"SCAN %s COUNT 100 MATCH key:*\r\n" % cursor)
                answer, match = b"", None
                while not match or answer.count(b"\r\n") < 4 + 2 * int(match.group(2)):
                    answer += s.recv(65536)
                    match = re.match(rb"\*2\r\n\$\d+\r\n(\d+)\r\n\*(\d+)\r\n", answer)
                cursor = match.group(1)
                seen.update(re.findall(rb"key:\d+", answer))
                if cursor == b"0":
                    break
            self.assertEqual(len(seen), 3000)

    def test_large_and_wrong(self):
        value = os.urandom(4 << 20)
        request = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n" % (len(value), value)
        self.assertEqual(self.server.ask(request, shut=True), b"+OK\r\n$%d\r\n%s\r\n" % (len(value), value))
        for wrong in (b"*2\r\n:1\r\n", b"*99999999\r\n", b"*1\r\n$99999999\r\n", b"*1\r\n$1\r\nabc", b"x" * 20000):
            self.assertIn(b"-ERR Protocol error", self.server.ask(wrong, shut=True))
        self.expect(("DEL a", ":1\r\n"))

    def test_pipelines(self):
        """More in one piece than any buffer, then idle for long enough to lose the large one, then more and a little."""
        many = b"MSET" + b" key:%d value" * 10 + b"\r\n"
        batch = b"".join(many % tuple(range(i, i + 10)) for i in range(1000)) + b"GET key:500\r\n"
        answer = b"+OK\r\n" * 1000 + b"$5\r\nvalue\r\n"
        with self.server.connect() as s:
            for pause in (0, 1.3, 0):
                time.sleep(pause)
                s.sendall(batch)
                self.assertEqual(read_exactly(s, len(answer)), answer)
            time.sleep(1.3)
            s.sendall(b"GET key:0\r\n")
            self.assertEqual(read_exactly(s, 11), b"$5\r\nvalue\r\n")
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(s), b"")

    def test_random_commands(self):
        """Every command with arguments that are likely to be trouble: one well-formed reply to each."""
        rng = random.Random(SEED)
        numbers = [b"0", b"-1", b"1", b"-0", b"00", b"+1", b" 1", b"9223372036854775807", b"-9223372036854775808",
            b"9223372036854775808", b"9223372036", b"9223372036854", b"1" * 30, b"1.5", b"", b"0x10"]
        words = [b"EX", b"PX", b"NX", b"XX", b"KEEPTTL", b"MATCH", b"COUNT", b"GET", b"*", b"?", b"[", b"[^", b"[z-", b"\\",
            b"a*b*c*d*e", b"\0", b"a b\r\n", b"x" * 3000]
        names = b"GET SET INCR DEL EXISTS MGET MSET EXPIRE PEXPIRE TTL PTTL PING ECHO KEYS SCAN DBSIZE FLUSHALL INFO CONFIG"
        names = [*names.split(), b"COMMAND", b"SELECT", b"NONE", b"", b"\xff" * 9]
        with self.server.connect() as s, s.makefile("rb") as f:

            def reply():
                line = f.readline()
                self.assertTrue(line.endswith(b"\r\n") and line[:1] in b"+-:$*", line)
                if line[:1] == b"$" and int(line[1:]) >= 0:
                    self.assertEqual(f.read(int(line[1:]) + 2)[-2:], b"\r\n")
                for _ in range(int(line[1:]) if line[:1] == b"*" else 0):
                    reply()

            for _ in range(100):
                batch = b""
                for _ in range(50):
                    args = [rng.choice(names)]
                    for _ in range(rng.randrange(7)):
                        args.append(rng.choice((b"a", b"b", b"c%d" % rng.randrange(300), rng.choice(numbers), rng.choice(words))))
                    batch += b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)
                s.sendall(batch)
                for _ in range(50):
                    reply()
        self.works()

    def test_bounds_replies(self):
        """A few bytes of request must not become gigabytes of reply."""
        value = bytes(4 << 20)
        request = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n" % (len(value), value)
        self.assertEqual(self.server.ask(request + b"GET b\r\n", shut=True), b"+OK\r\n$-1\r\n")
        self.assertEqual(len(self.server.ask(b"MGET a a a\r\n", shut=True)), 4 + 3 * (len(value) + 12))
        self.assertEqual(self.server.ask(b"MGET" + b" a" * 1000 + b"\r\n", shut=True), b"")
        self.works()

    @installed("redis-cli")
    def test_redis_cli(self):
        cli = ("redis-cli", "-p", str(self.server.port))
        session = "SET greeting hello EX 100\nGET greeting\nINCR n\nINCR n\nMSET a 1 b 2\nMGET a b c\nDBSIZE\nNOSUCH\nFLUSHALL\n"
        self.assertEqual(output_of(*cli, text=session).split("\n"), [
            "OK", "hello", "1", "2", "OK", "1", "2", "", "4", "ERR unknown command 'NOSUCH'", "", "OK", ""])
        output_of(*cli, text="".join(f"SET key:{i} {i}\n" for i in range(500)))
        self.assertEqual(len(set(output_of(*cli, "--scan", "--pattern", "key:*").split())), 500)
        self.assertIn("db0:keys=500", output_of(*cli, "INFO"))
        self.assertEqual(output_of(*cli, "--raw", "CONFIG", "GET", "appendonly").split(), ["appendonly", "no"])

    @installed("redis-benchmark")
    def test_redis_benchmark(self):
        for depth in ("1", "16"):
            text = output_of("redis-benchmark", "-p", str(self.server.port), "-c", "50", "-n", "2000", "-P", depth, "-r", "1000",
                "-t", "ping,set,get,incr,mset", "--csv")
            rates = re.findall(r'^"([A-Z]+)[^"]*","([\d.]+)"', text, re.M)
            self.assertEqual([name for name, _ in rates], ["PING", "PING", "SET", "GET", "INCR", "MSET"], text)
            self.assertTrue(all(float(rate) > 0 for _, rate in rates), text)
            self.assertNotRegex(text, "(?i)err(or)?[ :]")
        self.works()


class Limits(unittest.TestCase):
    def test_no_descriptors_left(self):
        """At the limit the server waits without spinning, serves who is in, and recovers."""
        server = Server("httpd", "0", descriptors=64)
        conns = []
        try:
            conns = [server.connect() for _ in range(100)]
            for _ in range(100): # until it has none left
                if server.descriptors() >= 64:
                    break
                time.sleep(0.1)
            cpu = server.cpu_seconds()
            conns[0].sendall(Httpd.request)
            self.assertIn(b"Hello", conns[0].recv(1000))
            time.sleep(1)
            self.assertLess(server.cpu_seconds() - cpu, 0.2)
            for s in conns[:90]:
                s.close()
            conns[99].sendall(Httpd.request) # waited in the backlog until now
            self.assertIn(b"Hello", conns[99].recv(1000))
        finally:
            for s in conns:
                s.close()
            status, _ = server.stop()
        self.assertEqual(status, 0)

    def cycles(self, command, request, answer):
        """Waves of connections: neither descriptors nor memory pile up."""
        server = Server(command[0], "-p", "2", *command[1:]) # each P keeps memory
        sizes = []
        try:
            before = server.descriptors()
            for _ in range(5 if server.resident_bytes() else 2): # sanitized servers are slow, and their size says nothing
                for _ in range(4):
                    conns = [server.connect() for _ in range(100)]
                    for s in conns:
                        s.sendall(request)
                    for s in conns:
                        self.assertIn(answer, s.recv(1000))
                        s.close()
                sizes.append(server.resident_bytes())
            for _ in range(100):
                if server.descriptors() <= before + 4: # the poller's own come with its first use
                    break
                time.sleep(0.1)
            self.assertLessEqual(server.descriptors(), before + 4)
        finally:
            status, _ = server.stop()
        self.assertEqual((status, server.errors), (0, ""))
        if sizes[-1]:
            self.assertLess(sizes[-1] - sizes[1], 1 << 20, sizes)

    def test_nothing_leaks(self):
        self.cycles(("httpd", "0"), Httpd.request, b"Hello")
        self.cycles(("echo", "0"), b"Hello", b"Hello")
        self.cycles(("echo", "-i", "0"), b"Hello", b"Hello")
        self.cycles(("kvd", "0"), b"PING\r\n", b"PONG")


def run(test):
    result = unittest.TestResult()
    start = time.monotonic()
    test.run(result)
    return test.id(), time.monotonic() - start, [text for _, text in result.failures + result.errors]


def main():
    """All tests, or those with an argument in their name; several at a time, as they mostly wait."""
    tests = [test for suite in unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]) for test in suite]
    tests = [test for test in tests if not sys.argv[1:] or any(word in test.id() for word in sys.argv[1:])]
    print(f"GMP_TEST_SEED={SEED}")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for name, seconds, texts in pool.map(run, tests):
            print(f"{'FAILED' if texts else 'ok':6} {seconds:6.2f} s {name}", *texts, sep="\n", flush=True)
            failed += bool(texts)
    print(f"{failed} of {len(tests)} failed")
    return failed > 0 or not tests


if __name__ == "__main__":
    sys.exit(main())
