// A log on demand: paste or drop it, and read what it tells. Nothing of it is kept unless that is asked for.

import { h, replace, card, figure, badge, number, words, when, table, tell, button, form } from "/assets/dom.js";
import { bars, gauge } from "/assets/chart.js";
import { get, post, upload, download } from "/assets/api.js";

const SAMPLES = ["brute-force", "sql-injection", "ransomware", "insider", "flood", "privilege-escalation", "c2-beacon", "phishing", "mining", "slow-intrusion", "clean"];
const FORMATS = { pdf: "PDF", "pdf-summary": "PDF, one page", html: "HTML", xlsx: "Excel", csv: "CSV", json: "JSON", stix: "STIX 2.1", ecs: "ECS", ocsf: "OCSF" };

export async function analyze(main, context) {
  // Of a text, a file and a sample the last one counts.
  const text = h("textarea", { rows: 10, "aria-label": "Log", placeholder: "Paste lines of any log, or drop a file here", oninput: () => { take(null); sample.value = ""; } });
  let file = null;
  const kinds = "Text, JSON, CSV, also gzip or zstd.";
  const named = h("p.hint", {}, kinds);
  const take = (chosen) => {
    file = chosen;
    named.textContent = file ? `${file.name}, ${number(file.size)} bytes` : kinds;
    if (file) sample.value = ""; else choose.value = "";
  };
  const choose = h("input", { type: "file", "aria-label": "A file", onchange: (event) => take(event.target.files[0] ?? null) });
  const options = (names, first) => [h("option", { value: "" }, first), names.map((name) => h("option", { value: name }, words(name)))];
  const sample = h("select", { "aria-label": "A sample", onchange: () => take(null) }, options(SAMPLES, "no sample"));
  const sensitivity = h("select", { "aria-label": "Sensitivity" }, ["medium", "low", "high"].map((name) => h("option", { value: name }, `${name} sensitivity`)));
  const keep = h("input", { type: "checkbox", id: "keep" });
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress" });
  const result = h(".result", { "aria-live": "polite" });
  const go = button("Analyze", async () => {
    const body = file ?? text.value;
    if (!sample.value && !(file ? file.size : body.trim())) throw new Error("paste a log, choose a file or a sample first");
    progress.hidden = false;
    progress.removeAttribute("value");
    try {
      const query = { sensitivity: sensitivity.value, sample: sample.value, name: file?.name ?? "", keep: keep.checked };
      const analysis = await upload("/api/v1/analyze/stream", query, sample.value ? "" : body, ({ lines, lines_in_all }) => {
        if (lines_in_all) progress.value = lines / lines_in_all;
      });
      replace(result, keep.checked ? h("p", {}, h("a", { href: `/analysis/${analysis.id}` }, "It is kept"), ", for nobody but you until you share it.") : null, report(analysis, context));
      result.scrollIntoView({ block: "start" });
    } finally {
      progress.hidden = true;
    }
  }, { kind: "primary" });
  const place = card("A log", text, named, h(".bar", {}, choose, sample, sensitivity, h("label", { for: "keep" }, keep, " keep what comes of it"), go), progress);
  place.addEventListener("dragover", (event) => { event.preventDefault(); place.classList.add("over"); });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    take(event.dataTransfer.files[0] ?? null);
  });
  replace(main, h("h1", {}, "Analyze"), context.may("analyst") ? place : h("p.hint", {}, "Analysts and administrators analyse logs here; you see what they share."), await kept(context), result);
}

/** What was kept of earlier ones: one's own, and what others share. */
async function kept({ me }) {
  const rows = await get("/api/v1/analyses");
  return card("Kept analyses", table("Kept analyses", ["When", "What", "Lines", "Threats", "Health", "Whose", "Who sees it"], rows.map((one) => [
    when(one.at), h("a.cut", { href: `/analysis/${one.id}`, title: one.source }, one.source), number(one.log_count), number(one.threat_count), words(one.health_status), one.owner ?? "nobody's",
    one.owner === me.name ? sharedWith(one).map(([name]) => name).join(", ") || "only you" : "you and others"]), "None. Figures of what you keep stay here, never its text, and nobody else sees them unless you share them."));
}

/** An analysis that was kept, and who sees it. */
export async function keptAnalysis(main, context) {
  const path = `/api/v1/analyses/${location.pathname.slice("/analysis/".length)}`;
  const [analysis, seen] = await Promise.all([get(path), get(`${path}/share`)]);
  const place = h("section.card", {});
  const draw = ({ owner, shared_role, shared_users, others }) => {
    const share = async (role, users) => {
      await post(`${path}/share`, { role, users });
      draw(await get(`${path}/share`));
      // What was pressed is gone.
      place.querySelector("select, button")?.focus();
    };
    const isMine = owner === context.me.name && context.may("analyst");
    const now = sharedWith({ shared_role, shared_users });
    const roles = Object.entries(ROLES).filter(([role]) => role !== shared_role).map(([role, name]) => [`role ${role}`, name]);
    const add = form([["whom", "Share it with", { options: [...roles, ...others.map((name) => [`user ${name}`, name])] }]], "Share", async ({ whom }) => {
      const [kind, name] = whom.split(" ");
      await (kind === "role" ? share(name, shared_users) : share(shared_role, [...shared_users, name]));
      tell("It is shared.");
    });
    replace(place, h("h2", {}, "Who sees it"),
      isMine ? [
        now.length ? h("ul.plain", {}, now.map(([name, role, users]) => h("li", {}, `${name} `, button("Take back", async () => {
          await share(role ? null : shared_role, users ? shared_users.filter((user) => user !== name) : shared_users);
          tell("It is shared with them no more.");
        }, { label: `Take back from ${name}` })))) : h("p", {}, "Only you."), add]
      : h("p", {}, owner ? `${owner} shares it with you.` : "It is nobody's: administrators see it."));
  };
  draw(seen);
  replace(main, h("h1", {}, analysis.input.names.join(", ") || "Analysis"), place, report(analysis, context));
}

