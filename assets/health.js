// What the daemon works with, and how each of it is.

import { h, badge, number, words } from "/assets/dom.js";

const state = (problem, well = "works") => (problem ? h("span.error", {}, problem) : badge("ok", well));
const line = (name, ...words) => h("li", {}, h("strong", {}, name), " ", words);

/** The last message that is repeated until somebody acknowledges it, and whether anybody has. */
const emergency = (one) => h("small", {}, " ", {
  repeats: "not acknowledged yet: ", acknowledged: `acknowledged by ${one.acknowledged_by}: `, called_off: "called off: ",
}[one.state] ?? "acknowledged by nobody: ", one.title);

/** Logs, responders, models, memory and whatever else has something to say in `status`. */
export function health(status) {
  return h("ul.plain", {},
    status.sources.map((source) => line(source.path, state(source.error, "read"), h("small", {}, ` ${number(source.lines)} lines`,
      source.unparsed ? `, ${number(source.unparsed)} not understood` : "", source.behind_bytes ? `, ${number(source.behind_bytes)} bytes behind` : ""))),
    status.sources.length ? null : h("li.empty", {}, "No log is followed. Name one as a [[source]]."),
    (status.responders ?? []).map((one) => line(words(one.name), state(one.problem), h("small", {}, ` holds ${number(one.held)}${one.waiting ? `, ${number(one.waiting)} wait` : ""}`))),
    (status.triage?.tiers ?? []).map((tier) => line(`model ${tier.name}`, state(tier.problem), h("small", {}, ` ${tier.model}, ${number(tier.calls)} calls`))),
    status.memory ? line(`memory, ${words(status.memory.kind)}`, state(status.memory.healthy ? null : status.memory.last_error ?? "is away"), h("small", {}, ` ${number(status.memory.entries)} entries`)) : null,
    Object.entries(status.services ?? {}).map(([name, service]) => line(name, state(service.problem), (service.emergencies ?? []).slice(-1).map(emergency))));
}
