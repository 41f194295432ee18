/**
 * Scenarios: a few lines that say what people do and what goes wrong, run on a small site, told as a log. The language is in
 * docs/reference/simulation.md. Times are fixed here, so that a log changes only where behaviour does.
 */
import { parseBytes, parseDuration } from "@sheaf/base";
import type { Fault, FaultKind } from "./fault-plan.ts";
import { FaultMaker } from "./fault-maker.ts";
import { fencingTypes } from "./simulated-bmcs.ts";
import { type Backup, SimulatedSite } from "./site.ts";
import { settle } from "./settle.ts";
import type { StoryLine } from "./story.ts";

const waitMs = 300_000;

export interface ScenarioResult {
  readonly log: string;
}

/** @throws Error with the line that could not be read, or did not come true; Broken */
export async function runScenario(commands: string, listener?: (line: StoryLine) => void, productLog = false): Promise<ScenarioResult> {
  const lines = commands.split("\n").map((line) => line.replace(/#.*/, "").trim());
  const [head = "", ...rest] = lines.filter((line) => line !== "");
  const option = (name: string): string | undefined => new RegExp(`\\b${name} (\\S+)`).exec(head)?.[1];
  const fencing = [...fencingTypes, "watchdog" as const].filter((type) => option("fencing")?.split(",").includes(type));
  const watchdog = (["hardware", "software"] as const).find((kind) => kind === option("device"));
  const site = await SimulatedSite.open({
    seed: 1,
    hosts: Number(/^hosts (\d+)/.exec(head)?.[1] ?? fail(head, "the first line says how many hosts there are: hosts 3")),
    memoryBytes: bytes(option("memory") ?? "16GiB"),
    fencing,
    ...(option("gpus") === undefined ? {} : { gpus: Number(option("gpus")) }),
    ...(watchdog === undefined ? {} : { watchdog }),
    highAvailability: {
      ...(option("detection") === undefined ? {} : { detection: option("detection") }),
      ...(option("wide") === undefined ? {} : { wideOutagePercent: Number(option("wide")) }),
      ...(option("tolerate") === undefined ? {} : { toleratedHostFailures: Number(option("tolerate")), enforceAdmission: true }),
    },
    ...(option("power") === undefined ? {} : { power: { mode: option("power"), spareHosts: 0, minimumAwakeMinutes: 0, minimumAsleepMinutes: 0 } }),
    network: { delayMs: [1, 1], loss: 0 },
    times: { boot: [6000, 6000], shutdown: [3000, 3000], finish: [50, 50], dirtyShare: [0.1, 0.1] },
    productLog,
    ...(listener ? { listener } : {}),
  });
  const player = new Player(site);
  const begin = site.story.lines.length;
  const beganAt = site.story.lines.at(-1)?.atMs ?? 0;
  for (const line of rest) {
    try {
      await player.play(line);
    } catch (error) {
      throw new Error(`${line}: ${String(error)}\n${logOf(site.story.lines.slice(begin), beganAt)}`, { cause: error });
    }
  }
  return { log: logOf(site.story.lines.slice(begin), beganAt) };
}

const logOf = (lines: readonly StoryLine[], beganAt: number): string =>
  lines
    .filter(({ voice }) => voice !== "log")
    .map(({ atMs, voice, text }) => `${((atMs - beganAt) / 1000).toFixed(1).padStart(7)} ${voice.padEnd(8)} ${text}\n`)
    .join("");

function fail(line: string, why: string): never {
  throw new Error(`${line}: ${why}`);
}

class Player {
  readonly #site: SimulatedSite;
  readonly #faults: FaultMaker;
  #backup: Backup | null = null;

  constructor(site: SimulatedSite) {
    this.#site = site;
    this.#faults = new FaultMaker(site);
  }

  async play(line: string): Promise<void> {
    const [verb = "", ...words] = line.split(/\s+/);
    const [first = ""] = words;
    if (this.#site.hosts.some(({ name }) => name === first) && verb === "reboot") return this.#fault(line, verb, words);
    switch (verb) {
      case "create":
        return this.#create(first, words);
      case "wait":
        return this.#site.advance(milliseconds(first));
      case "until":
        return this.#until(words);
      case "expect":
        return this.#expect(line, words);
      case "heal":
        return this.#faults.healAll();
      case "rest":
        // Whose power is cut once all is well is switched on again.
        this.#site.wasCutOff = (host) => void this.#site.clock.setTimer(60_000, () => host.powerOn());
        this.#faults.healAll();
        await settle(this.#site);
        return this.#site.checkAtRest();
      case "drain":
      case "cordon":
      case "activate":
        return this.#ask(`${verb}s ${first}`, `/hosts/${first}/${verb}`);
      case "sleep":
      case "wake":
        return this.#ask(`has ${first} ${verb}`, `/hosts/${first}/${verb}`);
      case "fence":
        return this.#ask(`has ${first} cut off`, `/hosts/${first}/fence`);
      case "confirm-off":
        return this.#ask(`says that ${first} is off`, `/hosts/${first}/confirm-off`);
      case "start":
      case "stop":
      case "force-off":
      case "pause":
      case "resume":
      case "reboot":
      case "reset":
        return this.#ask(`${verb} ${first}`, `/vms/${first}/${verb}`);
      case "migrate":
        return this.#ask(`moves ${first}${words[2] ? ` to ${words[2]}` : ""}`, `/vms/${first}/migrate`, words[2] ? { host: words[2] } : {});
      case "cancel":
        return this.#cancel(first);
      case "delete":
        await this.#site.done(this.#site.operator.ask(`deletes ${first}`, { method: "DELETE", path: `/vms/${this.#id(first)}` }));
        return;
      case "grow":
        await this.#site.done(
          this.#site.operator.ask(`gives ${first} ${words[1]}`, {
            method: "PATCH",
            path: `/vms/${first}`,
            body: { spec: { memory: { bytes: bytes(words[1] ?? "") } } },
          }),
        );
        return;
      case "power-off":
        this.#site.host(first).powerOff();
        return this.#site.story.tell("fault", `${first}: power is lost`);
      case "power-on":
        this.#site.host(first).powerOn();
        return this.#site.story.tell("fault", `${first}: power is back`);
      case "upgrade":
        return this.#ask(`upgrades the agents of ${first}`, `/clusters/${first}/upgrade`, { settleMs: 15_000 });
      case "upgrade-server":
        this.#site.server.crash();
        this.#site.server.carries = { version: first, sha256: Buffer.from(first).toString("hex").padEnd(64, "0"), dies: words.includes("dies") };
        this.#site.story.tell("operator", `upgrades the server to ${first}${words.includes("dies") ? ", whose agent dies at its start" : ""}`);
        return this.#site.startServer();
      case "start-server":
        return this.#site.startServer();
      case "backup":
        this.#backup = await this.#site.backup();
        return this.#site.story.tell("operator", "takes a backup");
      case "restore":
        if (!this.#backup) return fail(line, "there is no backup yet");
        this.#site.story.tell("operator", "restores the backup on a new machine");
        return this.#site.restore(this.#backup);
      case "stop-server":
        this.#site.server.crash();
        return this.#site.story.tell("fault", "the server is killed");
      default:
        return this.#fault(line, verb, words);
    }
  }

  async #create(name: string, words: readonly string[]): Promise<void> {
    const option = (key: string): string | undefined => {
      const at = words.indexOf(key);
      return at < 0 ? undefined : words[at + 1];
    };
    const pool = option("pool") ?? "shared";
    const spec = {
      ...(words.includes("stopped") ? { power: "stopped" } : {}),
      memory: { bytes: bytes(option("memory") ?? "2GiB") },
      disks: [{ name: "root", pool, ...(words.includes("empty") ? { sizeBytes: 2 ** 30 } : { image: "mini" }) }],
      nics: [{ name: "eth0", network: "lan" }],
      stopGraceMs: 20_000,
      restart: {
        ...(words.includes("restart") ? { onGuestShutdown: "restart" } : {}),
        ...(option("after") ? { after: startedAfter(option("after") ?? "", words.includes("answers"), option("at-most")) } : {}),
      },
      ...(option("gpus") ? { gpus: { count: Number(option("gpus")) } } : {}),
      ...(option("share") ? { gpus: { shareMilli: Number(option("share")) } } : {}),
      ...(words.includes("ha") ? { highlyAvailable: true } : {}),
      ...(option("priority") ? { priority: Number(option("priority")) } : {}),
      placement: {
        ...(option("on") ? { host: option("on") } : {}),
        ...(option("apart") ? { apart: option("apart") } : {}),
        ...(option("together") ? { together: option("together") } : {}),
      },
    };
    await this.#site.done(this.#site.operator.ask(`creates ${name}`, { method: "POST", path: "/vms", body: { name, spec } }));
  }

  async #ask(what: string, path: string, body: object = {}): Promise<void> {
    await this.#site.done(this.#site.operator.ask(what, { method: "POST", path, body }));
  }

  async #cancel(name: string): Promise<void> {
    const task: string | undefined = this.#site.records.part("vm", this.#id(name), "status/migration")?.task;
    if (task === undefined) throw new Error(`${name} does not move`);
    await this.#ask(`cancels the migration of ${name}`, `/tasks/${task}/cancel`);
  }

  #id(name: string): string {
    return this.#site.records.byName("vm", name) ?? "gone";
  }

  async #until([name = "", state = "", ...more]: readonly string[]): Promise<void> {
    const { records, truth } = this.#site;
    const where = state === "on" ? more.shift() : undefined;
    const [limit] = more;
    const maxMs = limit === undefined ? waitMs : milliseconds(limit);
    const host = this.#site.hosts.find((each) => each.name === name);
    const reached = (): boolean => {
      if (name === "server") return this.#site.leads;
      if (name === "upgrade") return [...records.ids("task")].some((id) => this.#upgradeHasEnded(id));
      if (host) {
        const fence: string | undefined = records.part("host", host.id, "status/fencing")?.state;
        if (state === "free") return fence === undefined;
        if (["fencing", "fenced", "asking", "held"].includes(state)) return fence === state;
        const power: string | undefined = records.part("host", host.id, "status/power")?.state;
        if (["falling-asleep", "asleep", "waking", "not-woken"].includes(state)) return power === state;
        if (state === "awake" && power !== undefined) return false;
        if (state === "empty") return records.part("host", host.id, "status/drain")?.done === true;
        return records.part("host", host.id, "status/liveness")?.state === (state === "awake" ? "ready" : state);
      }
      const id = this.#id(name);
      if (state === "gone") return id === "gone";
      if (where !== undefined) return truth.runningOn(id).join() === where;
      if (state === "stays") return records.part("vm", id, "status/failover")?.state === "waiting";
      if (state === "moving") return records.part("vm", id, "status/migration") !== undefined;
      if (state === "settled") return records.part("vm", id, "status/migration") === undefined;
      if (state === "waits") return records.part("vm", id, "status/placement")?.pending !== undefined;
      if (["begun", "prepared", "performed", "switched", "finished"].includes(state))
        return records.part("vm", id, "status/migration")?.phase === state;
      const seen = records.part("vm", id, "status/agent");
      return seen?.state === state && seen.host === records.part("vm", id, "placement")?.host;
    };
    await this.#site.until(reached, maxMs, `${name} ${state}`);
  }

  #upgradeHasEnded(task: string): boolean {
    const { records } = this.#site;
    const state: string | undefined = records.part("task", task, "status/controller")?.state;
    return records.part("task", task, "spec")?.spec.verb === "upgrade" && state !== undefined && state !== "running";
  }

  #expect(line: string, [name = "", what = "", where = "", host = ""]: readonly string[]): void {
    if (what === "on" || what === "off") {
      if (this.#site.host(name).powered !== (what === "on")) fail(line, `it is ${what === "on" ? "off" : "on"}`);
      return this.#site.story.tell("check", `${name} is ${what}`);
    }
    const running = this.#site.truth.runningOn(this.#id(name)).join();
    const wanted = where === "nowhere" ? "" : host;
    if (running !== wanted) fail(line, `it runs ${running === "" ? "nowhere" : `on ${running}`}`);
    this.#site.story.tell("check", `${name} runs ${wanted === "" ? "nowhere" : `on ${wanted}`}`);
  }

  /** A fault by its kind: `partition h2 for 30s`, `agent-crash h1 after 5`. */
  #fault(line: string, kind: string, words: readonly string[]): void {
    const host = Math.max(
      0,
      this.#site.hosts.findIndex(({ name }) => name === words[0]),
    );
    const after = (word: string): string | undefined => {
      const at = words.indexOf(word);
      return at < 0 ? undefined : words[at + 1];
    };
    const fault: Fault = {
      type: "fault",
      atMs: 0,
      kind: kind as FaultKind, // what it does not know, the fault maker does not do
      host,
      forMs: milliseconds(after("for") ?? "1h"),
      amount: words.includes("all") ? 2 : Number(after("after") ?? after("by") ?? 1),
    };
    if (!this.#faults.make(fault)) fail(line, "there is no such command or fault, or nothing it could be done to");
  }
}

/** `after db,queue`, `after db answers at-most 2m` */
const startedAfter = (names: string, answers: boolean, atMost: string | undefined): object => ({
  machines: names.split(","),
  ...(answers ? { condition: "guest-answers" } : {}),
  ...(atMost === undefined ? {} : { maximumWaitMs: milliseconds(atMost) }),
});

const milliseconds = (text: string): number => parseDuration(text) ?? fail(text, "a time is 30s, 5m or 1h");
const bytes = (text: string): number => parseBytes(text) ?? fail(text, "an amount of memory is 2GiB");
