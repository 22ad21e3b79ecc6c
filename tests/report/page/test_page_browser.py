"""Pages in a real browser: quiet, sortable, readable in both themes, alone, accessible, printable."""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(params=["light", "dark"])
def opened(request, chromium, compared):
    """The page in a theme, with what its console and network had."""
    page = chromium.new_page(color_scheme=request.param, viewport={"width": 1200, "height": 900})
    page.messages, page.requests = [], []
    page.on("console", lambda message: page.messages.append(message.text))
    page.on("pageerror", lambda error: page.messages.append(str(error)))
    page.on("request", lambda sent: page.requests.append(sent.url))
    page.goto((compared.folder / "report.html").as_uri())
    yield page
    page.close()


def column(page, number):
    cells = page.locator("#part-1 table").first.locator(f"tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_it_opens_without_errors_and_asks_for_nothing(opened, compared):
    opened.wait_for_load_state("networkidle")
    assert opened.messages == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [
        (compared.folder / "report.html").as_uri()
    ]
    assert opened.evaluate("typeof alert") == "function"


def test_markup_in_names_is_text(opened):
    assert opened.locator("main script").count() == 0
    assert opened.get_by_text("<script>alert(1)</script>").count() > 0


def test_it_sorts_by_click_and_by_keyboard(opened):
    heading = opened.locator("#part-1 thead th").nth(1)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    figures = [float(text.split(" ")[0]) for text in column(opened, 2)]
    assert figures == sorted(figures, reverse=True)
    name = opened.locator("#part-1 thead th").first
    name.locator("button").focus()
    opened.keyboard.press("Enter")
    assert (name.get_attribute("aria-sort"), heading.get_attribute("aria-sort")) == ("ascending", "none")
    assert column(opened, 1) == sorted(column(opened, 1))
    opened.keyboard.press("Space")
    assert column(opened, 1) == sorted(column(opened, 1), reverse=True)
    # What has no figure stays at the end, in both orders.
    gain = opened.locator("#part-1 thead th").nth(2).locator("button")
    for _ in range(2):
        gain.click()
        assert set(column(opened, 1)[-2:]) == {"teacher", "none"}


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_and_the_switch(opened):
    light, dark = "rgb(255, 255, 255)", "rgb(18, 23, 29)"
    is_dark = opened.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert background(opened) == (dark if is_dark else light)
    opened.locator("#theme").press("Enter")
    assert background(opened) == (light if is_dark else dark)
    assert opened.locator("#theme").inner_text() == ("Dark theme" if is_dark else "Light theme")


def test_axe_finds_nothing_serious(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = axe.Axe().run(opened).response["violations"]
    assert [
        f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")
    ] == []


def test_it_prints_everything_in_ink(opened):
    opened.emulate_media(media="print")
    assert background(opened) == "rgb(255, 255, 255)"
    assert not opened.locator("#theme").is_visible()
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    assert opened.pdf()[:5] == b"%PDF-"
    opened.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert opened.locator("details:not([open])").count() > 0


def test_it_fits_a_narrow_screen(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
