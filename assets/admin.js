// Settings, users, audit, and one's own account.

import { h, replace, card, badge, when, words, button, tell, table, longTable, form } from "/assets/dom.js";
import { get, list, post, patch, remove } from "/assets/api.js";
import { health } from "/assets/health.js";

const ROLES = ["viewer", "analyst", "admin"];

export async function settings(main, context) {
  const [keys, config, status] = await Promise.all([get("/api/v1/settings"), get("/api/v1/config"), get("/api/v1/status")]);
  const again = () => settings(main, context);
  const tunable = new Map(keys.map((row) => [row.key, row]));
  const waiting = status.services?.configuration?.waits_for_restart ?? [];
  const set = form([["key", "Key", { options: keys.map((row) => row.key) }], ["value", "Value", { required: true }], ["hours", "For hours (empty: until the daemon stops)", { type: "number", min: 1 }]],
    "Set", async (given) => {
      const value = Number.isNaN(Number(given.value)) ? given.value : Number(given.value);
      await post("/api/v1/settings", { key: given.key, value, ...(given.hours ? { for_secs: Math.round(given.hours * 3600) } : {}) });
      tell(`${given.key} is ${given.value} now.`);
      await again();
    });
  const choose = (row) => {
    main.querySelector("[name=key]").value = row.key;
    const field = main.querySelector("[name=value]");
    field.value = row.value;
    field.focus();
  };
  const act = (key) => {
    const row = tunable.get(key);
    if (!row || !context.may("admin")) return waiting.includes(key) ? badge("medium", "waits for a restart") : "";
    return row.by
      ? [button("Set back", async () => { await remove(`/api/v1/settings/${key}`); await again(); }), h("small", {}, ` by ${row.by}`, row.until ? [" until ", when(row.until)] : ", until the daemon stops")]
      : button("Change", async () => choose(row));
  };
  const shown = (value) => (value === "" ? "–" : typeof value === "string" ? value : JSON.stringify(value));
  const asked = h("input", { type: "search", placeholder: "a key, a value, a file", "aria-label": "Show only", oninput: () => {
    const text = asked.value.toLowerCase();
    for (const row of rows.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(text);
  } });
  const own = h("input", { type: "checkbox", id: "own", onchange: () => rows.classList.toggle("own", own.checked) });
  const rows = table("What is in force", ["Key", "Value", "Where from", "Do"], config.map(({ key, value, origin }) => [
    h("code.whole", {}, key), h("code", {}, shown(value)), h(origin === "default" ? "span.default" : "span", {}, origin), act(key)]), "Nothing is configured.");
  replace(main, h("h1", {}, "Settings"),
    card("Services", health(status)),
    context.may("admin") ? card("Set for a while", set, h("p.hint", {}, "Thresholds and limits, at once. All else stands in the configuration file, which is read again when it changes. Keys of models and services are never shown; ", h("code", {}, "key_file"), ", ", h("code", {}, "api_key_file"), " and the like name files that hold them.")) : null,
    h("h2", {}, "What is in force"), h(".bar", {}, asked, h("label", { for: "own" }, own, " only what is no default")), rows);
}

export async function users(main, context) {
  const rows = await get("/api/v1/users");
  const again = () => users(main, context);
  const link = h("p.secret", { hidden: true });
  const show = (answer) => {
    replace(link, h("strong", {}, `${answer.name} chooses a password here: `), h("code", {}, answer.link));
    link.hidden = false;
  };
  const add = form([["name", "Name", { required: true }], ["role", "Role", { options: ROLES }]], "Invite", async (given) => {
    const answer = await post("/api/v1/users", given);
    await again();
    document.querySelector(".secret").replaceWith(link);
    show(answer);
  });
  replace(main, h("h1", {}, "Users"), card("Invite somebody", add), link,
    table("Users", ["Name", "Role", "State", "Signed in", "Do"], rows.map((user) => {
      const role = h("select", { "aria-label": `Role of ${user.name}`, onchange: async (event) => {
        try { await patch(`/api/v1/users/${user.name}`, { role: event.target.value }); } catch (error) { tell(error.message, "error"); }
        await again();
      } }, ROLES.map((name) => h("option", { value: name, selected: name === user.role }, name)));
      return [user.name, role, user.is_active ? (user.has_password ? badge("ok", "active") : badge("medium", "invited")) : badge("low", "off"), when(user.last_login),
        [button(user.is_active ? "Sign out and shut out" : "Let in again", async () => { await patch(`/api/v1/users/${user.name}`, { is_active: !user.is_active }); await again(); }, user.is_active ? { sure: "Really?" } : {}),
          button("New link", async () => show(await post(`/api/v1/users/${user.name}/invite`))),
          button("Remove", async () => { await remove(`/api/v1/users/${user.name}`); await again(); }, { sure: "Really?" })]];
    }), "Nobody."));
}

export async function audit(main) {
  const first = await list("/api/v1/audit", { limit: 100 });
  replace(main, h("h1", {}, "Audit"), longTable("Who did what", ["When", "Who", "From", "What", "With"], first, (row) => [
    when(row.time), row.user, row.address, row.action, h("code", {}, row.detail)], "Nobody did anything yet."));
}

export async function account(main, context) {
  const tokens = await get("/api/v1/auth/tokens");
  const again = () => account(main, context);
  const secret = h("p.secret", { hidden: true });
  const add = form([["note", "What for", { required: true }], ["role", "May", { options: ROLES.filter(context.may) }], ["days", "Days", { type: "number", min: 1, value: "90" }]], "Make a token", async (given) => {
    const { token } = await post("/api/v1/auth/tokens", { ...given, days: Number(given.days) });
    await again();
    const place = document.querySelector(".secret");
    replace(place, h("strong", {}, "This token is shown only now: "), h("code", {}, token));
    place.hidden = false;
  });
  const hidden = { type: "password", required: true };
  const change = form([["old_password", "Old password", { ...hidden, autocomplete: "current-password" }], ["password", "New password", { ...hidden, minlength: 10, autocomplete: "new-password" }]], "Change", async (given, element) => {
    await post("/api/v1/auth/password", given);
    element.reset();
    tell("Your password is changed; other browsers are signed out.");
  });
  replace(main, h("h1", {}, context.me.name),
    h("p", {}, `You are ${context.me.role}. `, button("Sign out", async () => { await post("/api/v1/auth/logout"); location.assign("/"); })),
    card("Password", change), card("Tokens of programs", h("p.hint", {}, h("a", { href: "/reference" }, "What programs can ask for")), add, secret,
      table("Tokens", ["What for", "Whose", "May", "Used", "Ends", "Do"], tokens.map((token) => [token.note, token.user, token.role, when(token.last_used), when(token.expires_at),
        button("Take away", async () => { await remove(`/api/v1/auth/tokens/${token.id}`); await again(); }, { sure: "Really?" })]), "No program has a token.")));
}
