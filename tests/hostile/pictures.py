"""Hostile pictures."""
import struct
import zlib

from suite import flipped, truncations


def bmp(width, height, bits=24, compression=0, data=None, offset=54, palette=b"", size=40, planes=1,
        colours=0):
    if data is None:
        data = bytes((width * 3 + 3) // 4 * 4 * abs(height))
    head = struct.pack("<IiiHHIIiiII", size, width, height, planes, bits, compression, len(data), 0, 0,
                       colours, 0)
    return (b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset + len(palette)) + head +
            palette + data)


def chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, depth=8, colour=2, data=None, interlace=0, before=b"", after=b"", crc=None,
        compression=0):
    if data is None:
        row = 1 + (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1) + 7) // 8
        z = zlib.compressobj(9)  # row by row: the whole may be larger than memory
        step = max(1, (1 << 20) // row)
        data = b"".join(z.compress(bytes(row * min(step, height - y))) for y in range(0, height, step))
        data += z.flush()
    return (b"\x89PNG\r\n\x1a\n" +
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, compression, 0, interlace),
                  crc) + before + chunk(b"IDAT", data) + after + chunk(b"IEND", b""))


def gif(width=8, height=8, data=b"\x02\x02\x4c\x01\x00", image=None, palette=1, more=b""):
    left, top, w, h = image or (0, 0, width, height)
    return (b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | palette, 0, 0) +
            bytes(3 * (2 << palette)) + more + b"," + struct.pack("<HHHHB", left, top, w, h, 0) + data +
            b";")


def sof(jpeg, width, height, components=None):
    """Another size in the frame header."""
    at = next(i for i in range(len(jpeg)) if jpeg[i] == 0xFF and jpeg[i + 1] in (0xC0, 0xC1, 0xC2))
    out = bytearray(jpeg)
    out[at + 5:at + 9] = struct.pack(">HH", height, width)
    if components is not None:
        out[at + 9] = components
    return bytes(out)


def webp_size(data, width, height):
    at = data.index(b"VP8 ") + 14
    return data[:at] + struct.pack("<HH", width, height) + data[at + 4:]


