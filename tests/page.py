"""The server's page in headless Chromium, with real keys and clicks: page.py URL [SCREENSHOT.png]

Needs selenium, chromium and chromedriver; tests/cli/serve.bats skips it without. Any model over any data with at least two titles that share
their first letter will do; what a model says is not judged, only that the page shows it.
"""

import json
import shutil
import sys

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


def browser():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1100,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


# From here on the test decides when an answer comes, and with what: held[i].come(STATUS, TEXT), without them the server's own. After it the page gets
# the time to do whatever it does with it.
HOLD = """
const ask = fetch;
held = [];
fetch = (...request) => new Promise(answer => held.push({path: request[0], come: async (status, text) => {
    if (!status) {
        const reply = await ask(...request);
        [status, text] = [reply.status, await reply.text()];
    }
    answer(new Response(text, {status}));
    await new Promise(done => setTimeout(done, 50));
}}));
"""


class Page:
    def __init__(self, url):
        self.driver = browser()
        self.driver.get(url)

    def until(self, condition, what):
        WebDriverWait(self.driver, 60).until(lambda _: condition(), what)

    def texts(self, selector):
        return self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def keys(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def script(self, text):
        return self.driver.execute_script("return " + text)

    def hold(self):
        """A new page whose requests wait for come()."""
        self.driver.refresh()
        self.until(lambda: self.texts("#popular li"), "popular items show")
        self.driver.execute_script(HOLD)

    def come(self, path, status=0, text="", which=0):
        """The answer to the oldest request for that path which has none yet, or to a younger one."""
        self.until(lambda: self.script("held.filter(h => h.path.startsWith('%s')).length > %d" % (path, which)), "a request is made")
        self.driver.execute_async_script("""
            const [path, which, status, text, done] = arguments;
            const one = held.filter(h => h.path.startsWith(path))[which];
            held.splice(held.indexOf(one), 1);
            one.come(status, text).then(done)""", path, which, status, text)


def check(condition, what):
    if not condition:
        raise SystemExit("page: " + what)


def pick_titles(page, first_letter):
    """One title by keys, one with the mouse."""
    check(page.script("document.activeElement.id") == "query", "the box has the focus")
    page.keys(first_letter)
    page.until(lambda: len(page.texts("#found li")) > 1, "completion shows titles")
    check(page.one("#query").get_attribute("aria-expanded") == "true", "the box says that it is open")
    page.keys(Keys.ARROW_DOWN)
    marked = page.texts("#found li[aria-selected=true]")
    check(len(marked) == 1 and marked[0] == page.texts("#found li")[1], "the arrow marks the second title")
    check(page.one("#query").get_attribute("aria-activedescendant") == "found-1", "and says so to a screen reader")
    page.keys(Keys.ENTER)
    page.until(lambda: page.texts("#history .name") == marked, "Enter takes it")
    page.until(lambda: page.texts("#items li"), "recommendations come")
    page.keys(first_letter)
    page.until(lambda: len(page.texts("#found li")) > 1, "completion shows titles again")
    option = page.one("#found li:first-child")
    title = option.text
    option.click()
    page.until(lambda: page.texts("#history .name") == marked + [title], "a click takes a title")
    return marked + [title]


def check_lists(page, history):
    page.until(lambda: len(page.texts("#history .bar")) == 2, "bars show where the thought looked")
    names = page.texts("#items .name")
    check(1 <= len(names) <= 10 and not set(names) & set(history), "items of the history are left out")
    check(page.texts("#plain-items .name") and page.texts("#popular .name"), "the lists beside it are there")
    check("after thinking" in page.one("#time").text and "ms for all three lists" in page.one("#time").text, "the time is told")
    page.one("#unseen").click()
    page.until(lambda: "ms" in page.one("#time").text, "it goes on without the exclusion")


def check_rest(page, url):
    page.one("#history li:first-child button").click()
    page.until(lambda: len(page.texts("#history .name")) == 1, "a title is removed with the mouse")
    page.keys(Keys.BACKSPACE)
    page.until(lambda: not page.texts("#history .name"), "and the last one by Backspace")
    check(not page.texts("#items li"), "nothing is recommended for nobody")
    seen = page.script("performance.getEntriesByType('resource').map(e => e.name)")
    check(seen and all(name.startswith(url) for name in seen), "nothing comes from elsewhere")
    errors = [line for line in page.driver.get_log("browser") if line["level"] == "SEVERE"]
    check(not errors, "no error in the console: %s" % errors)


def check_phone_and_dark(page):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    light = page.script("getComputedStyle(document.body).backgroundColor")
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    check(page.script("document.scrollingElement.scrollWidth <= innerWidth"), "nothing stands out at the side of a phone")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    check(page.script("getComputedStyle(document.body).backgroundColor") != light, "there is a dark mode")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# ---- answers that come late --------------------------------------------------------------------------------------

ITEMS, LISTS = "v1/items", "v1/recommend"
BUSY = json.dumps({"error": {"status": 503, "message": "busy"}})


def open_list(page, letter):
    page.keys(letter)
    page.come(ITEMS)
    check(page.texts("#found li"), "completion shows titles")


def late_list(page, letter):
    """An answer that comes when the list is not wanted any more opens none."""
    for leave in (Keys.TAB, Keys.ESCAPE):
        page.hold()
        page.keys(letter, leave)
        page.come(ITEMS)
        check(not page.texts("#found li") and page.one("#query").get_attribute("aria-expanded") == "false", "the list stays closed")


def list_of_before(page, letter):
    """Enter takes nothing from the list of another text, nor what only ends a composition of the keyboard's."""
    page.hold()
    open_list(page, letter)
    page.script("$('query').dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true}))")
    check(not page.texts("#history li"), "Enter within a composition takes no title")
    page.keys("?", Keys.ENTER)
    check(not page.texts("#history li"), "Enter takes no title that the text does not ask for")
    titles = page.texts("#found li")
    page.keys(Keys.ARROW_UP)
    check(page.texts("#found li[aria-selected=true]") == titles[-1:], "arrows mark one all the same")
    page.come(ITEMS)
    check(not page.texts("#found li"), "no title begins with that")
    page.keys(Keys.BACKSPACE)
    page.come(ITEMS)
    page.keys(Keys.ENTER)
    check(page.texts("#history .name") == titles[:1], "Enter takes the first title of its own list")


def touch(page, kind, *points):
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})


