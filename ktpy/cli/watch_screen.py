"""`ktpy watch` on a terminal: the requests in a full-screen view. This is the only module that draws with textual."""

import asyncio
import json
import signal
import time
from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.screen import Screen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from ktpy.cli import watched
from ktpy.cli.render import clean
from ktpy.cli.watch_feed import WatchFeed
from ktpy.errors import KtpyError
from ktpy.inspect.choice import Choice, parse_words
from ktpy.inspect.curl import curl
from ktpy.inspect.har import har
from ktpy.inspect.record import WatchedRequest

REDRAWN_EVERY_S = 0.1
_SCROLLBAR_COLUMNS = 2


class Lines(ScrollView, can_focus=True):
    """A Lines shows lines of text that scroll both ways. It draws only those that are in sight."""

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__()
        self._lines = list(lines)

    def on_mount(self) -> None:
        self.virtual_size = Size(max(map(cell_len, self._lines), default=0), len(self._lines))

    def render_line(self, y: int) -> Strip:
        x, top = self.scroll_offset
        line = self._lines[top + y] if top + y < len(self._lines) else ""
        return _strip(self, line).crop_extend(x, x + self.size.width, self.rich_style)


class RequestList(ScrollView, can_focus=True):
    """A RequestList has a row for each request, in the order of their ids. One is chosen: the newest, until one is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Detail"),
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "oldest", show=False),
        Binding("end", "newest", show=False),
    ]

    class Opened(Message):
        """The user wants to see all that is known of the chosen request."""

    def __init__(self) -> None:
        super().__init__()
        self._why = ""
        self.rows: list[WatchedRequest] = []
        self._chosen_id: int | None = None
        """Of the chosen one; None is the newest, whichever that is."""

    @property
    def chosen(self) -> WatchedRequest | None:
        return self.rows[self._at] if self.rows else None

    @property
    def _at(self) -> int:
        last = len(self.rows) - 1
        return (
            last
            if self._chosen_id is None
            else min(last, bisect_left(self.rows, self._chosen_id, key=attrgetter("id")))
        )

    def show(self, rows: list[WatchedRequest], why: str) -> None:
        """Show these in the place of those before; `why` they came here is a column."""
        self.rows, self._why = rows, why
        self.virtual_size = Size(self.size.width, len(rows))
        self._scroll()

    def render_line(self, y: int) -> Strip:
        at = self.scroll_offset.y + y
        if at >= len(self.rows):
            return Strip.blank(self.size.width, self.rich_style)
        line = watched.row(self.rows[at], self._why, _columns(self.app))
        strip = _strip(self, line).crop_extend(0, self.size.width, self.rich_style)
        return strip.apply_style(Style(reverse=True)) if at == self._at else strip

    def action_open(self) -> None:
        if self.rows:
            self.post_message(self.Opened())

    def action_move(self, rows: int) -> None:
        self._choose(self._at + rows)

    def action_page(self, pages: int) -> None:
        self._choose(self._at + pages * max(1, self.size.height - 1))

    def action_oldest(self) -> None:
        self._choose(0)

    def action_newest(self) -> None:
        self._choose(len(self.rows) - 1)

    def _choose(self, at: int) -> None:
        """Choose a row; the last one stays the newest."""
        self._chosen_id = self.rows[max(0, at)].id if at < len(self.rows) - 1 else None
        self._scroll()

    def _scroll(self) -> None:
        """Have the chosen row in sight."""
        at, top, height = self._at, self.scroll_offset.y, self.size.height
        if not top <= at < top + height:
            self.scroll_to(y=at if at < top else at - height + 1, animate=False, immediate=True)
        self.refresh()


class Heading(Static):
    """What stands above the columns."""

    def render(self) -> Text:
        return Text(watched.row_heading(_columns(self.app)), no_wrap=True)


class Reading(Screen[None]):
    """A screen to read; about a request, where there is one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter", "app.pop_screen", "Back")]

    def __init__(self, title: str, lines: Iterable[str], told: WatchedRequest | None = None) -> None:
        super().__init__()
        self._heading, self._lines, self.told = title, lines, told

    def compose(self) -> ComposeResult:
        yield Static(Text(self._heading), classes="bar")
        yield Lines(self._lines)
        yield Footer()


