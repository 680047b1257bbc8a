"""The server's page in headless Chromium, with real keys and clicks: page.py URL [SCREENSHOT.png]

Needs selenium, chromium and chromedriver; tests/cli/serve.bats skips it without. Any model over any data with at least two titles that share
their first letter will do; what a model says is not judged, only that the page shows it.
"""

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
    check("ms" in page.one("#time").text, "the time is told")
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
    finally:
        page.driver.quit()
    print("page: all is well")


main()
