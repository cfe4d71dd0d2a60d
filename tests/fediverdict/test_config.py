"""The configuration: what is right is read, what is wrong is refused with the right name."""

import tomllib
from pathlib import Path

import pytest
from sqlalchemy import make_url

from fediverdict.config import Config, load_config, setting_names
from fediverdict.errors import ConfigError

ROOT = Path(__file__).parents[2]
FREE_TABLES = {"sources", "pipelines", "rules"}


def write(folder, text):
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_sample_config_holds_every_setting_with_its_default():
    sample = ROOT / "config.sample.toml"
    values = tomllib.loads(sample.read_text())
    assert Config.model_validate(values) == Config()
    optional = {"scanner.architecture", "scanner.weights_sha256", "scanner.weights_folder"}
    optional |= {name for name in setting_names() if name.startswith("scanner.onnx")}
    optional |= {"scanner.shadow.architecture", "scanner.shadow.weights_sha256"}
    for name in set(setting_names()) - optional:
        table = values
        for part in name.split("."):
            assert part in table, f"config.sample.toml lacks {name}"
            table = table[part]
    for name in optional:
        key = name.rpartition(".")[2]
        assert f"# {key} = " in sample.read_text() or f"# [{name}]" in sample.read_text()


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[decide]\nflag_qorum = 1", "decide.flag_quorum"),
        ("[instanse]\nname = 'x'", "instance"),
        ("[peers.defaults]\nclean_wieght = 1", "peers.defaults.clean_weight"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_name(tmp_path, text, nearest):
    with pytest.raises(ConfigError, match=f"unknown key .*; did you mean {nearest}\\?"):
        load_config(write(tmp_path, text), {})


def test_the_environment_overrides_the_file(tmp_path):
    path = write(tmp_path, "[decide]\nflag_quorum = 1")
    overlay = {
        "FEDIVERDICT_DECIDE__FLAG_QUORUM": "1.5",
        "FEDIVERDICT_INSTANCE__NAME": "beta",
        "FEDIVERDICT_FEED__PAGE_ROWS": "7",
        "UNRELATED": "1",
    }
    config = load_config(path, overlay)
    assert (config.decide.flag_quorum, config.instance.name) == (1.5, "beta")
    assert config.feed.page_rows == 7


def test_an_unknown_environment_variable_of_ours_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean decide\.flag_quorum"):
        load_config(write(tmp_path, ""), {"FEDIVERDICT_DECIDE__FLAG_QUORM": "1"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml at all", "is not TOML"),
        ("[decide]\nnear_clean = 'on'", "near_clean"),
        ("[trust]\naudit = 'always'", "audit"),
        ("[decide]\nflag_quorum = -1", "decide.flag_quorum"),
        ("[http]\nport = 70000", "http.port"),
        ("[instance]\nbase_url = 'https://example.org/path'", "base_url"),
        ("[instance]\nbase_url = 'http://example.org'", "https://"),
        ("[pipelines.abc]\nthresholds = {}", "pipelines.abc"),
        ("[sources.x]\npath = '/x'\nshare = 'some'", "sources.x.share"),
        ("[sources.x]\npath = '/x'\nshare = 'public'", "sources.x.share"),
        ("[feed]\nseal_seconds = inf", "feed.seal_seconds"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, text, said):
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text), {})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_private_addresses_are_refused_with_an_https_base_url(tmp_path):
    text = "[instance]\nbase_url='https://a.example'\n[federation]\nallow_private_addresses=true"
    with pytest.raises(ConfigError, match="allow_private_addresses is for tests"):
        load_config(write(tmp_path, text), {})


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path):
    config = load_config(write(tmp_path, "[sources.x]\npath = 'pics'"), {})
    assert config.sources["x"].model_dump()["path"] == tmp_path / "pics"
    assert config.instance.state_dir == tmp_path / "state"
    assert config.database.url == f"sqlite:///{tmp_path}/fediverdict.sqlite3"


def test_a_value_where_a_table_stands_is_refused(tmp_path):
    path = write(tmp_path, "[decide]\nflag_quorum = 1")
    with pytest.raises(ConfigError, match="names a table"):
        load_config(path, {"FEDIVERDICT_DECIDE__FLAG_QUORUM__X": "1"})


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path):
    for name in ("mine.toml", "mine.safetensors", "arch.json"):
        (tmp_path / name).touch()
    text = """
    [scanner]
    policy = "mine.toml"
    model = "mine.safetensors"
    architecture = "arch.json"
    weights_folder = "weights"
    [sources.a]
    path = "pictures"
    """
    config = load_config(write(tmp_path, text), {})
    scanner = config.scanner
    found = (scanner.policy, scanner.model, scanner.architecture, str(scanner.weights_folder))
    names = ("mine.toml", "mine.safetensors", "arch.json", "weights")
    assert found == tuple(str(tmp_path / name) for name in names)
    assert config.sources["a"].model_dump()["path"] == tmp_path / "pictures"


def test_names_of_models_and_policies_are_no_paths(tmp_path):
    text = "[scanner]\npolicy = 'default'\nmodel = 'ViT-B-32/openai'\n"
    for name in ("default", "bundled"):
        (tmp_path / name).touch()
    scanner = load_config(write(tmp_path, text), {}).scanner
    assert (scanner.policy, scanner.model) == ("default", "ViT-B-32/openai")
    assert load_config(write(tmp_path, ""), {}).scanner.model == "bundled"


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
@pytest.mark.parametrize("name", ["with space", "100%25", "ü"])
def test_a_sqlite_file_lies_in_the_folder_of_the_file(tmp_path, scheme, name):
    folder = tmp_path / name
    folder.mkdir()
    path = write(folder, f"[database]\nurl = '{scheme}:///state/x.db'\n")
    url = make_url(load_config(path, {}).database.url)
    assert url.database == str(folder / "state" / "x.db")


@pytest.mark.parametrize("url", ["sqlite://", "nonsense", "postgresql://me:secret@host/x"])
def test_other_urls_are_left_as_they_are(tmp_path, url):
    config = load_config(write(tmp_path, f"[database]\nurl = '{url}'\n"), {})
    assert config.database.url == url
