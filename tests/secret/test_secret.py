"""References to secrets, how they are resolved, and that a value never shows itself."""

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from highball import secret
from highball.agent.run.stream import LONGEST_LINE, Printing
from highball.engine.restic.access import RepositoryAccess
from highball.errors import SecretUnavailable
from highball.place.local import LOCAL
from highball.process.feed import LONGEST_COMPLAINT_BYTES
from highball.secret import (
    LARGEST_BYTES,
    Secret,
    SecretReference,
    SecretValue,
    describe,
    find_obstacle,
    mask,
    resolve,
)
from highball.source.base import Stream
from testbed.serving import wait_until

HIDDEN = b"correct-horse"


class Declared(BaseModel):
    """Something that names a secret."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    password: Secret


# --- what may be declared ---------------------------------------------------------------------------


def test_plain_text_is_refused_with_what_to_write_instead() -> None:
    with pytest.raises(ValidationError) as raised:
        Declared.model_validate({"password": "correct-horse"})
    message = raised.value.errors()[0]["msg"]
    assert "file = " in message
    assert "env = " in message
    assert "command = " in message
    assert "correct-horse" not in message


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, "exactly one"),
        ({"file": "/a", "env": "B"}, "exactly one"),
        ({"file": "a/b"}, "absolute"),
        ({"env": ""}, "at least 1 character"),
        ({"command": ""}, "empty"),
        ({"command": []}, "empty"),
        ({"command": "echo 'open"}, "quotation"),
        ({"value": "x"}, "Extra inputs"),
        ({"file": "/a\0b"}, "NUL"),
        ({"env": "A=B"}, "name of a variable"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"sealed": False}, "sealed must be true"),
        ({"sealed": 1}, "sealed must be true"),
        ({"sealed": "user:anna:password"}, "sealed must be true"),
        ({"sealed": True, "env": "A"}, "exactly one"),
    ],
)
def test_what_leads_nowhere_is_refused_when_it_is_declared(told: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SecretReference.model_validate(told)


def test_a_command_is_split_like_a_shell_does_but_no_shell_reads_it() -> None:
    reference = SecretReference.model_validate({"command": "printf '%s' '$HOME; a b'"})
    assert reference.command == ("printf", "%s", "$HOME; a b")
    assert resolve(reference).reveal() == b"$HOME; a b"


# --- resolving --------------------------------------------------------------------------------------


def in_file(path: Path, content: bytes) -> SecretReference:
    path.write_bytes(content)
    return SecretReference(file=path)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"a", b"a"),
        (b"a\n", b"a"),
        (b"a\r\n\r\n", b"a"),
        (b" a \n", b" a "),
        (b"two\nlines\n", b"two\nlines"),
        (b"\xff\x00\xfe\n", b"\xff\x00\xfe"),
        (b"x" * LARGEST_BYTES + b"\r\n", b"x" * LARGEST_BYTES),
    ],
)
def test_line_ends_at_the_end_do_not_count(content: bytes, value: bytes, tmp_path: Path) -> None:
    assert resolve(in_file(tmp_path / "key", content)).reveal() == value
    environment = {"KEY": os.fsdecode(content)}
    assert resolve(SecretReference(env="KEY"), environment).reveal() == value
    printing = SecretReference(command=("cat", str(tmp_path / "key")))
    assert resolve(printing).reveal() == value


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\n"])
def test_an_empty_secret_is_none(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="key is empty"):
        resolve(in_file(tmp_path / "key", content))


def test_what_is_too_large_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="larger than 60 KiB, so it is not a secret"):
        resolve(in_file(tmp_path / "key", b"x" * (LARGEST_BYTES + 1)))
    with pytest.raises(SecretUnavailable, match="larger than 60 KiB"):
        resolve(SecretReference(env="KEY"), {"KEY": "x" * (LARGEST_BYTES + 1)})


def test_what_is_not_there_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="missing cannot be read: No such file") as raised:
        resolve(SecretReference(file=tmp_path / "missing"))
    assert raised.value.hint is not None
    assert raised.value.code == "secret_unavailable"


def test_only_a_regular_file_holds_a_secret(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(SecretUnavailable, match="is not a regular file") as raised:
            resolve(SecretReference(file=path))
        assert raised.value.hint is not None


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_pipe_that_we_were_given_may_hold_one(folder: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"open sesame\n")
    os.close(writing)
    with open(reading, "rb"):
        assert resolve(SecretReference(file=Path(folder, str(reading)))).reveal() == b"open sesame"

    with pytest.raises(SecretUnavailable, match="NO_SUCH_VARIABLE_HERE is not set"):
        resolve(SecretReference(env="NO_SUCH_VARIABLE_HERE"))
    with pytest.raises(SecretUnavailable, match="no-such-program could not be started: No such file"):
        resolve(SecretReference(command=("no-such-program",)))


def test_the_environment_of_this_process_is_where_variables_are_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HIGHBALL_TEST_SECRET", "here")
    assert resolve(SecretReference(env="HIGHBALL_TEST_SECRET")).reveal() == b"here"


def test_a_command_that_fails_is_told_without_what_it_printed() -> None:
    failing = SecretReference(command=("sh", "-c", "echo correct-horse; echo correct-horse >&2; exit 3"))
    with pytest.raises(SecretUnavailable, match="command sh ended with exit status 3") as raised:
        resolve(failing)
    assert "correct-horse" not in "".join(traceback.format_exception(raised.value))


def test_a_command_that_fails_says_why_on_one_line_and_not_at_length() -> None:
    failing = SecretReference(
        command=("sh", "-c", "yes no | head -1000 >&2; printf 'no such\nentry' >&2; exit 1")
    )
    with pytest.raises(SecretUnavailable, match=r"exit status 1: .*no such entry$") as raised:
        resolve(failing)
    assert len(raised.value.message) < 400


@pytest.mark.parametrize(
    "command",
    [
        "cat f | head -1",
        "echo $HOME",
        "echo ${HOME}",
        "~/bin/p.sh",
        "p.sh --key ~/k",
        "a; b",
        "a && b",
        "p.sh > f",
        "p.sh `id`",
    ],
)
def test_what_only_a_shell_would_understand_is_refused(command: str) -> None:
    with pytest.raises(ValidationError, match="no shell reads the command"):
        SecretReference.model_validate({"command": command})


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'cat f | head -1'",
        'sh -c "echo $HOME"',
        r"p.sh a\;b",
        "p.sh 'https://x/?a=1&b=2'",
        "p.sh a~b price$",
        ["p.sh", "a|b", "$HOME", "~"],
    ],
)
def test_what_is_quoted_is_meant_as_it_stands(command: str | list[str]) -> None:
    assert SecretReference.model_validate({"command": command}).command


def test_a_command_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret, "COMMAND_SECONDS", 0.3)
    with pytest.raises(SecretUnavailable, match=r"sleep did not answer within 0\.3 s"):
        resolve(SecretReference(command=("sleep", "6000")))


def test_a_command_whose_daemon_holds_the_output_open_still_answers(tmp_path: Path) -> None:
    # like an agent for keys that the first question starts
    command = ("sh", "-c", f"sleep 6000 & echo $! > {tmp_path}/pid; echo correct-horse")
    try:
        assert resolve(SecretReference(command=command)).reveal() == HIDDEN
    finally:
        with contextlib.suppress(OSError):
            os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_command_that_prints_without_end_is_stopped_early() -> None:
    with pytest.raises(SecretUnavailable, match="larger than 60 KiB"):
        resolve(SecretReference(command=("cat", "/dev/zero")))


def test_a_command_reads_nothing_from_us() -> None:
    command = (sys.executable, "-SIc", "import sys; print(repr(sys.stdin.read()))")
    assert resolve(SecretReference(command=command)).reveal() == b"''"


def test_obstacles_show_without_running_a_command(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    assert find_obstacle(SecretReference(command=("touch", str(trace)))) is None
    assert not trace.exists()
    assert find_obstacle(SecretReference(env="KEY"), {"KEY": "x"}) is None
    assert find_obstacle(SecretReference(env="KEY"), {}) == "the secret's environment variable KEY is not set"
    assert "cannot be read" in (find_obstacle(SecretReference(file=tmp_path / "none")) or "")


def test_a_reference_in_words() -> None:
    assert describe(SecretReference(file=Path("/a/b"))) == "the secret file /a/b"
    assert describe(SecretReference(env="A")) == "the secret's environment variable A"
    assert describe(SecretReference(command=("pass", "show", "x"))) == "the secret's command pass"


# --- a value never shows itself ---------------------------------------------------------------------


@dataclass(frozen=True)
class Holder:
    """A dataclass that has a secret."""

    held: SecretValue
    more: Mapping[str, SecretValue]


class Model(BaseModel):
    """A model that has a secret."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    held: SecretValue


