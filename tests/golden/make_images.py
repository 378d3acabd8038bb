#!/usr/bin/env python3
"""Writes tests/golden/image: small pictures of every format with the RGB that
Pillow (or, where Pillow differs by design, NumPy) makes of them, pictures that
must be refused, and the outcome of Pillow's resizing.

Needs Debian's python3-pil, python3-numpy, python3-tifffile, python3-torchvision.
Run from anywhere; the tests do not need Python.

decode.txt: FILE WIDTH HEIGHT TOLERANCE, with decode.bin holding the RGB in order.
refuse.txt: FILE TEXT-OF-THE-MESSAGE.
resize.txt: FILTER CHANNELS IN_W IN_H OUT_W OUT_H SEED FNV-1a-64 of the result.
"""
import io
import pathlib
import struct
import zlib

import numpy as np
import tifffile
import torch
import torchvision.transforms.functional as functional
from PIL import Image

OUT = pathlib.Path(__file__).resolve().parent / "image"
decode_list, decode_bytes, refuse_list = [], [], []


def scene(w, h, seed=1):
    """A gradient, a disc and a little noise: compresses, but is not flat."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    r = 255 * x / max(1, w - 1)
    g = 255 * y / max(1, h - 1)
    b = np.where((x - w / 2) ** 2 + (y - h / 3) ** 2 < (min(w, h) / 3) ** 2, 220, 40)
    noise = np.random.default_rng(seed).integers(-8, 9, (h, w, 3))
    return np.clip(np.stack([r, g, b], -1) + noise, 0, 255).astype(np.uint8)


def over_black(rgba):
    rgba = np.asarray(rgba).astype(np.int64)
    return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)


def good(name, data, expected, tolerance=0):
    expected = np.ascontiguousarray(expected, np.uint8)
    (OUT / name).write_bytes(data)
    h, w, c = expected.shape
    assert c == 3
    decode_list.append(f"{name} {w} {h} {tolerance}\n")
    decode_bytes.append(expected.tobytes())


def as_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def good_as_pillow(name, data, tolerance=0):
    good(name, data, as_pillow(data), tolerance)


def refuse(name, data, text):
    (OUT / name).write_bytes(data)
    refuse_list.append(f"{name} {text}\n")


def save(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))


# ---- PNG by hand: Pillow writes neither 16-bit colour nor interlaced --------

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_rows(samples, depth):
    """samples: h, w, channels -> filtered rows (filter 0)"""
    rows = []
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            rows.append(b"\0" + row.astype(">u2").tobytes())
        elif depth == 8:
            rows.append(b"\0" + row.astype(np.uint8).tobytes())
        else:
            bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)
            rows.append(b"\0" + np.packbits(bits).tobytes())
    return b"".join(rows)


def png(samples, depth, colour, interlaced=False, extra=b"", size=None):
    samples = np.asarray(samples)
    if samples.ndim == 2:
        samples = samples[..., None]
    h, w = samples.shape[:2]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes]
        raw = b"".join(pack_rows(p, depth) for p in parts if p.size)
    else:
        raw = pack_rows(samples, depth)
    w, h = size or (w, h)
    header = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9))
            + chunk(b"IEND", b""))


def wide(rgb):
    """8 bits -> 16, with low bytes that must be dropped"""
    low = np.random.default_rng(5).integers(0, 256, rgb.shape)
    return rgb.astype(np.uint16) * 256 + low.astype(np.uint16)


def repeat(g):
    return np.repeat(np.asarray(g)[..., None], 3, -1)


def make_png():
    rgb = scene(37, 23)
    g = grey(rgb)
    good_as_pillow("rgb.png", save(Image.fromarray(rgb), "PNG"))
    good_as_pillow("grey.png", save(Image.fromarray(g), "PNG"))
    good_as_pillow("one-pixel.png", save(Image.fromarray(rgb[:1, :1]), "PNG"))
    good_as_pillow("wide.png", save(Image.fromarray(scene(400, 1)), "PNG"))
    good_as_pillow("one-bit.png", save(Image.fromarray(g).convert("1"), "PNG"))
    for colours in (2, 4, 16, 200):
        palette = Image.fromarray(rgb).quantize(colours)
        good_as_pillow(f"palette-{colours}.png", save(palette, "PNG", bits={2: 1, 4: 2, 16: 4, 200: 8}[colours]))
    for depth in (1, 2, 4):
        v = g >> (8 - depth)
        good(f"grey-{depth}.png", png(v, depth, 0), repeat(v.astype(int) * 255 // ((1 << depth) - 1)))
    good("grey-16.png", png(wide(g), 16, 0), repeat(g))
    good("rgb-16.png", png(wide(rgb), 16, 2), rgb)
    alpha = np.tile(np.linspace(0, 255, 37).astype(np.uint8), (23, 1))
    rgba = np.dstack([rgb, alpha])
    good("rgba.png", save(Image.fromarray(rgba), "PNG"), over_black(rgba))
    good("grey-alpha.png", save(Image.fromarray(np.dstack([g, alpha])), "PNG"), over_black(np.dstack([repeat(g), alpha])))
    good("rgba-16.png", png(wide(rgba), 16, 6), over_black(rgba))
    palette = Image.fromarray(rgb).quantize(8)
    data = save(palette, "PNG", transparency=bytes([0, 128, 255, 255, 40, 255, 255, 255]))
    good("palette-alpha.png", data, over_black(Image.open(io.BytesIO(data)).convert("RGBA")))
    key = rgb.copy()
    key[5:9, 5:9] = (10, 20, 30)
    expected = key.copy()
    expected[(key == (10, 20, 30)).all(-1)] = 0
    good("colour-key.png", png(key, 8, 2, extra=chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))), expected)
    for name, samples, depth, colour in (("rgb", rgb, 8, 2), ("grey-1", g >> 7, 1, 0), ("one", rgb[:1, :1], 8, 2)):
        good_as_pillow(f"interlaced-{name}.png", png(samples, depth, colour, interlaced=True))
    good("interlaced-rgba-16.png", png(wide(rgba), 16, 6, interlaced=True), over_black(rgba))
    refuse("huge.png", png(rgb, 8, 2, size=(100000, 100000)), "100000 x 100000 pixels, above the limit")
    refuse("long.png", png(rgb, 8, 2, size=(30000, 30000)), "above the limit of 268435456 in all")
    refuse("bomb.png", png(rgb, 8, 2, size=(16000, 16000)), "too short for the size in its header")
    refuse("no-pixels.png", png(rgb, 8, 2, size=(0, 5)), "damaged or truncated PNG")


def make_jpeg():
    rgb = scene(61, 43)
    image = Image.fromarray(rgb)
    good_as_pillow("444.jpg", save(image, "JPEG", quality=90, subsampling=0), 1)
    good_as_pillow("422.jpg", save(image, "JPEG", quality=90, subsampling=1), 1)
    good_as_pillow("420.jpg", save(image, "JPEG", quality=75, subsampling=2), 1)
    good_as_pillow("progressive.jpg", save(image, "JPEG", quality=80, progressive=True), 1)
    good_as_pillow("grey.jpg", save(image.convert("L"), "JPEG", quality=80), 1)
    good_as_pillow("one-pixel.jpg", save(Image.fromarray(rgb[:1, :1]), "JPEG"), 1)
    good_as_pillow("wide.jpg", save(Image.fromarray(scene(300, 2)), "JPEG"), 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    good_as_pillow("orientation.jpg", save(image, "JPEG", exif=exif), 1)
    # Bytes between the last pixel and the end marker, as some cameras write.
    data = save(image, "JPEG", quality=75)
    good_as_pillow("extra-bytes.jpg", data[:-2] + b"\0\1\2\3" + data[-2:], 1)
    good_as_pillow("trailing.jpg", data + b"appended by something else", 1)
    refuse("cmyk.jpg", save(image.convert("CMYK"), "JPEG"), "is a CMYK JPEG")
    at = data.index(b"\xff\xc0")
    for name, w, h, text in (("huge", 65500, 65500, "65500 x 65500 pixels, above the limit"),
                             ("bomb", 16000, 16000, "too short for the size in its header")):
        refuse(f"{name}.jpg", data[:at + 5] + struct.pack(">HH", h, w) + data[at + 9:], text)


def make_webp():
    rgb = scene(45, 31)
    alpha = np.tile(np.linspace(0, 255, 45).astype(np.uint8), (31, 1))
    rgba = np.dstack([rgb, alpha])
    good_as_pillow("lossy.webp", save(Image.fromarray(rgb), "WEBP", quality=80), 1)
    good_as_pillow("lossless.webp", save(Image.fromarray(rgb), "WEBP", lossless=True))
    good("lossless-alpha.webp", save(Image.fromarray(rgba), "WEBP", lossless=True, exact=True), over_black(rgba))
    data = save(Image.fromarray(rgba), "WEBP", quality=80)
    good("lossy-alpha.webp", data, over_black(Image.open(io.BytesIO(data)).convert("RGBA")), 1)
    good_as_pillow("one-pixel.webp", save(Image.fromarray(rgb[:1, :1]), "WEBP", lossless=True))
    frames = [Image.fromarray(scene(9, 9, s)) for s in (1, 2)]
    refuse("animated.webp", save(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "is an animated WebP")
    side = struct.pack("<I", 100000 - 1)[:3]
    huge = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + side + side
    refuse("huge.webp", b"RIFF" + struct.pack("<I", 4 + len(huge)) + b"WEBP" + huge, "100000 x 100000 pixels")


def tiff(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, software="", **options)
    return buffer.getvalue()


def make_tiff():
    rgb = scene(35, 22)
    g = grey(rgb)
    image = Image.fromarray(rgb)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        good_as_pillow(f"{compression}.tif", save(image, "TIFF", compression=compression))
    good_as_pillow("jpeg.tif", save(image, "TIFF", compression="jpeg"), 1)
    good_as_pillow("group4.tif", save(image.convert("1"), "TIFF", compression="group4"))
    good_as_pillow("grey.tif", save(image.convert("L"), "TIFF"))
    good_as_pillow("palette.tif", save(image.quantize(30), "TIFF"))
    good_as_pillow("one-pixel.tif", save(Image.fromarray(rgb[:1, :1]), "TIFF"))
    alpha = np.tile(np.linspace(0, 255, 35).astype(np.uint8), (22, 1))
    rgba = np.dstack([rgb, alpha])
    good("rgba.tif", tiff(rgba, photometric="rgb", extrasamples=["unassalpha"]), over_black(rgba))
    good("rgba-16.tif", tiff(wide(rgba), photometric="rgb", extrasamples=["unassalpha"]), over_black(rgba), 1)
    good("grey-alpha-16.tif", tiff(wide(np.dstack([g, alpha])), photometric="minisblack", planarconfig="contig",
                                   extrasamples=["unassalpha"]), over_black(np.dstack([repeat(g), alpha])), 1)
    good("grey-16.tif", tiff(wide(g), photometric="minisblack"), repeat(g))
    good("grey-16-big-endian.tif", tiff(wide(g), photometric="minisblack", byteorder=">"), repeat(g))
    good("grey-16-white.tif", tiff(65535 - wide(g), photometric="miniswhite"), repeat(g))
    good("rgb-16.tif", tiff(wide(rgb), photometric="rgb"), rgb)
    good("planes.tif", tiff(np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate"), rgb)
    good("tiles.tif", tiff(rgb, photometric="rgb", tile=(16, 16), compression="zlib"), rgb)
    good("tiles-16.tif", tiff(wide(g), photometric="minisblack", tile=(16, 16)), repeat(g))
    good("big.tif", tiff(rgb, photometric="rgb", bigtiff=True), rgb)
    good("two-pages.tif", tiff(np.stack([g, 255 - g]), photometric="minisblack"), repeat(g))
    good("orientation.tif", tiff(rgb, photometric="rgb", extratags=[(274, "H", 1, 6, True)]), rgb)
    refuse("float.tif", tiff(g.astype(np.float32), photometric="minisblack"), "a kind of TIFF that is not read")
    refuse("cmyk.tif", save(image.convert("CMYK"), "TIFF"), "is a CMYK TIFF")
    data = bytearray(save(image.convert("L"), "TIFF"))
    at = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * i
        if struct.unpack_from("<H", data, entry)[0] in (256, 257):
            struct.pack_into("<HHII", data, entry, struct.unpack_from("<H", data, entry)[0], 4, 1, 100000)
    refuse("huge.tif", bytes(data), "100000 x 100000 pixels, above the limit")


def bmp(rows, w, h, bits, palette=(), masks=b"", compression=0, header=40):
    """rows: bytes of the padded rows, bottom first (h > 0)"""
    colours = b"".join(struct.pack("BBBB", b, g, r, 0) for r, g, b in palette)
    body = struct.pack("<IiiHHIIiiII", header, w, h, 1, bits, compression, len(rows), 0, 0, len(palette), 0)
    body += masks
    if header > 40:
        body += b"\0" * (header - len(body))
    offset = 14 + len(body) + len(colours)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + body + colours + rows


def make_bmp():
    rgb = scene(33, 21)
    image = Image.fromarray(rgb)
    good_as_pillow("rgb.bmp", save(image, "BMP"))
    good_as_pillow("grey.bmp", save(image.convert("L"), "BMP"))
    good_as_pillow("palette.bmp", save(image.quantize(40), "BMP"))
    good_as_pillow("one-bit.bmp", save(image.convert("1"), "BMP"))
    good_as_pillow("one-pixel.bmp", save(Image.fromarray(rgb[:1, :1]), "BMP"))
    bgrx = np.dstack([rgb[..., ::-1], np.zeros((21, 33), np.uint8)])
    good_as_pillow("32.bmp", bmp(bgrx[::-1].tobytes(), 33, 21, 32))
    good_as_pillow("top-down.bmp", bmp(bgrx.tobytes(), 33, -21, 32))
    alpha = np.tile(np.linspace(0, 255, 33).astype(np.uint8), (21, 1))
    bgra = np.dstack([rgb[..., ::-1], alpha])
    masks = struct.pack("<IIII", 0xff0000, 0xff00, 0xff, 0xff000000)
    good("alpha.bmp", bmp(bgra[::-1].tobytes(), 33, 21, 32, masks=masks, compression=3, header=108),
         over_black(np.dstack([rgb, alpha])))
    index = (np.arange(10 * 6).reshape(6, 10) * 7 % 5).astype(np.uint8)
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 99, 199)]
    packed = np.pad(index[:, ::2] << 4 | index[:, 1::2], ((0, 0), (0, 3)))
    good_as_pillow("4.bmp", bmp(packed[::-1].tobytes(), 10, 6, 4, palette=colours))
    five = (rgb >> 3).astype(np.uint16)
    words = np.pad(five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2], ((0, 0), (0, 1))).astype("<u2")
    good_as_pillow("16.bmp", bmp(words[::-1].tobytes(), 33, 21, 16), 1)
    refuse("beyond-palette.bmp", bmp(packed[::-1].tobytes(), 10, 6, 4, palette=colours[:3]), "beyond the palette")
    refuse("rle.bmp", bmp(b"\0" * 300, 10, 6, 8, palette=colours, compression=1), "compressed pixels")
    refuse("huge.bmp", bmp(b"\0" * 300, 100000, 100000, 24), "100000 x 100000 pixels, above the limit")
    refuse("lowest.bmp", bmp(b"\0" * 300, 5, -2**31, 24), "5 x 2147483648 pixels, above the limit")


def make_pnm():
    rgb = scene(29, 19)
    g = grey(rgb)
    good_as_pillow("rgb.ppm", save(Image.fromarray(rgb), "PPM"))
    good_as_pillow("grey.pgm", save(Image.fromarray(g), "PPM"))
    good_as_pillow("one-bit.pbm", save(Image.fromarray(g).convert("1"), "PPM"))
    good("comment.pgm", b"P5 # a comment\n29\t#another\n 19 255\n" + g.tobytes(), repeat(g))
    good_as_pillow("15.pgm", b"P5 29 19 15\n" + (g >> 4).tobytes())
    good("16.pgm", b"P5 29 19 65535\n" + wide(g).astype(">u2").tobytes(), repeat(g))
    good("16.ppm", b"P6 29 19 65535\n" + wide(rgb).astype(">u2").tobytes(), rgb)
    ten = g.astype(np.uint16) * 4
    good("1023.pgm", b"P5 29 19 1023\n" + ten.astype(">u2").tobytes(), repeat((ten.astype(int) * 255 + 511) // 1023))
    refuse("ascii.ppm", b"P3 1 1 255\n1 2 3\n", "is an ASCII PNM (P3)")
    refuse("huge.ppm", b"P6 100000 100000 255\n" + bytes(100), "100000 x 100000 pixels, above the limit")
    refuse("maximum.pgm", b"P5 1 1 70000\n" + bytes(100), "its maximum value is not 1 to 65535")


def make_foreign():
    refuse("picture.gif", save(Image.fromarray(scene(5, 5)), "GIF"), "is a GIF file, which is not read")
    refuse("text.png", b"this is a text with the name of a picture\n", "is not a picture")
    refuse("empty.jpg", b"", "is empty (0 bytes)")


# ---- resizing -----------------------------------------------------------------

def noise(n, seed):
    """The same bytes as noise() of tests/image/test_resize.c; odd seeds: only 0 and 255."""
    v = (np.arange(n, dtype=np.uint64) * 2654435761 + seed * 40503) & 0xffffffff
    v ^= v >> np.uint64(15)
    v = v * 2246822519 & 0xffffffff
    v ^= v >> np.uint64(13)
    v = (v & 255).astype(np.uint8)
    return np.where(v > 127, 255, 0).astype(np.uint8) if seed % 2 else v


def fnv(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def make_resize():
    sizes = [(1024, 1024, 256, 256), (700, 525, 256, 256), (256, 256, 256, 256), (255, 257, 256, 256),
             (1, 1, 1, 1), (1, 1, 17, 9), (17, 9, 1, 1), (2, 2, 3, 3), (3, 3, 2, 2), (5, 4, 5, 9), (5, 4, 9, 4),
             (4000, 2, 256, 32), (2, 3000, 32, 96), (30000, 1, 7, 5), (1, 30000, 3, 1), (7, 5, 3000, 3),
             (100, 100, 101, 99), (640, 480, 320, 256), (333, 77, 320, 256)]
    rng = np.random.default_rng(11)
    for _ in range(120):
        sizes.append(tuple(int(v) for v in np.exp(rng.uniform(0, np.log(180), 4)).astype(int)))
    lines = []
    for k, (w, h, ow, oh) in enumerate(sizes):
        for channels in (3, 1) if k % 3 == 0 else (3,):
            for name, method in (("bilinear", Image.BILINEAR), ("nearest", Image.NEAREST)):
                pixels = noise(w * h * channels, k).reshape((h, w, 3) if channels == 3 else (h, w))
                result = Image.fromarray(pixels).resize((ow, oh), method)
                lines.append(f"{name} {channels} {w} {h} {ow} {oh} {k} {fnv(result.tobytes()):016x}\n")
    (OUT / "resize.txt").write_text("".join(lines))


def make_preprocess_and_npy():
    """normalise.bin: torchvision's bits for 32 x 32 pixels of noise (seed 4)."""
    pixels = noise(32 * 32 * 3, 4).reshape(32, 32, 3)
    tensor = functional.normalize(functional.to_tensor(pixels), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    (OUT / "normalise.bin").write_bytes(tensor.to(torch.float32).numpy().astype("<f4").tobytes())
    np.save(OUT / "map.npy", (np.arange(6, dtype=np.float32) / 4 - 1).reshape(2, 3))


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    make_png()
    make_jpeg()
    make_webp()
    make_tiff()
    make_bmp()
    make_pnm()
    make_foreign()
    (OUT / "decode.txt").write_text("".join(decode_list))
    (OUT / "decode.bin").write_bytes(b"".join(decode_bytes))
    (OUT / "refuse.txt").write_text("".join(refuse_list))
    make_resize()
    make_preprocess_and_npy()


main()
