import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import { connect } from "./connect.ts";
import { LibvirtConnectionError } from "./errors.ts";
import { FakeServer } from "./fake-server.ts";
import type { Transport } from "./ports.ts";
import { streamWire } from "./transport-node.ts";
import { sshTransport } from "./transport-ssh.ts";
import { tcpTransport } from "./transport-tcp.ts";
import { tlsTransport } from "./transport-tls.ts";
import { unixTransport } from "./transport-unix.ts";
import { parseUri } from "./transport-uri.ts";

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), "libvirt-"));
});
after(() => rmSync(directory, { recursive: true }));

const fake = () =>
  new FakeServer({
    handlers: { connectGetHostname: () => ({ hostname: "far-away" }), connectGetSysinfo: () => ({ sysinfo: "x".repeat(3_000_000) }) },
  });

async function listen(server: Server | TlsServer, at: string | number): Promise<Disposable & { readonly port: number }> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket.on("close", () => sockets.delete(socket))));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (typeof at === "string") server.listen(at, resolve);
    else server.listen(at, "127.0.0.1", resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Small and large answers come through, and an end on the far side is noticed. */
async function speaks(transport: Transport, server: FakeServer): Promise<void> {
  const client = await connect({ transport });
  try {
    assert.equal(await client.host.hostname(), "far-away");
    assert.equal((await client.host.sysinfo()).length, 3_000_000);
    const lost = new Promise<string>((resolve) => void client.onState(({ kind }) => resolve(kind)));
    server.dropConnections();
    assert.equal(await lost, "disconnected");
  } finally {
    client.close();
  }
}

async function refusal(transport: Transport, connectTimeoutMs = 10_000): Promise<string> {
  const error = await connect({ transport, connectTimeoutMs }).then(
    (client) => {
      client.close();
      return assert.fail("it connected");
    },
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LibvirtConnectionError, String(error));
  return error.message;
}

test("a unix socket", async () => {
  const server = fake();
  const path = join(directory, "sock");
  using _listening = await listen(
    createServer((socket) => server.accept(streamWire(socket))),
    path,
  );
  await speaks(unixTransport(path), server);
});

test("a unix socket that is not there, and one that accepts and says nothing", async () => {
  assert.match(await refusal(unixTransport(join(directory, "none"))), /cannot connect to unix:.*ENOENT/);
  const path = join(directory, "mute");
  using _listening = await listen(
    createServer(() => undefined),
    path,
  );
  assert.match(await refusal(unixTransport(path), 50), /did not let us in within 50 ms/);
});

test("TCP", async () => {
  const server = fake();
  const listening = await listen(
    createServer((socket) => server.accept(streamWire(socket))),
    0,
  );
  await speaks(tcpTransport("127.0.0.1", listening.port), server);
  listening[Symbol.dispose]();
  assert.match(await refusal(tcpTransport("127.0.0.1", listening.port)), /cannot connect to tcp:127\.0\.0\.1:\d+: .*ECONNREFUSED/);
});

describe("TLS", () => {
  let ca: string;
  let certificate: string;
  let key: string;
  before(() => {
    // One self-signed certificate serves as authority and for both ends.
    const [keyFile, certFile] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        keyFile,
        "-out",
        certFile,
        ...subject,
      ],
      {
        stdio: "ignore",
      },
    );
    key = readFileSync(keyFile, "utf8");
    certificate = readFileSync(certFile, "utf8");
    ca = certificate;
  });
  const serve = (onConnection: (socket: TLSSocket) => void) =>
    createTlsServer({ key, cert: certificate, ca, requestCert: true, rejectUnauthorized: true }, onConnection);

  test("the daemon's byte is awaited, and what follows it in the same packet is not lost", async () => {
    const server = fake();
    using listening = await listen(
      serve((socket) => {
        socket.on("error", () => undefined);
        socket.write(Uint8Array.of(1));
        server.accept(streamWire(socket));
      }),
      0,
    );
    await speaks(tlsTransport({ host: "127.0.0.1", port: listening.port, ca, certificate, key }), server);
  });

  test("a daemon that does not like our certificate says so by another byte, or by closing", async () => {
    for (const answer of [Uint8Array.of(0), undefined]) {
      using listening = await listen(
        serve((socket) => {
          socket.on("error", () => undefined);
          if (answer === undefined) socket.end();
          else socket.end(answer);
        }),
        0,
      );
      const message = await refusal(tlsTransport({ host: "127.0.0.1", port: listening.port, ca, certificate, key }));
      assert.match(message, /refused our certificate|instead of accepting our certificate/);
    }
  });

  test("a daemon's certificate for another name is not accepted", async () => {
    using listening = await listen(
      serve(() => undefined),
      0,
    );
    const options = { host: "127.0.0.1", port: listening.port, ca, certificate, key, serverName: "elsewhere.example" };
    assert.match(await refusal(tlsTransport(options)), /elsewhere\.example/);
  });
});