const ROLES = { viewer: "everybody", analyst: "analysts", admin: "administrators" };

/** With whom an analysis is shared, each `[name, role, user]`. */
const sharedWith = ({ shared_role, shared_users }) =>
  [...(shared_role ? [[ROLES[shared_role], shared_role, null]] : []), ...shared_users.map((user) => [user, null, user])];

function report(analysis, { may }) {
  const { input, risk, threats, compression, narrative, addresses, compliance } = analysis;
  const save = h("select", { "aria-label": "Save as", onchange: async (event) => {
    const format = event.target.value;
    event.target.value = "";
    try { await download(`/api/v1/report/${format}`, analysis, `palisade-${analysis.id.slice(0, 8)}`); } catch (error) { tell(error.message, "error"); }
  } }, h("option", { value: "" }, "Save as …"), Object.entries(FORMATS).map(([value, name]) => h("option", { value }, name)));
  return [
    h(".bar", {}, h("h2", {}, "What it tells"), may("analyst") ? save : null),
    h(".figures", {},
      figure("Threat level", analysis.threat_level ? badge(analysis.threat_level) : badge("ok", "none found")),
      figure("Risk", `${risk.score} of 100`, risk.health),
      figure("Security score", `${risk.security_score} of 100`, null, gauge("Security score", risk.security_score)),
      figure("Lines", number(input.lines), `${number(input.unparsed)} read as text, ${number(input.took_ms)} ms`),
      compression ? figure("Tokens", `${number(compression.compressed_tokens)}`, `instead of ${number(compression.original_tokens)}: ${compression.saved_percent.toFixed(1)} % less`) : null,
      compression?.cost_saved_usd ? figure("Saved", `$${compression.cost_saved_usd.toFixed(4)}`) : null),
    narrative.summary.length ? card("Summary", h("p", {}, narrative.summary.map((claim) => `${claim.text} `)), h("p.hint", {}, `Written by ${narrative.written_by}.`)) : null,
    h(".grid.small", {},
      card("Severities", bars("Severities", risk.distribution.map((one) => ({ name: one.name, value: one.count })), "Nothing was found.")),
      card("What makes the risk", h("ul.plain", {}, risk.factors.map((factor) => h("li", {}, h("strong", {}, `${words(factor.name)} ${factor.points > 0 ? "+" : ""}${factor.points}`), ` ${factor.reason}`)))),
      card("Formats", bars("Formats", input.formats.map((one) => ({ name: one.name, value: one.count })), "No line was understood.")),
      compression ? card("Tokens", bars("Tokens", [{ name: "the log", value: compression.original_tokens }, { name: "compressed", value: compression.compressed_tokens }], "")) : null),
    threats.length ? threats.map(threat) : card("Threats", h("p.empty", {}, "Nothing in these lines threatens anybody.")),
    narrative.plan.length ? card("What to do", h("ol", {}, narrative.plan.map((step) => h("li", {}, step.text)))) : null,
    addresses.length ? card("Addresses", table("Addresses", ["Address", "Lines", "Threats", "Country", "Network"], addresses.map((one) => [one.address, number(one.lines), one.threats.join(", "), one.country ?? "–", one.network ?? "–"]), "")) : null,
    compliance.users.length ? card("Who did what", table("Users", ["User", "Logins", "Refused", "Changes", "Lines"], compliance.users.map((one) => [one.user, number(one.logins), number(one.failed_logins), number(one.changes), number(one.lines)]), "")) : null,
    compression?.text ? h("details.card", {}, h("summary", {}, "What a model would be shown"), h("pre", { tabindex: "0" }, h("code", {}, compression.text))) : null,
  ];
}

function threat(one) {
  return h("section.card", {},
    h(".row-head", {}, badge(one.severity), h("h3", {}, `${one.id} ${words(one.kind)}`), h("span", {}, one.actor ?? ""), h("small", {}, `risk ${one.risk}, confidence ${one.confidence} of 10, outcome: ${words(one.outcome)}`)),
    h("p", {}, one.description), h("p", {}, h("strong", {}, "Do: "), one.recommendation),
    h("p.hint", {}, `${number(one.events)} lines`, one.first_time ? [", from ", when(one.first_time), " to ", when(one.last_time)] : null, one.techniques.length ? `, ATT&CK ${one.techniques.join(", ")}` : ""),
    h("ul.plain", {}, one.samples.map((line) => h("li", {}, h("small", {}, `${line.line} `), h("code", {}, line.text)))));
}
