"""Writes golden.json: what Pillow makes of fixed random images, as digests, so that the tests need no Python.

  pip install pillow==13.0.0 numpy && python make_golden.py > golden.json

resize: width, height, resize, crop, then SHA-256 of the uint8 pixels after torchvision's Resize and CenterCrop and of the
float32 [3,H,W] after ToTensor and Normalize(imagenet). Pixels come from the generator in test/images/support.ts.
files: small image files, and SHA-256 of `Image.open(file).convert("RGB")`.
"""
import base64
import hashlib
import io
import json
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps


def pixels(n, seed):
    """The high byte of a 32-bit linear congruential generator (Numerical Recipes' constants)."""
    out, s = np.empty(n, np.uint8), seed
    for i in range(n):
        s = (s * 1664525 + 1013904223) % 2**32
        out[i] = s >> 24
    return out


def sha(a):
    return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()


def resize_crop(im, resize, crop):
    if resize:
        w, h = im.size
        new = int(resize * max(w, h) / min(w, h))
        im = im.resize((resize, new) if w <= h else (new, resize), Image.BILINEAR)
    if crop:
        w, h = im.size
        x, y = max(crop - w, 0), max(crop - h, 0)
        im = ImageOps.expand(im, (x // 2, y // 2, (x + 1) // 2, (y + 1) // 2), 0)
        w, h = im.size
        left, top = int(round((w - crop) / 2.0)), int(round((h - crop) / 2.0))
        im = im.crop((left, top, left + crop, top + crop))
    return np.asarray(im)


def normalise(a):
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    return ((a.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)


def resize_cases():
    rng = np.random.default_rng(0)
    fixed = [(7, 5, None, None), (7, 5, 5, None), (6, 9, None, 12), (9, 6, None, 7), (1, 1, 5, 3), (50, 40, 40, 32),
             (61, 47, 64, 56), (40, 130, 20, None), (40, 80, 20, None), (130, 40, 20, None), (20, 61, 10, 16), (97, 96, 3, 3)]
    free = []
    for i in range(48):
        w, h = (int(v) for v in rng.integers(2, 90, 2))
        free.append((w, h, int(rng.integers(1, 80)), None if i % 3 == 0 and max(w, h) < 8 * min(w, h) else int(rng.integers(1, 80))))
    for w, h, resize, crop in fixed + free:
        a = resize_crop(Image.fromarray(pixels(w * h * 3, w * 1000 + h).reshape(h, w, 3)), resize, crop)
        yield [w, h, resize, crop, sha(a), sha(normalise(a))]


def smooth(w, h, channels, seed):
    small = pixels(4 * 3 * channels, seed).reshape(3, 4, channels)
    return np.asarray(Image.fromarray(small.squeeze()).resize((w, h), Image.BICUBIC)).reshape(h, w, channels)


def png(width, height, depth, colour, *chunks):
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth
    stride = (width * bits + 7) // 8
    raw = pixels(height * stride, depth * 10 + colour).tobytes()
    rows = b"".join(b"\0" + raw[y * stride : (y + 1) * stride] for y in range(height))
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = [head, *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in body)


def bmp(width, height, bits, compression, palette, rows, masks=b"", top_down=False):
    data = b"".join((r + b"\0" * (-len(r) % 4)) for r in (rows if top_down else rows[::-1]))
    info = struct.pack("<IiiHHIIiiII", 40, width, -height if top_down else height, 1, bits, compression, len(data), 0, 0, 0, 0)
    offset = 14 + len(info) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + info + masks + palette + data


def files():
    w, h = 19, 13

    def saved(a, form, mode=None, **options):
        out = io.BytesIO()
        (Image.frombytes(mode, (w, h), a.tobytes()) if mode else Image.fromarray(a.squeeze())).save(out, form, **options)
        return out.getvalue()

    rgb, rgba, grey = smooth(w, h, 3, 1), smooth(w, h, 4, 2), smooth(w, h, 1, 3)
    turned = Image.Exif()
    turned[274] = 6
    for name, sub in (("444", 0), ("422", 1), ("420", 2)):
        yield f"{name}.jpg", saved(rgb, "JPEG", subsampling=sub, quality=80)
    yield "progressive.jpg", saved(rgb, "JPEG", progressive=True)
    yield "grey.jpg", saved(grey, "JPEG")
    yield "turned.jpg", saved(rgb, "JPEG", exif=turned)
    cmyk = saved(rgba, "JPEG", "CMYK", quality=90)
    at = cmyk.index(b"\xff\xee")
    yield "cmyk-adobe.jpg", cmyk
    yield "ycck.jpg", cmyk[: at + 15] + b"\2" + cmyk[at + 16 :]
    yield "cmyk-plain.jpg", cmyk[:at] + cmyk[at + 16 :]
    yield "lossy.webp", saved(rgb, "WEBP", quality=70)
    yield "lossy-alpha.webp", saved(rgba, "WEBP", quality=70)
    yield "lossless-alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "rgb.tif", saved(rgb, "TIFF", compression="tiff_lzw")
    yield "cmyk.tif", saved(rgba, "TIFF", "CMYK")
    yield "rgb.ppm", saved(rgb, "PPM")
    yield "grey.pgm", saved(grey, "PPM")
    for depth, colour in ((1, 0), (4, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)):
        yield f"{depth}-{colour}.png", png(w, h, depth, colour)
    yield "key.png", png(w, h, 16, 0, (b"tRNS", b"\0\1"))
    palette = pixels(48, 9).tobytes()
    yield "palette.png", png(w, h, 4, 3, (b"PLTE", palette), (b"tRNS", palette[:16]))
    bgr = [r[:, ::-1].tobytes() for r in rgb]
    yield "24.bmp", bmp(w, h, 24, 0, b"", bgr)
    yield "24-top-down.bmp", bmp(w, h, 24, 0, b"", bgr, top_down=True)
    yield "32.bmp", bmp(w, h, 32, 0, b"", [np.concatenate([r[:, ::-1], r[:, :1]], 1).tobytes() for r in rgb])
    yield "8.bmp", bmp(w, h, 8, 0, pixels(1024, 4).tobytes(), [r.tobytes() for r in grey])
    yield "4.bmp", bmp(w, h, 4, 0, pixels(64, 4).tobytes(), [r.tobytes()[:10] for r in grey])
    wide = [pixels(2 * w, 50 + y).tobytes() for y in range(h)]
    yield "555.bmp", bmp(w, h, 16, 0, b"", wide)
    yield "565.bmp", bmp(w, h, 16, 3, b"", wide, struct.pack("<III", 0xF800, 0x7E0, 0x1F))


def decoded(data):
    im = Image.open(io.BytesIO(data)).convert("RGB")
    return [*im.size, sha(np.asarray(im)), base64.b64encode(data).decode()]


print(json.dumps({"resize": list(resize_cases()), "files": {n: decoded(d) for n, d in files()}}, indent=0))
