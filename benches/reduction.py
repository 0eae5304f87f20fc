#!/usr/bin/env python3
"""What near-duplicates cost: relations that ffmpeg, flac, sox and Python's own archivers make from a few masters.

    reduction.py BINARY CORPUS [--made DIR] [--only CLASS[,CLASS]] [--ablation] [--markdown]

CORPUS holds `audio/masters16/*.wav`, `audio/masters24/*.wav`, `video/remux/clip.mp4` and `video/master/*.v210.mov`: any
16 and 24 bit stereo WAVs, an H.264 + AAC file, and a v210 file will do. What is made from them is kept in DIR (else in a
temporary folder). Each relation is a pair: the bases are backed up into a new store, then the derived file; printed is what
the second backup added (`data_added_packed`, metadata included) as a share of the derived file. Each file is restored and
compared. `--ablation` repeats that with techniques left out (`backup --without`), one column each.

Needs ffmpeg, flac and sox; Python 3.11, standard library only.
"""
import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

# Column, and what it leaves out of the default. From left to right one technique more.
ABLATION = [
    ("chunks", ["--codec", "none", "--without", "splitters"]),
    ("+ zstd", ["--without", "delta,splitters,decode,pcm,predict,raster,deflate"]),
    ("+ delta", ["--without", "splitters,decode,pcm,predict,raster,deflate"]),
    ("+ splitters", ["--without", "decode,pcm,predict,raster,deflate"]),
    ("+ PCM", ["--without", "decode,predict,raster,deflate"]),
    ("+ decoding", ["--without", "predict,raster,deflate"]),
    ("+ prediction", ["--without", "raster,deflate"]),
    ("+ raster", ["--without", "deflate"]),
    ("all", []),
]


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def ffmpeg(*argv):
    run("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-bitexact", *argv)


