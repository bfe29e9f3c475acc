"""A page read as a browser without script reads it: its forms with what they would send, its buttons and links."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
_SENT_ONLY_BY_CLICK = ("submit", "button", "image", "reset", "file")


@dataclass
class Form:
    """A form, with what it sends as it stands; a button's own name is sent only by that button."""

    method: str
    action: str
    id: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[dict[str, str]] = field(default_factory=list)


@dataclass
class PageRead:
    """What of a page works without script."""

    forms: list[Form] = field(default_factory=list)
    links: list[dict[str, str]] = field(default_factory=list)
    lost_buttons: list[dict[str, str]] = field(default_factory=list)
    """Buttons that are seen and stand in no form: without script they do nothing."""
    ids: set[str] = field(default_factory=set)

    def form(self, action: str) -> Form:
        """The form that is sent there."""
        return next(form for form in self.forms if form.action == action)


def read_page(text: str) -> PageRead:
    """What a page's text says."""
    reader = _Reader()
    reader.feed(text)
    reader.settle()
    return reader.page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = PageRead()
        self._form: Form | None = None
        self._select: tuple[str, list[tuple[str, bool]]] | None = None
        self._text: tuple[str, list[str]] | None = None
        self._open: list[tuple[str, bool]] = []
        self._elsewhere: list[tuple[str, tuple[str, str] | dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag not in _VOID:
            self._open.append((tag, self._is_hidden or tag == "dialog" or "hidden" in told))
        if "id" in told:
            self.page.ids.add(told["id"])
        match tag:
            case "form":
                self._form = Form(told.get("method", "get"), told.get("action", ""), told.get("id", ""))
                self.page.forms.append(self._form)
            case "a" if "href" in told:
                self.page.links.append(told)
            case "button":
                self._add_button(told)
            case "input":
                self._add_input(told)
            case "select":
                self._select = (told.get("name", ""), [])
            case "option" if self._select is not None:
                self._select[1].append((told.get("value", ""), "selected" in told))
            case "textarea":
                self._text = (told.get("name", ""), [])

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text[1].append(data)

    @property
    def _is_hidden(self) -> bool:
        return bool(self._open) and self._open[-1][1]

    def handle_endtag(self, tag: str) -> None:
        while any(tag == each for each, _ in self._open) and self._open.pop()[0] != tag:
            pass
        if tag == "form":
            self._form = None
        elif tag == "select" and self._select is not None:
            name, options = self._select
            chosen = next(
                (value for value, selected in options if selected), options[0][0] if options else ""
            )
            self._select = None
            self._add_field("", name, chosen)
        elif tag == "textarea" and self._text is not None:
            name, parts = self._text
            self._text = None
            self._add_field("", name, "".join(parts).removeprefix("\n"))

    def settle(self) -> None:
        """Give what stands outside of its form (`form=ID`) to it."""
        forms = {form.id: form for form in self.page.forms if form.id}
        for id, one in self._elsewhere:
            if id not in forms:
                if isinstance(one, dict):
                    self.page.lost_buttons.append(one)
            elif isinstance(one, dict):
                forms[id].buttons.append(one)
            else:
                forms[id].fields.append(one)

    def _add_button(self, told: dict[str, str]) -> None:
        if "form" in told:
            self._elsewhere.append((told["form"], told))
        elif self._form is not None:
            if not self._is_hidden or told.get("type") != "button":
                self._form.buttons.append(told)
        elif not self._is_hidden:
            self.page.lost_buttons.append(told)

    def _add_input(self, told: dict[str, str]) -> None:
        kind = told.get("type", "text")
        if kind in ("checkbox", "radio"):
            if "checked" in told and "disabled" not in told:
                self._add_field(told.get("form", ""), told.get("name", ""), told.get("value", "on"))
        elif kind not in _SENT_ONLY_BY_CLICK and "disabled" not in told:
            self._add_field(told.get("form", ""), told.get("name", ""), told.get("value", ""))

    def _add_field(self, form: str, name: str, value: str) -> None:
        if form:
            self._elsewhere.append((form, (name, value)))
        elif self._form is not None and name:
            self._form.fields.append((name, value))
