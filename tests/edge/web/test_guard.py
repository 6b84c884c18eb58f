from __future__ import annotations

from pathlib import Path

import pytest

from edge.config.parts import WebConfig
from edge.errors import UsageError
from edge.web.guard import Rate, read_token
from patchwatch import main
from tests.edge.sources.clips import write_clip
from tests.edge.web.pages import TOKEN


def test_this_machine_alone_needs_no_token_and_others_do() -> None:
    for address in ("8080", "localhost:8080", "[::1]:8080", "127.0.0.1:8080"):
        assert read_token(WebConfig(address=address), {}) is None
    for address in ("0.0.0.0:8080", "192.168.1.7:8080", "[::]:8080"):
        with pytest.raises(UsageError, match=r"serves other machines.*--insecure"):
            read_token(WebConfig(address=address), {})
        assert read_token(WebConfig(address=address, insecure=True), {}) is None
        assert read_token(WebConfig(address=address), {"PATCHWATCH_WEB_TOKEN": TOKEN}) == TOKEN


def test_a_token_comes_from_a_file_and_is_no_short_word(tmp_path: Path) -> None:
    file = tmp_path / "token"
    web = WebConfig(address="0.0.0.0:8080", token_file=file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(web, {})
    file.write_text("letmein\n")
    with pytest.raises(UsageError, match="weak: expected 16 plain characters or more, found 7"):
        read_token(web, {})
    file.write_text(f"{TOKEN}\n")
    assert read_token(web, {"PATCHWATCH_WEB_TOKEN": "x" * 30}) == TOKEN


def test_a_rate_is_of_each_caller_by_itself() -> None:
    rate = Rate(3, 1000.0)
    assert [rate.allows("one") for _ in range(5)] == [True, True, True, False, False]
    assert rate.allows("other")


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--web", "0.0.0.0:0"], "there is no token", 2),
        (["--web", "eighty"], "expected [HOST:]PORT", 2),
        (["--web", "300.1.1.1:80", "--insecure"], "cannot be served at 300.1.1.1:80", 1),
    ],
)
def test_a_page_that_cannot_be_served_is_a_sentence(
    words: list[str], said: str, code: int, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(Path(model).with_name("clip.mp4"), 3, (96, 64))
    assert main(["run", str(clip), "--model", model, "--headless", *words]) == code
    assert said in capsys.readouterr().err
