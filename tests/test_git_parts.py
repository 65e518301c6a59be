"""What a commit has elsewhere: its submodules, and the files that Git LFS keeps beside it."""

import pytest

from support.forge import Forge, git
from support.wire import until
from test_git import HANDLER, REQUIREMENTS, build_of, code, connect, deployed, forge, hook_of, open_yard, says  # noqa: F401

TOKEN = "secret-token-of-a-private-repository"


def small(forge, name, **files):
    """A repository with one commit; the hash."""
    repository = forge.repository(name)
    commit = repository.commit("One", **files)
    repository.push()
    return repository, commit


def test_submodules_are_fetched_and_the_token_stays_at_home(open_yard, tmp_path):
    yard = open_yard
    with Forge(tmp_path / "forge", token=TOKEN) as forge, Forge(tmp_path / "other") as other:
        _, deep = small(forge, "me/deep", word__py='WORD = "deep"\n')
        _, elsewhere = small(other, "you/elsewhere", word__py='WORD = "elsewhere"\n')
        lib = forge.repository("me/lib")
        lib.submodule("deep", "../deep.git", deep)
        inner = lib.commit("Lib", word__py='WORD = "lib"\n')
        lib.push()
        repository = forge.repository("me/app")
        repository.submodule("libs/lib", "../lib.git", inner)
        repository.submodule("elsewhere", f"{other.base}/you/elsewhere.git", elsewhere)
        words = "import libs.lib.word as a, libs.lib.deep.word as b, elsewhere.word as c\n"
        first = repository.commit("First", **code('" + a.WORD + b.WORD + c.WORD + "', before=words))
        repository.push()
        hook = hook_of(connect(yard, repository, "--poll", "off", "--token", TOKEN))
        deployed(yard, first)
        assert says(yard) == "libdeepelsewhere"
        assert other.asked and set(other.signed) == {None}, "another host gets no token"

        # A commit of it that nobody pushed.
        missing = lib.commit("Not pushed", word__py='WORD = "new"\n')
        git(repository.folder, "update-index", "--cacheinfo", f"160000,{missing},libs/lib")
        git(repository.folder, "commit", "--quiet", "-m", "Too early")
        second = git(repository.folder, "rev-parse", "HEAD")
        repository.push()
        hook.push(second)
        why = build_of(yard, second, "failed")["why"]
        assert "'libs/lib'" in why and missing[:8] in why and "pushed" in why, why
        assert says(yard) == "libdeepelsewhere"
        until(lambda: not list((yard.data / "git/work").iterdir()))


def test_only_submodules_of_the_deployed_folder_are_fetched(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    nowhere = "0123456789" * 4
    _, lib = small(forge, "me/lib", word__py='WORD = "lib"\n')
    repository.submodule("other", "../gone.git", nowhere)
    repository.submodule("app/lib", "../lib.git", lib)
    handler = HANDLER.format(before="import lib.word as a", said='" + a.WORD + "')
    first = repository.commit("First", app___handler__py=handler, app___requirements__txt=REQUIREMENTS)
    repository.push()
    connect(yard, repository, "--path", "app", "--poll", "off")
    deployed(yard, first)
    assert says(yard) == "lib"
    connect(yard, repository, "--poll", "off", endpoint="whole")
    assert "'other'" in build_of(yard, first, "failed", endpoint="whole")["why"]


@pytest.mark.parametrize("url, words", [
    ("file:///etc", "only http, https and ssh"), ("ext::sh -c id", "spaces"), ("../../../x", "leads out"),
])
def test_submodules_are_no_way_to_this_machine(open_yard, forge, url, words):
    yard, repository = open_yard, forge.repository()
    repository.submodule("lib", url, "0123456789" * 4)
    first = repository.commit("First", **code("one"))
    repository.push()
    connect(yard, repository, "--poll", "off")
    why = build_of(yard, first, "failed")["why"]
    assert "the submodule 'lib' cannot be fetched" in why and words in why, why


def test_submodules_stay_inside(open_yard, forge, tmp_path):
    yard, repository = open_yard, forge.repository()
    _, lib = small(forge, "me/lib", word__py='WORD = "lib"\n')
    out = tmp_path / "out"
    out.mkdir()
    repository.submodule("lib", "../lib.git", lib)
    git(repository.folder, "config", "--file", ".gitmodules", "submodule.lib.path", "../../../../out")
    first = repository.commit("First", **code("one"))
    repository.push()
    hook = hook_of(connect(yard, repository, "--poll", "off"))
    assert "outside of the repository" in build_of(yard, first, "failed")["why"]
    (repository.folder / ".gitmodules").unlink()
    (repository.folder / ".gitmodules").symlink_to("/etc/passwd")
    second = repository.commit("Second")
    repository.push()
    hook.push(second)
    assert "gitmodulesSymlink" in build_of(yard, second, "failed")["why"]
    (repository.folder / ".gitmodules").unlink()
    (repository.folder / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = lib\n\turl = --upload-pack={out}\n')
    third = repository.commit("Third")
    repository.push()
    hook.push(third)
    assert "gitmodulesUrl" in build_of(yard, third, "failed")["why"]
    assert not list(out.iterdir())


def test_files_of_lfs_are_fetched_or_named(open_yard, forge):
    yard, repository = open_yard, forge.repository()
    weights = bytes(range(256)) * 5000
    pointer = forge.keep(weights)
    size = 'import pathlib\nsize = str(len((pathlib.Path(__file__).parent / "in/weights.bin").read_bytes()))'
    first = repository.commit("First", **code('" + size + "', before=size), in___weights__bin=pointer)
    repository.push()
    hook = hook_of(connect(yard, repository, "--poll", "off"))
    deployed(yard, first)
    assert says(yard) == str(len(weights))
    # One that nobody pushed, and one that the forge spoiled.
    gone = forge.keep(b"gone")
    forge.large.clear()
    second = repository.commit("Second", in___weights__bin=gone)
    repository.push()
    hook.push(second)
    why = build_of(yard, second, "failed")["why"]
    assert "in/weights.bin is only a pointer" in why and "Object does not exist" in why, why
    assert says(yard) == str(len(weights))


def test_a_push_to_the_server_names_the_pointers_that_it_brings(make_yard, forge):
    yard, repository = make_yard().start(), forge.repository()
    yard.cli("endpoints", "create", "app")
    first = repository.commit("First", **code("one"), weights__bin=forge.keep(b"x" * 3000))
    git(repository.folder, "push", "--quiet", f"http://git:{yard.key()}@127.0.0.1:{yard.port}/git/app.git", "main")
    why = build_of(yard, first, "failed")["why"]
    assert "weights.bin is only a pointer" in why and "git connect" in why, why
