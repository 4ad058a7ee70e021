// The past: figures against the time before, and the findings that a filter picks.

import { h, replace, card, figure, badge, number, form } from "/assets/dom.js";
import { columns, bars, ranked } from "/assets/chart.js";
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
  const findings = await get("/api/v1/history", { since, ...given, limit: 200 });
  const to = (changes) => {
    const query = new URLSearchParams(Object.entries({ since, ...given, ...changes }).filter(([, value]) => value));
    context.go(`/history?${query}`);
  };
  const span = h("select", { "aria-label": "Time", onchange: (event) => to({ since: event.target.value }) },
    Object.entries(SPANS).map(([value, name]) => h("option", { value, selected: value === since }, name)));
  const filter = form(NAMES.map((name) => [name, { min_score: "score from", contains: "text in the path" }[name] ?? name, { value: given[name] }]), "Show", async (filled) => to(filled));
  replace(main, h("h1", {}, "History"), h(".bar", {}, span, isFiltered ? h("a", { href: `/history?since=${since}` }, "Without a filter") : null),
    // Figures are of everything: beside what a filter picks they would mislead.
    isFiltered ? null : figures(await get("/api/v1/stats", { since, top: 10 }), since),
    h("details.card", { open: isFiltered }, h("summary", {}, "Filter"), filter),
    h("h2", {}, isFiltered ? "Findings that fit" : "Newest findings"),
    findings.length ? h(".rows", {}, findings.map((finding) => row(finding, context, () => history(main, context)))) : h("p.empty", {}, "Nothing fits. Take a longer time or fewer filters."));
}

function figures(stats, since) {
  const { totals, effect, trend, threat_level } = stats;
  const label = (step) => new Date(step.start).toLocaleString([], { dateStyle: "short", timeStyle: stats.step === "hour" ? "short" : undefined });
  return [
    h(".figures", {},
      figure("Findings", number(totals.findings), OUTLOOK[totals.outlook]),
      figure("The time before", number(totals.previous.findings)),
      figure("A day", number(Math.round(totals.findings_per_day)), totals.baseline_per_day === null ? null : `${number(Math.round(totals.baseline_per_day))} in the month before`),
      figure("Blocked", number(effect.targets), `${number(effect.returned)} came back`),
      figure("Threat level", threat_level ? badge(threat_level) : badge("informational", "calm"))),
    h(".grid", {},
      card("Findings", columns("Findings", trend.map((step) => ({ label: label(step), value: step.findings, part: step.blocks })), ["findings", "to block"])),
      card("Kinds", bars("Kinds", ranked(stats.categories, since, "category"), "Nothing was found.")),
      card("Clients", bars("Clients", ranked(stats.clients, since, "client"), "Nobody was found.")),
      card("Networks", bars("Networks", ranked(stats.networks, since), "Nobody was found.")),
      card("Paths", bars("Paths", ranked(stats.paths, since, "contains"), "No path stood out.")),
      card("Rules", bars("Rules", ranked(stats.rules, since, "rule"), "No rule matched."))),
  ];
}