class WatchScreen(App[KtpyError]):
    """The view of one session. It returns what went wrong, if anything did."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    .bar { height: 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }
    Heading { height: 1; color: $text-muted; }
    RequestList, Lines { height: 1fr; }
    RequestList { overflow-x: hidden; overflow-y: scroll; }
    #filter { height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "list", show=False),
        Binding("p", "pause", "Pause"),
        Binding("c", "curl", "Curl"),
        Binding("r", "replay", "Replay"),
        Binding("e", "export", "Export HAR"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, feed: WatchFeed, choice: Choice, *, secrets: bool, folder: Path) -> None:
        """`folder` is where archives are written."""
        super().__init__()
        self._feed, self._choice, self._secrets, self._folder = feed, choice, secrets, folder
        self._is_paused = False
        self._is_stale = True
        """Whether something has come since it was drawn."""

    def compose(self) -> ComposeResult:
        yield Static(id="title", classes="bar")
        yield Input(str(self._choice), placeholder="/ filters: GET,POST 5xx /api */items/*", id="filter", compact=True)
        yield Heading()
        yield RequestList()
        yield Static(id="state", classes="bar")
        yield Footer()

    def on_mount(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)  # so that the terminal is put back
        self.query_one(RequestList).focus()
        self.set_interval(REDRAWN_EVERY_S, self._redraw)
        self.run_worker(self._follow())

    async def _follow(self) -> None:
        try:
            await self._feed.follow(self._note_change)
        except KtpyError as error:
            self.exit(error)

    def _note_change(self, _: WatchedRequest | None) -> None:
        self._is_stale = True

    def _redraw(self) -> None:
        if not self._is_stale:
            return
        self._is_stale = False
        shown = self._main.query_one(RequestList)
        if not self._is_paused:
            shown.show(self._feed.chosen(self._choice), self._feed.why)
        words = f"{'PAUSED, ' if self._is_paused else ''}{len(shown.rows)} shown, {self._feed.state}"
        self._main.query_one("#title", Static).update(Text(clean(self._feed.title)))
        self._main.query_one("#state", Static).update(Text(clean(words)))

    @property
    def _main(self) -> Screen[object]:
        return self.screen_stack[0]

    def on_resize(self, _: Resize) -> None:
        self._is_stale = True

    def on_request_list_opened(self) -> None:
        if told := self._chosen():
            self.push_screen(Reading(f"Request {told.id}", watched.page(told, self._feed.why), told))

    def action_filter(self) -> None:
        while self.screen is not self._main:
            self.pop_screen()
        self._main.query_one(Input).focus()

    def on_input_submitted(self, submitted: Input.Submitted) -> None:
        try:
            self._choice = parse_words(submitted.value)
        except ValueError as error:
            self._tell(f"{error}.", is_error=True)
            return
        self._is_paused, self._is_stale = False, True
        self._redraw()
        self.action_list()

    def action_list(self) -> None:
        """Leave the line of filters."""
        self._main.query_one(RequestList).focus()

    def action_pause(self) -> None:
        self._is_paused, self._is_stale = not self._is_paused, True
        self._redraw()

    def action_curl(self) -> None:
        if told := self._chosen():
            command = clean(curl(told, secrets=self._secrets))
            self.copy_to_clipboard(command)
            width = max(1, self.size.width)
            lines = [command[at : at + width] for at in range(0, len(command), width)]
            title = f"Request {told.id} as a command of curl, also in the clipboard where the terminal takes OSC 52"
            self.push_screen(Reading(title, lines, told))

    def action_replay(self) -> None:
        if told := self._chosen():
            self.run_worker(self._replay(told))

    async def _replay(self, told: WatchedRequest) -> None:
        try:
            lines = await self._feed.replay(told.id)
        except KtpyError as error:
            self._tell(error.message, is_error=True)
        else:
            self.push_screen(Reading(f"Request {told.id}, sent again", lines, told))

    async def action_export(self) -> None:
        """Write what the list shows into a file of its own."""
        rows, begun = self._main.query_one(RequestList).rows, self._feed.begun
        file = self._folder / f"ktpy-{begun.service if begun else 'watch'}-{time.strftime('%Y%m%d-%H%M%S')}.har"

        def write() -> None:
            with file.open("x") as out:
                json.dump(har(rows, secrets=self._secrets), out, indent=1)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            self._tell(f"{file} cannot be written: {error.strerror}.", is_error=True)
        else:
            self._tell(f"{len(rows)} requests are in {file}.")

    def _chosen(self) -> WatchedRequest | None:
        return self.screen.told if isinstance(self.screen, Reading) else self._main.query_one(RequestList).chosen

    def _tell(self, text: str, *, is_error: bool = False) -> None:
        self.notify(clean(text), severity="error" if is_error else "information", markup=False)


def _columns(app: App[KtpyError]) -> int:
    return app.size.width - _SCROLLBAR_COLUMNS


def _strip(widget: ScrollView, line: str) -> Strip:
    """Return a line that click has styled."""
    text = Text.from_ansi(line, no_wrap=True, end="")
    return Strip(text.render(widget.app.console)).apply_style(widget.rich_style)
