#!/usr/bin/python3
"""Expected values for tests/unit/test_data_image.c, made with Pillow (Debian's python3-pil 9.4.0).

    tests/golden/make_image_fixtures.py [shared/data]

writes beside itself
  resize_pillow.bin    Image.resize of a procedural picture (see `picture`): per case 6 int32 (source width, height, result width,
                       height, channels, filter 0 bilinear 1 bicubic 2 nearest), 4 float32 box, the result's bytes
  preprocess_torch.bin Resize + CenterCrop of torchvision as u8, and Resize of the crop: 5 int32 (source width, height, side of the
                       crop, resized side, input side), bytes. Where the crop is scaled too the first step is none (shorter side =
                       resized side), as Graft resamples once
  oddities_pillow.txt  per file of shared/data/oddities: name, width, height, channels, CRC-32 of the pixels, or "bad"
  pictures/            `picture` of 24 x 16 in files of the formats whose libraries are optional, without loss (HEIC and AVIF:
                       but for the rounding of YCbCr), by Pillow, tiffcp (libtiff-tools) and heif-enc (libheif-examples);
                       X.rgb: what Pillow reads from X where X has losses; flat.*: 1100 x 1100 pixels of one colour
"""
import os, struct, subprocess, sys, tempfile, zlib
import numpy as np
from PIL import Image, ImageOps

here = os.path.dirname(os.path.abspath(__file__))


def picture(w, h, channels):
    y, x, c = np.mgrid[0:h, 0:w, 0:channels]
    return ((x * 7 + y * 13 + c * 29 + ((x * y) >> 2)) ^ (x << 1)).astype(np.uint8)


def as_image(a):
    return Image.fromarray(a[:, :, 0] if a.shape[2] == 1 else a)


def resize_cases(out):
    filters = [Image.BILINEAR, Image.BICUBIC, Image.NEAREST]
    sizes = [(97, 61, 33, 21), (97, 61, 120, 20), (31, 57, 50, 60), (40, 30, 40, 30), (5, 7, 23, 11), (600, 400, 7, 5), (1, 1, 3, 2),
             (2000, 3, 5, 9)]
    for f, how in enumerate(filters):
        for sw, sh, dw, dh in sizes:
            for channels in (1, 3):
                im = as_image(picture(sw, sh, channels)).resize((dw, dh), how)
                out.write(struct.pack("<6i4f", sw, sh, dw, dh, channels, f, 0, 0, sw, sh) + im.tobytes())
        for box in ((10.25, 5.5, 70.75, 50.0), (0, 0, 12.5, 61), (90.5, 0.25, 97, 20)):
            im = as_image(picture(97, 61, 3)).resize((31, 24), how, box=box)
            out.write(struct.pack("<6i4f", 97, 61, 31, 24, 3, f, *box) + im.tobytes())


def preprocess_cases(out):
    from torchvision import transforms
    for sw, sh, crop, resized, side in ((97, 61, 28, 32, 28), (61, 97, 28, 32, 28), (150, 149, 56, 64, 56), (40, 90, 35, 40, 35),
                                        (97, 64, 56, 64, 32), (48, 75, 42, 48, 50)):
        im = transforms.CenterCrop(crop)(transforms.Resize(resized)(as_image(picture(sw, sh, 3))))
        if side != crop:
            im = transforms.Resize(side)(im)
        out.write(struct.pack("<5i", sw, sh, crop, resized, side) + im.tobytes())


