/** The guest's readers of NoCloud seeds, run by the same busybox that runs them in the guest. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { must } from "./command.ts";

const GUEST = join(import.meta.dirname, "guest");

async function flatten(text: string): Promise<string> {
  return must(["busybox", "awk", "-f", join(GUEST, "yaml.awk")], { input: text, timeoutMs: 10_000 });
}
async function networkCommands(text: string, nics = "eth0 52:54:00:aa:bb:cc;"): Promise<string[]> {
  const flat = await flatten(text);
  const commands = await must(["busybox", "awk", "-v", `nics=${nics}`, "-f", join(GUEST, "network.awk")], { input: flat, timeoutMs: 10_000 });
  return commands.trim().split("\n");
}

test("cloud-config in YAML: mappings, lists, quotes, blocks, comments, flow collections", async () => {
  const text = `#cloud-config
hostname: web-01
password: "pa\\"ss: #1"
ssh_pwauth: True  # trailing
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3 user@host
users:
- default
- name: ann
  ssh_authorized_keys:
    - ssh-rsa B
- {name: bob, plain_text_passwd: 'it''s'}
write_files:
  - path: /etc/x
    content: |
      line 1
        line 2: x\\y

      end
  - path: /etc/y
    content: >-
      folded
      text
runcmd:
  - echo hi > /run/hi
  - [sh, -c, "echo a b"]
empty:
`;
  assert.deepEqual((await flatten(text)).replace(/\n$/, "").split("\n"), [
    "/hostname\tweb-01",
    '/password\tpa"ss: #1',
    "/ssh_pwauth\tTrue",
    "/ssh_authorized_keys/0\tssh-ed25519 AAAAC3 user@host",
    "/users/0\tdefault",
    "/users/1/name\tann",
    "/users/1/ssh_authorized_keys/0\tssh-rsa B",
    "/users/2/name\tbob",
    "/users/2/plain_text_passwd\tit's",
    "/write_files/0/path\t/etc/x",
    "/write_files/0/content\tline 1\\n  line 2: x\\\\y\\n\\nend\\n",
    "/write_files/1/path\t/etc/y",
    "/write_files/1/content\tfolded text",
    "/runcmd/0\techo hi > /run/hi",
    "/runcmd/1/0\tsh",
    "/runcmd/1/1\t-c",
    "/runcmd/1/2\techo a b",
    "/empty\t",
  ]);
});

test("JSON over several lines is YAML too, and broken text ends", async () => {
  const value = { "instance-id": "i-1", list: ["a, b", { deep: 'q"uote\nx' }], number: 5, flag: true };
  const lines = ["/instance-id\ti-1", "/list/0\ta, b", '/list/1/deep\tq"uote\\nx', "/number\t5", "/flag\ttrue"];
  assert.deepEqual((await flatten(JSON.stringify(value, undefined, 2))).replace(/\n$/, "").split("\n"), lines);
  assert.deepEqual((await flatten(JSON.stringify(value))).replace(/\n$/, "").split("\n"), lines);
  for (const broken of ["{", "[1, {a", 'a: "b', "- - -", "\t: x", "{:}", "a: [}", "]", ":"]) await flatten(broken);
});

test("network-config version 2 becomes addresses, routes and name servers of the card with that MAC address", async () => {
  const text = `version: 2
ethernets:
  id0:
    match:
      macaddress: "52:54:00:AA:bb:cc"
    mtu: 1400
    addresses:
    - 10.92.0.50/24
    - "fd00:92::50/64"
    gateway4: 10.92.0.1
    routes:
      - to: default
        via: fd00:92::1
      - {to: 10.1.0.0/16, via: 10.92.0.9, metric: 5}
    nameservers: {search: [lab.test], addresses: [10.92.0.1, 'fd00::53']}
`;
  const expected = [
    "ip link set eth1 mtu 1400",
    "ip addr add 10.92.0.50/24 dev eth1",
    "ip addr add fd00:92::50/64 dev eth1",
    "ip route replace default via 10.92.0.1 dev eth1",
    "ip -6 route replace default via fd00:92::1 dev eth1",
    "ip route replace 10.1.0.0/16 via 10.92.0.9 dev eth1 metric 5",
    "echo nameserver 10.92.0.1 >>/run/seed/resolv.conf",
    "echo nameserver fd00::53 >>/run/seed/resolv.conf",
    "echo search lab.test >>/run/seed/resolv.conf",
  ];
  const nics = "eth0 52:54:00:00:00:01;eth1 52:54:00:aa:bb:cc;";
  assert.deepEqual(await networkCommands(text, nics), expected);
  assert.deepEqual(await networkCommands(text, "eth0 52:54:00:00:00:01;"), ["echo 'network-config: no card for id0' >/dev/ttyS0"]);
});

test("network-config as JSON under `network`, and version 1 with a netmask", async () => {
  const json = JSON.stringify({ network: { version: 2, ethernets: { eth0: { addresses: ["10.1.1.2/24"], gateway4: "10.1.1.1" } } } });
  assert.deepEqual(await networkCommands(json), ["ip addr add 10.1.1.2/24 dev eth0", "ip route replace default via 10.1.1.1 dev eth0"]);
  const old = `version: 1
config:
  - type: physical
    name: eth0
    mac_address: '52:54:00:aa:bb:cc'
    subnets:
      - type: static
        address: 10.2.0.5
        netmask: 255.255.240.0
        gateway: 10.2.0.1
  - type: nameserver
    address: [9.9.9.9]
`;
  assert.deepEqual(await networkCommands(old), [
    "ip addr add 10.2.0.5/20 dev eth0",
    "ip route replace default via 10.2.0.1 dev eth0",
    "echo nameserver 9.9.9.9 >>/run/seed/resolv.conf",
  ]);
});

test("what is no address never becomes part of a command", async () => {
  const evil = { version: 2, ethernets: { "x;reboot": { addresses: ["1.1.1.1/24; reboot", "$(reboot)"], gateway4: "`reboot`" } } };
  assert.deepEqual(await networkCommands(JSON.stringify(evil)), [""]);
});
