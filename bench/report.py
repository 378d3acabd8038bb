"""Writes what bench/suite.py measured: docs/benchmarks.md and docs/images/benchmarks.svg. Every figure comes from the
data; nothing is written by hand but the sentences around it."""
import os
import statistics


def ratio(slice_, mine, other, what="turns"):
    """Median of the ratios turn by turn, or None where one of the two was not measured."""
    rows = {row["name"]: row[what] for row in slice_.get("results", []) if row.get(what)}
    if mine not in rows or other not in rows:
        return None
    return statistics.median(a / b for a, b in zip(rows[mine], rows[other]))


def fastest_of(slice_, names):
    """The name whose median turn is the shortest: a rival is given its best way of running."""
    rows = {row["name"]: statistics.median(row["turns"]) for row in slice_.get("results", []) if row.get("turns")}
    there = [name for name in names if name in rows]
    return min(there, key=rows.get) if there else None


ORT, OV_BF16, OV_INT8 = "ONNX Runtime f32", "OpenVINO bf16", "OpenVINO int8 (NNCF)"
TORCH_BF16 = TRAIN_BF16 = "PyTorch bf16 autocast, channels last"
TRAIN_F32 = ("PyTorch f32 contiguous", "PyTorch f32 channels last")

# What was asked: text, slice, dcam's precision, the other, bound.
TARGETS = [
    ("network, batch 1, f32 / ONNX Runtime f32", "network-1", "f32", ORT, 0.75),
    ("network, batch 1, bf16 / ONNX Runtime f32", "network-1", "bf16", ORT, 0.17),
    ("network, batch 1, int8 / ONNX Runtime f32", "network-1", "int8", ORT, 0.11),
    ("network, batch 8, f32 / ONNX Runtime f32", "network-8", "f32", ORT, 0.65),
    ("network, batch 8, bf16 / ONNX Runtime f32", "network-8", "bf16", ORT, 0.16),
    ("network, batch 8, int8 / ONNX Runtime f32", "network-8", "int8", ORT, 0.09),
    ("batch 1, bf16 / PyTorch bf16", "network-1", "bf16", TORCH_BF16, 0.35),
    ("batch 8, bf16 / PyTorch bf16", "network-8", "bf16", TORCH_BF16, 0.35),
    ("batch 1, bf16 / OpenVINO bf16", "network-1", "bf16", OV_BF16, 0.85),
    ("batch 8, bf16 / OpenVINO bf16", "network-8", "bf16", OV_BF16, 0.85),
    ("batch 1, int8 / OpenVINO int8", "network-1", "int8", OV_INT8, 0.85),
    ("batch 8, int8 / OpenVINO int8", "network-8", "int8", OV_INT8, 0.85),
    ("training step, batch 32, bf16 / PyTorch bf16", "train-32", "bf16", TRAIN_BF16, 0.40),
    ("training step, batch 32, bf16 / PyTorch f32", "train-32", "bf16", TRAIN_F32, 0.13),
    ("training step, batch 32, f32 / PyTorch f32", "train-32", "f32", TRAIN_F32, None),
]


def verdict(value, bound, below=True):
    if value is None:
        return "not measured"
    return "" if bound is None else "met" if (value <= bound if below else value >= bound) else "**missed**"


def trusts_work(data):
    """With other work on the machine, threads that wait for each other measure that work; processor time does not. The
    contestants alone make a load of one a core, and what drives them a little more."""
    loads = [load for name in TITLES for load in data.get(name, {}).get("load", [])]
    return bool(loads) and max(loads) > data["facts"]["cores"] + 1


def judged_by(data):
    if trusts_work(data):
        return "The machine had other work, so ratios are judged by processor time where that was measured.\n"
    return "Ratios are judged by the clock, the column \"measured\".\n"


def target_rows(data):
    lines = []
    for text, name, precision, other, bound in TARGETS:
        slice_ = data.get(name, {})
        against = other if isinstance(other, str) else fastest_of(slice_, other)
        value = ratio(slice_, f"dcam {precision}", against)
        work = ratio(data.get(name.replace("network", "work"), {}), f"dcam {precision}", against, "processor")
        if name.startswith("train") and value is None and bound is None:
            continue
        judged = work if trusts_work(data) and work is not None else value
        lines.append((text, f"at most {bound}" if bound else "", "" if value is None else f"{value:.2f}",
                      "" if work is None else f"{work:.2f}", verdict(judged, bound)))
    files = data.get("files", {})
    for what, bound in (("JPEG", 120), ("PNG", 60)):
        rows = [row for row in files.get("folder", []) if row["what"] == what]
        best = max(rows, key=lambda row: row["per_second"], default=None)
        lines.append((f"folder of 1024x1024 {what}, images a second", f"at least {bound}",
                      f"{best['per_second']:.0f} ({best['precision']})" if best else "", "",
                      verdict(best and best["per_second"], bound, False)))
    start = min(files.get("start", []), key=lambda row: row["seconds"], default=None)
    lines.append(("start of the process to the first score", "at most 0.30 s",
                  f"{start['seconds']:.2f} s ({start['precision']})" if start else "", "", verdict(start and start["seconds"], 0.3)))
    least = min(files.get("start", []), key=lambda row: row["peak"], default=None)
    lines.append(("peak memory of `dcam detect`, one image", "at most 150 MiB",
                  f"{least['peak']:.0f} MiB ({least['precision']})" if least else "", "", verdict(least and least["peak"], 150)))
    return lines


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
                     ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def cell(value):
    return f"{value:.2f}" if value else "-"