def fingers(page, letter):
    """A finger that moves scrolls the list of titles, one that taps takes a title; so does the mouse's first button, and no other."""
    page.hold()
    page.driver.execute_script("$('found').style.maxHeight = '3rem'")
    open_list(page, letter)
    second = page.one("#found li:nth-child(2)")
    ActionChains(page.driver).context_click(second).perform()
    check(not page.texts("#history li"), "the mouse's second button takes no title")
    ActionChains(page.driver).click_and_hold(page.one("#found li")).move_to_element(page.one("h1")).release().perform()
    check(not page.texts("#history li") and page.texts("#found li"), "nor does a button that is let go elsewhere")
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    box = page.script("(r => [r.x + r.width / 2, r.bottom - 5])($('found').getBoundingClientRect())")
    touch(page, "touchStart", box)
    for up in range(10, 50, 10):
        touch(page, "touchMove", (box[0], box[1] - up))
    touch(page, "touchEnd")
    page.until(lambda: page.script("$('found').scrollTop > 0"), "a finger scrolls the list")
    check(not page.texts("#history li"), "and takes no title")
    titles = page.texts("#found li")

    def tap():  # the first one may end the scrolling
        touch(page, "touchStart", box)
        touch(page, "touchEnd")
        return page.texts("#history .name")

    page.until(tap, "a tap takes a title")
    check(len(page.texts("#history .name")) == 1 and page.texts("#history .name")[0] in titles, "one of the list")
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def focus_in_history(page, letter):
    """Recommendations that come leave the buttons of the history where they are, and the focus and the mouse's button on them."""
    page.hold()
    open_list(page, letter)
    page.keys(Keys.ENTER, Keys.TAB)
    focus = "document.activeElement.getAttribute('aria-label')"
    check(page.script(focus).startswith("Remove "), "Tab goes to the button of the history")
    page.come(LISTS)
    check(page.texts("#history .bar") and (page.script(focus) or "").startswith("Remove "), "the focus stays")
    page.one("#unseen").click()
    ActionChains(page.driver).click_and_hold(page.one("#history button")).perform()
    page.come(LISTS)
    ActionChains(page.driver).release().perform()
    check(not page.texts("#history li"), "a click that recommendations come into removes the title")