def test_a_value_shows_itself_as_stars_to_everything_that_prints() -> None:
    value = SecretValue(HIDDEN)
    access = RepositoryAccess(location=value, shown="x", password=value, files={"A": value}, parts=(value,))
    shown = [
        repr(value),
        str(value),
        f"{value} {value!r} {value!s} {value!a}",
        "{}".format(value),  # noqa: UP032
        "%s %r" % (value, value),  # noqa: UP031
        repr(Holder(value, {"a": value})),
        repr(access),
        repr([value, {value}]),
        repr(Model(held=value)),
        repr(Model(held=value).model_dump()),
        str(ValueError(value)),
        repr(KeyError(value)),
    ]
    for text in shown:
        assert "correct" not in text, text
        assert "***" in text
    with pytest.raises(ValueError, match="serialize") as raised:
        Model(held=value).model_dump_json()
    assert "correct" not in str(raised.value)
    with pytest.raises(ValidationError) as invalid:
        Model.model_validate({"held": 1, "other": value})
    assert "correct" not in str(invalid.value)


def test_a_value_does_not_show_in_the_locals_of_a_traceback() -> None:
    def fail(password: SecretValue) -> None:
        holder = Holder(password, {"x": password})
        raise ValueError(str(holder))

    with pytest.raises(ValueError, match=r"\*\*\*") as raised:
        fail(SecretValue(HIDDEN))
    told = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    assert "correct" not in "".join(told.format())


