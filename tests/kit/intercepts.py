"""The status of an intercept, for tests of what is said about one."""

from ktpy.observe.status import InterceptStatus

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
