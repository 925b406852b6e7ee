"What axe-core finds wrong with a page for readers who do not see it, or use a keyboard alone."

SEVERE = ("serious", "critical")


def serious(driver) -> dict[str, list[str]]:
    "The serious and critical violations of the page that a Chromium shows: rule → the elements that break it."
    from axe_core_python.selenium import Axe

    found = Axe().run(driver)["violations"]
    return {rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in found if rule["impact"] in SEVERE}