describe("SSH", () => {
  /** Stands in for ssh: notes its arguments and runs the remote command here, with a `nc` of our own. */
  function program(name: string, script: string): string {
    const path = join(directory, name);
    writeFileSync(path, script);
    chmodSync(path, 0o755);
    return path;
  }

  test("the socket's bytes go through ssh, and nothing in the command is left to a shell to interpret", async () => {
    const server = fake();
    const path = join(directory, "it's a $(touch pwned) socket");
    using _listening = await listen(
      createServer((socket) => server.accept(streamWire(socket))),
      path,
    );
    const netcat = `const s = require("node:net").connect(process.argv[2]); process.stdin.pipe(s).pipe(process.stdout); s.on("close", () => process.exit(0));`;
    writeFileSync(join(directory, "nc.cjs"), netcat);
    program("nc", `#!/bin/sh\n[ "$1" = -U ] || exit 9\nexec ${process.execPath} ${join(directory, "nc.cjs")} "$2"\n`);
    const ssh = program(
      "ssh",
      `#!/bin/sh\nprintf '%s\\n' "$@" >${directory}/args\nfor last; do :; done\nPATH=${directory}:$PATH exec sh -c "$last"\n`,
    );
    await speaks(sshTransport({ host: "far.example", user: "root", port: 2_222, socketPath: path, program: ssh }), server);
    const args = readFileSync(join(directory, "args"), "utf8").split("\n");
    assert.deepEqual(args.slice(0, 11), [
      "-T",
      "-e",
      "none",
      "-o",
      "BatchMode=yes",
      "-o",
      "ConnectTimeout=10",
      "-p",
      "2222",
      "--",
      "root@far.example",
    ]);
  });

  test("ssh's own words are the reason when it fails, and a host that looks like an option is refused", async () => {
    const ssh = program("ssh-denied", "#!/bin/sh\necho 'root@far.example: Permission denied (publickey).' >&2\nexit 255\n");
    assert.match(await refusal(sshTransport({ host: "far.example", program: ssh })), /ended with 255: root@far\.example: Permission denied/);
    assert.match(await refusal(sshTransport({ host: "far.example", program: join(directory, "no-such-program") })), /cannot be started/);
    assert.throws(() => sshTransport({ host: "-oProxyCommand=touch pwned" }), /must not start with '-'/);
  });
});

describe("connection URIs", () => {
  const parsed = (text: string) => {
    const { transport, uri } = parseUri(text);
    return [transport.description, uri];
  };

  test("name the hypervisor and the way to it", () => {
    assert.deepEqual(parsed("qemu:///system"), ["unix:/run/libvirt/libvirt-sock", "qemu:///system"]);
    assert.deepEqual(parsed("test:///default"), ["unix:/run/libvirt/libvirt-sock", "test:///default"]);
    assert.deepEqual(parsed("qemu+unix:///system?socket=/srv/a%20b/sock"), ["unix:/srv/a b/sock", "qemu:///system"]);
    assert.deepEqual(parsed("qemu+tcp://host.example:1234/system"), ["tcp:host.example:1234", "qemu:///system"]);
    assert.deepEqual(parsed("lxc+tcp://[fd00::1]/system"), ["tcp:fd00::1:16509", "lxc:///system"]);
    assert.deepEqual(parsed("qemu+ssh://root@host.example/system"), ["ssh:root@host.example", "qemu:///system"]);
  });

  test("that make no sense are refused with the reason", () => {
    for (const [text, reason] of [
      ["system", /is no connection URI/],
      ["qemu+tcp:///system", /names no host/],
      ["qemu+unix://host.example/system", /a unix socket is on this machine/],
      ["qemu+carrier-pigeon://host/system", /is no connection URI/],
      ["qemu+udp://host/system", /"udp" is not known/],
      ["qemu+tls://host/system?pkipath=/nonexistent", /ENOENT/],
      ["qemu+ssh://-oProxyCommand=x/system", /must not start with '-'/],
    ] as const) {
      assert.throws(() => parseUri(text), reason, text);
    }
  });
});
