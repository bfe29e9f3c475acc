"""First light: Highball's main job, done for real on a tree of its own in about half a minute.

Backs up, changes things, backs up again, checks, proves, keeps, restores and compares; beside it bare restic does
the same work on a repository of its own. Exit 0 only when everything held; otherwise 1, with the reason.
`make demo` keeps what it has made in demo-state/, for `make serve` to show; see --help.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comparison import Comparison, compare, count_files, read_tree
from highball.humanize import counted
from highball.process.file_lock import FileLock
from made_tree import MadeTree
from programs import Ended, Failure, Program, clean_environment, find_highball, find_restic
from served import ServedHub
from telling import Shown, Teller, number, size

CHECKOUT = Path(__file__).resolve().parents[1]
JOB, REPOSITORY, HOST = "home", "vault", "demo"
KEPT, DAYS = 2, 1
STATE = "hub"
"""The folder of Highball's own state; the hub's key lies beside it, where `make serve` looks for it."""
ACCOUNT = "demo"
ONLY_FOR_THE_DEMO = (
    "bare-repository",
    "bare-cache",
    "restored",
    "bare-restored",
    "by-hub",
    "files",
    "serve.log",
)
TAGS = f"hb:job={JOB},hb:set=files"

CONFIGURATION = """\
[settings]
host = "{host}"
state = "{folder}/{state}"
restic = "{restic}"

[repositories.{repository}]
url = "{folder}/repository"
password = {{ file = "{folder}/password" }}