def decode(path):
    im = Image.open(path)
    im.load()
    if im.format == "GIF":
        return np.asarray(im.convert("RGB"))
    # 16 bit: the nearest of 256 levels (Pillow itself clips).
    if im.mode.startswith("I"):
        return ((np.asarray(im).astype(np.int64) + 128) // 257).astype(np.uint8)[:, :, None]
    im = ImageOps.exif_transpose(im)
    im = im.convert("L" if im.mode in ("1", "L", "LA") else "RGB")
    a = np.asarray(im)
    return a if a.ndim == 3 else a[:, :, None]


def oddities(out, folder):
    for name in sorted(os.listdir(folder)):
        try:
            a = decode(os.path.join(folder, name))
            out.write("%s %d %d %d %08x\n" % (name, a.shape[1], a.shape[0], a.shape[2], zlib.crc32(a.tobytes())))
        except (OSError, SyntaxError):
            out.write("%s bad\n" % name)


def turned_heic(data):
    """The file of heif-enc with a turn of its grid (item 2): a box irot among the properties, and one association more."""
    data = bytearray(data)
    u32 = lambda at: struct.unpack(">I", data[at:at + 4])[0]
    box = lambda name: data.index(name) - 4
    properties, at = 0, box(b"ipco") + 8
    end = box(b"ipco") + u32(box(b"ipco"))
    while at < end:
        at += u32(at)
        properties += 1
    at = box(b"ipma") + 16
    while struct.unpack(">H", data[at:at + 2])[0] != 2:
        at += 3 + data[at + 2]
    data[at + 2] += 1
    at += 2 + data[at + 2]
    data[at:at] = bytes([0x80 | properties + 1])
    data[end:end] = bytes([0, 0, 0, 9]) + b"irot" + bytes([3])
    for name, more in ((b"ipma", 1), (b"ipco", 9), (b"iprp", 10), (b"meta", 10)):
        at = box(name)
        data[at:at + 4] = struct.pack(">I", u32(at) + more)
    offset = struct.pack(">H", box(b"mdat") + 8 - 10)
    at = data.index(offset, box(b"iloc"))
    data[at:at + 2] = struct.pack(">H", box(b"mdat") + 8)
    return bytes(data)


def pictures(folder):
    os.makedirs(folder, exist_ok=True)
    path = lambda name: os.path.join(folder, name)
    im = as_image(picture(24, 16, 3))
    exif = Image.Exif()
    exif[0x112] = 6
    im.save(path("lossless.webp"), lossless=True)
    im.save(path("orientation6.webp"), lossless=True, exif=exif)
    im.save(path("animated.webp"), lossless=True, save_all=True, append_images=[im.rotate(180)])
    im.save(path("lossy.webp"), quality=60)
    im.save(path("orientation6.png"), exif=exif)
    im.save(path("lzw.tif"), compression="tiff_lzw")
    im.save(path("orientation6.tif"), compression="tiff_adobe_deflate", exif=exif)
    im.convert("CMYK").save(path("cmyk.tif"), compression="packbits")
    im.convert("1").save(path("fax.tif"), compression="group4")
    im.quantize(16).save(path("palette.tif"), compression="tiff_lzw")
    for name, options in (("tiled.tif", ("-t", "-w", "16", "-l", "16")), ("planes.tif", ("-p", "separate"))):
        subprocess.run(["tiffcp", *options, path("lzw.tif"), path(name)], check=True)
    im.quantize(64).save(path("interlaced.gif"), interlace=1)
    im.quantize(64).save(path("animated.gif"), save_all=True, append_images=[im.rotate(180).quantize(64)], transparency=3)
    for name in ("lossy.webp", "cmyk.tif", "fax.tif", "palette.tif", "interlaced.gif", "animated.gif"):
        with open(path(name + ".rgb"), "wb") as out:
            out.write(Image.open(path(name)).convert("RGB").tobytes())
    with tempfile.NamedTemporaryFile(suffix=".png") as png:
        im.save(png.name)
        for name in ("lossless.heic", "lossless.avif"):
            subprocess.run(["heif-enc", "-L", "-p", "chroma=444", png.name, "-o", path(name)], check=True)
        Image.new("RGB", (1100, 1100), (90, 120, 40)).save(png.name)
        for name in ("flat.heic", "flat.avif"):
            subprocess.run(["heif-enc", "-q", "30", png.name, "-o", path(name)], check=True)
    with open(path("lossless.heic"), "rb") as plain, open(path("turned.heic"), "wb") as out:
        out.write(turned_heic(plain.read()))


pictures(os.path.join(here, "pictures"))
with open(os.path.join(here, "resize_pillow.bin"), "wb") as out:
    resize_cases(out)
with open(os.path.join(here, "preprocess_torch.bin"), "wb") as out:
    preprocess_cases(out)
if len(sys.argv) > 1:
    with open(os.path.join(here, "oddities_pillow.txt"), "w") as out:
        oddities(out, os.path.join(sys.argv[1], "oddities"))
