"""Root restores where another user may write: whatever they swap meanwhile, nothing elsewhere is touched.

The swaps happen at fixed points: a stand-in for restic makes them, as that user, before it begins, when the folder in
question appears, or before it says that it has ended.
"""

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from highball.model.run import Outcome
from highball.protocol.tasks import Overwrite
from restore.bench import Bench
from testbed import parts
from testbed.photograph import Photograph
from testbed.restic import ResticBinary
from testbed.unprivileged import Unprivileged

STAND_IN = """#!{python}
import os, signal, subprocess, sys, time
real, folder, swap, moment, argv = {real!r}, {folder!r}, {swap!r}, {moment!r}, sys.argv[1:]
if "restore" not in argv:
    os.execv(real, [real, *argv])
if moment == "before":
    subprocess.run(swap, check=True)
child = subprocess.Popen([real, *argv], close_fds=False)
if moment == "midway":
    while child.poll() is None and not (os.path.isdir(folder) and os.listdir(folder)):
        time.sleep(0)
    if child.returncode is None:
        child.send_signal(signal.SIGSTOP)
        subprocess.run(swap, check=True)
        child.send_signal(signal.SIGCONT)
status = child.wait()
if moment == "after":
    subprocess.run(swap, check=True)
sys.exit(status)
"""

FILES = 100


@dataclass
class Scene:
    """A bench, a tree of nobody's in it, and a folder that nobody must not reach."""

    bench: Bench
    nobody: Unprivileged
    victim: Path
    tree: Path

    def swap(self, moment: str, script: str) -> None:
        """From now on nobody runs this at that moment of each `restic restore`."""
        real = self.bench.binary
        program = self.bench.folder / "restic"
        swap = [os.fspath(part) for part in self.nobody.argv(["/bin/sh", "-ec", script])]
        program.write_text(
            STAND_IN.format(
                python=sys.executable,
                real=str(real.path),
                folder=str(self.tree / "d"),
                swap=swap,
                moment=moment,
            )
        )
        program.chmod(0o755)
        self.bench.binary = ResticBinary(program, real.version)

    def photograph(self) -> Photograph:
        return Photograph.take([os.fsencode(self.victim)])


@pytest.fixture(params=[parts.RESTIC_VERSIONS[0], parts.RESTIC_VERSIONS[-1]])
def scene(request: pytest.FixtureRequest, tmp_path: Path, unprivileged: Unprivileged) -> Scene:
    """`tree/d` of nobody's is saved and then lost; the victim has a file of the same name."""
    bench = Bench(tmp_path / "bench", parts.get_restic(request.param))
    victim, tree = tmp_path / "victim", unprivileged.directory / "tree"
    tmp_path.chmod(0o755)
    victim.mkdir(mode=0o755)
    (tree / "d").mkdir(parents=True)
    for number in range(FILES):
        (tree / "d" / f"f{number}").write_bytes(b"of the snapshot" + os.urandom(30_000))
    (victim / "f1").write_text("precious")
    for folder, _, names in os.walk(tree):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.chown(path, unprivileged.uid, unprivileged.gid)
    bench.back_up(os.fsencode(tree))
    bench.around = [os.fsencode(victim)]
    subprocess.run(["rm", "-r", tree / "d"], check=True)
    return Scene(bench, unprivileged, victim, tree)


SWAPS = [
    ("midway", "mv d away; ln -s {victim} d"),
    ("before", "for s in .highball-restore-*; do mv $s away; ln -s {victim} $s; done"),
    ("after", "for s in .highball-restore-*; do mv $s away; mkdir -p $s/restored/tree/d; done"),
    ("after", "ln -s {victim} d"),
    ("after", "cd ..; mv tree away; ln -s {victim} tree"),
]


@pytest.mark.parametrize(("moment", "script"), SWAPS)
@pytest.mark.parametrize("rule", [Overwrite.ALWAYS, Overwrite.NEVER])
def test_nothing_is_written_elsewhere(scene: Scene, moment: str, script: str, rule: Overwrite) -> None:
    scene.swap(moment, f"cd {scene.tree}; " + script.format(victim=scene.victim, tree=scene.tree))
    before = scene.photograph()
    scene.bench.restore([os.fsencode(scene.tree)], None, rule)
    assert before.differences(scene.photograph(), []) == []


def test_a_path_below_a_link_of_theirs_is_refused(scene: Scene) -> None:
    subprocess.run(scene.nobody.argv(["ln", "-s", scene.victim, scene.tree / "d"]), check=True)
    before = scene.photograph()
    done = scene.bench.restore([os.fsencode(scene.tree / "d" / "f1")], None, Overwrite.ALWAYS)
    assert done.outcome is Outcome.FAILURE
    assert done.reason is not None
    assert done.reason.code == "target_unusable"
    assert "nobody" in done.reason.message
    assert before.differences(scene.photograph(), []) == []


def test_a_target_by_a_link_of_theirs_is_refused(scene: Scene) -> None:
    shared = scene.nobody.directory / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    subprocess.run(scene.nobody.argv(["ln", "-s", scene.victim, shared / "link"]), check=True)
    before = scene.photograph()
    for target in (shared / "link", shared / "link" / "below"):
        done = scene.bench.restore([os.fsencode(scene.tree)], os.fsencode(target))
        assert done.outcome is Outcome.FAILURE
        assert done.reason is not None
        assert done.reason.code == "target_unusable"
    assert before.differences(scene.photograph(), []) == []


def test_a_file_of_root_is_not_handed_over(scene: Scene) -> None:
    saved, secret = scene.tree / "d" / "f1", scene.victim / "secret"
    assert scene.bench.restore([os.fsencode(scene.tree)]).outcome is Outcome.SUCCESS
    seen = saved.stat()
    secret.write_text("x" * seen.st_size)
    secret.chmod(0o600)
    os.utime(secret, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    saved.unlink()
    os.link(secret, saved)  # as somebody who may rename it could have it
    before = scene.photograph()
    scene.bench.around = [os.fsencode(scene.tree)]
    done = scene.bench.restore([os.fsencode(scene.tree)])
    assert done.outcome is Outcome.SUCCESS, done.reason
    assert before.differences(scene.photograph(), []) == []
    assert saved.read_bytes().startswith(b"of the snapshot")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert saved.stat().st_uid == scene.nobody.uid
