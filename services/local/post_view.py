"""A watched post as lines on a terminal."""

from __future__ import annotations

from typing import TextIO

from promptmesh.prompts.v1 import posts_pb2

_STATES = {
    posts_pb2.POST_STATE_PENDING: "is being moderated",
    posts_pb2.POST_STATE_PUBLISHED: "is published",
    posts_pb2.POST_STATE_HELD: "is held for a moderator",
    posts_pb2.POST_STATE_REJECTED: "is rejected",
    posts_pb2.POST_STATE_DELETED: "is deleted",
}
_ENDS = {
    posts_pb2.WATCH_END_DELETED: "The post was deleted.",
    posts_pb2.WATCH_END_CREDENTIAL_ENDED: "Your session has ended: watch again to go on.",
    posts_pb2.WATCH_END_DRAINING: "The server goes away; going on with another.",
}
_FINAL_STATES = (posts_pb2.POST_STATE_HELD, posts_pb2.POST_STATE_REJECTED, posts_pb2.POST_STATE_DELETED)
_FINAL_EXAMPLES = (
    posts_pb2.EXAMPLE_STATE_READY,
    posts_pb2.EXAMPLE_STATE_FAILED,
    posts_pb2.EXAMPLE_STATE_WITHHELD,
)


class PostView:
    """Prints each change once, and an example's text as it comes."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._state_line = ""
        self._example = ""  # of the example, what was printed so far
        self._example_end = ""
        self._in_line = False
        self.held = False  # a moderator has to decide
        self.settled = False  # moderation has decided, and the example is written or will not be

    def show(self, message: posts_pb2.WatchPostResponse) -> None:
        """Prints what a message adds."""
        match message.WhichOneof("event"):
            case "post":
                self._show_post(message.post)
            case "example_delta":
                self._show_text(message.example_delta.offset, message.example_delta.text)
            case "done":
                self._line(_ENDS.get(message.done.reason, "The watch ended."))

    def end_line(self) -> None:
        """Ends the line of a text that is still coming."""
        if self._in_line:
            self._output.write("\n")
            self._output.flush()
            self._in_line = False

    def _show_post(self, post: posts_pb2.Post) -> None:
        state = f"Revision {post.revision} {_STATES.get(post.state, 'is in a state that this version does not know')}"
        line = state + _why(post)
        if line != self._state_line:
            self._state_line = line
            self._line(line)
        example = post.example
        if example.state == posts_pb2.EXAMPLE_STATE_READY:
            if example.text.startswith(self._example):
                self._show_text(len(self._example), example.text[len(self._example) :])
            else:
                self._show_text(0, example.text)
            tokens = f"{example.input_tokens} tokens in, {example.output_tokens} out"
            self._end_example(f"(example by {example.model}; {tokens}{', estimated' * example.usage_estimated})")
        elif example.state == posts_pb2.EXAMPLE_STATE_FAILED:
            self._end_example(f"No example could be written: {example.failure or 'no reason given'}")
        elif example.state == posts_pb2.EXAMPLE_STATE_WITHHELD:
            self._end_example("The example was withheld by moderation.")
        published = post.state == posts_pb2.POST_STATE_PUBLISHED and post.published_revision == post.revision
        self.held = post.state == posts_pb2.POST_STATE_HELD
        self.settled = post.state in _FINAL_STATES or (published and example.state in _FINAL_EXAMPLES)

    def _show_text(self, offset: int, text: str) -> None:
        if offset < len(self._example):
            if offset != 0:
                text = text[len(self._example) - offset :]  # seen already
            else:
                self.end_line()  # begun afresh: what was shown is void
                self._example = ""
        if text:
            self._output.write(text)
            self._output.flush()
            self._example += text
            self._in_line = not text.endswith("\n")

    def _end_example(self, line: str) -> None:
        if line != self._example_end:
            self._example_end = line
            self._line(line)

    def _line(self, text: str) -> None:
        self.end_line()
        self._output.write(text + "\n")
        self._output.flush()


def _why(post: posts_pb2.Post) -> str:
    """What follows the state: nothing, the one reason in the same line, or each reason in a line of its own."""
    categories: dict[str, list[str]] = {}  # of each message: it may come bare and once more with its category
    for one in post.reasons:
        named = categories.setdefault(one.message, [])
        if one.category and one.category not in named:
            named.append(one.category)
    reasons = [(f"({', '.join(named)})" if named else "", message) for message, named in categories.items()]
    if len(reasons) == 1:
        category, message = reasons[0]
        return f"{' ' * bool(category)}{category}: {message}"
    return "." + "".join(f"\n  {message}{' ' * bool(category)}{category}" for category, message in reasons)
