"""The settings of sources: each kind has its own, secrets stay secret, all are documented."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from fediverdict.config import load_config
from fediverdict.errors import ConfigError
from scanner.errors import SourceError
from scanner.sources.open import open_source
from scanner.sources.settings import (
    KINDS,
    FolderSettings,
    PictrsSettings,
    S3Settings,
    SftpSettings,
    SourceSettings,
)

ROOT = Path(__file__).parents[3]
adapter = TypeAdapter(SourceSettings)
KEY = "SHA256:" + "A" * 43
WHOLE = {
    "folder": {"path": "pics"},
    "s3": {"kind": "s3", "bucket": "media", "endpoint": "https://s3.example"},
    "sftp": {"kind": "sftp", "host": "h", "user": "u", "password": "secret", "host_key": KEY},
    "pict-rs": {"kind": "pict-rs", "url": "https://pictrs.example", "token": "secret"},
}


def parsed(kind, **given):
    return adapter.validate_python({**WHOLE[kind], **given})


def test_a_table_without_a_kind_is_a_folder_as_before():
    assert parsed("folder", share="all") == FolderSettings(path=Path("pics"), share="all")


def test_each_kind_has_its_own_settings():
    kinds = {kind: type(parsed(kind)) for kind in KINDS}
    assert kinds == {
        "folder": FolderSettings,
        "s3": S3Settings,
        "sftp": SftpSettings,
        "pict-rs": PictrsSettings,
    }


def test_every_setting_of_every_kind_stands_in_the_sample_with_its_default():
    sample = (ROOT / "config.sample.toml").read_text()
    lines = sample[sample.index("[sources]") : sample.index("[pipelines]")].splitlines()[1:]
    tables = tomllib.loads("\n".join(line.removeprefix("# ").removeprefix("#") for line in lines))
    found = {table["kind"]: table for table in tables["sources"].values()}
    shown = {name for table in found.values() for name in table}
    for kind in KINDS:
        model = type(parsed(kind))
        assert set(model.model_fields) <= shown, kind
        for name, value in found[kind].items():
            default = model.model_fields[name].default
            if default is not None and not model.model_fields[name].is_required():
                assert value == default, name


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("kind = 'ftp'\npath = 'x'", "sources.x: kind must be folder, s3, sftp or pict-rs"),
        ("kind = 3\npath = 'x'", "sources.x: kind must be folder"),
        ("kind = 's3'", "sources.x.bucket: "),
        ("kind = 's3'\nbucket = 'a/b'", "sources.x.bucket: "),
        ("kind = 's3'\nbucket = 'media'\nendpoint = 'http://s3.example'", "allow_http = true"),
        ("kind = 's3'\nbucket = 'media'\nendpoint = 'https://id:very-secret@h'", "credentials"),
        ("kind = 's3'\nbucket = 'media'\naccess_key_id = 'id'", "belong together"),
        ("kind = 's3'\nbucket = 'media'\npath = 'x'", "unknown key sources.x.path"),
        ("kind = 'sftp'\nhost = 'h'\nuser = 'u'\nagent = true", "host_key and known_hosts"),
        (f"kind = 'sftp'\nhost = 'h'\nuser = 'u'\nhost_key = '{KEY}'", "key_file, password or"),
        ("kind = 'sftp'\nhost = 'h'\nuser = 'u'\nhost_key = 'MD5:aa'", "sources.x.host_key"),
        ("kind = 'pict-rs'\nurl = 'http://pictrs:8080'\ntoken = 't'", "allow_http = true"),
        ("kind = 'pict-rs'\nurl = 'https://h/?a=very-secret'\ntoken = 't'", "without a query"),
        ("kind = 'pict-rs'\nurl = 'https://[::1'\ntoken = 't'", "is no URL"),
        ("kind = 'pict-rs'\nurl = 'https://h:99999'\ntoken = 't'", "is no URL"),
        ("kind = 'pict-rs'\nurl = 'https://h'\ntoken = 12345", "put it in double quotes"),
        ("path = 'x'\npage_items = 0", "sources.x.page_items"),
        ("path = 'x'\npoll_seconds = inf", "sources.x.poll_seconds"),
        ("path = 'x'\nshare = 'public'", "sources.x.share"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_without_a_secret(tmp_path, table, said):
    path = tmp_path / "config.toml"
    path.write_text(f"[sources.x]\n{table}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path, {})
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    for secret in ("very-secret", "12345"):
        assert secret not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost", "[::1]:9000", "127.9.9.9"])
def test_loopback_needs_no_tls(host):
    assert parsed("s3", endpoint=f"http://{host}")
    assert parsed("pict-rs", url=f"http://{host}")


@pytest.mark.parametrize("host", ["127.0.0.1.example", "localhost.example", "10.0.0.1", "[::2]"])
def test_what_only_looks_like_loopback_does(host):
    with pytest.raises(ValidationError, match="allow_http"):
        parsed("s3", endpoint=f"http://{host}")
    assert parsed("s3", endpoint=f"http://{host}", allow_http=True)


def test_secrets_come_from_the_environment_and_are_shown_by_nothing(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[sources.store]\nkind = 's3'\nbucket = 'media'\naccess_key_id = 'id-value'\n")
    config = load_config(path, {"FEDIVERDICT_SOURCES__STORE__SECRET_ACCESS_KEY": "very-secret"})
    settings = config.sources["store"]
    assert isinstance(settings, S3Settings)
    assert settings.secret_access_key is not None
    assert settings.secret_access_key.get_secret_value() == "very-secret"
    for text in (repr(config), str(settings), open_source(settings).location):
        assert "very-secret" not in text
        assert "id-value" not in text


def test_paths_on_this_machine_are_taken_from_the_folder_of_the_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        "[sources.server]\nkind = 'sftp'\nhost = 'h'\nuser = 'u'\npath = 'there'\n"
        "known_hosts = 'hosts'\nkey_file = 'keys/id'\n"
    )
    settings = load_config(path, {}).sources["server"]
    assert isinstance(settings, SftpSettings)
    assert settings.known_hosts == tmp_path / "hosts"
    assert settings.key_file == tmp_path / "keys" / "id"
    assert settings.path == "there"  # on the server


@pytest.mark.parametrize(("kind", "client"), [("s3", "obstore"), ("sftp", "asyncssh")])
def test_a_missing_client_is_named_with_the_extra_to_install(monkeypatch, kind, client):
    monkeypatch.setitem(sys.modules, client, None)
    for module in ("s3", "sftp", "sftp_session"):
        monkeypatch.delitem(sys.modules, f"scanner.sources.{module}", raising=False)
    with pytest.raises(SourceError, match=rf"needs {client}: pip install 'fediverdict\[{kind}\]'"):
        open_source(parsed(kind, **({"anonymous": True} if kind == "s3" else {})))


def test_reading_the_settings_loads_no_client():
    heavy = ("obstore", "asyncssh", "aiohttp", "asyncinotify", "numpy")
    code = (
        "import sys; import scanner.sources.settings, scanner.sources.open; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
