"""What the tests of proposers share."""

import pytest


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """No key and no address of a service is taken from whoever runs the tests."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
