"""`notices` shows what nobody has confirmed yet, whomever it is about."""

import json
from contextlib import closing

from cache.storage.database import Store
from cache.trust.notices import tell
from fediverdict.config import load_config


def told(config, *texts):
    with closing(Store.open(load_config(config).database.url)) as store:
        for text in texts:
            store.write_now(tell, "hot-hash", text, now=1_800_000_000)


def test_a_notice_is_shown_until_it_is_confirmed(run, config):
    told(config, "a code is held")
    for _ in range(2):
        shown = run("notices", config=config)
        assert (shown.code, "hot-hash: a code is held" in shown.out) == (1, True)
    assert run("notices", "--mark-read", config=config).code == 1
    assert run("notices", config=config).code == 0


def test_a_machine_reads_an_object_a_line(run, config):
    told(config, "one", "two")
    lines = run("notices", "--json", config=config).out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["one", "two"]
