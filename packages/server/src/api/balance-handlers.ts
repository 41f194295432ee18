/** Handlers of a cluster's balance and of its advice. */
import { routes } from "@sheaf/contract";
import { balancingOf } from "@sheaf/controllers";
import type { AdvisedMove } from "@sheaf/model";
import { balancePlans } from "../records/balance-plans.ts";
import { adviceNow, balanceTask, carryOutBalance } from "../records/cluster-balance.ts";
import { dismissAdvice, dismissalsOf } from "../records/dismiss-advice.ts";
import { json, on, written, type AnyHandler, type Call } from "./call.ts";

const { cluster } = routes;

export const balanceHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(cluster.balance, (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    const { records } = call.services;
    const { mode, goal } = balancingOf(found);
    const { moves, ...now } = adviceNow(records, found);
    const task = balanceTask(records, found.id);
    return json({ mode, goal, ...now, moves: named(call, moves), ...(task ? { task: task.id } : {}) });
  }),
  on(cluster.carryOutBalance, async (call) =>
    written(await carryOutBalance(call.services.records, call.change(), call.target("cluster", call.params.id, undefined).id, call.body.advice)),
  ),
  on(cluster.advice, (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    const { records, context } = call.services;
    const { mode, goal } = balancingOf(found);
    const dismissed = dismissalsOf(records, found).map((dismissal) => ({
      ...dismissal,
      name: context.cache.get("vm", dismissal.vm)?.name ?? dismissal.vm,
      fromName: hostName(call, dismissal.from),
    }));
    const task = balanceTask(records, found.id);
    const underWay = task ? { task: task.id } : {};
    if (mode === "off") return json({ mode, goal, moves: [], dismissed, ...underWay });
    const { advice, since, notNow, score, before, promised, moves, cause } = adviceNow(records, found);
    return json({ mode, goal, advice, since, notNow, cause, score, before, promised, moves: named(call, moves), dismissed, ...underWay });
  }),
  on(cluster.balanceHistory, (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    const plans = balancePlans(call.services.records, found.id).map(({ moves, ...plan }) => ({
      ...plan,
      moves: moves.map(({ vm, name, from, to, reason, state, why, begunAt }) => ({
        ...{ vm, name, from, fromName: hostName(call, from), to, toName: hostName(call, to), reason, state, why, begunAt },
      })),
    }));
    return json({ plans });
  }),
  on(cluster.dismissAdvice, async (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    const { references } = call.services.records;
    const { vms, ...what } = call.body;
    const ids = vms?.map((vm) => references.target(call.caller, "vm", vm, call.query.project).id);
    return written(await dismissAdvice(call.services.records, call.change(), found.id, { ...what, ...(ids ? { vms: ids } : {}) }));
  }),
];

const hostName = (call: Pick<Call, "services">, id: string): string => call.services.context.cache.get("host", id)?.name ?? id;

const named = (call: Pick<Call, "services">, moves: readonly AdvisedMove[]) =>
  moves.map(({ vm, name, from, to, reason, after }) => ({
    ...{ vm, name, from, fromName: hostName(call, from), to, toName: hostName(call, to), reason, after },
  }));
