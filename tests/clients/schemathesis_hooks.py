"""What Schemathesis must know about the API that its description cannot say."""

import random

import schemathesis

# Where a call looks, and how fresh and how selected the answer is. Most random values of these are refused at once.
REFUSED_SOON = ("dc", "datacenter", "partition", "ns", "max_stale", "stale", "consistent", "cached", "filter", "wait")
PLACES = ("X-Consul-Partition", "X-Consul-Namespace")

# What an answer says that means a defect, whatever its status.
OWN_FAULTS = (
    "internal error: the log says more",
    "because of a bug",
    "the data directory cannot be written",
    "the store is closed",
)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Lets most calls get as far as the state, often to a name that is there, and lets none of them wait."""
    chance = random.Random(repr((case.method, case.path, case.query, case.path_parameters)))
    if isinstance(case.query, dict):
        if chance.random() < 0.8:
            for name in REFUSED_SOON:
                case.query.pop(name, None)
        if "index" in case.query or "hash" in case.query:
            case.query["wait"] = "1ms"
    if case.headers and chance.random() < 0.8:
        for name in PLACES:
            case.headers.pop(name, None)
    if isinstance(case.path_parameters, dict) and chance.random() < 0.5:
        for name in case.path_parameters:
            case.path_parameters[name] = "service-defaults" if name == "kind" else "web"


@schemathesis.check
def no_fault_of_its_own(ctx, response, case):
    """Consul's contract answers a broken rule with 500. A panic, or a failure of the store, is something else."""
    for fault in OWN_FAULTS:
        text = response.content.decode("utf-8", "replace")
        assert fault not in text, f"the control plane failed: {text}"
