# Turns a flattened network-config (yaml.awk), version 1 or 2, into shell commands. `nics` lists "NAME MAC;" for every card there is.
# A value goes into a command only when it looks like an address, a name or a number.
function safe(s) { return s ~ /^[0-9A-Za-z.:\/_-]+$/ }
function run(words) { print words }
function prefix(mask,    part, i, n, bits) {
  if (mask !~ /\./) return mask
  split(mask, part, "."); bits = 0
  for (i = 1; i <= 4; i++) for (n = part[i]; n > 0; n = n * 2 % 256) bits++
  return bits
}
function address(card, a) { if (safe(a)) run("ip addr add " a " dev " card) }
function route(card, to, via, metric) {
  if (!safe(via)) return
  if (to == "0.0.0.0/0" || to == "::/0" || to == "") to = "default"
  if (safe(to)) run("ip " (via ~ /:/ ? "-6 " : "") "route replace " to " via " via " dev " card (metric ~ /^[0-9]+$/ ? " metric " metric : ""))
}
function server(s) { if (safe(s)) run("echo nameserver " s " >>/run/seed/resolv.conf") }
function card_of(mac, name,    i) {
  mac = tolower(mac)
  for (i = 1; i <= cards; i++) if (mac != "" && card_mac[i] == mac) return card_name[i]
  if (mac != "") return ""
  for (i = 1; i <= cards; i++) if (card_name[i] == name) return name
  return cards == 1 ? card_name[1] : ""
}
function dhcp(card) { run("udhcpc -b -S -t 3 -T 3 -A 20 -i " card " -s /bin/mini-dhcp >/dev/null 2>&1 &") }
function list(base, kind, card,    i) { # kind: what to do with BASE or BASE/0, BASE/1, ...
  if (base in v) each(kind, card, v[base])
  for (i = 0; (base "/" i) in v; i++) each(kind, card, v[base "/" i])
}
function each(kind, card, one) {
  if (kind == "address") address(card, one)
  else if (kind == "server") server(one)
  else if (safe(one)) run("echo search " one " >>/run/seed/resolv.conf")
}
BEGIN {
  FS = "\t"
  cards = split(nics, entry, ";") - 1
  for (i = 1; i <= cards; i++) { split(entry[i], pair, " "); card_name[i] = pair[1]; card_mac[i] = tolower(pair[2]) }
}
{
  sub(/^\/network\//, "/", $1); v[$1] = $2
  if (split($1, step, "/") > 3 && step[2] == "ethernets" && !(step[3] in seen)) { seen[step[3]] = 1; names[++count] = step[3] }
}
END {
  for (i = 1; i <= count; i++) {
    base = "/ethernets/" names[i]; card = card_of(v[base "/match/macaddress"], names[i])
    if (card == "") { run("echo 'network-config: no card for " (safe(names[i]) ? names[i] : "?") "' >/dev/ttyS0"); continue }
    if (v[base "/mtu"] ~ /^[0-9]+$/) run("ip link set " card " mtu " v[base "/mtu"])
    list(base "/addresses", "address", card)
    route(card, "default", v[base "/gateway4"]); route(card, "default", v[base "/gateway6"])
    for (j = 0; (base "/routes/" j "/via") in v; j++) route(card, v[base "/routes/" j "/to"], v[base "/routes/" j "/via"], v[base "/routes/" j "/metric"])
    list(base "/nameservers/addresses", "server", card); list(base "/nameservers/search", "search", card)
    if (v[base "/dhcp4"] ~ /^(true|yes|on)$/) dhcp(card)
  }
  for (i = 0; ("/config/" i "/type") in v; i++) {
    base = "/config/" i; type = v[base "/type"]
    if (type == "nameserver") { list(base "/address", "server", ""); list(base "/search", "search", "") }
    if (type != "physical") continue
    card = card_of(v[base "/mac_address"], v[base "/name"]); if (card == "") continue
    for (j = 0; (base "/subnets/" j "/type") in v; j++) {
      subnet = base "/subnets/" j
      if (v[subnet "/type"] ~ /^dhcp/) { dhcp(card); continue }
      a = v[subnet "/address"]; if (a !~ /\//) a = a "/" prefix(v[subnet "/netmask"] == "" ? "24" : v[subnet "/netmask"])
      address(card, a); route(card, "default", v[subnet "/gateway"]); list(subnet "/dns_nameservers", "server", card)
    }
  }
}
