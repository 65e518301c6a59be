"""Pages of the console for tests: signed in, looked at from three sizes in both themes, and read by axe-core."""

import json

from .axe import source

SIZES = [(1440, 900), (1024, 768), (390, 844)]


def signed_in(browser, yard, scripts=True, key=None):
    """A page of a browser, signed in with the yard's key or another."""
    page = browser.page()
    page.size(1440)
    if not scripts:
        page.without_scripts()
    page.base = f"http://127.0.0.1:{yard.port}"
    page.go(page.base + "/sign-in")
    page.fill("input[name=key]", key or yard.key())
    page.click("button.primary")
    page.shows("Overview", "h1")
    if scripts:
        page.settled()
    return page


def is_clean(page):
    """Nothing was thrown, nothing refused, nothing asked of anybody else."""
    assert page.complaints() == []
    assert {address.split("/")[2] for address in page.asked() if address.startswith("http")} == {page.base.split("/")[2]}


def finds_nothing(page, what):
    """axe-core, in the page's own world: its policy forbids scripts of others, the debugger's are none of its."""
    page.run(source())
    found = page.run(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>"
        " v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html).join(' | ')))"
    )
    assert found == [], f"{what}: {found}"


def can_be_read(page, path, folder=None, name=None):
    """A page at every size in both themes: as wide as its window, and at the ends axe-core finds nothing."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for width, height in SIZES:
        for dark in (False, True):
            page.size(width, height, dark)
            page.go(page.base + path)
            wide = page.run(
                f"[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > {width} &&"
                " !e.closest('.tabs,pre,.log')).slice(-3).map(e => e.outerHTML.slice(0, 120))"
            )
            assert page.run("document.documentElement.scrollWidth") <= width, f"{path} is wider than {width}: {wide}"
            if folder:
                page.picture(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png")
            if width != 1024:
                finds_nothing(page, f"{path} at {width}, {'dark' if dark else 'light'}")
    page.size(1440)


def table(page, card):
    """The table of a chart: a row for each step, by the names of its columns."""
    return page.run(
        "(() => { const t = document.querySelector(%s + ' table.data');"
        " const names = [...t.tHead.rows[0].cells].map(c => c.textContent);"
        " return [...t.tBodies[0].rows].map(r => Object.fromEntries([...r.cells].map((c, n) => [names[n], c.textContent]))); })()"
        % json.dumps(card)
    )
