/** The shell scripts and systemd units of `packaging/`: their pieces, by a real POSIX shell. The whole of it runs in e2e/join.lab.test.ts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

const packaging = join(import.meta.dirname, "../packaging");
const scratch = mkdtempSync(join(tmpdir(), "sheaf-packaging-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

const read = (name: string): string => readFileSync(join(packaging, name), "utf8");
const scripts = readdirSync(packaging, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".sh"));
const units = ["agent/sheaf-agent.service", "agent/sheaf-pulse.service", "server/sheaf-server.service"];

const certificate = `-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIURPO0b44qWifyUuZURw+8musKYYAwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2l0ZTAgFw0yNjExMjcxOTUwNDVaGA8yMTI2MTEwMzE5NTA0
NVowDzENMAsGA1UEAwwEc2l0ZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH+J
NpjR6a8m5PAKGDylL/C9b2wEyIjQ+1vVks3gRsNXRfKvOnRIIn7yZuH1NpnGfoya
IBrtBtKz4n4SRpN280yjUzBRMB0GA1UdDgQWBBS2hhKR80LTDBtAGd1P2xMFVE2q
zzAfBgNVHSMEGDAWgBS2hhKR80LTDBtAGd1P2xMFVE2qzzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIGqoGv+Zte4/Iv+n0F+UaL3z4/+ixPNCsPto
yDWujqcjAiA3Rih57Vla9S+TmYpG4Ui6pWf1M3KYXMy+y0Svb6MC0Q==
-----END CERTIFICATE-----
`;

/** Runs lines with the functions of join.sh, which then does not start by itself. */
function joinShell(lines: string, environment: Record<string, string> = {}) {
  const functions = read("join.sh").replace(/^main "\$@"\n$/m, "");
  const result = spawnSync("/bin/sh", ["-c", `${functions}\n${lines}`], {
    encoding: "utf8",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...environment },
  });
  return { code: result.status, out: result.stdout, error: result.stderr };
}

/** A folder with programs that only say that they were called. */
function bin(programs: Record<string, string>): string {
  const folder = mkdtempSync(join(scratch, "bin-"));
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  return folder;
}

function file(text: string): string {
  const path = join(mkdtempSync(join(scratch, "file-")), "file");
  writeFileSync(path, text);
  return path;
}

describe("every script", () => {
  for (const name of scripts) {
    test(`${name} is read by a POSIX shell, and does nothing when its end is missing`, () => {
      assert.match(read(name), /\nmain "\$@"\n(exit\n)?$/);
      assert.equal(spawnSync("/bin/sh", ["-n", join(packaging, name)]).status, 0);
      const cut = read(name).replace(/main "\$@"\n(exit\n)?$/, "");
      const { status, stdout, stderr } = spawnSync("/bin/sh", ["-c", cut], { encoding: "utf8" });
      assert.deepEqual([status, stdout, stderr], [0, "", ""]);
    });
  }
});

