# Sourced by demo/tour and tests/compose: the containers of docker-compose.yml, and what to ask them.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose() { "${compose[@]}" "$@"; }

# What docker-compose.yml has.
GATEWAYS=(mgw-dc1-{a,b} mgw-dc2-{a,b} mgw-team-a-{a,b})
ALL_PROXIES=10

steps=0
heading() { printf '\n%s\n' "$*"; }
show() { sed 's/^/        /' <<<"$1"; }
ok() { steps=$((steps + 1)) && printf '  ok    %s\n' "$*"; }
fail() { printf '  FAIL  %s\n' "$*" && exit 1; }

# The containers by the names of their services, and what Compose has put before the names of networks and volumes.
declare -A container
find_containers() {
  local web id service
  web=$(compose ps -q web)
  [ -n "$web" ] || fail "the mesh is not up: ${compose[*]} up -d"
  project=$(docker inspect --format '{{index .Config.Labels "com.docker.compose.project"}}' "$web")
  while read -r id service; do container[$service]=$id; done < <(
    docker ps -a --filter "label=com.docker.compose.project=$project" \
      --format '{{.ID}} {{.Label "com.docker.compose.service"}}')
}

# Runs a command in the container of a service.
in_service() { local service=$1 && shift && docker exec -i "${container[$service]}" "$@"; }
# A command of meshgate where the control plane runs.
mesh() { in_service control meshgate "$@"; }
# An answer of the control plane.
ask() { in_service control meshgate demo call "http://127.0.0.1:8500$1"; }
# The gateways of one side whose health checks pass: passing_gateways dc1 team-a.
passing_gateways() {
  ask "/v1/health/service/mesh-gateway?passing&dc=$1&partition=${2:-default}" | grep -o '"Kind":"mesh-gateway"' | wc -l
}
# Proxies that have a stream open and reported no problem.
connected_proxies() { ask /v1/meshgate/proxies | grep -o '"Problems":\[\],"Streams":1' | wc -l; }
# What the control plane says about everything, on one screen; fails unless nothing is wrong and every proxy has what it should.
all_is_well() {
  screen=$(mesh status)
  grep -q 'all good$' <<<"$screen" && grep -q "  $ALL_PROXIES synced   0 behind" <<<"$screen"
}
# Bytes that a gateway has had from callers; its health checks send none.
received() {
  in_service "$1" meshgate demo call \
    "http://127.0.0.1:19000/stats?filter=%5Etcp.mesh_gateway_.*downstream_cx_rx_bytes_total" |
    awk '{ sum += $2 } END { printf "%d\n", sum }'
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local limit=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "$what did not come true within $limit s"
    sleep 0.3
  done
}
is() { [ "$("${@:2}")" = "$1" ]; }

# What the client `load` has said: one line a second on standard output, each failure on standard error.
load_output() { docker logs "${container[load]}" 2>/dev/null; }
load_errors() { docker logs "${container[load]}" 2>&1 >/dev/null; }
load_has_more_lines_than() { [ "$(load_output | wc -l)" -gt "$1" ]; }

# under_load WHAT ALLOWED COMMAND...: runs the command while the client sends, and counts what it lost. Requests that were under
# way on a process that is killed may be lost; ALLOWED says how many there can be. No other may.
under_load() {
  local what=$1 allowed=$2 lines errors counted lost others
  shift 2
  lines=$(load_output | wc -l)
  errors=$(load_errors | wc -l)
  "$@"
  # Two more lines: what was under way when the command ended has been counted by the second one.
  wait_for 60 "a report of the client" load_has_more_lines_than $(($(load_output | wc -l) + 1))
  counted=$(load_output | tail -n "+$lines" | awk '
    NR == 1 { sent = $1; failed = $3 }
    NR > 1 && $6 > slowest { slowest = $6 }
    END { printf "%d %d %d", $1 - sent, $3 - failed, slowest }')
  read -r sent lost slowest <<<"$counted"
  [ "$sent" -gt 0 ] || fail "$what: the client sent nothing"
  others=$(load_errors | tail -n "+$((errors + 1))" | grep -v 'connection termination$' || true)
  [ -z "$others" ] || fail "$what: lost requests that were not under way on a killed process:"$'\n'"$others"
  [ "$lost" -le "$allowed" ] || fail "$what: $sent requests, $lost lost, of at most $allowed that can have been under way"
  ok "$what: $sent requests, $lost lost, slowest answer $slowest ms"
}
# The requests that can be under way on one gateway: every worker of the client has one at a time.
UNDER_WAY=6

kill_gateway() {
  local name=$1 datacenter=$2 partition=${3:-default}
  docker kill "${container[$name]}" >/dev/null
  wait_for 20 "the end of $name in the catalog" is 1 passing_gateways "$datacenter" "$partition"
}
start_gateway() {
  local name=$1 datacenter=$2 partition=${3:-default}
  docker start "${container[$name]}" >/dev/null
  wait_for 60 "the start of $name" in_service "$name" meshgate ready -envoy 127.0.0.1:19000
  wait_for 20 "the passing check of $name" is 2 passing_gateways "$datacenter" "$partition"
}