def add(s):
    g = lambda name: s.golden("golden/images/" + name)
    jpeg, progressive, webp = g("jpeg_420.jpg"), g("jpeg_420_progressive.jpg"), g("webp_lossy.webp")
    s.put("pictures/good.bmp", bmp(32, 32))

    def predict(name, data, exits=(3,), *options, suffix="", **more):
        path = s.put("pictures/" + name + suffix, data)
        s.case("picture-" + name, "predict", "in/models/backbone.onnx", path, *options, exits=list(exits),
               file=path, **more)

    for name, n in (("jpeg_420.jpg", 6), ("jpeg_420_progressive.jpg", 4), ("png_rgb8.png", 5),
                    ("png_rgb8_interlaced.png", 3), ("gif_palette.gif", 5), ("bmp_24.bmp", 4),
                    ("bmp_rle8.bmp", 4), ("webp_lossy.webp", 5), ("webp_lossless.webp", 4)):
        real = g(name)
        lenient = name == "bmp_rle8.bmp"  # run-length data may end early
        for k in truncations(real, n):
            predict("%d-%s" % (k, name), real[:k], (0, 3) if lenient or k > len(real) - 20 else (3,))
        for i in range(3):
            predict("flips-%d-%s" % (i, name), flipped(real, s.random, 20, bits=1 << 2 * i), (0, 3))
    predict("empty.jpg", b"")
    predict("text.jpg", b"This is not a picture.\n" * 100)
    predict("html.jpg", b"<html><body>404 Not Found</body></html>")
    predict("zeros.jpg", bytes(5000))
    predict("markers.jpg", b"\xff\xd8" + b"\xff" * 5000)
    predict("jpeg-65500.jpg", sof(jpeg, 65500, 65500))
    predict("jpeg-0.jpg", sof(jpeg, 0, 0))
    predict("jpeg-height-0.jpg", sof(jpeg, 32, 0))
    predict("jpeg-13000.jpg", sof(jpeg, 13000, 13000))
    predict("jpeg-progressive-13000.jpg", sof(progressive, 13000, 13000))
    predict("jpeg-components-0.jpg", sof(jpeg, 32, 32, 0))
    predict("jpeg-components-99.jpg", sof(jpeg, 32, 32, 99))
    predict("jpeg-tables.jpg", jpeg[:2] + b"\xff\xdb\x00\x43" + b"\xff" * 65 + jpeg[2:], (0, 3))
    predict("jpeg-exif.jpg", jpeg[:2] + b"\xff\xe1\x00\x20Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(14) + jpeg[2:],
            (0, 3))
    predict("jpeg-scans.jpg", progressive[:-2] + progressive[progressive.index(b"\xff\xda"):-2] * 2000 +
            b"\xff\xd9", (0, 3))
    predict("png-60000.png", png(60000, 60000, data=zlib.compress(bytes(1000))))
    predict("png-max.png", png(2**31 - 1, 2**31 - 1, data=zlib.compress(bytes(1000))))
    predict("png-above-max.png", png(2**32 - 1, 2**32 - 1, data=zlib.compress(bytes(1000))))
    predict("png-0.png", png(0, 0, data=zlib.compress(b"")))
    predict("png-crc.png", png(8, 8, crc=0))
    predict("png-depth-3.png", png(8, 8, depth=3))
    predict("png-colour-5.png", png(8, 8, colour=5))
    predict("png-interlace-9.png", png(8, 8, interlace=9))
    predict("png-palette-none.png", png(8, 8, colour=3))
    predict("png-filter-99.png", png(8, 8, data=zlib.compress(b"\x63" * 200)))
    predict("png-short.png", png(8, 8, data=zlib.compress(bytes(20))))
    predict("png-no-zlib.png", png(8, 8, data=b"garbage garbage"))
    predict("png-chunk-huge.png", png(8, 8)[:33] + b"\x7f\xff\xff\xffIDAT" + bytes(100))
    predict("png-text-bomb.png", png(8, 8, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20)))),
            (0, 3))
    predict("png-profile-bomb.png", png(8, 8, before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 << 20)))),
            (0, 3))
    predict("png-chunks.png", png(8, 8, before=chunk(b"tEXt", b"a\0b") * 50000), (0, 3))
    predict("png-exif.png", png(8, 8, before=chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")), (0, 3))
    predict("png-bomb.png", png(13000, 13000, depth=1, colour=0), (0, 3))
    predict("png-bomb-interlaced.png", png(13000, 13000, depth=1, colour=0, interlace=1), (0, 3))
    predict("png-long.png", png(1000000, 100, depth=1, colour=0), (0, 3))
    predict("png-too-long.png", png(1000001, 1, depth=1, colour=0))
    predict("png-line.png", png(1, 1000000, depth=1, colour=0), (0, 2, 3), "--resize", "shortest", "--resize-to",
            "8192", "--img-size", "32")
    predict("png-line-lanczos.png", png(1000000, 1, depth=1, colour=0), (0, 2, 3), "--resize", "letterbox",
            "--interpolation", "lanczos")
    predict("gif-65535.gif", gif(65535, 65535))
    predict("gif-0.gif", gif(0, 0), (0, 3))
    predict("gif-13000.gif", gif(13000, 13000), (0, 3))
    predict("gif-outside.gif", gif(8, 8, image=(60000, 60000, 8, 8)), (0, 3))
    predict("gif-frame-larger.gif", gif(8, 8, image=(0, 0, 65535, 65535)), (0, 3))
    predict("gif-garbage.gif", gif(data=b"\x08" + (b"\xff" + b"\xff" * 255) * 50 + b"\0"), (0, 3))
    predict("gif-code-size-0.gif", gif(data=b"\x00\x02\x4c\x01\x00"))
    predict("gif-code-size-13.gif", gif(data=b"\x0d\x02\x4c\x01\x00"))
    predict("gif-code-size-255.gif", gif(data=b"\xff\x02\x4c\x01\x00"))
    predict("gif-no-image.gif", gif()[:19] + b";")
    predict("gif-extensions.gif", gif(more=b"!\xfe\x01a\0" * 500000), (0, 3))
    predict("bmp-height-min.bmp", bmp(32, -2**31, data=bytes(3072)))
    predict("bmp-width-negative.bmp", bmp(-32, 32, data=bytes(3072)))
    predict("bmp-0.bmp", bmp(0, 0, data=bytes(100)))
    predict("bmp-60000.bmp", bmp(60000, 60000, data=bytes(3072)))
    predict("bmp-12000.bmp", bmp(12000, 12000, data=bytes(3072)))
    predict("bmp-bits-7.bmp", bmp(32, 32, bits=7))
    predict("bmp-offset.bmp", bmp(32, 32, offset=2**32 - 4000))
    predict("bmp-header-size.bmp", bmp(32, 32, size=2**32 - 1))
    predict("bmp-colours.bmp", bmp(32, 32, bits=8, data=bytes(1024), colours=2**32 - 1), (0, 3))
    palette = bytes(1024)
    rle = lambda data, w=32, h=32, c=1: bmp(w, h, 8 if c == 1 else 4, c, data, palette=palette)
    predict("bmp-rle-long.bmp", rle(b"\xff\x01" * 5000), (0, 3))
    predict("bmp-rle-delta.bmp", rle(b"\x00\x02\xff\xff" * 5000), (0, 3))
    predict("bmp-rle-absolute.bmp", rle(b"\x00\xff\x01"), (0, 3))
    predict("bmp-rle-lines.bmp", rle(b"\x00\x00" * 5000), (0, 3))
    predict("bmp-rle4.bmp", rle(b"\xff\x12" * 5000, c=2), (0, 3))
    predict("bmp-rle-13000.bmp", rle(b"\x00\x01", 13000, 13000), (0, 3))
    predict("bmp-rle-up.bmp", rle(b"\x00\x01", 32, -32), (0, 3))
    predict("webp-16383.webp", webp_size(webp, 16383, 16383))
    predict("webp-13000.webp", webp_size(webp, 13000, 13000))
    predict("webp-0.webp", webp_size(webp, 0, 0))
    predict("webp-size.webp", webp[:4] + b"\xff\xff\xff\xff" + webp[8:])
    predict("webp-only-riff.webp", b"RIFF\x04\0\0\0WEBP")
    predict("name-\033[31m\n\"quoted\"'.jpg", b"text", says="not a picture")
    predict("name-\udcff\udcfe.jpg", b"text", says="not a picture")
    sparse = s.path("pictures/sparse.jpg")
    with open(sparse, "wb") as f:
        f.write(jpeg[:600])
        f.truncate(16 << 30)
    sparse = s.path("pictures/sparse-500M.jpg")
    with open(sparse, "wb") as f:
        f.write(jpeg[:600])
        f.truncate(500 << 20)
    for name, path, exits in (
            ("sparse", "in/pictures/sparse.jpg", [3]), ("sparse-500M", "in/pictures/sparse-500M.jpg", [0, 3]),
            ("zero", "/dev/zero", [1, 3]), ("null", "/dev/null", [1, 3]), ("memory", "/proc/self/mem", [1, 3]),
            ("missing", "in/pictures/no.jpg", [1, 3]), ("fifo", "in/models/fifo.onnx", [1, 3]),
            ("model", "in/models/backbone.onnx", [3])):
        s.case("picture-" + name, "predict", "in/models/backbone.onnx", path, exits=exits, file=path)
    # Each below the limit, together far above the memory that one of them needs.
    bombs = ["in/pictures/" + n for n in ("png-bomb.png", "bmp-rle-13000.bmp", "gif-13000.gif", "png-long.png")]
    s.case("pictures-four-bombs", "predict", "in/models/backbone.onnx", *bombs, "-j", "4", exits=[0, 3])
    for i in range(5):  # 217 MB each when decoded
        s.put("bombs/%d.png" % i, png(8500, 8500 + i, depth=1, colour=0))
    s.case("pictures-bombs-at-once", "predict", "in/models/backbone.onnx", "in/bombs", "-j", "5", exits=[0, 3])
    s.case("pictures-skip", "predict", "in/models/backbone.onnx", "in/pictures/text.jpg", "in/pictures/no.jpg",
           "in/pictures/empty.jpg", "in/pictures/good.bmp", exits=[3], says="empty.jpg: the file is empty",
           prints="good.bmp")
    s.case("pictures-stop", "predict", "in/models/backbone.onnx", "in/pictures/good.bmp",
           "in/pictures/text.jpg", "--on-bad", "stop", exits=[3], file="text.jpg")
    s.case("pictures-json", "predict", "in/models/backbone.onnx", "in/pictures/good.bmp",
           "in/pictures/name-\udcff\udcfe.jpg", "--json", exits=[3], says="",
           prints="not a picture", silent=True)
