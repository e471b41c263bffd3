"""Accuracy tables: what is kept, what is left out and why, and files that are not what they should be."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sed_torch import evidence as a
from sed_torch.errors import DataError

DATA = Path(os.environ.get("SED_TORCH_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
TIMM = DATA / "timm_imagenet.csv.gz"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_reads_any_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufeffname,other,accuracy\nx,1,70.5\n\ny,,\n,2,3\n")
    found = a.read_accuracies(path)
    assert found.names == ("x",)
    assert found.values.tolist() == [70.5]
    assert found.left_out == (("y", "no accuracy"), ("line 5", "no name"))
    assert "1 networks, accuracy; best x 70.5" in str(found)
    chosen = a.read_accuracies(path, metric_column="other", name_column="name")
    assert [r.accuracy for r in chosen.rows] == [1]
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_dataframe()["accuracy"].tolist() == [70.5]


def test_html_is_escaped(tmp_path: Path) -> None:
    found = a.read_accuracies(write(tmp_path / "a.csv", "name,accuracy\n<script>,1\n"))
    assert "<script>" not in found._repr_html_()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty file"),
        ("name,accuracy\n", "a header and no rows"),
        ("name,accuracy\nx,1,2\n", r"bad\.csv, line 2: expected 2 cells as in the header, found 3"),
        ("name,accuracy\nx,1\ny", r"bad\.csv, line 3: expected 2 cells.*truncated"),
        (
            "name,accuracy\nx,abc\n",
            r"bad\.csv, line 2, column 'accuracy': expected a finite number, found 'abc'",
        ),
        ("name,accuracy\nx,nan\n", "line 2, column 'accuracy': expected a finite number, found 'nan'"),
        ("name,accuracy\nx,1\ny,-inf\n", "line 3, column 'accuracy'.*found '-inf'"),
        ("name,accuracy\nx,1\nx,2\n", "line 3: 'x' is on line 2 already"),
        ("name,name\nx,1\n", "'name' is named twice"),
        (
            "who,accuracy\nx,1\n",
            "none of the usual columns model, name.*pass name_column= one of who, accuracy",
        ),
        ("name,what\nx,1\n", "pass metric_column="),
        ("name,accuracy\nx,\n", "no row with both"),
        ('name,accuracy\n"x,1\n', "line 2: not sound CSV: unexpected end"),
        (b"name,accuracy\nx,\xff\xfe\n", r"bad\.csv, line 2: expected UTF-8 text"),
        (b"name,accuracy\nx,1\0\n", "line 2: expected text, found a NUL byte"),
        (b"\x93NUMPY\x01", "found a NumPy array"),
        (b"BZh91AY", "found a bzip2 file"),
        (pickle.dumps({"a": 1}), "never loaded here"),
        ("x" * 200_000 + ",accuracy\n1,2\n", "line 1: not sound CSV: field larger"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, match: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(DataError, match=match):
        a.read_accuracies(path)
    zipped = write(tmp_path / "bad.csv.gz", gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=match.replace(r"bad\.csv,", r"bad\.csv\.gz,")):
        a.read_accuracies(zipped)


def test_no_pickle_by_suffix_and_no_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"NATS.*pickle runs code.*zc_\*\.json"):
        a.read_bytes(write(tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2", b"BZh9"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(DataError, match="zip archive"):
        a.read_bytes(write(tmp_path / "weights.csv", buffer.getvalue()))


def test_missing_truncated_and_broken_gzip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        a.read_bytes(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="cannot be read"):
        a.read_bytes(tmp_path)
    whole = gzip.compress(b"name,accuracy\nx,1\n" * 100)
    with pytest.raises(DataError, match=r"cut\.csv\.gz: the gzip stream ends too early"):
        a.read_bytes(write(tmp_path / "cut.csv.gz", whole[:-12]))
    with pytest.raises(DataError, match="not a sound gzip file"):
        a.read_bytes(write(tmp_path / "bent.csv.gz", whole[:20] + b"\x00\xff\x00\xff" + whole[24:]))


def test_a_zip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    bomb = write(tmp_path / "bomb.csv.gz", gzip.compress(b"0" * 30_000_000))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"more than 1,000,000 bytes once decompressed.*max_bytes="):
        a.read_bytes(bomb, max_bytes=1_000_000)
    assert len(a.read_bytes(bomb, max_bytes=30_000_000)) == 30_000_000
    assert a.MAX_BYTES == 2**30


TIMM_CSV = """model,img_size,top1,param_count,infer_gmacs
net.a1_in1k,224,80.0,"1,025.5",4.1
net.a1_in1k,288,81.0,"1,025.5",6.8
net.tv_in1k,224,76.0,"1,025.5",4.1
net.fb_swsl_ig1b_ft_in1k,224,83,25.5,4.1
net.ssl_in1k,224,82,25.5,4.1
deit_distilled_patch16.fb_in1k,224,83,25.5,4.1
other.fb_dist_in1k,224,83,25.5,4.1
other.fcmae_ft_in1k,224,79,25.5,4.1
plain,224,70,5,1
"""


def test_timm_best(tmp_path: Path) -> None:
    found = a.timm_results(write(tmp_path / "t.csv", TIMM_CSV))
    assert [(r.name, r.accuracy, r.recipe, r.recipes, r.img_size) for r in found.rows] == [
        ("net", 80.0, "a1_in1k", 2, 224),
        ("other", 79.0, "fcmae_ft_in1k", 1, 224),
        ("plain", 70.0, None, 1, 224),
    ]
    assert found.rows[0].params == 1_025_500_000
    assert found.rows[0].macs == pytest.approx(4.1e9)
    assert found.reduction == "best tag an architecture, at the smallest image size published"
    reasons = dict(found.left_out)
    assert reasons["net.fb_swsl_ig1b_ft_in1k"] == "tag word 'ig1b' (more data than ImageNet-1k)"
    assert reasons["other.fb_dist_in1k"] == "tag word 'dist' (a teacher)"
    assert reasons["deit_distilled_patch16.fb_in1k"] == "'distilled' in the architecture's name (a teacher)"
    assert len(reasons) == 4


def test_timm_median_tag_include_exclude(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", TIMM_CSV)
    median = a.timm_results(path, reduce="median").rows[0]
    # tags a1 (80 at its smallest size) and tv (76)
    assert (median.accuracy, median.recipe, median.recipes, median.img_size) == (78.0, None, 2, 224)
    assert a.timm_results(path, reduce="tv_in1k").names == ("net",)
    assert a.timm_results(path, include=["tv*"]).rows[0].accuracy == 76
    everything = a.timm_results(path, exclude=())
    assert {r.name: r.accuracy for r in everything.rows} == {
        "net": 83, "deit_distilled_patch16": 83, "other": 83, "plain": 70,
    }  # fmt: skip
    assert not everything.left_out
    with pytest.raises(DataError, match=r"no row is left by .*reduce='nowhere'"):
        a.timm_results(path, reduce="nowhere")


def test_timm_alien_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the columns img_size, top1; found model, x"):
        a.timm_results(write(tmp_path / "t.csv", "model,x\na,1\n"))
    with pytest.raises(DataError, match="line 2, column 'top1': expected a number, found nothing"):
        a.timm_results(write(tmp_path / "t.csv", "model,img_size,top1\na,224,\n"))


@pytest.mark.skipif(
    not TIMM.exists(), reason="timm_imagenet.csv.gz is not in SED_TORCH_DATA or ../shared/data"
)
def test_timm_published_file() -> None:
    found = a.timm_results(TIMM)
    assert len(found) == len(set(found.names)) == 729
    assert len(a.timm_results(TIMM, exclude=())) == 900
    by_name = {r.name: r for r in found.rows}
    assert by_name["resnet50"].recipes > 10
    assert "hrnet_w18_ssld" not in by_name
    assert not any("distilled" in n for n in by_name)
    assert all(r.params for r in found.rows)
    tags = {r.recipe for r in found.rows}
    assert not any(
        word in tag for tag in tags for word in ("22k", "12k", "21k", "clip", "jft", "dist", "ssld")
    )


def test_torchvision() -> None:
    best, v1, v2 = (a.torchvision_accuracies(r) for r in ("best", "V1", "V2"))  # type: ignore[arg-type]
    rows = {r.name: r for r in best.rows}
    assert (rows["resnet50"].accuracy, rows["resnet50"].recipe, rows["resnet50"].recipes) == (
        80.858, "IMAGENET1K_V2", 2,
    )  # fmt: skip
    assert {r.name: r.accuracy for r in v1.rows}["resnet50"] == 76.13
    assert (rows["resnet50"].params, rows["resnet50"].img_size) == (25557032, 224)
    assert rows["resnet50"].macs == pytest.approx(4.089e9)
    assert set(v2.names) < set(best.names)
    assert "vit_h_14" not in rows
    assert (
        dict(best.left_out)["vit_h_14.IMAGENET1K_SWAG_E2E_V1"] == "pretrained on more data than ImageNet-1K"
    )
    assert dict(best.left_out)["vgg16.IMAGENET1K_FEATURES"] == "no ImageNet-1K accuracy is published"
    assert np.all(best.values > 50)
    with pytest.raises(ValueError, match="recipe must be one of best, V1, V2"):
        a.torchvision_accuracies("V3")  # type: ignore[arg-type]


# --- fetching ---


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A folder served on this machine, and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=folder)
    ) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", folder, asked
        finally:
            httpd.shutdown()
            thread.join()


def test_results_are_fetched_once_and_checked(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    url, folder, asked = server
    text = "model,img_size,top1\na.one_in1k,224,90\n"
    (folder / "r.csv").write_text(text)
    file = a.Published(f"{url}/r.csv", hashlib.sha256(text.encode()).hexdigest(), "kept.csv")
    cache = tmp_path / "cache"
    for _ in range(2):
        found = a.fetch_timm_results(cache, file)
        assert found == cache / "kept.csv"
        assert a.timm_results(found).names == ("a",)
    assert len(asked) == 1
    # What was tampered with, on the way or on the disk, is not taken.
    found.write_text("model,img_size,top1\na.one_in1k,224,1\n")
    assert a.fetch_timm_results(cache, file).read_text() == text
    (folder / "r.csv").write_text(text + "b.one_in1k,224,100\n")
    with pytest.raises(DataError, match=r"r\.csv could not be fetched \(ValueError: .*hash.*--timm-results"):
        a.fetch_timm_results(tmp_path / "other", file)
    assert not list((tmp_path / "other").iterdir())


def test_a_closed_network_says_how_to_get_the_results_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/r.csv"  # bound, and nobody listens
        with pytest.raises(DataError, match=r"could not be fetched \(ConnectionError: .* by hand"):
            a.fetch_timm_results(tmp_path, a.Published(url, "0" * 64, "kept.csv"))


def test_the_published_results_are_pinned() -> None:
    assert re.fullmatch(r"https://\S+/[0-9a-f]{40}/results/results-imagenet\.csv", a.TIMM_RESULTS.url)
    assert re.fullmatch(r"[0-9a-f]{64}", a.TIMM_RESULTS.sha256)
