"""What a page is made of, for tests of pages that are one file."""

from html.parser import HTMLParser


class Structure(HTMLParser):
    """Collects what the page refers to, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.references, self.alts, self.open, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.references += [attrs[key] for key in ("src", "href", "srcset") if key in attrs]
        if tag == "img":
            self.alts.append(attrs["alt"])
        if tag == "th":
            assert attrs["scope"] in ("row", "col", "colgroup")
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
