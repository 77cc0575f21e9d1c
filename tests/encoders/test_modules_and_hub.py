from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from harness.encoders.base import EncoderInfo
from harness.encoders.common import file_digest, mean_of_rows, small_pixels
from harness.encoders.hub import WeightSource, hub_source, reachable, url_source
from harness.encoders.modules import TorchImageEncoder, count_forward, countable_attention
from harness.errors import HarnessError


class _Flat(nn.Module):
    """Remembers how many threads and rows each forward had."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append((torch.get_num_threads(), len(x)))
        return x.mean(dim=(2, 3))


def colours(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (2, 2), (i, 2 * i, 3 * i)) for i in range(count)]


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_image_loop_keeps_order_and_the_callers_threads(threads: int) -> None:
    before, module = torch.get_num_threads(), _Flat()
    torch.set_num_threads(threads)
    try:
        encoder = TorchImageEncoder(EncoderInfo("x:y", "image", 3), module, to_tensor, device="cpu")
        rows = encoder.encode(colours(23))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(rows, np.arange(23)[:, None] * [1, 2, 3])
    assert {count for count, _ in module.calls} == {1} and max(size for _, size in module.calls) <= 4
    assert encoder.encode([]).shape == (0, 3)


@pytest.mark.parametrize("causal", [False, True])
def test_countable_attention_equals_torchs(causal: bool) -> None:
    query, key, value = torch.randn(3, 2, 4, 5, 8).unbind(0)
    masks = [None, torch.randn(5, 5), torch.rand(5, 5) > 0.3] if not causal else [None]
    for mask in masks:
        if mask is not None and mask.dtype == torch.bool:
            mask = mask | torch.eye(5, dtype=torch.bool)
        wanted = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        with countable_attention():
            got = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        torch.testing.assert_close(got, wanted)


def test_count_of_an_attention_layer_is_the_closed_form() -> None:
    layer, tokens, dim = nn.MultiheadAttention(32, 4, batch_first=True).eval(), 10, 32

    class Self(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, x, x, need_weights=False)[0]

    wanted = 2 * (4 * tokens * dim * dim + 2 * tokens * tokens * dim)
    assert count_forward(Self(), torch.randn(1, tokens, dim)) == wanted


def test_what_cannot_be_traced_is_none_and_attention_is_restored() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no forward")

    before = functional.scaled_dot_product_attention
    assert count_forward(Broken(), torch.zeros(1)) is None
    assert functional.scaled_dot_product_attention is before


def test_means_of_rows_and_pixels() -> None:
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    rows = [np.array([0, 3]), np.array([], dtype=np.int64), np.array([2])]
    got = mean_of_rows(table, rows, empty=np.array([9.0, 9.0], np.float32))
    np.testing.assert_array_equal(got, [[3, 4], [9, 9], [4, 5]])
    half = Image.new("L", (8, 4), 255)
    half.paste(0, (0, 0, 4, 4))
    np.testing.assert_array_equal(small_pixels(half, 2), np.tile(np.repeat([-1.0, 1.0], 3), 2))


def test_file_digest_follows_content_not_name(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    two.write_bytes(b"1")
    assert file_digest(one) == file_digest(two) != file_digest(one, two)
    two.write_bytes(b"22")
    assert file_digest(one) != file_digest(two)


def test_a_closed_port_is_unreachable_and_an_answer_of_any_kind_is_not() -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert reachable(f"http://127.0.0.1:{server.server_port}/some/file")
    finally:
        server.shutdown()
        server.server_close()
    assert not reachable("http://127.0.0.1:9/file")


def test_sources_know_what_is_cached(cached: Callable[[str, dict[str, bytes]], None], tmp_path: Path) -> None:
    cached("some/model", {"config.json": b"{}"})
    assert hub_source("st:x", "some/model", ("modules.json", "config.json"), fix="f").cached
    assert not hub_source("st:x", "some/other", ("config.json",), fix="f").cached
    (tmp_path / "w.pt").write_bytes(b"x")
    assert url_source("open_clip:x", "http://127.0.0.1:9/a/w.pt", tmp_path, fix="f").cached
    with pytest.raises(HarnessError, match=r"open_clip:x: .*v\.pt is not in .* 127\.0\.0\.1:9 does not answer \(f\)"):
        url_source("open_clip:x", "http://127.0.0.1:9/a/v.pt", tmp_path, fix="f").require()


def test_cached_weights_are_loaded_without_network() -> None:
    from huggingface_hub import constants

    source = WeightSource("a:b", "name", "http://127.0.0.1:9", "cache", cached=True, fix="do this")
    assert source.load(lambda: constants.HF_HUB_OFFLINE) is True

    def incomplete() -> None:
        raise OSError("first line\nsecond line")

    with pytest.raises(HarnessError, match=r"^a:b: cannot be loaded: OSError: first line \(do this\)$"):
        source.load(incomplete)
