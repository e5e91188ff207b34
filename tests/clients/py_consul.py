"""py-consul, unmodified, against a running meshgate: register, configure, query, deregister."""

import os

import consul

host, port = os.environ["CONSUL_HTTP_ADDR"].split(":")
c = consul.Consul(host=host, port=int(port))

assert c.status.leader() == f"{host}:{port}"
assert c.agent.self()["Config"]["Datacenter"] == "dc1"

# Register: a service with a check of its own, and a node of the catalog.
assert c.agent.service.register(
    "py-web", service_id="py-web-1", address="10.0.0.8", port=8080, tags=["v1"], check=consul.Check.ttl("60s")
)
assert c.catalog.register("py-node", "10.0.0.9", service={"Service": "py-db", "Port": 5432})
assert c.agent.check.ttl_pass("service:py-web-1", notes="fine")

# Configure: config entries with compare-and-set, and who may call whom.
assert c.config.set("proxy-defaults", "global", {"MeshGateway": {"Mode": "local"}})
assert c.config.set("service-defaults", "py-web", {"Protocol": "http"}, cas=0)
assert not c.config.set("service-defaults", "py-web", {"Protocol": "grpc"}, cas=0)
assert c.config.get("service-defaults", "py-web")["Protocol"] == "http"
assert [entry["Name"] for entry in c.config.list("service-defaults")] == ["py-web"]
assert c.connect.intentions.upsert("py-web", "py-db", action="deny")
assert c.connect.intentions.read("py-web", "py-db")["Action"] == "deny"
assert not c.connect.intentions.check("py-web", "py-db")
assert len(c.connect.ca.roots()["Roots"]) == 1

# Query: health and catalog, and a read that waits for a change.
index, services = c.catalog.services()
assert services["py-web"] == ["v1"] and "py-db" in services
index, rows = c.health.service("py-web", passing=True)
assert [(row["Service"]["ID"], row["Service"]["Port"]) for row in rows] == [("py-web-1", 8080)]
assert c.agent.services()["py-web-1"]["Address"] == "10.0.0.8"
assert c.agent.check.ttl_fail("service:py-web-1")
later, rows = c.health.service("py-web", passing=True, index=index, wait="10s")
assert int(later) > int(index) and rows == []

# Deregister, and nothing is left.
assert c.connect.intentions.delete("py-web", "py-db")
assert c.config.delete("service-defaults", "py-web")
assert c.agent.service.deregister("py-web-1")
assert c.catalog.deregister("py-node")
index, services = c.catalog.services()
assert services == {}, services
print("py-consul: the round is done")