def relations(corpus, made):
    """Yields (class, bases, derived) and makes what is not there yet."""
    wav = sorted((corpus / "audio/masters16").glob("*.wav"))[0]
    wav24 = sorted((corpus / "audio/masters24").glob("*.wav"))
    wav24 = next(w for w in wav24 if ".16bit" not in w.name)
    clip = corpus / "video/remux/clip.mp4"
    v210 = next(iter(sorted((corpus / "video/master").glob("*v210*.mov"))), None)

    def make(name, how):
        path = made / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            how(path)
        return path

    def converted(name, source, *arguments):
        return make(name, lambda p: ffmpeg("-i", source, *arguments, p))

    def sox(name, source, *effects, out=()):
        return make(name, lambda p: run("sox", "-D", source, *out, p, *effects))

    # The same samples in other files.
    flac = make("flac/8.flac", lambda p: run("flac", "-s", "-f", "-8", "-o", p, wav))
    flac24 = make("flac/24.flac", lambda p: run("flac", "-s", "-f", "-5", "-o", p, wav24))
    yield "wav to w64", [wav], converted("pcm/a.w64", wav, "-c:a", "copy")
    yield "wav to rf64", [wav], converted("pcm/a.rf64.wav", wav, "-c:a", "copy", "-rf64", "always")
    yield "wav to aiff", [wav], converted("pcm/a.aiff", wav, "-c:a", "pcm_s16be")
    yield "wav to aiff, 24 bit", [wav24], converted("pcm/b.aiff", wav24, "-c:a", "pcm_s24be")
    yield "wav to aifc, little-endian", [wav], converted("pcm/a.aifc", wav, "-c:a", "pcm_s16le", "-f", "aiff")
    yield "wav to caf", [wav], converted("pcm/a.caf", wav, "-c:a", "pcm_s16be")
    yield "wav to au", [wav], converted("pcm/a.au", wav, "-c:a", "pcm_s16be")
    yield "wav to 24 bit", [wav], converted("pcm/a.24.wav", wav, "-c:a", "pcm_s24le")
    yield "wav to float", [wav], converted("pcm/a.f32.wav", wav, "-c:a", "pcm_f32le")
    yield "wav to mov", [wav], converted("pcm/a.mov", wav, "-c:a", "pcm_s16le")
    yield "wav to mka", [wav], converted("pcm/a.mka", wav, "-c:a", "pcm_s16le")
    yield "wav to flac", [wav], flac
    yield "wav to flac, 24 bit", [wav24], flac24
    yield "wav to flac by ffmpeg", [wav], converted("flac/ffmpeg.flac", wav, "-c:a", "flac")
    yield "flac to wav", [flac], converted("pcm/from-flac.wav", flac, "-c:a", "pcm_s16le")
    yield "flac to ogg flac", [flac], converted("flac/a.oga", flac, "-c:a", "copy")
    yield "flac to matroska", [flac], converted("flac/a.mka", flac, "-c:a", "copy")
    yield "flac to mp4", [flac], converted("flac/a.mp4", flac, "-c:a", "copy", "-strict", "-2")
    yield "wav to alac", [wav], converted("flac/a.m4a", wav, "-c:a", "alac")
    yield "wav to alac in caf", [wav], converted("flac/alac.caf", wav, "-c:a", "alac")
    yield "wav to wavpack", [wav], converted("flac/a.wv", wav, "-c:a", "wavpack")
    # Other samples of the same recording.
    yield "gain -3 dB, dither", [wav], make("remaster/gain.wav", lambda p: run("sox", wav, p, "vol", "-3dB", "dither"))
    yield "gain +2 dB, clipped", [wav], sox("remaster/loud.wav", wav, "vol", "2dB")
    yield "polarity", [wav], sox("remaster/polarity.wav", wav, "vol", "-1")
    yield "channels swapped", [wav], sox("remaster/swap.wav", wav, "remix", "2", "1")
    yield "left channel alone", [wav], sox("remaster/left.wav", wav, "remix", "1")
    yield "mono mix", [wav], sox("remaster/mono.wav", wav, "remix", "-m", "1v0.5,2v0.5")
    yield "fade in and out", [wav], sox("remaster/fade.wav", wav, "fade", "t", "5", "0", "5")
    yield "24 to 16 bit, dither", [wav24], make("remaster/16.wav", lambda p: run("sox", wav24, "-b", "16", p, "dither"))
    yield "24 to 16 bit, shaped", [wav24], make("remaster/16s.wav", lambda p: run("sox", wav24, "-b", "16", p, "dither", "-s"))
    yield "trim", [wav], sox("remaster/trim.wav", wav, "trim", "1.2345", "20")
    # The same payload in other containers.
    copy = ["-map", "0", "-c", "copy"]
    annex_b = ["-bsf:v", "h264_mp4toannexb"]
    yield "mp4 to ts", [clip], converted("mux/a.ts", clip, *copy, *annex_b, "-f", "mpegts")
    yield "mp4 to m2ts", [clip], converted("mux/a.m2ts", clip, *copy, *annex_b, "-f", "mpegts", "-mpegts_m2ts_mode", "1")
    yield "ts to m2ts", [made / "mux/a.ts"], made / "mux/a.m2ts"
    yield "mp4 to mkv", [clip], converted("mux/a.mkv", clip, *copy)
    yield "mp4 to flv", [clip], converted("mux/a.flv", clip, *copy)
    yield "mp4 to mov", [clip], converted("mux/a.mov", clip, *copy)
    yield "mp4 to avi", [clip], converted("mux/a.avi", clip, *copy)
    yield "mp4, fragmented", [clip], converted("mux/frag.mp4", clip, *copy, "-movflags", "frag_keyframe+empty_moov")
    yield "mp4, index in front", [clip], converted("mux/fast.mp4", clip, *copy, "-movflags", "faststart")
    mpeg2 = converted("mux/mpeg2.mkv", clip, "-c:v", "mpeg2video", "-b:v", "12M", "-c:a", "pcm_s16le", "-ar", "48000")
    yield "mkv to mxf", [mpeg2], converted("mux/a.mxf", mpeg2, *copy)
    vob = converted("mux/a.vob", clip, "-c:v", "mpeg2video", "-b:v", "6M", "-c:a", "ac3", "-f", "vob")
    yield "vob to ts", [vob], converted("mux/vob.ts", vob, *copy, "-f", "mpegts")
    yield "vob to mkv", [vob], make(
        "mux/vob.mkv", lambda p: ffmpeg("-fflags", "+genpts", "-i", vob, *copy, p)
    )
    yield "ts to vob", [made / "mux/vob.ts"], vob

    def segments(folder):
        folder.mkdir()
        ffmpeg("-i", clip, *copy, *annex_b, "-f", "hls", "-hls_time", "4", "-hls_list_size", "0", folder / "a.m3u8")
    yield "ts to hls", [made / "mux/a.ts"], make("mux/hls", segments)
    adts = converted("mux/a.aac", clip, "-vn", "-c:a", "copy")
    yield "mp4 to adts", [clip], adts
    # Pictures.
    if v210:
        few = ["-frames:v", "12"]
        yield "v210, alone", [], converted("raster/a.v210.mov", v210, *few, "-c:v", "copy")
        yield "v210 to avi", [made / "raster/a.v210.mov"], converted("raster/a.v210.avi", made / "raster/a.v210.mov", *few, "-c:v", "copy")
        yield "uyvy, alone", [], converted("raster/a.uyvy.avi", v210, *few, "-c:v", "rawvideo", "-pix_fmt", "uyvy422")
        yield "y4m, alone", [], converted("raster/a.y4m", v210, *few, "-pix_fmt", "yuv420p")
        for kind, pixels in (("dpx", "gbrp10le"), ("tiff", "rgb24"), ("bmp", "bgr24"), ("ppm", "rgb24")):
            def frames(folder, kind=kind, pixels=pixels):
                folder.mkdir()
                raw = ["-compression_algo", "raw"] if kind == "tiff" else []
                ffmpeg("-i", v210, "-frames:v", "4", "-pix_fmt", pixels, *raw, folder / f"%02d.{kind}")
            yield f"{kind}, alone", [], make(f"raster/{kind}", frames)

        def turned(folder, kind):
            folder.mkdir()
            raw = {"tiff": ["-compression_algo", "raw"], "tga": ["-rle", "0"]}.get(kind, [])
            ffmpeg("-i", made / "raster/ppm/%02d.ppm", *raw, folder / f"%02d.{kind}")
        bmps = make("raster/bmp-of-ppm", lambda folder: turned(folder, "bmp"))
        yield "ppm to bmp", [made / "raster/ppm"], bmps
        yield "bmp to tga", [bmps], make("raster/tga-of-ppm", lambda folder: turned(folder, "tga"))
        yield "bmp to tiff", [bmps], make("raster/tiff-of-ppm", lambda folder: turned(folder, "tiff"))
        deep = converted("raster/a.16.ppm", v210, "-frames:v", "1", "-pix_fmt", "rgb48be")
        raw = ["-compression_algo", "raw"]
        yield "ppm to tiff of 16 bits", [deep], converted("raster/a.16.tiff", deep, "-pix_fmt", "rgb48le", *raw)
        large = ["-frames:v", "1", "-vf", "scale=3840:2160", "-pix_fmt", "rgb24"]
        large = converted("raster/large.ppm", v210, *large)
        yield "ppm to bmp of 4K", [large], converted("raster/large.bmp", large)
    # Archives.

    def gz(path, level):
        with gzip.GzipFile(path, "wb", compresslevel=level, mtime=0) as z:
            z.write(wav.read_bytes())

    def zipped(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.write(wav, wav.name)

    def tarred(path, mode):
        with tarfile.open(path, mode) as t:
            for f in (flac, clip, wav):
                t.add(f, f.name)
    yield "wav to gz", [wav], make("archive/a.wav.gz", lambda p: gz(p, 6))
    yield "wav to gz -9", [wav], make("archive/b.wav.gz", lambda p: gz(p, 9))
    yield "wav to zip", [wav], make("archive/a.zip", zipped)
    yield "files to tar", [flac, clip, wav], make("archive/a.tar", lambda p: tarred(p, "w"))
    yield "files to tar.gz", [flac, clip, wav], make("archive/a.tar.gz", lambda p: tarred(p, "w:gz"))
    one = ["-frames:v", "1", "-vf", "scale=1920:1080"]
    jpeg = converted("archive/page.jpg", clip, *one, "-q:v", "2")
    ppm = converted("archive/page.ppm", clip, *one)
    rows = ppm.read_bytes()[-1920 * 1080 * 3:]

    def pdf(path, name, data):
        head = f"/Type /XObject /Subtype /Image /Width 1920 /Height 1080 /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /{name} /Length {len(data)}"
        path.write_bytes(b"%PDF-1.4\n1 0 obj\n<< " + head.encode() + b" >>\nstream\n" + data + b"\nendstream\nendobj\ntrailer\n<< /Size 2 >>\n%%EOF\n")
    bmp = converted("archive/page.bmp", ppm)

    def picture_zipped(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.write(bmp, bmp.name)
    yield "bmp to zip", [bmp], make("archive/bmp.zip", picture_zipped)
    yield "jpeg to pdf", [jpeg], make("archive/jpeg.pdf", lambda p: pdf(p, "DCTDecode", jpeg.read_bytes()))
    yield "ppm to pdf", [ppm], make("archive/ppm.pdf", lambda p: pdf(p, "FlateDecode", zlib.compress(rows, 6)))


def added(binary, bases, derived, arguments, work):
    """Bytes that the derived files added to a store of the bases, and their length. They are restored and compared."""
    shutil.rmtree(work, ignore_errors=True)
    for side, paths in (("a", bases), ("b", [derived])):
        (work / side).mkdir(parents=True)
        for i, p in enumerate(paths):
            to = work / side / f"{i}-{p.name}"
            shutil.copytree(p, to) if p.is_dir() else shutil.copy2(p, to)
    store = [str(binary), "--store", str(work / "s"), "--json", "--quiet"]
    run(*store, "init", "--disk", work / "d")
    if bases:
        run(*store, "backup", *arguments, work / "a")
    out = run(*store, "backup", *arguments, work / "b").stdout.decode()
    summary = [m for m in map(json.loads, out.splitlines()) if m.get("message_type") == "summary"][-1]
    run(*store, "restore", f"latest:{work / 'b'}", "--target", work / "out")
    run("diff", "-r", work / "b", work / "out")
    return summary["data_added_packed"], summary["total_bytes_processed"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binary", type=Path)
    p.add_argument("corpus", type=Path)
    p.add_argument("--made", type=Path)
    p.add_argument("--only", default="")
    p.add_argument("--ablation", action="store_true")
    p.add_argument("--markdown", action="store_true")
    a = p.parse_args()
    columns = ABLATION if a.ablation else [("added", [])]
    only = [c for c in a.only.split(",") if c]
    mark = a.markdown
    with tempfile.TemporaryDirectory() as tmp:
        made = (a.made or Path(tmp) / "made").absolute()
        head = [f"{'relation':28}", f"{'MB':>7}"] + [f"{name:>12}" for name, _ in columns]
        print(("| " + " | ".join(head) + " |") if mark else " ".join(head), flush=True)
        if mark:
            print("| --- | --: |" + " --: |" * len(columns), flush=True)
        failed = 0
        for name, bases, derived in relations(a.corpus.absolute(), made):
            if only and name not in only:
                continue
            shares, size = [], 0
            for _, arguments in columns:
                try:
                    new, size = added(a.binary.absolute(), bases, derived, arguments, Path(tmp) / "pair")
                    shares.append(f"{100 * new / size:10.1f} %")
                except subprocess.CalledProcessError as e:
                    failed += 1
                    shares.append(f"{'FAILED':>12}")
                    print(e.cmd, e.stderr.decode(errors="replace")[-500:], file=sys.stderr)
            row = [f"{name:28}", f"{size / 1e6:7.2f}"] + shares
            print(("| " + " | ".join(row) + " |") if mark else " ".join(row), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
