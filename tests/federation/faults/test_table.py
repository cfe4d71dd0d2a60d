"""Every fault of the table has a test here that bears its name."""

import importlib
import pkgutil

import pytest

import tests.federation.faults as package
from tests.federation.faults.table import FAULTS


def _marked():
    """Return fault -> the tests marked with it, over all modules of this folder."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not module.name.rpartition(".")[2].startswith("test_"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for mark in getattr(value, "pytestmark", ()) if name.startswith("test_") else ():
                if mark.name == "fault":
                    found.setdefault(mark.args[0], []).append(f"{module.name}::{name}")
    return found


@pytest.mark.parametrize(("fault", "where"), FAULTS)
def test_every_fault_known_elsewhere_has_a_test_here(fault, where):
    assert where
    assert _marked().get(fault), f"no test is marked @pytest.mark.fault({fault!r})"


def test_no_test_is_marked_with_a_fault_that_is_none():
    assert set(_marked()) <= {fault for fault, _ in FAULTS}


def test_a_test_of_a_fault_says_where_it_went_wrong():
    for tests in _marked().values():
        for one in tests:
            module, _, name = one.partition("::")
            assert getattr(importlib.import_module(module), name).__doc__, one