def test_a_value_has_no_attribute_that_shows_it() -> None:
    value = SecretValue(HIDDEN)
    assert not hasattr(value, "__dict__")
    assert value.reveal() == HIDDEN


def test_values_are_compared_by_content() -> None:
    assert SecretValue(b"a") == SecretValue(b"a")
    assert SecretValue(b"a") != SecretValue(b"b")
    assert SecretValue(b"a") != b"a"
    assert len({SecretValue(b"a"), SecretValue(b"a")}) == 1


# --- masking ----------------------------------------------------------------------------------------


def test_secrets_are_masked_longest_first_and_line_by_line() -> None:
    values = [SecretValue(b"word"), SecretValue(b"password"), SecretValue(b"line-one\n  line-two \n")]
    assert mask("password, word; line-one and line-two", values) == "***, ***; *** and ***"


def test_what_is_too_short_to_be_one_is_not_masked() -> None:
    assert mask("a cat sat", [SecretValue(b"cat"), SecretValue(b"")]) == "a cat sat"


def test_a_secret_that_is_not_utf_8_is_masked_as_it_would_be_shown() -> None:
    assert (
        mask(b"key \xff\xfe\xfd\xfc!".decode("utf-8", "replace"), [SecretValue(b"\xff\xfe\xfd\xfc")])
        == "key ***!"
    )


@given(st.text(), st.lists(st.text(min_size=4, alphabet="abcdef", max_size=8), max_size=3), st.data())
def test_no_secret_is_left_in_a_masked_text(text: str, words: list[str], data: st.DataObject) -> None:
    for word in words:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + word + text[at:]
    masked = mask(text, [SecretValue(word.encode()) for word in words])
    assert not any(word in masked for word in words)


# --- sealed in a hub --------------------------------------------------------------------------------

PLACE = "repository:0197f0a2-0000-7000-8000-000000000001:password"


def test_a_sealed_secret_is_the_value_that_was_handed_over_for_its_place() -> None:
    handed = {PLACE: SecretValue(HIDDEN), PLACE.replace("password", "admin"): SecretValue(b"another")}
    assert resolve(SecretReference(sealed=PLACE), sealed=handed).reveal() == HIDDEN


@pytest.mark.parametrize("reference", [SecretReference(sealed=True), SecretReference(sealed=PLACE)])
def test_a_sealed_secret_that_was_not_handed_over_says_so_and_what_to_write(
    reference: SecretReference,
) -> None:
    with pytest.raises(SecretUnavailable, match="sealed in a hub") as raised:
        resolve(reference, sealed={"repository:another": SecretValue(HIDDEN)})
    assert raised.value.code == "secret_sealed_elsewhere"
    assert "{ file = … }" in (raised.value.hint or "")
    assert describe(reference) == "the secret that is sealed in the hub"
    assert find_obstacle(reference) == raised.value.message


@pytest.mark.parametrize("before", [LONGEST_LINE - 8, LONGEST_COMPLAINT_BYTES - 8])
def test_a_long_last_word_of_a_command_shows_no_half_of_its_secret(before: int) -> None:
    log: list[str] = []

    password = SecretValue(b"correct horse battery staple")

    def tell(stream: str, text: str) -> None:
        log.append(mask(text, [password]))

    script = f'printf "%0{before}d%s\\n" 0 "$PGPASSWORD" >&2; exit 1'
    stream = Stream("app.sql", ("/bin/sh", "-c", script))
    printing = Printing(stream, {"PATH": os.defpath, "PGPASSWORD": password}, tell, LOCAL)
    feed = printing.open()
    feed.begin()
    wait_until(lambda: feed.is_broken)
    feed.end()
    reason = printing.find_failure()
    assert reason is not None
    assert "exit status 1" in reason.message
    assert "correct" not in reason.message
    assert log
    assert "correct" not in "".join(log)
