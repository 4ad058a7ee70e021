// A question in words: what it was taken for, and the answer.

import { h, replace, card, number, words, form, table, when, tell } from "/assets/dom.js";
import { columns, bars } from "/assets/chart.js";
import { get } from "/assets/api.js";
import { row } from "/assets/live.js";

const EXAMPLES = ["show me all SSH attacks from last night", "top 10 clients this week", "how many SQL injections yesterday", "what did 203.0.113.7 do"];

export async function ask(main, context) {
  const question = new URLSearchParams(location.search).get("q") ?? "";
  const to = (q) => context.go(`/ask?${new URLSearchParams({ q })}`);
  const asked = form([["q", "Question", { value: question, required: true, size: 40, placeholder: EXAMPLES[0] }]], "Ask", async ({ q }) => to(q));
  const place = h(".result", { "aria-live": "polite" });
  replace(main, h("h1", {}, "Ask"), card("In your own words", asked, h("p.hint", {}, "For example: ", EXAMPLES.map((example, at) => [at ? "; " : "", h("a", { href: `/ask?${new URLSearchParams({ q: example })}` }, example)]))), place);
  if (!question) return;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  try {
    const told = await get("/api/v1/ask", { q: question, zone });
    replace(place, card("Taken for", h("p", {}, told.meaning)), card("Answer", answer(told.answer, context)));
  } catch (error) {
    replace(place, card("Not understood", h("p", {}, error.message)));
  }
}

function answer(told, context) {
  const note = told.partial ? h("p.hint", {}, `Only ${number(told.looked_at)} were looked at; there are more.`) : null;
  const keys = (list) => list.map((one) => ({ name: words(one.key), value: one.count }));
  if (told.count !== undefined) return [h("p.lead", {}, number(told.count)), note];
  if (told.top) return [bars("Most", keys(told.top.keys), "None."), told.top.others ? h("p.hint", {}, `and ${number(told.top.others)} more`) : null, note];
  if (told.trend) return [columns("Trend", told.trend.map((one) => ({ label: one.key, value: one.count })), ["findings"]), note];
  if (told.client) return client(told.client);
  const rows = told.rows ?? [];
  if (!rows.length) return h("p.empty", {}, "Nothing that fits was recorded.");
  if (rows[0].target) {
    return [table("Decisions", ["Who", "State", "Why", "Since"], rows.map((one) => [h("a", { href: `/case/${encodeURIComponent(one.id)}` }, one.target), words(one.state), one.reason, when(one.created_at)]), ""), note];
  }
  return [h(".rows", {}, rows.map((finding) => row(finding, context))), note];
}

function client(story) {
  return [h("p.lead", {}, `${story.client}: ${number(story.findings)} findings, ${number(story.to_block)} to block`),
    story.first_seen ? h("p", {}, "From ", when(story.first_seen), " to ", when(story.last_seen)) : null,
    h(".grid", {}, ["categories", "rules", "services", "paths", "users"].filter((name) => story[name].length).map((name) =>
      h("div", {}, h("h3", {}, words(name)), bars(name, story[name].map((one) => ({ name: words(one.key), value: one.count })), "")))),
    h("p", {}, h("a", { href: `/case/${encodeURIComponent(story.client)}` }, "What was decided"))];
}