def failures(slice_):
    return "".join(f"\nNot measured: {row['name']} ({row['error'][:160]})\n" for row in slice_["results"] if "error" in row)


def turns_table(slice_):
    measured = [row for row in slice_["results"] if row.get("turns")]
    if not measured:
        return failures(slice_)
    base = measured[0]
    rows = []
    for row in sorted(measured, key=lambda r: statistics.median(r["turns"])):
        beside = statistics.median(a / b for a, b in zip(row["turns"], base["turns"]))
        rows.append((row["name"], f"{row['p50']:.2f}", f"{row['p95']:.2f}", f"{row['p99']:.2f}",
                     f"{row['p50'] / slice_['batch']:.2f}", f"{beside:.2f}", str(row["runs"])))
    text = table(("", "p50, ms", "p95", "p99", "p50 an image", f"beside {base['name']}", "runs"), rows)
    return text + failures(slice_) + f"\nLoad of the machine before and after: {slice_['load'][0]:.1f}, {slice_['load'][1]:.1f}.\n"


def growth_table(network):
    names = list(network)
    keys = list(network[names[0]])
    return table(("", *(f"{name}, ms an image" for name in names)),
                 [(key, *(cell(network[name].get(key)) for name in names)) for key in keys])


def work_table(slice_):
    rows = sorted(((row["name"], statistics.median(row["processor"])) for row in slice_["results"] if row.get("processor")),
                  key=lambda row: row[1])
    text = table(("", "processor ms an image", "dcam f32 beside it"),
                 [(name, f"{value / slice_['batch']:.2f}", cell(ratio(slice_, "dcam f32", name, "processor"))) for name, value in rows])
    return text + failures(slice_) + f"\nLoad of the machine before and after: {slice_['load'][0]:.1f}, {slice_['load'][1]:.1f}.\n"


TITLES = {"work-1": "Work of the network, batch 1", "work-8": "Work of the network, batch 8", "network-1": "Network, batch 1", "network-8": "Network, batch 8", "train-32": "Training step, batch 32"}
SCOPES = {
    "work-1": "One thread each, and the processor time that the system counts for the process: waiting for others on a "
              "busy machine is left out. 256x256, normalised tensor in, full-size map and score out.",
    "work-8": "The same with eight images together.",
    "network-1": "256x256. Normalised tensor in, full-size anomaly map and image score out. Everything is computed "
                 "by the threads named above.",
    "network-8": "The same with eight images together; the percentiles are of the whole batch.",
    "train-32": "256x256, `--method dcam` (channel attention, losses `cd` and `kd`), the teacher's maps given: forward, "
                "losses, backward, SGD.",
}
MODEL = "The model is one of `--method dcam`, without the default's memory."


def commits(data):
    """Of all that was measured; more than one where slices were measured at different times."""
    found = {slice_["commit"] for slice_ in data.values() if "commit" in slice_}
    return ("commit " if len(found) == 1 else "commits ") + "; ".join(sorted(found))


def section(data, name):
    """Title, scope and table of a slice of contestants; of one that failed, the reason."""
    parts = [f"## {TITLES[name]}\n"]
    if "error" in data[name]:
        return parts + [f"Not measured: {data[name]['error'][:160]}\n"]
    return parts + [SCOPES[name] + "\n", (work_table if name.startswith("work") else turns_table)(data[name])]


