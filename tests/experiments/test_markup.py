"""Text can never become markup."""

import pytest
from html_tree import parsed

from experiments.markup import Markup, details, page, table, tag, text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a & b", '"><img src=x onerror=1>', "🦄" * 80, "'", "</td>"]
)
def test_words_stay_words_in_content_and_in_attributes(name):
    tree = parsed(tag("p", name, title=name))
    assert tree.seen == [("p", {"title": name})]
    assert "".join(tree.words) == name


def test_made_markup_is_not_escaped_again():
    assert tag("p", tag("b", "<")) == "<p><b>&lt;</b></p>"


def test_content_may_be_nothing_a_number_or_a_list():
    assert tag("p", None, 3, ["a", tag("i", "b")]) == "<p>3a<i>b</i></p>"
    assert text(None) == "" and isinstance(text([]), Markup)


def test_attribute_names_are_those_of_html():
    assert tag("text", "", class_="t", text_anchor="end", viewBox="0 0 1 1", title=None) == (
        '<text class="t" text-anchor="end" viewBox="0 0 1 1"></text>'
    )


def test_a_table_says_which_columns_are_numbers():
    tree = parsed(table(["name", "n"], [["<b>", 1], ["x", 2]], numbers=(1,), caption="<i>"))
    assert [attrs.get("class") for name, attrs in tree.seen if name in ("th", "td")] == [None, "n"] * 3
    assert ("b", {}) not in tree.seen and ("i", {}) not in tree.seen


def test_a_page_forbids_scripts_and_the_network():
    whole = page("<title>", "p { color: red }", details("more", tag("p", "x")))
    tree = parsed(whole)
    policy = next(a["content"] for name, a in tree.seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "script" not in policy
    assert whole.startswith("<!doctype html>\n<html")
    assert [attrs["lang"] for name, attrs in tree.seen if name == "html"] == ["en"]
