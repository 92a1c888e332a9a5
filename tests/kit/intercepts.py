"""The status of an intercept, and of a dev session, for tests of what is said about one."""

from ktpy.observe.status import DevStatus, InterceptStatus

EXCHANGE = InterceptStatus(
    kind="exchange",
    reference="web",
    target="web",
    when_local_down="origin",
    owner="al@laptop",
    pid=7,
    server="https://a",
    context="lab",
    namespace="shop",
    state="intercepted",
    uptime_s=0.5,
)

DEVELOPING = DevStatus(
    reference="deployment/web",
    session="5e55",
    pid=7,
    server="https://a",
    context="lab",
    namespace="shop",
    state="ready",
    uptime_s=0.5,
)
