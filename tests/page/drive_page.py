#!/usr/bin/env python3
"""Drives the page of `dcam serve` in headless Chromium: files, a pasted picture, the camera, keys, the table, dark mode
and a phone's width. Fails on any error of the page, any violation of its policy and any request to another host.

    pip install playwright                       # drives the installed chromium, downloads none
    tests/page/drive_page.py build/dcam MODEL.safetensors PHOTOGRAPH... [--shots DIR]

At least three photographs. Not part of `make test`: it needs Python, playwright and chromium; without them it says so
and exits with 77."""
import argparse
import base64
import pathlib
import shutil
import subprocess
import sys

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    print("SKIPPED: playwright is not installed (pip install playwright)")
    sys.exit(77)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PASTE = """async ([name, data]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: 'image/png'}));
  document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true}));
}"""
DROP = PASTE.replace("ClipboardEvent('paste', {clipboardData: transfer, bubbles: true})",
                     "DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})")
INK = """(id) => { const c = document.getElementById(id), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let sum = 0; for (let i = 0; i < d.length; i++) sum = (sum * 31 + d[i]) >>> 0; return sum; }"""


def expect(what, condition):
    print(("ok      " if condition else "FAILED  ") + what)
    if not condition:
        expect.failures += 1


expect.failures = 0


def watch(page, host, faults):
    page.on("pageerror", lambda e: faults.append(f"error: {e}"))
    page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith((host, "data:", "blob:")) else faults.append(f"request: {r.url}"))


def rows(page, n):
    page.wait_for_function("n => document.querySelectorAll('#rows tr').length === n && !/inspecting|to go/.test(document.getElementById('state').textContent)",
                           arg=n, timeout=60000)


def drive(page, photos):
    page.wait_for_function("() => document.getElementById('state').textContent === 'ready'")
    expect("the classes are listed", page.locator("#class option").count() >= 1)
    page.set_input_files("#file", photos[:2])
    rows(page, 2)
    expect("a verdict is shown", page.locator("#word").inner_text() in ("Good", "Defect"))
    expect("the verdict agrees with the score", (float(page.locator("#score").inner_text()) >= 0.5) == (page.locator("#word").inner_text() == "Defect"))
    expect("the thumbnail is a picture", page.locator("#rows img").first.evaluate("i => i.naturalWidth") == 104)
    expect("latency and throughput are shown", "a second" in page.locator("#totals").inner_text() and "ms" in page.locator("#totals").inner_text())
    expect("the pictures have names", page.locator("#photo").get_attribute("aria-label") in [pathlib.Path(p).name for p in photos[:2]] and
           "marked" in page.locator("#overlay").get_attribute("aria-label"))
    data = base64.b64encode(pathlib.Path(photos[2]).read_bytes()).decode()
    page.evaluate(PASTE, ["pasted.png", data])
    rows(page, 3)
    page.evaluate(DROP, ["dropped.png", data])
    rows(page, 4)
    expect("paste and drop give the same score", page.locator("#rows tr:nth-child(1) td:nth-child(3)").inner_text() ==
           page.locator("#rows tr:nth-child(2) td:nth-child(3)").inner_text())
    page.evaluate("document.dispatchEvent(Object.assign(new ClipboardEvent('paste', {clipboardData: (() => { const t = new DataTransfer();"
                  "t.items.add(new File(['no picture'], 'bad.png', {type: 'image/png'})); return t; })()})))")
    rows(page, 5)
    expect("a file that is no picture is said", "not a picture" in page.locator("#rows tr").first.inner_text())


def keys(page):
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press("ArrowDown")
    expect("the arrow walks through the table", page.locator("#rows tr").nth(1).get_attribute("aria-selected") == "true" or
           page.locator("#rows tr[aria-selected=true]").count() == 1)
    before, slider = page.evaluate(INK, "overlay"), page.locator("#opacity").input_value()
    for _ in range(15):
        page.keyboard.press("ArrowLeft")
    expect("the arrow moves the slider", int(page.locator("#opacity").input_value()) == max(0, int(slider) - 75))
    page.keyboard.press("b")
    expect("without map and outline the photograph is left", page.evaluate(INK, "overlay") == page.evaluate(INK, "photo"))
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("b")
    expect("the picture comes back", page.evaluate(INK, "overlay") == before)
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    expect("Tab reaches the class, the drop place and the camera", {"class", "drop", "camera"} <= reached)


def camera(page):
    page.locator("#camera").click()
    page.wait_for_function("() => document.getElementById('video').videoWidth > 0")
    count = page.locator("#rows tr").count()
    page.locator("#shot").click()
    rows(page, count + 1)
    expect("the camera's picture has a verdict", "camera" in page.locator("#rows tr").first.inner_text())
    page.locator("#live").check()
    page.wait_for_function("n => document.querySelectorAll('#rows tr').length >= n", arg=count + 3, timeout=60000)
    page.locator("#camera").click()
    expect("the camera goes off", page.locator("#video").is_hidden())


def looks(browser, url, photos, shots, faults):
    for scheme in ("light", "dark"):
        for width, height in ((1400, 1000), (400, 850)):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            watch(page, url, faults)
            page.goto(url)
            page.wait_for_function("() => document.getElementById('state').textContent === 'ready'")
            page.set_input_files("#file", photos)
            rows(page, len(photos))
            expect(f"nothing is wider than {width} pixels ({scheme})",
                   page.evaluate("document.documentElement.scrollWidth") <= width)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            expect(f"the ground is {scheme}", (int(ground.split("(")[1].split(",")[0]) < 100) == (scheme == "dark"))
            if shots:
                page.screenshot(path=f"{shots}/{width}-{scheme}.png", full_page=True)
                page.keyboard.press("ArrowDown")  # the verdict before
                page.screenshot(path=f"{shots}/{width}-{scheme}-before.png", full_page=True)
            page.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dcam")
    parser.add_argument("model")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--shots")
    arguments = parser.parse_args()
    if not CHROMIUM:
        print("SKIPPED: no chromium")
        sys.exit(77)
    if len(arguments.photos) < 3:
        parser.error("three photographs at least")
    server = subprocess.Popen([arguments.dcam, "serve", "-q", "-m", arguments.model, "--listen", "127.0.0.1:0"],
                              stdout=subprocess.PIPE, text=True)
    faults = []
    try:
        url = server.stdout.readline().strip()
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--use-fake-ui-for-media-stream",
                                                                        "--use-fake-device-for-media-stream"])
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            watch(page, url, faults)
            page.goto(url)
            drive(page, arguments.photos)
            expected = [f for f in faults if "status of 400" in f]
            expect("one request failed, the one that had to", len(expected) == 1)
            for fault in expected:
                faults.remove(fault)
            keys(page)
            camera(page)
            page.close()
            looks(browser, url, arguments.photos, arguments.shots, faults)
            browser.close()
    finally:
        server.terminate()
        code = server.wait(60)
    for fault in faults:
        print("FAULT   " + fault)
    expect("no error, no foreign request", not faults)
    expect("the server ends with 0", code == 0)
    sys.exit(1 if expect.failures else 0)


if __name__ == "__main__":
    main()
