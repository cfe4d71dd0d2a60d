"""Bad input ends with one clear sentence and exit code 2 or 3, never with a traceback."""

import os
import socket

import pytest
from sqlalchemy import create_engine, text

NOBODY = 65_534


def is_one_sentence(ended, code, *words):
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    for word in words:
        assert word in ended.err


def test_no_config_at_all(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    is_one_sentence(run("serve"), 2, "config.toml", "fediverdict init")


def test_a_wrong_config_key(run, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[decide]\nclean_qorum = 1\n")
    is_one_sentence(run("serve", config=path), 2, "did you mean decide.clean_quorum")


def test_a_folder_that_does_not_exist(run, config):
    is_one_sentence(run("scan", "/no/such/folder", config=config), 2, "/no/such/folder")


def test_a_source_that_is_a_file(run, config):
    is_one_sentence(run("scan", config, config=config), 2, "folder")
    is_one_sentence(run("scan", "", config=config), 2, "SOURCE is empty")


def test_a_folder_in_the_place_of_a_picture(run, config, tmp_path):
    is_one_sentence(run("lookup", tmp_path, config=config), 2, "is no file", "scan")


def test_a_state_folder_that_cannot_be_made(run, config):
    config.write_text(config.read_text() + "[instance]\nstate_dir = '/proc/none'\n")
    is_one_sentence(run("serve", config=config), 3, "/proc/none")


def test_an_option_that_an_existing_config_would_swallow(run, config):
    for option in (["--port", "9999"], ["--base-url", "https://a.example"], ["--base-url", ""]):
        is_one_sentence(run("init", *option, config=config), 2, "exists already")


def test_a_wrong_environment_variable_is_named(run, config, monkeypatch):
    monkeypatch.setenv("FEDIVERDICT_FOO", "1")
    is_one_sentence(run("peers", "list", config=config), 2, "FEDIVERDICT_FOO")


def test_a_feed_that_is_not_followed(run, config):
    ended = run("peers", "unfollow", "clean@example.org", config=config)
    is_one_sentence(ended, 2, "clean@example.org", "peers list")


def test_files_that_are_no_pictures_are_counted_and_not_listed(run, config, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.jpg").write_text("no picture either")
    (folder / "link.jpg").symlink_to(folder / "broken.jpg")
    ended = run("scan", folder, config=config)
    assert "notes.txt" not in ended.out
    assert "broken.jpg" in ended.out
    assert "1 no-picture" in ended.out
    assert "link.jpg is a link and was left out" in ended.err


def test_a_file_that_does_not_exist(run, config):
    is_one_sentence(run("lookup", "/no/such.jpg", config=config), 2, "/no/such.jpg")


def test_a_handle_that_is_none(run, config):
    for handle in ("not a handle", "@", "clean@", "clean@host@host", "http//x"):
        is_one_sentence(run("peers", "follow", handle, "--yes", config=config), 2, "handle")


def test_a_peer_that_is_not_known(run, config):
    is_one_sentence(run("peers", "trust", "example.org", "--clean", "1", config=config), 2, "peer")


def test_a_weight_out_of_range(run, config):
    ended = run("peers", "trust", "example.org", "--clean", "7", config=config)
    assert ended.code == 2
    assert "0<=x<=1" in ended.err


def test_a_follower_that_is_not_known(run, config):
    is_one_sentence(run("followers", "approve", "example.org", config=config), 2, "example.org")


def test_a_token_name_that_is_taken(run, config):
    is_one_sentence(run("tokens", "create", "admin", "--scope", "scan", config=config), 3, "admin")


def test_a_database_that_was_never_made(run, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f"[database]\nurl = 'sqlite:///{tmp_path}/state/none.sqlite3'\n")
    assert run("peers", "list", config=path).code == 3


def test_a_database_of_a_newer_version(run, config, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/fediverdict.sqlite3")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for command in (["serve"], ["peers", "list"], ["scan", str(tmp_path)], ["init"]):
        is_one_sentence(run(*command, config=config), 3, "newer")


def test_a_database_that_is_no_database(run, tmp_path):
    (tmp_path / "fediverdict.sqlite3").write_text("this is not a database at all")
    path = tmp_path / "config.toml"
    path.write_text("")
    is_one_sentence(run("peers", "list", config=path), 3, "database")


def test_a_port_in_use(run, config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(config.read_text() + f"[http]\nport = {port}\n")
        is_one_sentence(run("serve", config=config), 3, f"127.0.0.1:{port}", "http.port")


def test_scanning_what_nothing_can_scan_says_unknown(run, config, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    ended = run("scan", tmp_path / "pictures", config=config)
    assert ended.code == 0
    assert "undecodable" in ended.out
    assert "1 pictures" in ended.out


@pytest.fixture
def as_nobody(config, tmp_path, run):
    """Become somebody who may read the instance's folder, but not what root closed."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    run("peers", "list", config=config)  # imports what it needs while that is allowed
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    for path in (tmp_path, tmp_path / "state", *tmp_path.glob("fediverdict.sqlite3*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def test_a_folder_without_permission(run, config, tmp_path, request):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    request.getfixturevalue("as_nobody")
    is_one_sentence(run("scan", closed, config=config), 3, "permission", str(closed))


def test_a_database_without_permission(run, config, tmp_path, request):
    request.getfixturevalue("as_nobody")
    os.seteuid(0)
    os.chown(tmp_path / "fediverdict.sqlite3", 0, 0)
    os.seteuid(NOBODY)
    is_one_sentence(run("peers", "list", config=config), 3, "database")


def test_a_config_without_permission(run, config, request):
    config.chmod(0o600)
    request.getfixturevalue("as_nobody")
    is_one_sentence(run("peers", "list", config=config), 2, "cannot read", str(config))


SURROGATE = "\udcff"  # how a byte that is no UTF-8 arrives in an argument


def test_words_that_are_no_text(run, config):
    for words in (
        ["tokens", "create", SURROGATE, "--scope", "scan"],
        ["tokens", "revoke", SURROGATE],
        ["followers", "approve", SURROGATE],
        ["peers", "trust", SURROGATE, "--clean", "1"],
        ["peers", "follow", f"clean@{SURROGATE}", "--yes"],
        ["lookup", SURROGATE],
        ["scan", SURROGATE],
    ):
        is_one_sentence(run(*words, config=config), 2)


def test_a_home_that_nobody_has(run, config):
    is_one_sentence(run("scan", "~nobody-of-this-name/x", config=config), 2, "home")
    config.write_text("[instance]\nstate_dir = '~nobody-of-this-name/x'\n")
    is_one_sentence(run("serve", config=config), 2, "home")


def test_a_host_that_is_none(run, config):
    for host, code in (("a" * 300, 2), ("no host", 3)):
        config.write_text(f"[scanner]\nenabled = false\n[http]\nhost = '{host}'\n")
        is_one_sentence(run("serve", config=config), code, "http.")


def test_a_weight_that_is_no_number(run, config):
    ended = run("peers", "trust", "example.org", "--clean", "nan", config=config)
    assert ended.code == 2
    assert "nan is no weight" in ended.err


def test_a_value_nested_without_end(run, config, monkeypatch):
    monkeypatch.setenv("FEDIVERDICT_INSTANCE__NAME", "[" * 5_000)
    assert run("peers", "list", config=config).code == 0
    config.write_text("x = " + "[" * 5_000)
    is_one_sentence(run("peers", "list", config=config), 2, "TOML")


def test_a_label_that_the_policy_lacks(run, config):
    words = ("peers", "trust", "example.org", "--clean", "1", "--label", "test-patern")
    is_one_sentence(run(*words, config=config), 2, "test-patern", "test-pattern")


def test_a_rule_whose_name_peers_would_refuse(run, config, tmp_path):
    config.write_text("[scanner]\nenabled = false\n[rules]\n'My Rule' = 'test-pattern'\n")
    is_one_sentence(run("scan", tmp_path, config=config), 2, "'My Rule'")


def test_a_wrong_base_url_leaves_no_config_behind(run, tmp_path):
    path = tmp_path / "new" / "config.toml"
    for url in ("verdict.example.org", "https://[x", "https://a/b", 'https://a"b', "http://a.org"):
        is_one_sentence(run("init", "--base-url", url, config=path), 2)
        assert not path.exists()
    assert run("init", "--base-url", "https://verdict.example.org", config=path).code == 0


def test_names_with_escape_sequences_reach_the_terminal_harmless(run, config, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    hostile = folder / "a\x1b[2J\nclean\u202egnp.png"
    hostile.write_bytes(b"no picture")
    ends = [
        run("scan", folder, config=config),
        run("lookup", hostile, config=config),
        run("explain", hostile, config=config),
        run("lookup", f"{hostile}.gone", config=config),
    ]
    for ended in ends:
        said = ended.out + ended.err
        assert r"\x1b[2J" in said
        assert "\x1b" not in said
        assert "\u202e" not in said


def test_what_the_system_refuses_is_a_sentence(run, config, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fediverdict.cli.context.open_store", refuse)
    is_one_sentence(run("peers", "list", config=config), 3, "No space left")
