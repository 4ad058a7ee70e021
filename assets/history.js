// The past: figures against the time before, and the findings that a filter picks.

import { h, replace, card, figure, badge, number, words, form } from "/assets/dom.js";
import { columns, bars } from "/assets/chart.js";
import { get } from "/assets/api.js";
import { row } from "/assets/live.js";

const SPANS = { "24h": "a day", "7d": "a week", "30d": "a month", "90d": "three months" };
const NAMES = ["client", "category", "rule", "contains", "min_score"];
const OUTLOOK = { improving: "fewer than before", steady: "as before", declining: "more than before", no_data: "nothing to compare with" };

export async function history(main, context) {
  const asked = new URLSearchParams(location.search);
  const since = asked.get("since") || "7d";
  const given = Object.fromEntries(NAMES.map((name) => [name, asked.get(name) || ""]));
  const isFiltered = NAMES.some((name) => given[name]);
  const [stats, findings] = await Promise.all([get("/api/v1/stats", { since, top: 10 }), get("/api/v1/history", { since, ...given, limit: 200 })]);
  const to = (changes) => {
    const query = new URLSearchParams(Object.entries({ since, ...given, ...changes }).filter(([, value]) => value));
    context.go(`/history?${query}`);
  };
  const span = h("select", { "aria-label": "Time", onchange: (event) => to({ since: event.target.value }) },
    Object.entries(SPANS).map(([value, name]) => h("option", { value, selected: value === since }, name)));
  const filter = form(NAMES.map((name) => [name, { min_score: "score from", contains: "text in the path" }[name] ?? name, { value: given[name] }]), "Show", async (filled) => to(filled));
  const totals = stats.totals;
  const list = (rows) => rows.filter((one) => one.key).map((one) => ({ name: words(one.key), value: one.findings }));
  replace(main, h("h1", {}, "History"), h(".bar", {}, span),
    h(".figures", {},
      figure("Findings", number(totals.findings), OUTLOOK[totals.outlook]),
      figure("The time before", number(totals.previous.findings)),
      figure("A day", number(Math.round(totals.findings_per_day)), totals.baseline_per_day === null ? null : `${number(Math.round(totals.baseline_per_day))} in the month before`),
      figure("Blocked", number(stats.effect.targets), `${number(stats.effect.returned)} came back`),
      figure("Threat level", stats.threat_level ? badge(stats.threat_level) : badge("informational", "calm"))),
    h(".grid", {},
      card("Findings", columns("Findings", stats.trend.map((step) => ({ label: new Date(step.start).toLocaleString([], { dateStyle: "short", timeStyle: stats.step === "hour" ? "short" : undefined }), value: step.findings, part: step.blocks })), ["findings", "to block"])),
      card("Kinds", bars("Kinds", list(stats.categories), "Nothing was found.")),
      card("Clients", bars("Clients", list(stats.clients), "Nobody was found.")),
      card("Paths", bars("Paths", list(stats.paths), "No path stood out."))),
    h("details.card", { open: isFiltered }, h("summary", {}, "Filter"), filter),
    h("h2", {}, isFiltered ? "Findings that fit" : "Newest findings"),
    findings.length ? h(".rows", {}, findings.map((finding) => row(finding, context, () => history(main, context)))) : h("p.empty", {}, "Nothing fits. Take a longer time or fewer filters."));
}
