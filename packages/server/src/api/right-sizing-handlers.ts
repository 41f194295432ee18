/** Handlers of advice on machines' sizes. */
import { routes } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import { adviceOf, listAdvice } from "../right-sizing/size-advice.ts";
import type { UseSurvey } from "../right-sizing/use-survey.ts";
import { json, notAllowed, on, type AnyHandler, type Call } from "./call.ts";

const { vm } = routes;

export const rightSizingHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(vm.advice, async (call) => {
    const found = call.target("vm", call.params.id, call.query.project);
    return json(adviceOf(call.services.context, found, await survey(call).look(found)));
  }),
  on(vm.listAdvice, (call) => {
    const { project, cluster, ...question } = call.query;
    const { rights } = call.caller;
    const wanted = project === undefined ? undefined : call.services.records.references.project(call.caller, project).id;
    if (wanted === undefined ? !rights.anywhere("vm.view") : !rights.in("vm.view", wanted)) throw notAllowed("vm.view");
    const everything = rights.everywhere("vm.view");
    return json(
      listAdvice(call.services.context, survey(call), {
        ...question,
        cluster: call.services.capacity.cluster(cluster),
        mayShow: ({ project: its }) => (wanted === undefined ? everything || (its !== undefined && rights.in("vm.view", its)) : its === wanted),
      }),
    );
  }),
];

/** @throws SheafError `unavailable` */
function survey({ services }: Call): UseSurvey {
  if (services.survey === undefined)
    throw new SheafError("unavailable", "This server keeps no figures over time, so it cannot tell which size machines need.");
  return services.survey;
}
