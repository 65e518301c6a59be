"""Pages of the console for tests: signed in, looked at from three sizes in both themes, and read by axe-core."""

import json

from .axe import source

SIZES = [(1440, 900), (1024, 768), (390, 844)]


def signed_in(browser, yard, scripts=True):
    """A page of a browser, signed in with the yard's key."""
    page = browser.page()
    page.size(1440)
    if not scripts:
        page.without_scripts()
    page.base = f"http://127.0.0.1:{yard.port}"
    page.go(page.base + "/sign-in")
    page.fill("input[name=key]", yard.key())
    page.click("button.primary")
    page.shows("Overview", "h1")
    return page


def is_clean(page):
    """Nothing was thrown, nothing refused, nothing asked of anybody else."""
    assert page.complaints() == []
    assert {address.split("/")[2] for address in page.asked() if address.startswith("http")} == {page.base.split("/")[2]}


def can_be_read(page, path, folder=None, name=None):
    """A page at every size in both themes: as wide as its window, and axe-core finds nothing."""
    axe = source()
    for width, height in SIZES:
        for dark in (False, True):
            page.size(width, height, dark)
            page.go(page.base + path)
            assert page.run("document.documentElement.scrollWidth") <= width, f"{path} is wider than {width}"
            if folder:
                page.picture(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png")
            page.run(axe)
            found = page.run(
                "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>"
                " v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html).join(' | ')))"
            )
            assert found == [], f"{path} at {width}, {'dark' if dark else 'light'}: {found}"
    page.size(1440)


def table(page, card):
    """The table of a chart: a row for each step, by the names of its columns."""
    return page.run(
        "(() => { const t = document.querySelector(%s + ' table.data');"
        " const names = [...t.tHead.rows[0].cells].map(c => c.textContent);"
        " return [...t.tBodies[0].rows].map(r => Object.fromEntries([...r.cells].map((c, n) => [names[n], c.textContent]))); })()"
        % json.dumps(card)
    )