def backspace_held(page, letter):
    """Backspace that is held until the box is empty leaves the history as it is."""
    page.hold()
    open_list(page, letter)
    page.keys(Keys.ENTER)
    press = "$('query').dispatchEvent(new KeyboardEvent('keydown', {key: 'Backspace', repeat: %s}))"
    page.script(press % "true")
    check(len(page.texts("#history li")) == 1, "a key that repeats removes no title")
    page.script(press % "false")
    check(not page.texts("#history li"), "a key that is pressed does")


def odd_key(page, letter):
    """An API key that no header can carry is refused, and one that was stored can be replaced."""
    page.hold()
    page.script("sessionStorage.setItem('latentr3-key', 'geheim\u20ac')")
    page.driver.refresh()
    page.until(lambda: page.one("#key").is_displayed() and page.texts("#error") != [""], "the box for the key shows")
    box = page.one("#key-text")
    for text in ("\u20ac0123456789abcdef", "\u00e90123456789abcdef"):
        box.send_keys(Keys.CONTROL, "a", Keys.NULL, text, Keys.ENTER)
        check(box.is_displayed() and "ASCII" in page.texts("#error")[0], "a key of other characters is refused")
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, "the second key of two", Keys.ENTER)
    page.until(lambda: page.texts("#popular li") and not box.is_displayed() and page.texts("#error") == [""], "another one is taken")
    page.script("sessionStorage.clear()")


def without_thoughts(page, letter):
    """Of a model that does not think two lists are shown."""
    page.hold()
    open_list(page, letter)
    page.keys(Keys.ENTER)
    page.come(LISTS, 200, json.dumps({"seconds": 0.1, "items": [], "explain": {"thought": None, "without_thought": None, "popular": []}}))
    check(page.texts("#time") == ["100 ms for both lists"] and not page.one("#plain").is_displayed(), "and that is what is told")


def late_errors(page, letter):
    """An error is shown until a request of its kind goes well; that of a request which another has followed is not."""
    page.hold()
    page.keys(letter, Keys.BACKSPACE, letter)
    page.come(ITEMS, which=1)
    page.come(ITEMS, 503, BUSY)
    check(page.texts("#found li") and page.texts("#error") == [""], "the error of an older text is not shown")
    page.keys(Keys.BACKSPACE, letter)
    page.come(ITEMS, 503, BUSY)
    check(page.texts("#error") == ["busy"] and not page.texts("#found li"), "an error is shown in the place of titles")
    page.keys(Keys.BACKSPACE)
    open_list(page, letter)
    check(page.texts("#error") == [""], "titles that come end it")
    page.keys(Keys.ENTER)
    page.come(LISTS, 502, "<html>Bad Gateway</html>")
    check("502" in page.texts("#error")[0], "a proxy's page is told by its status")
    open_list(page, letter)
    check("502" in page.texts("#error")[0], "titles do not end the error of the lists")
    page.keys(Keys.ENTER)
    page.come(LISTS)
    check(page.texts("#error") == [""], "lists do")


def main():
    url = sys.argv[1]
    page = Page(url)
    try:
        page.until(lambda: page.texts("#popular li"), "popular items show at once")
        history = pick_titles(page, page.texts("#popular .name")[0][0].lower())
        check_lists(page, history)
        check_phone_and_dark(page)
        if len(sys.argv) > 2:
            page.driver.save_screenshot(sys.argv[2])
        check_rest(page, url)
        for race in (late_list, list_of_before, fingers, focus_in_history, backspace_held, odd_key, without_thoughts, late_errors):
            race(page, history[0][0].lower())
    finally:
        page.driver.quit()
    print("page: all is well")


main()
