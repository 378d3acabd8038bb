#!/usr/bin/env python3
"""Measures dcam serve on loopback with serve_load, one JSON object a line.

    cmake -DDCAM_BENCH=ON ...
    python3 bench/serve/measure.py --dcam build/dcam --load build/serve_load -m MODEL.safetensors WHAT...

WHAT: overhead throughput latency hostile term reload peers, or `short` for all of these (some eight minutes), or soak, which
runs for --soak seconds (3600 for the full hour; its record says how long it really ran). `peers` serves the same model as
`dcam export --to onnx` writes it and needs fastapi, uvicorn, onnxruntime, onnx and openvino. Each record says how many
cores the machine gave to anything else meanwhile ("others"): above 0.1 or so its times are not those of a quiet machine.
Models of 256x256 input; everything stays on 127.0.0.1."""
import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib

SIDE = 256
arguments = None
folder = tempfile.mkdtemp(prefix="dcam-serve-bench.")
running_processes = set()  # ended with this program, however that ends


def launch(command, **options):
    process = subprocess.Popen(command, **options)
    running_processes.add(process)
    return process


def rgb():
    generator = random.Random(1)
    row = bytes(generator.randrange(256) for _ in range(3 * SIDE))
    return b"".join(row[i:] + row[:i] for i in range(SIDE))


def write_request(name, path, body, headers):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    target = os.path.join(folder, name)
    with open(target, "wb") as f:
        f.write(head.encode() + b"\r\n" + body)
    return target


