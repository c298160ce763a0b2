#!/usr/bin/env python3
"""Writes the small pictures in images/ and image_golden.txt: what Pillow and torchvision make of
them. Needs Pillow, numpy, torchvision. Run in this folder; the pictures are kept when they exist,
so that a newer encoder does not change them (delete the folder to make them anew).

Lines of image_golden.txt:
  decode FILE WIDTH HEIGHT SHA256            upright RGB pixels, 3 bytes each
  alpha FILE SHA256                          upright alpha, the same byte 3 times
  crop FILE MODE TO WIDTH HEIGHT FILTER SHA256   8-bit RGB after resize and crop
  norm FILE INDEX VALUE ...                  floats of (C,H,W) after ImageNet normalisation
"""
import hashlib, io, os, struct, sys, zlib
import numpy as np
from PIL import Image, ImageOps
import torchvision.transforms as T
import torchvision.transforms.functional as F

OUT = "images"
rng = np.random.default_rng(7)


def picture(w, h):
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)], -1)
    a += rng.normal(0, 25, a.shape) * (x > w / 2)[..., None]
    a[h // 3 : h // 2, w // 4 : w // 2] = (250, 20, 40)
    return np.clip(a, 0, 255).astype(np.uint8)


def write(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


def save(name, im, fmt, **kw):
    b = io.BytesIO()
    im.save(b, fmt, **kw)
    write(name, b.getvalue())


def png(name, samples, color, depth, interlace=False, palette=None, trns=None, exif=None):
    """samples: (h, w, c) unsigned integers below 2**depth."""
    h, w, c = samples.shape

    def rows(s):
        out = b""
        for row in s:
            bits = "".join(format(int(v), "0%db" % depth) for v in row.reshape(-1))
            bits += "0" * (-len(bits) % 8)
            out += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        return out

    if interlace:
        raw = b""
        for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                               (1, 0, 2, 2), (0, 1, 1, 2)]:
            part = samples[y0::dy, x0::dx]
            if part.size:
                raw += rows(part)
    else:
        raw = rows(samples)

    def chunk(t, d):
        return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0,
                                                             int(interlace)))
    if palette is not None:
        data += chunk(b"PLTE", palette)
    if trns is not None:
        data += chunk(b"tRNS", trns)
    if exif is not None:
        data += chunk(b"eXIf", exif)
    write(name, data + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def bmp(name, w, h, bits, pixels, compression=0, palette=b"", masks=b"", core=False):
    if core:
        head = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", 40, w, h, 1, bits, compression, len(pixels), 0, 0,
                           len(palette) // 4, 0)
    off = 14 + len(head) + len(masks) + len(palette)
    write(name, b"BM" + struct.pack("<IHHI", off + len(pixels), 0, 0, off) + head + masks +
          palette + pixels)


def make():
    os.makedirs(OUT)
    W, H = 33, 47
    a = picture(W, H)
    rgb = Image.fromarray(a)
    alpha = Image.fromarray(np.dstack([a, (a[..., 0] // 64 * 85)]))
    grey = rgb.convert("L")
    for s, n in enumerate(["444", "422", "420"]):
        save("jpeg_%s.jpg" % n, rgb, "JPEG", quality=85, subsampling=s)
        save("jpeg_%s_progressive.jpg" % n, rgb, "JPEG", quality=85, subsampling=s,
             progressive=True)
    save("jpeg_grey.jpg", grey, "JPEG")
    save("jpeg_cmyk.jpg", rgb.convert("CMYK"), "JPEG")
    save("jpeg_rgb.jpg", rgb, "JPEG", keep_rgb=True)
    save("jpeg_restart.jpg", rgb, "JPEG", restart_marker_blocks=2)
    save("jpeg_1x1.jpg", rgb.resize((1, 1)), "JPEG")
    big = Image.fromarray(picture(203, 150))
    save("jpeg_wide_420.jpg", big, "JPEG", quality=50, subsampling=2)
    save("jpeg_wide_progressive.jpg", big, "JPEG", quality=50, subsampling=2, progressive=True)
    save("jpeg_tall_422.jpg", big.rotate(90, expand=True), "JPEG", quality=50, subsampling=1)
    for o in range(1, 9):
        e = Image.Exif()
        e[0x0112] = o
        save("jpeg_exif%d.jpg" % o, rgb, "JPEG", quality=75, exif=e)
    exif6 = Image.Exif()
    exif6[0x0112] = 6
    tiff6 = exif6.tobytes()[6:]
    save("jpeg_xmp3.jpg", rgb, "JPEG", quality=75,
         xmp=b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>')

    def down(d):
        return (a.astype(np.uint32) * (2**d - 1) // 255)

    for d in (1, 2, 4, 8):
        png("png_grey%d.png" % d, down(d)[..., :1], 0, d)
        n = 1 << d
        pal = rng.integers(0, 256, 3 * n, dtype=np.uint8).tobytes()
        png("png_palette%d.png" % d, down(d)[..., :1], 3, d, palette=pal)
        png("png_palette%d_interlaced.png" % d, down(d)[..., :1], 3, d, True, palette=pal)
    png("png_palette_trns.png", down(4)[..., :1], 3, 4, palette=pal[:48], trns=bytes(range(0, 96, 6)))
    png("png_rgb_trns.png", a, 2, 8, trns=bytes([0, 250, 0, 20, 0, 40]))
    a16 = a.astype(np.uint32) * 256 + rng.integers(0, 256, a.shape)
    al = np.dstack([a, 255 - a[..., 0]]).astype(np.uint32)
    png("png_rgb8.png", a, 2, 8, exif=tiff6)
    png("png_rgb8_interlaced.png", a, 2, 8, True)
    png("png_rgb16.png", a16, 2, 16)
    png("png_rgba8.png", al, 6, 8)
    png("png_rgba16_interlaced.png", al * 257, 6, 16, True)
    png("png_la8.png", al[..., 2:4], 4, 8)
    png("png_la16.png", al[..., 2:4] * 257, 4, 16)
    png("png_grey16.png", a16[..., :1], 0, 16)

    q = rgb.quantize(40)
    save("gif_palette.gif", q, "GIF", interlace=0)
    save("gif_interlaced.gif", q, "GIF", interlace=1)
    save("gif_transparent.gif", q, "GIF", transparency=3)
    save("gif_grey.gif", grey, "GIF")
    save("gif_two_colours.gif", grey.convert("1"), "GIF")
    save("gif_animation.gif", q, "GIF", save_all=True,
         append_images=[rgb.transpose(Image.Transpose.ROTATE_180).quantize(40)])
    noise = Image.fromarray(rng.integers(0, 256, (60, 75), dtype=np.uint8))
    save("gif_full_table.gif", noise, "GIF")  # more than 4096 codes
    b = io.BytesIO()
    q.save(b, "GIF", interlace=0, transparency=5)
    g = bytearray(b.getvalue())
    g[6:10] = struct.pack("<HH", 50, 60)  # a larger canvas, the frame not in its corner
    at = g.index(b",\0\0\0\0" + struct.pack("<HH", W, H))
    g[at + 1 : at + 5] = struct.pack("<HH", 7, 9)
    write("gif_offset.gif", bytes(g))

    save("webp_lossless.webp", rgb, "WEBP", lossless=True)
    save("webp_lossy.webp", rgb, "WEBP", quality=60)
    save("webp_alpha.webp", alpha, "WEBP", quality=60)
    save("webp_alpha_lossless.webp", alpha, "WEBP", lossless=True, exact=True)
    save("webp_exif.webp", rgb, "WEBP", quality=60, exif=exif6)
    save("webp_animation.webp", rgb, "WEBP", save_all=True, quality=50,
         append_images=[rgb.transpose(Image.Transpose.ROTATE_180)])

    save("bmp_24.bmp", rgb, "BMP")
    save("bmp_grey.bmp", grey, "BMP")
    save("bmp_8.bmp", q, "BMP")
    save("bmp_1.bmp", grey.convert("1"), "BMP")
    save("bmp_32_alpha.bmp", alpha, "BMP")
    i4 = (a[..., 1] // 16).astype(int)[::-1]
    pal4 = rng.integers(0, 256, 64, dtype=np.uint8).tobytes()

    def pad(b):
        return b + b"\0" * (-len(b) % 4)

    rows4 = [pad(bytes((int(r[x]) << 4) | (int(r[x + 1]) if x + 1 < W else 0)
                       for x in range(0, W, 2))) for r in i4]
    bmp("bmp_4.bmp", W, H, 4, b"".join(rows4), palette=pal4)
    core = b"".join(pal4[i : i + 3] for i in range(0, 64, 4))
    bmp("bmp_os2.bmp", W, H, 4, b"".join(rows4), palette=core, core=True)
    v = a[::-1].astype(int)
    p565 = (v[..., 0] >> 3 << 11) | (v[..., 1] >> 2 << 5) | v[..., 2] >> 3
    p555 = (v[..., 0] >> 3 << 10) | (v[..., 1] >> 3 << 5) | v[..., 2] >> 3
    bmp("bmp_555.bmp", W, H, 16, b"".join(pad(r.astype("<u2").tobytes()) for r in p555))
    bmp("bmp_565.bmp", W, H, 16, b"".join(pad(r.astype("<u2").tobytes()) for r in p565), 3,
        masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    bmp("bmp_top_down.bmp", W, -H, 24, b"".join(pad(r[:, ::-1].tobytes()) for r in a))

    def rle(rows, four):
        out = b""
        for r in rows:
            x = 0
            while x < W:
                n = 1
                while x + n < W and n < 255 and r[x + n] == r[x]:
                    n += 1
                literal = min(5, W - x)
                if n == 1 and literal >= 3:  # an absolute run, padded to 16 bits
                    part = [int(k) for k in r[x : x + literal]]
                    if four:
                        b = bytes((part[i] << 4) | (part[i + 1] if i + 1 < literal else 0)
                                  for i in range(0, literal, 2))
                    else:
                        b = bytes(part)
                    out += bytes([0, literal]) + b + b"\0" * (len(b) % 2)
                    x += literal
                else:
                    out += bytes([n, int(r[x]) * (17 if four else 1)])
                    x += n
            out += b"\0\0"
        return out + b"\0\1"

    bmp("bmp_rle4.bmp", W, H, 4, rle(i4, True), 2, palette=pal4)
    pal8 = rng.integers(0, 256, 1024, dtype=np.uint8).tobytes()
    bmp("bmp_rle8.bmp", W, H, 8, rle(a[::-1, :, 1] // 8 * 8, False), 1, palette=pal8)


def sha(a):
    return hashlib.sha256(np.ascontiguousarray(a, dtype=np.uint8).tobytes()).hexdigest()


FILTERS = {"nearest": T.InterpolationMode.NEAREST, "bilinear": T.InterpolationMode.BILINEAR,
           "bicubic": T.InterpolationMode.BICUBIC, "lanczos": T.InterpolationMode.LANCZOS,
           "box": T.InterpolationMode.BOX}


def resize(im, size, f):
    """torchvision's size, columns first. Pillow before 13 always works in that order; Pillow 13
    takes rows first when the height shrinks much more than the width, which can change the last
    digit. Two calls fix the order in every version."""
    w, h = F.resize(im, size, f).size
    if f == T.InterpolationMode.NEAREST:
        return F.resize(im, size, f)
    return F.resize(F.resize(im, [im.height, w], f), [h, w], f)


def letterbox(im, w, h, f):
    iw, ih = im.size
    if iw * h >= ih * w:
        nw, nh = w, max(1, (2 * ih * w + iw) // (2 * iw))
    else:
        nw, nh = max(1, (2 * iw * h + ih) // (2 * ih)), h
    left, top = (w - nw) // 2, (h - nh) // 2
    return F.pad(resize(im, [nh, nw], f), [left, top, w - nw - left, h - nh - top], 0)


def main():
    if not os.path.isdir(OUT):
        make()
    lines = ["# Made by image_golden.py with Pillow %s; do not edit." % Image.__version__]
    for name in sorted(os.listdir(OUT)):
        im = Image.open(os.path.join(OUT, name))
        if name == "png_grey16.png":  # the documented exception: our rule is the high byte
            high = (np.asarray(im).astype(int) >> 8).astype(np.uint8)
            im = Image.fromarray(high).convert("RGB")
        else:
            im = ImageOps.exif_transpose(im).convert("RGB")
        lines.append("decode %s %d %d %s" % (name, *im.size, sha(im)))
        if name.startswith(("png", "webp")) and name != "png_grey16.png":
            im = ImageOps.exif_transpose(Image.open(os.path.join(OUT, name))).convert("RGBA")
            a = im.getchannel("A")
            lines.append("alpha %s %s" % (name, sha(Image.merge("RGB", (a, a, a)))))
    crops = [("shortest", 256, 224, 224, "bilinear"), ("shortest", 31, 24, 28, "bilinear"),
             ("shortest", 40, 40, 40, "bicubic"), ("shortest", 19, 13, 18, "lanczos"),
             ("shortest", 20, 17, 16, "box"), ("shortest", 45, 31, 32, "nearest"),
             ("shortest", 20, 64, 18, "bilinear"), ("stretch", 0, 20, 61, "bilinear"),
             ("stretch", 0, 77, 51, "bicubic"), ("stretch", 0, 9, 40, "nearest"),
             ("letterbox", 0, 48, 40, "bilinear"), ("letterbox", 0, 37, 90, "lanczos")]
    for name in ["jpeg_420.jpg", "jpeg_exif6.jpg", "jpeg_wide_420.jpg", "jpeg_tall_422.jpg",
                 "jpeg_wide_progressive.jpg", "png_rgb8_interlaced.png", "gif_offset.gif"]:
        im = ImageOps.exif_transpose(Image.open(os.path.join(OUT, name))).convert("RGB")
        for mode, to, w, h, f in crops:
            if mode == "shortest":
                out = F.center_crop(resize(im, to, FILTERS[f]), [h, w])
            elif mode == "stretch":
                out = resize(im, [h, w], FILTERS[f])
            else:
                out = letterbox(im, w, h, FILTERS[f])
            lines.append("crop %s %s %d %d %d %s %s" % (name, mode, to, w, h, f, sha(out)))
    im = Image.open(os.path.join(OUT, "jpeg_wide_420.jpg"))
    t = F.to_tensor(F.center_crop(resize(im, 256, FILTERS["bilinear"]), [224, 224]))
    t = F.normalize(t, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).reshape(-1)
    lines.append("norm jpeg_wide_420.jpg " + " ".join(
        "%d %.9g" % (i, t[i]) for i in range(0, t.numel(), 9973)))
    with open("image_golden.txt", "w") as f:
        f.write("\n".join(lines) + "\n")
    size = sum(os.path.getsize(os.path.join(OUT, n)) for n in os.listdir(OUT))
    print(len(lines), "lines;", len(os.listdir(OUT)), "pictures,", size, "bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
