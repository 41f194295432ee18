/** Availability of machines, projects and the site in one month, read from the accounts that the availability controller keeps. Called by its route. */
import {
  AvailabilityAccount,
  availabilityKey,
  availabilityPrefix,
  defaultAvailabilityTargetPercent,
  GoneAvailability,
  goneAvailabilityKey,
  projectAvailabilityPrefix,
  type AvailabilitySum,
  type RecordOf,
} from "@sheaf/model";
import { accountMonth, figuresOf, monthBounds, monthOf, sumMonths } from "@sheaf/planning";
import type { Store } from "@sheaf/store";
import { notAllowed, type Call } from "./call.ts";

interface AvailabilityQuery {
  readonly project?: string | undefined;
  readonly vm?: string | undefined;
  readonly month?: string | undefined;
  readonly limit: number;
}

/** @throws SheafError `not-found`, `not-allowed` */
export async function availabilityReport(call: Call<unknown, AvailabilityQuery>) {
  const { store, clock } = call.services.context;
  const now = clock.now();
  const month = call.query.month ?? monthOf(now);
  const bounds = monthBounds(month);
  const head = { month, from: bounds.from, to: Math.max(bounds.from, Math.min(bounds.to, now)) };
  if (call.query.vm !== undefined) {
    const vm = call.target("vm", call.query.vm, call.query.project);
    const entry = await store.get(availabilityKey(vm.project ?? "", vm.id));
    const accounts = entry === null ? [] : [readAccount(entry.value)];
    return { ...head, projects: [], machines: accounts.flatMap((account) => machineLine(account, month, now) ?? []) };
  }
  const projects = visibleProjects(call);
  const lines = [];
  const sums: AvailabilitySum[] = [];
  let machines = 0;
  const listed: Machine[] = [];
  const accounts = await accountsByProject(store, projects.length === 1 ? projects[0] : undefined);
  for (const project of projects) {
    const here: AvailabilitySum[] = [];
    let count = 0;
    for (const account of accounts.get(project.id) ?? []) {
      const line = machineLine(account, month, now);
      if (!line) continue;
      count += 1;
      here.push({ month, ...line });
      listed.push(line);
    }
    const gone = await store.get(goneAvailabilityKey(project.id));
    const left = gone === null ? undefined : GoneAvailability.parse(JSON.parse(gone.value)).months.find((one) => one.month === month);
    if (left) here.push(left);
    count += left?.machines ?? 0;
    const sum = sumMonths(here, month);
    const figures = figuresOf(sum);
    const { availabilityTargetPercent: targetPercent = defaultAvailabilityTargetPercent } = project.spec;
    const met = figures.percent === null ? null : figures.percent >= targetPercent;
    lines.push({ id: project.id, name: project.name, targetPercent, met, machines: count, ...figures });
    sums.push(sum);
    machines += count;
  }
  const whole = call.query.project === undefined && call.caller.rights.everywhere("vm.view");
  return {
    ...head,
    ...(whole ? { site: { machines, ...figuresOf(sumMonths(sums, month)) } } : {}),
    projects: lines,
    machines: listed.sort((a, b) => b.downMs - a.downMs || b.unknownMs - a.unknownMs || (a.name < b.name ? -1 : 1)).slice(0, call.query.limit),
  };
}

type Machine = NonNullable<ReturnType<typeof machineLine>>;

function machineLine(account: AvailabilityAccount, month: string, now: number) {
  const found = accountMonth(account, month, now);
  if (!found) return undefined;
  const { vm: id, name, project, state, since } = account;
  return { id, name, project, state, since, ...figuresOf(found), outages: found.outages };
}

function visibleProjects(call: Call<unknown, AvailabilityQuery>): RecordOf<"project">[] {
  const { references } = call.services.records;
  const { rights } = call.caller;
  if (call.query.project !== undefined) {
    const project = references.project(call.caller, call.query.project);
    if (!rights.in("vm.view", project.id)) throw notAllowed("vm.view");
    return [project];
  }
  if (!rights.anywhere("vm.view")) throw notAllowed("vm.view");
  const all = [...call.services.context.cache.all("project")].filter(({ id }) => rights.in("vm.view", id));
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @param only the one project that is asked for; absent: all are read, in pages */
async function accountsByProject(store: Store, only: RecordOf<"project"> | undefined): Promise<Map<string, AvailabilityAccount[]>> {
  const prefix = only ? projectAvailabilityPrefix(only.id) : availabilityPrefix;
  const found = new Map<string, AvailabilityAccount[]>();
  let after: string | undefined;
  for (;;) {
    const page = await store.range({ prefix, ...(after === undefined ? {} : { after }) });
    for (const { value } of page.entries) {
      const account = readAccount(value);
      const there = found.get(account.project);
      if (there) there.push(account);
      else found.set(account.project, [account]);
    }
    after = page.entries.at(-1)?.key;
    if (!page.more) return found;
  }
}

const readAccount = (value: string): AvailabilityAccount => JSON.parse(value) as AvailabilityAccount; // written by its controller alone
