"""The page as a person sees it: a real browser, a running detector, a camera that dies."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from selenium import webdriver
from selenium.common import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.edge.web.pages import Program
from tests.fakes import make_manifest, wait_for
from tests.onnx_files import write_model
from tests.servers import free_port, motion_jpeg

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (CHROMIUM, DRIVER), reason="needs the packages chromium and chromium-driver"
    ),
]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def scene(value: float) -> bytes:
    """A picture with something to see, as bright as asked for: JPEG."""
    rng = np.random.default_rng(1)
    noise = cv2.GaussianBlur(rng.normal(0, 400, (180, 320, 3)), (0, 0), 5)
    data = cv2.imencode(".jpg", np.clip(noise + value, 0, 255).astype(np.uint8))[1]
    return bytes(data)


SCENES = [scene(128 + 40 * np.sin(n / 12)) for n in range(75)]


class Browser:
    """Chromium at a page."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size=1300,1200"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER or ""))

    def find(self, css: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        return str(self.find(css).text)

    def pixels(self, css: str) -> Any:
        """What an element looks like now, uint8 [H, W, 3] RGB."""
        shown = Pillow.open(io.BytesIO(self.find(css).screenshot_as_png)).convert("RGB")
        return np.asarray(shown, np.int16)

    def media(self, dark: bool, width: int) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        size = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def faults(self) -> list[str]:
        """What axe finds that is serious."""
        axe = pytest.importorskip("axe_selenium_python")
        script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")
        self.driver.execute_script(script)
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        return [
            f"{fault['id']}: {fault['nodes'][0]['html']}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]

    def complaints(self) -> list[str]:
        """What it wrote to its console, but for addresses that did not answer."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # as selenium has it
        return [e["message"] for e in entries if "net::ERR_" not in e["message"]]

    def keep(self, name: str) -> None:
        """Save what it shows where PATCHWATCH_SCREENSHOTS says, to be looked at."""
        if folder := os.environ.get("PATCHWATCH_SCREENSHOTS"):
            self.driver.save_screenshot(str(Path(folder, f"{name}.png")))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    try:
        opened = Browser(tmp_path / "profile")
    except WebDriverException as error:
        pytest.skip(f"Chromium does not start here: {error.msg}")
    yield opened
    opened.driver.quit()


def looks(browser: Browser, name: str) -> None:
    """Light and dark, wide and narrow: no serious fault, and nothing sticks out at the side."""
    for dark, width in ((False, 1300), (True, 1300), (False, 390), (True, 390)):
        browser.media(dark, width)
        browser.keep(f"{name}-{'dark' if dark else 'light'}-{width}")
        assert browser.faults() == []
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.driver.execute_script(wide) <= 0
    browser.media(False, 1300)


def test_a_camera_is_watched_dies_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", make_manifest(calibration={"temperature": 10.0}))
    port = free_port()
    config = {
        "model": str(model),
        "backend": {"name": "onnxruntime"},
        "output": {"window": False},
        "web": {"address": "127.0.0.1:0"},
        "alerts": {"database": str(tmp_path / "incidents.db"), "debounce_s": 0.2, "cooldown_s": 1},
        "verdict": {"window_s": 0.5, "min_evidence_s": 0.2},
        "capture": {"frame_timeout_s": 1.0, "retry": {"medium_s": 1.0, "slow_s": 1.0}},
        "cameras": [{"name": "Front door", "source": f"http://127.0.0.1:{port}/stream.mjpg"}],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    with ExitStack() as camera, Program(tmp_path, "run", "--config", "run.yaml") as program:
        camera.enter_context(motion_jpeg(SCENES, fps=15, port=port))
        browser.driver.get(program.url)
        wait_for(lambda: browser.all("article.camera.real, article.camera.fake"))
        wait_for(
            lambda: (
                browser.driver.execute_script(
                    "return document.querySelector('.stage img').naturalWidth"
                )
                == 320
            )
        )

        # the picture moves, and the score changes
        first, score = browser.pixels(".stage img"), browser.text("article .num")
        wait_for(lambda: np.abs(browser.pixels(".stage img") - first).mean() > 2)
        wait_for(lambda: browser.text("article .num") != score)
        # every verdict comes by, and an incident appears with its picture
        wait_for(lambda: browser.all("article.camera.fake"))
        wait_for(lambda: browser.all("#incidents li img"))
        assert "Front door" in browser.text("#incidents li")

        # the switches change what this viewer is shown
        for button in ("heat", "overlay"):
            browser.find(f"#{button}").click()
            assert browser.find(f"#{button}").get_attribute("aria-pressed") == "false"
        shown = browser.find(".stage img").get_attribute("src")
        assert "layer=plain" in shown
        browser.find("#overlay").send_keys(Keys.ENTER)
        assert "layer=overlay" in browser.find(".stage img").get_attribute("src")

        # the history can be walked with keys, and hovered
        chart = browser.find(".chart")
        chart.send_keys(Keys.HOME)
        assert "fake" in chart.get_attribute("aria-valuetext") and browser.text(".chart .tip")
        chart.send_keys(Keys.ESCAPE)
        webdriver.ActionChains(browser.driver).move_to_element(chart).perform()
        wait_for(lambda: browser.text(".chart .tip"))
        looks(browser, "live")

        # the camera dies, is shown as dead, and comes back
        camera.close()
        wait_for(lambda: browser.all("article.camera.no_signal"))
        assert "No signal" in browser.text(".stage .dead")
        assert "No signal" in browser.find("#said").get_attribute("textContent")
        browser.keep("dead")
        camera.enter_context(motion_jpeg(SCENES, fps=15, port=port))
        wait_for(lambda: not browser.all("article.camera.no_signal"))
        wait_for(lambda: not browser.find(".stage .dead").is_displayed())
        assert browser.complaints() == []

        # the program ends, and the page says so
        program.process.terminate()
        wait_for(lambda: browser.find("#lost").is_displayed())
        browser.keep("lost")


def test_a_picture_is_judged_in_plain_words(browser: Browser, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", make_manifest(calibration={"temperature": 10.0}))
    (tmp_path / "bright.jpg").write_bytes(scene(190))
    (tmp_path / "notes.txt").write_text("no picture")
    words = ("web", "--web", "127.0.0.1:0", "--model", str(model), "--no-browser")
    with Program(tmp_path, *words, "--backend", "onnxruntime") as program:
        browser.driver.get(program.url)
        looks(browser, "drop")
        browser.find("#file").send_keys(str(tmp_path / "bright.jpg"))
        wait_for(lambda: browser.find("#result").is_displayed())
        assert browser.text("#verdict") == "Fake: looks generated"
        heated = browser.find("#shown").get_attribute("src")
        looks(browser, "judged")
        browser.find("#heat").click()
        assert browser.find("#shown").get_attribute("src") != heated
        browser.find("#file").send_keys(str(tmp_path / "notes.txt"))
        wait_for(lambda: browser.find("#problem").is_displayed())
        assert "expected a picture" in browser.text("#problem")
        assert [said for said in browser.complaints() if "415" not in said] == []
