// Why: what led to a decision, as a sum, with every step of its life.

import { h, replace, card, badge, severity, when, left, words, button, tell, table, number } from "/assets/dom.js";
import { get, post, remove, Refused } from "/assets/api.js";
import { row } from "/assets/live.js";

export async function caseOf(main, context) {
  const what = decodeURIComponent(location.pathname.slice("/case/".length));
  let found;
  try {
    found = await get(`/api/v1/why/${encodeURIComponent(what)}`);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    return findingsOf(main, context, what);
  }
  const { decision, earlier, findings, calls, advice } = found;
  const gone = () => h("p.empty", {}, "The daemon does not say.");
  const [steps, facts] = await Promise.all([timeline(decision).catch(gone), remembered(decision.target).catch(gone)]);
  const isOn = ["active", "pending", "held"].includes(decision.state);
  replace(main, h("h1", {}, decision.target),
    card("Decision",
      h("p.lead", {}, badge(isOn ? "critical" : "low", words(decision.state)), " ", decision.reason),
      h("dl", {},
        pair("Since", when(decision.created_at)),
        pair("Until", decision.permanent ? "lifted by hand" : [when(decision.expires_at), isOn ? ` (${left(decision.expires_at)} left)` : ""]),
        pair("Score", decision.score ?? "–"), pair("Kind", words(decision.category)), pair("Decided by", words(decision.proposer)),
        pair("Offence", number(decision.offences)), pair("In dry run", decision.simulated ? "yes: nobody was blocked" : "no"),
        pair("Id", h("code", {}, decision.id)), decision.note ? pair("Note", decision.note) : null),
      context.may("analyst") && isOn ? h(".actions", {}, button("Let go", async () => {
        await remove(`/api/v1/decisions/${decision.target}`);
        tell(`${decision.target} is let go.`);
        await caseOf(main, context);
      }, { kind: "primary" })) : null),
    advice.length ? card("What to do", h("ul", {}, advice.map((one) => h("li", {}, one)))) : null,
    card("What led to it", findings.length ? findings.map((finding) => detail(finding, context)) : h("p.empty", {}, "No line of a log: it was done by hand or comes from a list.")),
    calls.length ? card("What models said", table("Calls of models", ["When", "Model", "Answer", "Took"], calls.map((call) => [
      when(call.time ?? call.at), call.model ?? call.service, call.answer ?? call.outcome ?? "", `${number(call.millis)} ms`]), "")) : null,
    card("Timeline", steps), card("What is remembered of the client", facts),
    earlier.length ? card("Earlier", table("Earlier decisions", ["When", "State", "Reason"], earlier.map((one) => [when(one.created_at), words(one.state), one.reason]), "")) : null);
}

const pair = (name, ...value) => [h("dt", {}, name), h("dd", {}, value)];

/** A finding with its sum. */
function detail(finding, context) {
  const evidence = Array.isArray(finding.evidence) ? finding.evidence : [];
  const path = pathOf(finding.uri);
  const canSwitch = context.may("admin") && path;
  return h(".detail", {}, row(finding, context),
    table(`What counts: ${finding.id.slice(0, 8)}`, ["Rule", "Where", "What matched", "Points", ...(canSwitch ? ["Do"] : [])], evidence.map((one) => [
      one.rule_id, one.target, h("code", {}, one.matched), `+${one.score}`,
      ...(canSwitch ? [button("Off on this path", async () => {
        await post("/api/v1/switched-off", { rule: one.rule_id, path, reason: "from a case" });
        tell(`${one.rule_id} is off on ${path}; the page Rules switches it on again.`);
      }, { sure: "Off, really?" })] : [])]), "A window overflowed: what the client did before counts."),
    h("p.hint", {}, `${finding.file}${finding.line_number ? `, line ${number(finding.line_number)}` : `, at byte ${number(finding.offset)}`}`));
}

/** The path of a request, as an exclusion compares it; nothing where it cannot be decoded. */
function pathOf(uri) {
  try { return decodeURIComponent(uri.split("?")[0]).match(/^\/.*/s)?.[0]; } catch { return null; }
}

/** Each step of a decision's life. */
async function timeline(decision) {
  const past = await get("/api/v1/history", { decisions: true, client: decision.target, since: "90d", limit: 100 });
  const steps = past.find((one) => one.id === decision.id)?.changes ?? [];
  return table("Timeline", ["When", "What", "Why"], steps.map((step) => [when(step.at), words(step.state), step.note]), "Its steps are not kept any more.");
}

/** What is known of a client, in a few words. */
async function remembered(target) {
  const { counted, memory } = await get(`/api/v1/clients/${target.split("/")[0]}`);
  const facts = Object.entries({ ...counted, ...memory }).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
  return facts.length ? h("dl", {}, facts.map(([name, value]) => pair(words(name), String(value)))) : h("p.empty", {}, "Nothing is remembered of this client now.");
}

async function findingsOf(main, context, id) {
  const findings = await get("/api/v1/history", { case: id, limit: 200, since: "90d" });
  if (!findings.length) {
    replace(main, h("h1", {}, "Nothing here"), h("p.empty", {}, `Nothing was found or decided about ${id}, or it is not kept any more.`));
    return;
  }
  const worst = Math.max(...findings.map((finding) => finding.score));
  const who = findings[0].client || findings[0].source_ip || "no client";
  replace(main, h("h1", {}, who),
    card("Case", h("p.lead", {}, badge(severity(worst)), ` ${number(findings.length)} findings from `, when(findings.at(-1).time), " to ", when(findings[0].time)),
      h("p", {}, h("a", { href: `/case/${encodeURIComponent(who)}` }, "What was decided about this client"))),
    card("Lines", findings.map((finding) => detail(finding, context))));
}
