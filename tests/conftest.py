"""What tests of several files share."""

from collections import defaultdict

import pytest

from actlab.core.records import Family
from actlab.scoring import evaluator, pool
from actlab.scoring.pool import Pool
from actlab.scoring.sandbox import Sandbox

SPARE: dict[tuple, list[Sandbox]] = defaultdict(list)  # warm and idle, by what they confine
HELD: list[Sandbox] = []  # all that were started, so that none is collected before it is closed


class Lent(Pool):
    """A pool that takes sandboxes which are warm, and leaves its own warm for the next one; they take seconds to start.

    A suite's name in a sandbox is the hash of its data, so that what one pool left there cannot mislead another.
    """

    def _made(self) -> Sandbox:
        spare = SPARE[self.limits.memory, self.without]
        if not spare:
            return super()._made()
        sandbox = spare.pop()
        sandbox.hold(dict(self.data))
        self.sandboxes.append(sandbox)
        return sandbox

    def close(self) -> None:
        with self._lock:
            self._closed, idle = True, self._idle
            self._idle = []
        for sandbox in self.sandboxes:
            if sandbox in idle and sandbox.active:
                SPARE[self.limits.memory, self.without].append(sandbox)
            else:
                sandbox.close()


@pytest.fixture(scope="module", autouse=True)
def no_sandbox_left():
    """Ends what a module's evaluators leave open: a collector of garbage would warn of it in any later test."""
    start = Sandbox.start

    def held(self: Sandbox) -> None:
        if self not in HELD:
            HELD.append(self)
        start(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sandbox, "start", held)
        yield
    for sandbox in [one for one in HELD if not any(one in kind for kind in SPARE.values())]:
        sandbox.close()
        HELD.remove(sandbox)
    pool._pool.cache_clear()  # those of the calls that this process performed


@pytest.fixture
def quick_canaries(monkeypatch):
    """Canaries without numbers: for tests of what is kept, not of whether it still stands."""
    monkeypatch.setattr(Family, "values", lambda self: {})


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A Dask cluster with two workers."""
    pytest.importorskip("distributed")
    from dask_cluster import Cluster

    one = Cluster(tmp_path_factory.mktemp("cluster"))
    yield one
    one.close()


@pytest.fixture(scope="session")
def spare_sandboxes():
    yield
    for sandbox in [one for kind in SPARE.values() for one in kind]:
        sandbox.close()
    SPARE.clear()


@pytest.fixture(scope="module")
def warm_sandboxes(spare_sandboxes):
    """Evaluators of a module share warm sandboxes: for tests of what is done with scores, not of sandboxes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "Pool", Lent)
        yield


@pytest.fixture
def figure_style():
    """The project's style, and no figure left open."""
    import matplotlib.pyplot as plt

    from actlab.report.figures import style

    style.use_style()
    yield
    plt.close("all")
