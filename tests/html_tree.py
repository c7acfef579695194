"""A strict reader of HTML for tests."""

from html.parser import HTMLParser


class Tree(HTMLParser):
    """Checks that every element is closed where it should be, and remembers what there was."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(markup: str) -> Tree:
    """What a page holds; fails where an element is not closed."""
    tree = Tree()
    tree.feed(markup)
    tree.close()
    assert tree.open == []
    return tree