def markdown(data):
    facts = data["facts"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    parts = [
        "# Benchmarks\n",
        "Written by `make bench` (`bench/suite.py`) from what it measured; do not edit. [performance.md](performance.md) "
        "says what makes dcam fast and how to measure parts of it.\n",
        f"{facts['date']}, {commits(data)}. {facts['processor']}, {facts['cores']} cores, {facts['threads']} "
        f"threads for every contestant but in the tables of work, which have one; dcam on {facts['compute']}; {versions}.\n",
        "Contestants take turns, each a process of its own; a ratio is the median of the ratios turn by turn, and "
        "below 1 the first is faster. On a machine with other work the milliseconds are high; the ratios hold better. All "
        "run times but PyTorch compute the graph that `dcam export` wrote; PyTorch computes the same network, in bf16 by its "
        "eager mode under autocast, which converts the weights at every call: compiled in bf16 it was not measured. "
        "Lower is better, but for images a second.\n",
        "![Milliseconds of the network, batch 1](images/benchmarks.svg)\n",
        "## Targets\n", judged_by(data), table(("", "target", "measured", "processor time, one thread (training: all)", ""), target_rows(data))]
    for name in ("network-1", "network-8", "work-1", "work-8", "train-32"):
        if name in data:
            parts += section(data, name)
    if "folder" in data.get("files", {}):
        rows = [(row["what"], row["precision"], f"{row['per_second']:.1f}", f"{row['peak']:.0f}") for row in data["files"]["folder"]]
        parts += ["## Files to scores\n", "`dcam detect` on a folder of synthetic photographs of 1024x1024 (PNG of about "
                  "1.6 MB; the same as JPEG of quality 90), from process start to end, the start of a process with one "
                  f"image taken off; files in the system's cache. {MODEL}\n",
                  table(("files", "precision", "images a second", "peak memory, MiB"), rows),
                  table(("start to first score, one PNG of 1024x1024", "seconds", "peak memory, MiB"),
                        [(row["precision"], f"{row['seconds']:.3f}", f"{row['peak']:.0f}") for row in data["files"]["start"]])]
    if "network" in data.get("growth", {}):
        parts += ["## How the cost grows\n", "The network alone (`dcam bench`); where not varied: 256x256, batch 1, all "
                  f"threads, eight classes. {MODEL}\n", growth_table(data["growth"]["network"])]
    if "rows" in data.get("memory", {}):
        rows = [(str(row["images"]), f"{row['seconds']:.1f}", f"{row['peak']:.1f}") for row in data["memory"]["rows"]]
        parts += ["Memory does not grow with the number of images (`dcam detect` of a folder, model input 64x64 so that "
                  "10,000 images take seconds):\n", table(("images", "seconds", "peak memory, MiB"), rows)]
    for name, title in (("files", "Files to scores"), ("growth", "How the cost grows"), ("memory", "Memory by the number of images")):
        if "error" in data.get(name, {}):
            parts += [f"## {title}\n", f"Not measured: {data[name]['error'][:160]}\n"]
    return "\n".join(parts)


# ---- the chart ----

WIDTH, ROW, LEFT, TOP = 780, 26, 275, 64
STYLE = """text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}
.note{font-size:12px;fill:#59636e}.own{fill:#0f766e}.other{fill:#9aa4af}.axis{stroke:#9aa4af;stroke-width:1}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.own{fill:#2dd4bf}.other{fill:#57606a}.axis{stroke:#57606a}}"""


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def charted(data):
    """What the chart shows, and in words: time on the clock, or processor time where that holds better."""
    if "results" in data.get("work-1", {}) and (trusts_work(data) or "results" not in data.get("network-1", {})):
        return data["work-1"], "processor", "processor time of one thread"
    return data["network-1"], "turns", f"{data['facts']['threads']} threads"


def chart(data):
    slice_, what, said = charted(data)
    rows = sorted(((row["name"], statistics.median(row[what])) for row in slice_["results"] if row.get(what)),
                  key=lambda row: row[1])
    most, height = rows[-1][1], TOP + ROW * len(rows) + 16
    scale = (WIDTH - LEFT - 80) / most
    facts = data["facts"]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
             f'role="img" aria-label="Milliseconds of the network with batch 1, dcam and others"><style>{STYLE}</style>',
             '<text class="title" x="12" y="24">Milliseconds an image: teacher, student and anomaly map, 256x256, batch 1</text>',
             f'<text class="note" x="12" y="44">{escape(facts["processor"])}, {said}; medians; '
             'shorter is faster</text>']
    for i, (name, value) in enumerate(rows):
        y = TOP + ROW * i
        kind = "own" if name.startswith("dcam") else "other"
        parts.append(f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
                     f'<rect class="{kind}" x="{LEFT}" y="{y + 4}" width="{max(value * scale, 1):.1f}" height="{ROW - 8}" rx="2"/>'
                     f'<text x="{LEFT + value * scale + 7:.1f}" y="{y + 17}">{value:.1f}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{TOP + ROW * len(rows)}"/></svg>')
    return "\n".join(parts) + "\n"


def write_report(data, docs):
    """The documents; gives the ratios beside the targets as text."""
    os.makedirs(os.path.join(docs, "images"), exist_ok=True)
    with open(os.path.join(docs, "benchmarks.md"), "w", encoding="utf-8") as file:
        file.write(markdown(data))
    if any("results" in data.get(name, {}) for name in ("network-1", "work-1")):
        with open(os.path.join(docs, "images", "benchmarks.svg"), "w", encoding="utf-8") as file:
            file.write(chart(data))
    return "\n".join(f"{text:48} {target:18} {value:14} {work:6} {said.strip('*')}" for text, target, value, work, said in target_rows(data))