describe("join.sh", () => {
  const whole = "--server https://s:7443 --token t --fingerprint sha256:AB --agent linux-x64=11";

  test("takes its words, also an address of IPv6, and refuses what a shell could read", () => {
    const { code, out } = joinShell(
      `parse_words ${whole} --address fd00::1 --server 'https://[fd00::2]:7443'; echo "$server $token $fingerprint$agents $address $packages"`,
    );
    assert.deepEqual([code, out], [0, "https://[fd00::2]:7443 t ab linux-x64=11 fd00::1 yes\n"]);
    for (const words of [
      `${whole} --name 'a;b'`,
      `${whole} --name 'a b'`,
      `${whole} --name '$(id)'`,
      `${whole} --token`,
      `${whole} --other x`,
      "--server http://s",
      "--server https://s",
    ])
      assert.equal(joinShell(`parse_words ${words}`).code, 2, words);
  });

  test("knows its platforms, and only those", () => {
    assert.equal(joinShell("platform_of x86_64; platform_of aarch64").out, "linux-x64\nlinux-arm64\n");
    const { code, error } = joinShell("platform_of riscv64");
    assert.equal(code, 4);
    assert.match(error, /no agent for the architecture riscv64/);
  });

  test("takes the digest of its own platform", () => {
    assert.equal(joinShell("pinned_archive linux-arm64 ' linux-x64=11 linux-arm64=22'").out, "22\n");
    assert.equal(joinShell("pinned_archive linux-arm64 ' linux-x64=11'").code, 4);
  });

  test("tells a certificate's fingerprint as TLS programs do", () => {
    const told = new X509Certificate(certificate).fingerprint256.replaceAll(":", "").toLowerCase();
    assert.equal(joinShell(`fingerprint_of ${file(certificate)}`).out.trim(), told);
    const identity = file(JSON.stringify({ hostId: "h", certificate: "other", privateKey: "key", authority: certificate }));
    assert.equal(joinShell(`fingerprint_of_site ${identity}`).out.trim(), told);
  });

  test("believes only the authority and the archive that the line names", () => {
    const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
    const own = new X509Certificate(certificate).fingerprint256.replaceAll(":", "").toLowerCase();
    // What the network sends, to the place that curl is told.
    const fetched = (sent: string, lines: string, curl = `while [ "$1" != --output ]; do shift; done; /bin/cat ${file(sent)} >"$2"`) =>
      joinShell(`PATH=${bin({ curl })}:$PATH; scratch=${mkdtempSync(join(scratch, "s-"))} server=https://s platform=linux-x64; ${lines}`);
    assert.equal(fetched(certificate, `fingerprint=${own}; fetch_authority`).code, 0);
    assert.equal(fetched("archive", `wanted=${digest("archive")}; fetch_agent`).code, 0);
    for (const [sent, lines] of [
      [certificate, `fingerprint=${"0".repeat(64)}; fetch_authority`],
      ["", `fingerprint=${own}; fetch_authority`],
      ["archivf", `wanted=${digest("archive")}; fetch_agent`],
    ] as const) {
      const { code, error } = fetched(sent, lines);
      assert.equal(code, 4, lines);
      assert.match(error, /not the one this line is for[^]*Nothing was installed/);
    }
    const unreachable = fetched("", `fingerprint=${own}; fetch_authority`, "exit 7");
    assert.equal(unreachable.code, 6);
    assert.match(unreachable.error, /https:\/\/s cannot be reached[^]*run the same line again/);
  });

  test("knows Debian and what comes of it", () => {
    const isDebian = (text: string): boolean => joinShell(`is_debian ${file(text)}`).code === 0;
    assert.ok(isDebian('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'));
    assert.ok(isDebian("ID=ubuntu\nID_LIKE=debian\n"));
    assert.ok(isDebian('ID=linuxmint\nID_LIKE="ubuntu debian"\n'));
    assert.ok(!isDebian('ID="rocky"\nID_LIKE="rhel centos fedora"\n'));
    assert.ok(!isDebian(""));
  });

  test("without a way to install what is missing it says what that is", () => {
    const nothing = `PATH=${bin({ sed: 'exec /bin/sed "$@"', tr: 'exec /usr/bin/tr "$@"' })}`;
    const { code, error } = joinShell(`platform=linux-x64 packages=no; ${nothing}; check_distribution`);
    assert.equal(code, 4);
    assert.match(error, /--no-packages was given: libvirtd qemu-img ip qemu-system-x86_64\.\n.*Install libvirt/);
    const everything = bin({ libvirtd: "", "qemu-img": "", ip: "", "qemu-system-aarch64": "" });
    assert.equal(joinShell(`platform=linux-arm64 packages=no; PATH=${everything}; check_distribution`).code, 0);
  });

  test("installs by apt what `npm start` would, and more, and only where something is missing", () => {
    const calls = file("");
    const tools = bin({
      "apt-get": `echo "$*" >>${calls}; printf '#!/bin/sh\\n' >$HOME/libvirtd; /bin/chmod +x $HOME/libvirtd`,
      ip: "",
      "qemu-img": "",
      "qemu-system-x86_64": "",
    });
    const made = bin({});
    const lines = `platform=linux-x64 scratch=${scratch}; PATH=${tools}:${made}; install_packages; install_packages`;
    const { code, error } = joinShell(lines, { HOME: made });
    assert.equal(code, 0, error);
    assert.match(error, /missing: libvirtd\)/);
    const [update, install, ...more] = readFileSync(calls, "utf8").trim().split("\n");
    assert.match(update ?? "", / update$/);
    assert.deepEqual(more, []);
    const packages = (install ?? "").split("--no-install-recommends ")[1]?.split(" ") ?? [];
    const groups = JSON.parse(readFileSync(join(import.meta.dirname, "system-packages.json"), "utf8")) as { host: string[] }; // the table beside this file
    // Those of the server, and what libvirt-daemon-system brings.
    const others = ["libvirt-daemon", "ipmitool", "openssl", "xorriso", "xz-utils", "openssh-client"];
    assert.deepEqual(
      groups.host.filter((name) => !others.includes(name) && !packages.includes(name)),
      [],
    );
  });

  test("a failed installation shows what apt said, and the next step", () => {
    const tools = bin({ "apt-get": "echo 'E: no network'; exit 100", tail: 'exec /usr/bin/tail "$@"' });
    const { code, error } = joinShell(`platform=linux-x64 scratch=${scratch}; PATH=${tools}; install_packages`);
    assert.equal(code, 1);
    assert.match(error, /E: no network\n.*could not be installed\.\n.*run the same line again/);
  });
});