def infer_request():
    header = json.dumps({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3],
                                     "parameters": {"binary_data_size": 3 * SIDE * SIDE}}],
                         "outputs": [{"name": "score"}, {"name": "anomalous"}, {"name": "class"}]}).encode()
    return write_request("infer", "/v2/models/model/infer", header + rgb(),
                         {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": len(header)})


class Server:
    def __init__(self, *options):
        self.log = open(os.path.join(folder, "log"), "w+")
        self.process = launch([arguments.dcam, "serve", "--listen", "127.0.0.1:0", f"--threads={arguments.threads}",
                               f"--precision={arguments.precision}", *options, "-m", "model=" + arguments.model],
                              stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.rsplit(":", 1)[1])

    def metric(self, name, label=""):
        text = urllib.request.urlopen(self.url + "/metrics").read().decode()
        found = re.findall("^" + re.escape(name) + r"(\{[^}]*\})? (\S+)$", text, re.M)
        return sum(float(value) for labels, value in found if label in labels)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(300)


def start_load(port, request, clients, seconds, rate=0):
    return launch([arguments.load, str(port), request, str(clients), str(seconds), *([str(rate)] if rate else [])],
                  stdout=subprocess.PIPE, text=True)


def load(*options):
    return json.loads(start_load(*options).communicate()[0])


def report(what, **facts):
    record = {"what": what, **facts, "threads": arguments.threads, "precision": arguments.precision}
    arguments.records.append(record)


def library(batch):
    out = subprocess.run([arguments.dcam, "bench", "-m", arguments.model, "--json", "--batch", str(batch), "--seconds",
                          str(arguments.seconds / 4), f"--threads={arguments.threads}", f"--precision={arguments.precision}"], capture_output=True, text=True, check=True).stdout
    return [r for r in json.loads(out)["results"] if r["stage"] == "network"][0]["images_per_second"]


def overhead():
    server, rounds = Server(), []
    load(server.port, infer_request(), 1, 2)
    for _ in range(3):
        server.log.seek(0, os.SEEK_END)
        at = server.log.tell()
        result = load(server.port, infer_request(), 1, arguments.seconds / 3)
        server.log.seek(at)
        lines = [json.loads(line) for line in server.log if '"endpoint":"infer"' in line]
        middle = {k: statistics.median(r[k] for r in lines) for k in ("receive_ms", "prepare_ms", "queue_ms", "network_ms", "answer_ms")}
        rounds.append({"requests": len(lines), "client_p50_ms": result["p50_ms"],
                       "overhead_p50_ms": round(result["p50_ms"] - middle["network_ms"], 3), **middle})
    server.stop()
    overheads = [r["overhead_p50_ms"] for r in rounds]
    report("overhead", best_ms=min(overheads), median_ms=statistics.median(overheads), rounds=rounds)


def throughput():
    """Interleaved, because other work comes and goes on shared machines; the medians are compared. The library at its best
    batch, the server as it decides itself."""
    speeds = {batch: library(batch) for batch in (1, 2, 4, 8)}
    batch = max(speeds, key=speeds.get)
    server, rounds = Server(), []
    load(server.port, infer_request(), 16, 2)
    for _ in range(3):
        rounds.append((library(batch), load(server.port, infer_request(), 16, arguments.seconds / 3)))
    mean = server.metric("dcam_batch_images_sum") / server.metric("dcam_batch_images_count")
    server.stop()
    own, served = statistics.median(r[0] for r in rounds), statistics.median(r[1]["per_second"] for r in rounds)
    report("throughput", library_batch=batch, library_by_batch={k: round(v, 2) for k, v in speeds.items()}, library_per_second=round(own, 2),
           served_per_second=round(served, 2), ratio=round(served / own, 3), mean_batch=round(mean, 2),
           lost=sum(r[1]["lost"] for r in rounds), rounds=[(round(r[0], 2), r[1]["per_second"]) for r in rounds])


def latency():
    """Requests at random times from 64 clients, so that hardly one waits for its own last answer: the service does not
    choose when they come."""
    server, rounds = Server(), []
    load(server.port, infer_request(), 16, 2)
    for _ in range(3):
        full = load(server.port, infer_request(), 16, arguments.seconds / 3)["per_second"]
        result = load(server.port, infer_request(), 64, 2 * arguments.seconds, 0.7 * full)
        rounds.append({"full_per_second": full, "ratio": round(result["p99_ms"] / result["p50_ms"], 2),
                       **{k: result[k] for k in ("ok", "per_second", "p50_ms", "p99_ms", "lost", "busy_503")}})
    server.log.seek(0)
    together = re.search("up to ([0-9]+) images run together", server.log.read())
    server.stop()
    ratios = [r["ratio"] for r in rounds]
    report("latency at 70 %", best_ratio=min(ratios), median_ratio=statistics.median(ratios), batch_limit=int(together[1]), rounds=rounds)


class Hostile(threading.Thread):
    """200 connections that send a byte now and then, or nothing; and one after the other oversized bodies and garbage."""

    def __init__(self, port, until):
        super().__init__()
        self.port, self.until, self.opened, self.cut = port, until, 0, 0

    def open(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        s.setblocking(False)
        self.opened += 1
        return s

    def nasty(self, k):
        try:
            s = socket.create_connection(("127.0.0.1", self.port), timeout=1)
            s.sendall((b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 4096)
                      if k % 2 else random.Random(k).randbytes(500) + b"\r\n\r\n")
            s.recv(4096)
            s.close()
        except OSError:
            pass

    def run(self):
        slow, k = [], 0
        while time.time() < self.until:
            while len(slow) < 200:
                s = self.open()
                try:
                    if len(slow) % 2:
                        s.send(b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n")
                    elif len(slow) % 4:
                        s.send(b"GET / HTTP/1.1\r\nX: ")
                except OSError:
                    pass
                slow.append(s)
            kept = []
            for i, s in enumerate(slow):
                try:
                    if i % 4:
                        s.send(b"a")
                    kept.append(s)
                except OSError:
                    self.cut += 1
                    s.close()
            slow = kept
            self.nasty(k)
            k += 1
            time.sleep(0.1)
        for s in slow:
            s.close()


def hostile():
    server = Server("--connections-per-address", "400")
    rate = 0.4 * load(server.port, infer_request(), 4, arguments.seconds / 3)["per_second"]
    calm = load(server.port, infer_request(), 4, arguments.seconds, rate)
    enemy = Hostile(server.port, time.time() + arguments.seconds + 1)
    enemy.start()
    time.sleep(1)
    attacked = load(server.port, infer_request(), 4, arguments.seconds, rate)
    enemy.join()
    server.stop()
    report("hostile", rate=round(rate, 1), calm_p50_ms=calm["p50_ms"], calm_p99_ms=calm["p99_ms"], attacked_p50_ms=attacked["p50_ms"],
           attacked_p99_ms=attacked["p99_ms"], p99_ratio=round(attacked["p99_ms"] / calm["p99_ms"], 2), lost=attacked["lost"],
           refused=attacked["refused"], slow_opened=enemy.opened, slow_cut=enemy.cut)


def term():
    rounds = []
    for _ in range(3):
        server = Server()
        running = start_load(server.port, infer_request(), 16, 5)
        time.sleep(2)
        code = server.stop()
        result = json.loads(running.communicate()[0])
        rounds.append({"exit": code, "answered": result["ok"], "busy": result["busy_503"], "lost": result["lost"]})
    report("SIGTERM under load", rounds=rounds)


def reload():
    server = Server()
    running = start_load(server.port, infer_request(), 16, arguments.seconds)
    while running.poll() is None:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(1)
    result = json.loads(running.communicate()[0])
    done, failed = (server.metric("dcam_model_reloads_total", f'result="{how}"') for how in ("done", "failed"))
    server.stop()
    report("reload under load", reloads=done, failed_reloads=failed, answered=result["ok"], busy=result["busy_503"], other=result["other"],
           lost=result["lost"], p99_ms=result["p99_ms"])


def png(side=300):
    """A photograph of another size than the model's, so that it is decoded and resized."""
    generator = random.Random(2)
    rows = b"".join(b"\0" + bytes(generator.randrange(256) // 4 + x % 190 for x in range(3 * side // 2)) * 2 for _ in range(side))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def bad_requests():
    """(request, the status that is right), one of each kind."""
    photo, jsons, infer = {"Content-Type": "image/png"}, {"Content-Type": "application/json"}, "/v2/models/model/infer"
    nan = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE],
                                  "parameters": {"binary_data_size": 12 * SIDE * SIDE}}]}).encode()
    all_of_them = [
        (400, "/detect", b"no picture" * 1000, photo),
        (400, "/detect", png()[:20000], photo),
        (413, "/detect", b"P6\n30000 30000\n255\n", {"Content-Type": "image/x-portable-pixmap"}),
        (415, "/detect", b"hello", {"Content-Type": "text/html"}),
        (400, infer, b'{"inputs":[{"name":"image"', jsons),
        (400, infer, b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,-1,1e9,3],"data":[1]}]}', jsons),
        (400, infer, nan + b"\xff" * (12 * SIDE * SIDE), {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": len(nan)}),
        (404, "/v2/models/nothing/infer", b"{}", jsons)]
    return [(status, write_request(f"bad{i}", path, body, headers)) for i, (status, path, body, headers) in enumerate(all_of_them)]


def soak():
    """Saturation by 16 clients, photographs, every kind of bad request and slow clients at a time."""
    server = Server("--connections-per-address", "400", "--quiet")
    look = lambda: (server.metric("process_resident_memory_bytes"), server.metric("process_open_fds"), server.metric("dcam_memory_held_bytes"))
    begun, before = time.time(), look()
    good = [start_load(server.port, infer_request(), 16, arguments.soak),
            start_load(server.port, write_request("photo", "/detect", png(), {"Content-Type": "image/png"}), 2, arguments.soak, 2)]
    bad = [(status, start_load(server.port, request, 1, arguments.soak, 5)) for status, request in bad_requests()]
    enemy = Hostile(server.port, begun + arguments.soak - 2)
    enemy.start()
    samples = []
    while good[0].poll() is None:
        time.sleep(min(5, arguments.soak / 12))
        samples.append((time.time() - begun, *look()))
    enemy.join()
    good = [json.loads(p.communicate()[0]) for p in good]
    bad = [(status, json.loads(p.communicate()[0])) for status, p in bad]
    time.sleep(12)  # the slow ones' time is over
    end, everybody = look(), good + [r for _, r in bad]
    # The first fifth is warm-up. Medians of the fifths behind it: one sample catches more or fewer requests in memory.
    fifths = [statistics.median(s[1] for s in samples if k <= 5 * s[0] / samples[-1][0] < k + 1 + (k == 4)) for k in range(5)]
    totals = {k: sum(r[k] for r in everybody) for k in ("lost", "given_up", "refused", "busy_503", "late_504")}
    report("soak", seconds=round(time.time() - begun), good=sum(r["ok"] for r in good), bad_answered=sum(r["other"] for _, r in bad),
           good_with_another_status=sum(r["other"] for r in good),
           bad_with_another_status=sum(r["ok"] + (r["other"] > 0 and r["other_status"] != [status, status]) for status, r in bad), **totals,
           slow_opened=enemy.opened, slow_cut=enemy.cut, resident_before=before[0], resident_fifths=fifths, resident_end=end[0],
           growth_percent=round(100 * (fifths[4] / fifths[1] - 1), 2), held_before=before[2], held_end=end[2],
           descriptors_before=before[1], descriptors_most=max(s[2] for s in samples), descriptors_end=end[1], exit=server.stop())


def quantised(onnx):
    """As people make it with ONNX Runtime's own tool: 8 bits in the convolutions, ranges from a few inputs. These are
    noise: speed does not depend on them."""
    import numpy
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Inputs(CalibrationDataReader):
        def __init__(self):
            noise = numpy.random.default_rng(1)
            self.rest = iter([{"input": noise.standard_normal((1, 3, SIDE, SIDE), numpy.float32)} for _ in range(4)])

        def get_next(self):
            return next(self.rest, None)

    target = os.path.join(folder, "int8.onnx")
    quantize_static(onnx, target, Inputs(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    per_channel=True, op_types_to_quantize=["Conv"])
    return target


def serve_peer(runtime, precision, onnx, body):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = open(os.path.join(folder, "peer.log"), "w+")
    peer = launch([sys.executable, "-m", "uvicorn", "serve_peer:app", "--port", str(port), "--log-level", "error"],
                  cwd=os.path.dirname(os.path.abspath(__file__)), stderr=log, env={
                      **os.environ, "PEER_RUNTIME": runtime, "PEER_MODEL": onnx, "PEER_PRECISION": precision,
                      "PEER_THREADS": str(arguments.threads), "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        until = time.time() + 60
        while time.time() < until and peer.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready")
                break
            except OSError:
                time.sleep(0.1)
        load(port, body, 16, 2)
        return load(port, body, 16, arguments.seconds / 2)
    finally:
        peer.terminate()
        peer.wait()
        log.seek(0)
        sys.stderr.write(log.read())


def serve_own(precision):
    wanted, arguments.precision = arguments.precision, precision
    server = Server()
    arguments.precision = wanted
    load(server.port, infer_request(), 16, 2)
    result = load(server.port, infer_request(), 16, arguments.seconds / 2)
    server.stop()
    return result


def peers():
    """Sixteen clients; what users would run on both sides, and the same precision on both sides. Best of two rounds."""
    onnx = os.path.join(folder, "f32.onnx")
    subprocess.run([arguments.dcam, "export", "-m", arguments.model, "--to", "onnx", "-o", onnx, "-q"], check=True, stdout=subprocess.DEVNULL)
    int8 = quantised(onnx)
    body = write_request("peer", "/infer", rgb(), {"Content-Type": "application/octet-stream"})
    all_of_them = {"dcam default": lambda: serve_own("auto"), "dcam f32": lambda: serve_own("f32"),
                   "onnxruntime f32": lambda: serve_peer("onnxruntime", "f32", onnx, body),
                   "onnxruntime int8": lambda: serve_peer("onnxruntime", "int8", int8, body),
                   "openvino f32": lambda: serve_peer("openvino", "f32", onnx, body),
                   "openvino bf16": lambda: serve_peer("openvino", "bf16", onnx, body)}
    rounds = {name: [] for name in all_of_them}
    for _ in range(2):
        for name, serve in all_of_them.items():
            result = serve()
            rounds[name].append((result["per_second"], result["p50_ms"], result["lost"] + result["other"]))
    best = {name: max(r[0] for r in values) for name, values in rounds.items()}
    ratios = {f"{own} / {peer}": round(best[own] / best[peer], 2) for own in best for peer in best
              if own.startswith("dcam") and not peer.startswith("dcam") and best[peer] > 0}
    report("peers", per_second=best, ratios=ratios, rounds=rounds)


def busy_seconds():
    """Processor time of the whole machine and of this program with what it has started and waited for."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, soft, steal = [int(x) for x in f.readline().split()[1:9]]
    own = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK"), own


SHORT = ["overhead", "throughput", "latency", "hostile", "term", "reload", "peers"]


def main():
    global arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcam", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--soak", type=float, default=3600)
    parser.add_argument("--precision", default="auto", help="of all but peers")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("what", nargs="+", choices=[*SHORT, "soak", "short"])
    arguments = parser.parse_args()
    arguments.records = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for what in [w for given in arguments.what for w in (SHORT if given == "short" else [given])]:
            (all_before, own_before), begun = busy_seconds(), time.time()
            globals()[what]()
            (all_after, own_after), took = busy_seconds(), time.time() - begun
            others = ((all_after - all_before) - (own_after - own_before)) / took
            print(json.dumps({**arguments.records[-1], "took_seconds": round(took), "others": round(others, 2)}), flush=True)
    finally:
        for process in running_processes:
            if process.poll() is None:
                process.kill()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
