#!/usr/bin/env python3
"""Are the unit tests of a layer any good? Changes its code on purpose, one place at a time, and lists what they let pass.

    tools/mutants.py metrics                          30 changes of each file of src/metrics, against tests/metrics
    tools/mutants.py detect --files 'map|regions' --each 10 --leave-out test_model

Works on a copy of the last commit, in a build folder of its own (--build). A change swaps an operator or a comparison, adds
one to a number, takes out a statement, a break or a not: drawn by --seed, so that a run can be repeated. One that does not
compile is not counted. Prints, of each file, how many were noticed, and each that was not: a reader has to say which of
these change nothing that anybody could see, and which lack a test. A test that takes long can be left out; what other
tests than the layer's own would notice is not asked.
"""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is looked for, and what takes its place; a function makes it of the text found.
CHANGES = [(re.compile(pattern), replacements) for pattern, replacements in [
    (r"(?<= )<(?= )", ["<=", ">"]), (r"(?<= )>(?= )", [">=", "<"]), (r"<=", ["<"]), (r">=", [">"]),
    (r"==", ["!="]), (r"!=", ["=="]), (r"(?<= )\+(?= )", ["-"]), (r"(?<= )-(?= )", ["+"]), (r"(?<=[\w)\]] )\*(?= )", ["/"]),
    (r"(?<= )/(?= )", ["*"]), (r" \+= ", [" -= "]), (r" -= ", [" += "]), (r"\+\+", ["--"]), (r"&&", ["||"]), (r"\|\|", ["&&"]),
    (r"(?<=[(,= ])!(?=[\w(])", [""]), (r"\b(break|continue)(?=;)", [""]),
    (r"(?<![\w.])\d+(?![\w.])", [lambda text: str(int(text) + 1)]),
    (r"(?<![\w.])\d+\.\d+", [lambda text: str(1.25 * float(text) + 0.01)]),
]]
STATEMENT = re.compile(r"^ +[\w>.\[\]()*&+-]+.*;$")
KEPT = re.compile(r"^ +(return|goto|break|continue|else|case|default|const|static|struct|enum|unsigned|int|size_t|float|double|"
                  r"char|bool|u?int\d+_t|dcam_\w+ \*?\w+( =|;|\[))\b")
TEXT = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")


def code_lines(source):
    """(number, line) of what a change could be made in: bodies of functions and constants, without comments."""
    comment = False
    for number, line in enumerate(source.split("\n")):
        text = line.strip()
        comment = comment or text.startswith("/*")
        if comment:
            comment = "*/" not in text
        elif text and not text.startswith(("#", "//")) and (line[0] == " " or line.startswith(("static const", "const"))):
            yield number, line


def changes(source):
    """(number, new line) of every change."""
    for number, line in code_lines(source):
        visible = TEXT.sub(lambda found: "\1" * len(found[0]), line.split("/*")[0])
        for pattern, replacements in CHANGES:
            for found in pattern.finditer(visible):
                for replacement in replacements:
                    new = replacement(found[0]) if callable(replacement) else replacement
                    yield number, line[:found.start()] + new + line[found.end():]
        if STATEMENT.match(visible) and not KEPT.match(line) and line.count("(") == line.count(")") and "{" not in visible:
            yield number, re.match(" *", line)[0] + ";"


class Copy:
    """The copy of the tree, its build, and the layer's tests, the fastest first."""

    def __init__(self, options):
        self.source, self.build = options.build / "source", options.build / "build"
        self.source.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, stdout=subprocess.PIPE).stdout
        # -m: everything is newer than what an earlier run may have compiled with a change.
        subprocess.run(["tar", "-x", "-m", "-C", self.source], check=True, input=archive)
        subprocess.run(["cmake", "-S", self.source, "-B", self.build, "-DDCAM_WERROR=OFF", "-DCMAKE_BUILD_TYPE=Release",
                        "-DDCAM_TEST_DATA=" + str(ROOT.parent / "shared" / "data"), "--log-level=WARNING"], check=True,
                       stdout=subprocess.DEVNULL)
        self.tests = sorted(path.stem for path in (self.source / "tests" / options.layer).glob("test_*.c")
                            if not (options.leave_out and re.search(options.leave_out, path.stem)))
        if not self.tests:
            sys.exit(f"mutants.py: no tests of {options.layer} are left")
        if not self.compiles():
            sys.exit(f"mutants.py: {self.source} does not compile: see cmake --build {self.build}")
        self.seconds = {test: self.passes(test, None) for test in self.tests}
        failed = [test for test in self.tests if self.seconds[test] is None]
        if failed:
            sys.exit(f"mutants.py: without a change fails: {' '.join(failed)}")
        self.tests.sort(key=self.seconds.get)

    def compiles(self):
        return subprocess.run(["cmake", "--build", self.build, "--target", *self.tests], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def passes(self, test, limit):
        """Seconds that the test took, None when it failed or was not done after `limit` seconds."""
        start = time.monotonic()
        process = subprocess.Popen([self.build / test], cwd=self.build, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            return time.monotonic() - start if process.wait(limit) == 0 else None
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None

    def notices(self):
        return any(self.passes(test, 20 + 6 * self.seconds[test]) is None for test in self.tests)


def examine(copy, path, each, draw):
    """Changes of one file: how many were made and noticed, and (number, old, new) of the others."""
    source = path.read_text()
    lines = source.split("\n")
    candidates = [(number, new) for number, new in changes(source) if new != lines[number]]
    draw.shuffle(candidates)
    made, passed_over = 0, []
    try:
        for number, new in candidates:
            if made == each:
                break
            path.write_text("\n".join(lines[:number] + [new] + lines[number + 1:]))
            if not copy.compiles():
                continue
            made += 1
            if not copy.notices():
                passed_over.append((number + 1, lines[number].strip(), new.strip()))
    finally:
        path.write_text(source)
    return made, passed_over


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layer", help="a folder of src/ that has one in tests/")
    parser.add_argument("--each", type=int, default=30, help="changes of each file (default: 30)")
    parser.add_argument("--files", default="", metavar="REGEX", help="only files whose names match")
    parser.add_argument("--leave-out", default="", metavar="REGEX", help="tests that are not run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=Path, default=ROOT / "build-mutants", help="(default: build-mutants)")
    options = parser.parse_args()
    options.build = options.build.resolve()
    copy, draw, made, noticed = Copy(options), random.Random(options.seed), 0, 0
    for path in sorted((copy.source / "src" / options.layer).glob("*.c")):
        if not re.search(options.files, path.name):
            continue
        of_this, passed_over = examine(copy, path, options.each, draw)
        made, noticed = made + of_this, noticed + of_this - len(passed_over)
        print(f"src/{options.layer}/{path.name}: {of_this - len(passed_over)} of {of_this} noticed")
        for number, old, new in passed_over:
            print(f"  line {number}\n    - {old}\n    + {new}", flush=True)
    print(f"{options.layer}: {noticed} of {made} noticed")


if __name__ == "__main__":
    main()