test("uninstalling takes away only certificates of the own site", () => {
  const functions = read("uninstall-agent.sh").replace(/^main "\$@"\n$/m, "");
  const words = [certificate, JSON.stringify({ certificate: "other", authority: certificate }), JSON.stringify({ authority: "other" })];
  const calls = words.map((text) => `certificate_in ${file(text)}; echo`).join("\n");
  const [pem, identity, other] = spawnSync("/bin/sh", ["-c", `${functions}\n${calls}`], { encoding: "utf8" }).stdout.split("\n");
  assert.ok(pem !== undefined && pem.length > 100);
  assert.equal(identity, pem);
  assert.equal(other, "other");
});

describe("units", () => {
  const entries = (name: string): Map<string, string> =>
    new Map(
      read(name)
        .split("\n")
        .filter((line) => /^[A-Z][A-Za-z]+=/.test(line))
        .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );

  for (const name of units) {
    test(`${name}: every line is a section, a comment or a setting`, () => {
      for (const line of read(name).split("\n")) assert.match(line, /^(|#.*|\[(Unit|Service|Install)\]|[A-Z][A-Za-z]+=.*)$/);
    });

    test(`${name} holds the program in, and is started again for as long as it takes`, () => {
      const unit = entries(name);
      for (const key of [
        "NoNewPrivileges",
        "PrivateTmp",
        "ProtectHome",
        "ProtectKernelModules",
        "ProtectControlGroups",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
      ])
        assert.equal(unit.get(key), "yes", key);
      // The pulse holds the host's watchdog: of all devices it may open these.
      const devices = [unit.get("PrivateDevices"), unit.get("DevicePolicy"), unit.get("DeviceAllow")];
      assert.deepEqual(devices, name === "agent/sheaf-pulse.service" ? [undefined, "closed", "char-watchdog rw"] : ["yes", undefined, undefined]);
      assert.ok(unit.has("CapabilityBoundingSet") && unit.has("SystemCallFilter") && unit.has("RestrictAddressFamilies"));
      assert.equal(unit.get("Restart"), "always");
      assert.equal(unit.get("StartLimitIntervalSec"), "0");
      // V8 compiles at run time: it would not start.
      assert.ok(!unit.has("MemoryDenyWriteExecute"));
      // Nothing that would end it together with libvirtd.
      for (const key of ["Requires", "BindsTo", "PartOf"]) assert.ok(!unit.has(key), key);
    });
  }

  test("systemd, where it is here, finds nothing wrong with them", () => {
    // A container without it has the tests above.
    if (spawnSync("systemd-analyze", ["--version"]).error) return;
    for (const name of units) {
      // Programs that are not installed here, and settings that join.sh fills in, aside.
      const text = read(name).replace(/^ExecStart=\S+/m, "ExecStart=/bin/true");
      const folder = mkdtempSync(join(scratch, "unit-"));
      const path = join(folder, name.slice(name.indexOf("/") + 1));
      writeFileSync(path, text);
      const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", path], { encoding: "utf8" });
      const about = stderr.split("\n").filter((line) => (line.includes(".service:") && line.startsWith("sheaf-")) || line.includes(path));
      assert.deepEqual(about, [], stderr);
      assert.equal(status, 0, stderr);
    }
  });

  test("the agent's unit names what the agent and join.sh know", () => {
    const main = readFileSync(join(packaging, "../apps/agent/main.ts"), "utf8");
    for (const text of [read("agent/sheaf-agent.service"), read("agent/run.sh")])
      for (const [, option = ""] of text.matchAll(/main\.ts"?(?: --([a-z-]+))/g)) assert.match(main, new RegExp(`\\b${option}: \\{ type`));
    // join.sh puts this host's own values there.
    for (const key of ["Group", "ReadWritePaths"]) assert.match(read("agent/sheaf-agent.service"), new RegExp(`^${key}=`, "m"));
    assert.equal(entries("agent/sheaf-agent.service").get("KillMode"), "mixed");
  });
});
