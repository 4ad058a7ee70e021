// Rules: what each found, how often people said that it was wrong, and switching it off.

import { h, replace, card, badge, severity, when, words, button, tell, table, number, form } from "/assets/dom.js";
import { get, post, remove } from "/assets/api.js";

/** An hour is all that is kept of when a rule last matched. */
const hour = (text) => (text ? h("time", { datetime: text }, new Date(text).toLocaleString([], { month: "short", day: "numeric", hour: "numeric" })) : "–");

export async function rules(main, context) {
  const { on, off } = await get("/api/v1/rules");
  const again = () => rules(main, context);
  const canSwitch = context.may("admin");
  const found = on.filter((rule) => rule.findings || rule.false_positives);
  const names = h("datalist", { id: "rule-names" }, on.map((rule) => h("option", { value: rule.id }, rule.description)));
  const switchOff = form([
    ["rule", "Rule", { required: true, list: "rule-names" }],
    ["path", "On this path (empty: everywhere)", { placeholder: "/admin/editor", pattern: "/.*" }],
    ["reason", "Why", { placeholder: "the editor posts HTML" }],
  ], "Switch off", async ({ rule, path, reason }) => {
    await post("/api/v1/switched-off", { rule, path: path || null, reason });
    tell(`${rule} is off ${path ? `on ${path}` : "everywhere"}.`);
    await again();
  });
  const choose = (rule) => {
    main.querySelector("[name=rule]").value = rule;
    main.querySelector("[name=path]").focus();
  };
  const asked = h("input", { type: "search", placeholder: "name, kind, what it looks for", "aria-label": "Show only", oninput: () => {
    const text = asked.value.toLowerCase();
    for (const row of all.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(text);
  } });
  const row = (rule) => [
    h("a", { href: `/history?rule=${encodeURIComponent(rule.id)}&since=30d`, title: rule.description }, rule.id), words(rule.category),
    badge(severity(rule.score), `${rule.score}`), number(rule.findings), rule.false_positives ? badge("high", number(rule.false_positives)) : "0", hour(rule.last_seen),
    ...(canSwitch ? [button("Off", async () => choose(rule.id))] : [])];
  const heads = ["Rule", "Kind", "Score", "Findings", "Called benign", "Last seen", ...(canSwitch ? ["Do"] : [])];
  const all = h("details.card", {}, h("summary", {}, `All ${number(on.length)} rules and windows that are on`), h(".bar", {}, asked),
    table("All rules", heads, on.map(row), "No rule is on."));
  replace(main, h("h1", {}, "Rules"), names,
    off.length ? card("Switched off", table("Switched off", ["Rule", "Where", "Why", "By", "Since", "Do"], off.map((one) => [
      one.rule, one.path ?? "everywhere", one.reason || "–", one.by, when(one.at),
      canSwitch ? button("Switch on", async () => { await remove(`/api/v1/switched-off/${one.id}`); tell(`${one.rule} is on again.`); await again(); }) : ""]), "")) : null,
    canSwitch ? card("Switch a rule off", switchOff, h("p.hint", {}, "On one path it costs you the least: the rule counts everywhere else, and so does everything else on that path. What the configuration switches off stands there.")) : null,
    h("h2", {}, "What matched in thirty days"),
    table("Rules that matched", heads, found.map(row), "No rule matched in thirty days."), all);
}