[jobs.{job}]
schedule = "daily"
repositories = ["{repository}"]
sources = ["{folder}/source"]
retention = {{ last = {kept} }}
"""


class FirstLight:
    """One demo, in a folder of its own."""

    def __init__(self, folder: Path, teller: Teller, files: int, megabytes: int) -> None:
        self._folder = folder
        self._tell = teller
        self._restic_path, self.restic_version = find_restic(CHECKOUT)
        self._tree = MadeTree(
            os.fsencode(folder / "source"),
            files=files,
            megabytes=megabytes,
            # restic before 0.16 saves where a link points to as text, and loses what is none (restic#3311)
            links_are_bytes=not self.restic_version.startswith(("0.14.", "0.15.")),
        )
        self._highball = Program(
            find_highball(), clean_environment(HIGHBALL_CONFIG=str(folder / "highball.toml")), folder
        )
        bare = {
            "RESTIC_REPOSITORY": str(folder / "bare-repository"),
            "RESTIC_PASSWORD_FILE": str(folder / "password"),
            "RESTIC_CACHE_DIR": str(folder / "bare-cache"),
        }
        polite = ("nice", "-n", "5")  # as Highball runs it
        self._restic = Program((*polite, str(self._restic_path)), clean_environment(**bare), folder)
        self._snapshots: list[str] = []
        self._verified = ""
        self.password = secrets.token_urlsafe(12)
        """What opens the account that the hub is left with."""

    def shine(self) -> None:
        """All steps; raises Failure at the first that does not hold."""
        self._make_tree()
        self._set_up()
        self._first_backup()
        self._second_backup()
        self._look()
        self._check()
        self._verify()
        self._more_backups()
        self._forget()
        self._prune()
        self._restore()
        self._go_through_a_hub()
        self._ask_for_status()

    # --- the steps ---

    def _make_tree(self) -> None:
        self._tell.heading("Something to protect")
        with self._tell.busy("making a tree …"):
            started = time.monotonic()
            self._tree.make(CHECKOUT)
            (self._folder / "password").touch(mode=0o600)
            (self._folder / "password").write_text("first light\n")
            (self._folder / "files").write_bytes(self._tree.root + b"\0")
            configuration = CONFIGURATION.format(
                host=HOST,
                folder=self._folder,
                state=STATE,
                restic=self._restic_path,
                repository=REPOSITORY,
                job=JOB,
                kept=KEPT,
            )
            (self._folder / "highball.toml").write_text(configuration)
            files, total = count_files(self._tree.root)
            seconds = time.monotonic() - started
        what = "this checkout and made files: odd names, links, sparse, large, deep"
        self._tell.held(
            Shown(
                f"{number(files)} files of every kind, {size(total)}",
                f"{number(files)} files, {size(total)}: {what}",
                seconds,
            )
        )
        self._tell.line("and one file that says what is to be done:", "dim", indent=4)
        shown = configuration.partition("\n\n")[2].strip().replace(f"{self._folder}/", "…/")
        self._tell.line(shown, "cyan", indent=6)

    def _set_up(self) -> None:
        ended = self._step("Set up", "setup", "--schedule", "none")
        self._demand_success(ended, "setup")
        if not (self._folder / "repository" / "config").is_file():
            raise Failure("setup says success, but there is no repository")
        bare = self._bare("init", "--repository-version", "2")
        self._held(
            "a repository was made, once", "one repository, made once and recognised from now on", ended, bare
        )

    def _first_backup(self) -> None:
        ended = self._step("Back up", "run", "--json", live=True)
        step = self._saved(ended)
        files, _ = count_files(self._tree.root)
        if step["files_new"] != files:
            raise Failure(f"the tree has {files} files, and the first backup saved {step['files_new']}")
        bare = self._bare_backup()
        proof = f"all {number(files)} files saved, and the repository itself lists snapshot {self._newest}"
        self._held("every file is in a snapshot", proof, ended, bare)

    def _second_backup(self) -> None:
        changes = self._tree.change()
        ended = self._step("Change things, back up again", "run", "--json", live=True)
        step = self._saved(ended)
        new, changed = changes.added + changes.renamed, changes.edited
        if (step["files_new"], step["files_changed"]) != (new, changed):
            seen = f"{step['files_new']} new and {step['files_changed']} changed"
            raise Failure(f"{new} files are new and {changed} changed, and the backup saw {seen}")
        bare = self._bare_backup()
        done = (
            f"{changes.added} added, {changed} edited, {changes.renamed} renamed, {changes.deleted} deleted"
        )
        added = f"only {size(step['bytes_added'])} had to be stored"
        self._held("exactly what changed was seen", f"{done}: exactly these were seen, {added}", ended, bare)

    def _look(self) -> None:
        self._show("See what there is", "snapshots")
        ended = self._highball.run("snapshots", "--json")
        found = [entry["id"] for entry in ended.answer if entry["job"] == JOB]
        if found != self._snapshots:
            raise Failure(f"the runs made {self._short(self._snapshots)}, and listed is {self._short(found)}")
        bare = self._bare("snapshots", "--json")
        self._held(
            "the repository lists both", "the list holds both, oldest first, and nothing else", ended, bare
        )

    def _check(self) -> None:
        ended = self._step("Check the repository", "check", "--json")
        self._demand_success(ended, "check")
        bare = self._bare("check", "--read-data-subset=1/20")
        self._held(
            "the repository is sound",
            "the structure is sound, and so is the first twentieth of the data",
            ended,
            bare,
        )

    def _verify(self) -> None:
        ended = self._step("Prove that it can be restored", "verify", "--read-data", "--json", live=True)
        step = self._demand_success(ended, "verify")
        files, _ = count_files(self._tree.root)
        if step["files_compared"] != files:
            raise Failure(f"the tree has {files} files, and {step['files_compared']} of them were compared")
        bare = self._bare("restore", "latest", "--verify", "--target", "bare-verified")
        shutil.rmtree(self._folder / "bare-verified")
        proof = f"{number(files)} files ({size(step['bytes_compared'])}) read back: equal to their sources"
        self._held(f"all {number(files)} files can be read back", proof, ended, bare)
        self._verified = self._snapshots[-1]

    def _more_backups(self) -> None:
        self._tell.heading(f"Let {counted(DAYS, 'day')} pass", "highball run --json")
        highball = restic = 0.0
        for day in range(1, DAYS + 1):
            self._tree.change_a_little(day)
            with self._tell.busy(f"day {day} …"):
                ended = self._highball.run("run", "--json")
            self._saved(ended)
            highball += ended.seconds
            restic += self._bare_backup().seconds
        proof = f"{counted(DAYS, 'more snapshot')}, which stores only what its day changed"
        self._tell.held(Shown(f"{counted(DAYS, 'more day')} saved", proof, highball, restic))

    def _forget(self) -> None:
        ended = self._step(f"Keep the last {KEPT}", "forget", "--json")
        removed = self._demand_success(ended, "forget")["snapshots_removed"] or []
        left = [entry["id"] for entry in self._highball.run("snapshots", "--json").answer]
        expected = [snapshot for snapshot in self._snapshots if snapshot not in removed]
        if not removed:
            raise Failure("retention removed nothing")
        if left != expected or left[-KEPT:] != self._snapshots[-KEPT:]:
            raise Failure(f"{self._short(expected)} should have stayed, and listed is {self._short(left)}")
        if self._verified not in left:
            raise Failure("retention removed the snapshot that was last proved to be restorable")
        bare = self._bare("forget", f"--keep-last={KEPT}", "--host", HOST, "--tag", TAGS, "--group-by", "")
        more = len(left) - KEPT
        kept = f"the last {KEPT} stay" + (", and the one that was proved" if more else "")
        self._held(
            f"{len(removed)} of {len(self._snapshots)} snapshots gone, {len(left)} stay",
            f"gone: {len(removed)} of {len(self._snapshots)}; {kept}",
            ended,
            bare,
        )
        self._snapshots = left

    def _prune(self) -> None:
        _, before = count_files(os.fsencode(self._folder / "repository"))
        ended = self._step("Give the space back", "prune", "--json")
        self._demand_success(ended, "prune")
        _, after = count_files(os.fsencode(self._folder / "repository"))
        if after >= before:
            raise Failure("a large file is in no snapshot any more, and prune freed nothing")
        bare = self._bare("prune")
        self._held(
            f"{size(before - after)} of space are free again",
            f"{size(before - after)} freed that no snapshot needs any more; {size(after)} are left",
            ended,
            bare,
        )

    def _restore(self) -> None:
        ended = self._step(
            "Restore into a new directory", "restore", JOB, "--target", "restored", "--json", live=True
        )
        self._demand_success(ended, "restore")
        bare = self._bare("restore", "latest", "--target", "bare-restored")
        with self._tell.busy("comparing every byte with the source …"):
            found = self._compare_restored(self._folder / "restored")
        what = "every byte, link, mode, owner and nanosecond equal to the source"
        self._held(
            "restored: every byte and attribute is equal",
            f"{number(found.entries)} entries: {what}",
            ended,
            bare,
        )

    def _compare_restored(self, target: Path) -> Comparison:
        copy = os.fsencode(target) + os.path.realpath(self._tree.root)
        found = compare(self._tree.root, copy)
        if found.differences:
            first = "; ".join(found.differences[:3])
            raise Failure(
                f"the restored tree differs from its source in {len(found.differences)} ways: {first}"
            )
        beside = len(read_tree(os.fsencode(target))) - found.entries
        if beside != len(Path(os.fsdecode(copy)).relative_to(target).parts):
            raise Failure("the restore made more than what was asked for")
        return found

    def _go_through_a_hub(self) -> None:
        """The same job through a hub that serves this very state: an agent does the work, told over HTTP."""
        self._tell.heading("The same through a hub", "highball serve")
        with (
            self._tell.busy("a hub serves; its agent backs up and restores …"),
            ServedHub(self._highball, self._folder / STATE, ACCOUNT, self.password) as hub,
        ):
            begun = time.monotonic()
            step = hub.carry_out({"task": "backup", "job": JOB})["steps"][0]
            seconds = time.monotonic() - begun
            order = {"repository": REPOSITORY, "snapshot": step["snapshot_id"]}
            paths, target = [os.fsdecode(self._tree.root)], self._folder / "by-hub"
            hub.carry_out({"task": "restore", **order, "paths": paths, "target": str(target)})
            listed = [entry["id"] for entry in hub.get(f"repositories/{REPOSITORY}/snapshots")]
        found = self._compare_restored(target)
        files, _ = count_files(self._tree.root)
        if step["files_unmodified"] != files:
            raise Failure(f"{files} files are unchanged, and the hub's backup saw {step['files_unmodified']}")
        if sorted(listed) != sorted([*self._snapshots, step["snapshot_id"]]):
            raise Failure(f"the hub lists {self._short(listed)}")
        self._snapshots.append(step["snapshot_id"])
        self._tell.held(
            Shown(
                "through a hub: equal again",
                f"one more snapshot by the hub's agent, restored: {number(found.entries)} entries equal again",
                seconds,
            )
        )

    def _ask_for_status(self) -> None:
        self._show("Is everything protected, and could it be restored?", "status")
        ended = self._highball.run("status", "--json")
        standing = ended.answer[0]
        lacking = [name for name in ("last_check_at", "last_restore_proof_at") if not standing[name]]
        if standing["state"] != "healthy" or lacking:
            raise Failure(f"status says {standing['state']}, without {' and '.join(lacking) or 'reason'}")
        self._tell.held(
            Shown(
                "protected, checked and proved", "protected, checked, and proved by a restore", ended.seconds
            )
        )

    def tidy(self) -> None:
        """Leave what a hub can go on with: source, repository and state."""
        for name in ONLY_FOR_THE_DEMO:
            path = self._folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    # --- running things ---

    def _step(self, title: str, *arguments: str, live: bool = False) -> Ended:
        """Run Highball; where it has progress to show and there is a terminal, it writes there itself."""
        self._tell.heading(title, " ".join(("highball", *arguments)))
        if live and self._tell.on_terminal:
            return self._highball.run(*arguments, shows_progress=True)
        with self._tell.busy(f"highball {arguments[0]} …"):
            return self._highball.run(*arguments, *(() if "--json" in arguments else ("--json",)))

    def _show(self, title: str, *arguments: str) -> None:
        """Run Highball for what it prints."""
        self._tell.heading(title, " ".join(("highball", *arguments)))
        self._highball.run(*arguments, shows_all=True)

    def _bare(self, *arguments: str) -> Ended:
        with self._tell.busy(f"the same with bare restic: {arguments[0]} …"):
            return self._restic.run(*arguments)

    def _bare_backup(self) -> Ended:
        return self._bare("backup", "--json", "--host", HOST, "--tag", TAGS, "--files-from-raw", "files")

    def _held(self, brief: str, proof: str, ended: Ended, bare: Ended) -> None:
        self._tell.held(Shown(brief, proof, ended.seconds, bare.seconds))

    # --- judging ---

    def _demand_success(self, ended: Ended, what: str) -> dict[str, Any]:
        """The last step of the only run; raises Failure unless all of it is a success."""
        answer = ended.answer
        if answer["outcome"] != "success":
            reasons = [run["reason"]["message"] for run in answer["runs"] if run["reason"]]
            raise Failure(f"{what} ended as {answer['outcome']}: {'; '.join(reasons)}")
        step: dict[str, Any] = answer["runs"][0]["steps"][-1]
        return step

    def _saved(self, ended: Ended) -> dict[str, Any]:
        step = self._demand_success(ended, "run")
        if not step["snapshot_id"]:
            raise Failure("a backup ended as success without a snapshot")
        self._snapshots.append(step["snapshot_id"])
        return step

    @property
    def _newest(self) -> str:
        return self._snapshots[-1][:8]

    @staticmethod
    def _short(snapshots: list[str]) -> str:
        return ", ".join(snapshot[:8] for snapshot in snapshots) or "nothing"


# --- the program ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = _read_options(arguments)
    teller = Teller()
    try:
        folder = _make_folder(options.keep)
    except Failure as failure:
        teller.failed(str(failure))
        return 1
    status = 1
    try:
        status = _shine(folder, teller, options)
    except KeyboardInterrupt:
        teller.failed("interrupted")
        status = 130
    finally:
        if options.keep is None or status != 0:
            shutil.rmtree(folder, ignore_errors=True)
    return status


def _make_folder(kept: Path | None) -> Path:
    """A folder for all of it: a new one, or the one that is kept, in the place of what an earlier demo left."""
    if kept is None:
        return Path(tempfile.mkdtemp(prefix="highball-demo-")).resolve()
    if kept.exists() and any(kept.iterdir()):
        if not (kept / "highball.toml").is_file():
            raise Failure(f"{kept} holds what no demo has made; name another place with --keep")
        if _is_served(kept / STATE):
            raise Failure(f"a hub serves what lies in {kept}; end it first")
        shutil.rmtree(kept)
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    return kept.resolve()


def _is_served(state: Path) -> bool:
    """Whether a hub or its agent is at work there: each holds a lock."""
    return any(FileLock(state / name).is_taken for name in ("highball.db.lock", "agent.lock"))


def _shine(folder: Path, teller: Teller, options: argparse.Namespace) -> int:
    teller.line("Highball: first light", "bold")
    teller.line("Back up, prove, keep, restore: on a tree of its own, beside bare restic.", "dim")
    started = time.monotonic()
    try:
        _demand_space(folder, options.megabytes)
        demo = FirstLight(folder, teller, options.files, options.megabytes)
        teller.line(f"restic {demo.restic_version}; everything happens in {folder}", "dim")
        demo.shine()
    except Failure as failure:
        teller.failed(str(failure))
        return 1
    except OSError as error:
        where = f": {error.filename!r}" if error.filename else ""
        teller.failed(f"the demo could not go on: {error.strerror or error}{where}")
        return 1
    teller.heading("First light")
    teller.table(f"restic {demo.restic_version}")
    teller.line()
    teller.line(
        "restic: the same tree, flags and priority, into a repository of its own, right after Highball.",
        "dim",
    )
    teller.line()
    teller.line(f"✓ All of it held, in {time.monotonic() - started:.0f} s.", "green")
    if options.keep is not None:
        demo.tidy()
        teller.line()
        teller.line(
            f"`make serve` shows it: log in as {ACCOUNT} with the password {demo.password}, or make the next demo.",
        )
    return 0


def _read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="first_light.py", description="Highball's main job, done for real.")
    parser.add_argument("--files", type=int, default=1000, help="how many files to make (default 1000)")
    parser.add_argument("--megabytes", type=int, default=30, help="how large a tree (default 30)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave what a hub can go on with there")
    return parser.parse_args(arguments)


def _demand_space(folder: Path, megabytes: int) -> None:
    needed = (megabytes * 6 + 200) << 20
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(
            f"{folder.parent} has {size(free)} free and the demo needs {size(needed)}; "
            "name another place with --keep or TMPDIR, or make a smaller tree with --megabytes"
        )


if __name__ == "__main__":
    sys.exit(main())
